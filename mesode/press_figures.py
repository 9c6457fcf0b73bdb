"""Figures of a calendering: its compaction by line load, the stress of its particles, its contacts and its binder."""

import numpy as np
from matplotlib.figure import Figure

from mesode.figures import CYCLE, _figure, styled


def branches(pressure_pa, load: int | None = None, unload: int | None = None) -> list[tuple[slice, bool]]:
    """The parts of a course, each with whether it loads: of `load` and `unload` increments, pass by pass, or up to the
    highest pressure and down from it."""
    count = len(pressure_pa)
    if not load:
        turn = int(np.argmax(pressure_pa))
        return [(slice(0, turn + 1), True), (slice(turn, count), False)]
    step = load + (unload or 0)
    parts = []
    for start in range(0, count - 1, step):
        parts += [(slice(start, start + load + 1), True), (slice(start + load, start + step + 1), False)]
    return parts


@styled
def compaction(line_load_n_m, porosity, law=None) -> Figure:
    """Porosity over line load of the first loading, with the exponential law and its compaction resistance."""
    figure, axis = _figure(5.4, 3.9)
    load = np.asarray(line_load_n_m) / 1e3
    axis.plot(load, np.asarray(porosity)[: len(load)], "o", ms=4.5, color=CYCLE[0], label="film")
    if law:
        along = np.linspace(0, load[-1], 200)
        resistance = law["resistance_N_per_mm"]
        fitted = law["least"] + (law["first"] - law["least"]) * np.exp(-along / resistance)
        axis.plot(along, fitted, color=CYCLE[1], label=f"exponential law, resistance {resistance:.3g} N/mm")
    axis.set(xlabel="line load / (N/mm)", ylabel="porosity")
    axis.set_xlim(left=0)
    axis.legend()
    return figure


@styled
def nip(position_m, pressure_pa) -> Figure:
    """Pressure on the web along its way through the nip, 0 at the narrowest line."""
    figure, axis = _figure(5.4, 3.9)
    along = np.asarray(position_m) * 1e3
    pressure = np.asarray(pressure_pa)[: len(along)] / 1e6
    # Between the points the pressure is linear in the thickness, and that is a parabola along the web.
    fine = np.linspace(along[0], along[-1], 401)
    curve = np.empty_like(fine)
    for side in (-1, 1):
        here, there = (along * side >= 0), (fine * side >= 0)
        order = np.argsort(along[here] ** 2)
        curve[there] = np.interp(fine[there] ** 2, along[here][order] ** 2, pressure[here][order])
    axis.plot(fine, curve, color=CYCLE[0])
    axis.plot(along, pressure, "o", ms=3.5, color=CYCLE[0])
    axis.fill_between(fine, curve, color=CYCLE[0], alpha=0.15, lw=0)
    axis.axvline(0, color="#777777", lw=1, ls=":")
    axis.set(xlabel="position in the nip, along the web / mm", ylabel="pressure on the web / MPa")
    axis.set_ylim(bottom=0)
    return figure


@styled
def particle_stress(radii, stages: dict[str, np.ndarray]) -> Figure:
    """How the von Mises stress is distributed over the volume of the particles, by state, on a logarithmic axis."""
    figure, axis = _figure(5.4, 3.9)
    weight = np.asarray(radii) ** 3 / np.sum(np.asarray(radii) ** 3)
    values = {name: np.asarray(stress) / 1e6 for name, stress in stages.items()}
    shown = np.concatenate([v[v > 0] for v in values.values()])
    if not shown.size:
        shown = np.asarray([1.0])
    low, high = np.percentile(shown, 0.5), shown.max()
    bins = int(np.clip(len(weight) // 6, 8, 30))
    edges = np.geomspace(low, max(1.01 * high, 1.1 * low), bins + 1)
    for number, (name, stress) in enumerate(values.items()):
        share = 100 * np.histogram(np.clip(stress, edges[0], None), edges, weights=weight)[0]
        axis.stairs(share, edges, color=CYCLE[number], fill=True, alpha=0.25)
        axis.stairs(share, edges, color=CYCLE[number], lw=1.6, label=name)
        middle = np.sum(weight * stress)
        if middle > 0:
            axis.axvline(middle, color=CYCLE[number], ls=":", lw=1.2)
    axis.set_xscale("log")
    axis.set(xlabel="von Mises stress of a particle / MPa (dotted: mean)", ylabel="share of the volume / %")
    axis.legend()
    return figure


@styled
def contacts(thickness_m, coordination, fabric, bridge_fabric, parts) -> Figure:
    """Coordination number, and the directions of contacts and bridges, over the thickness."""
    figure, (left, right) = _figure(9.6, 3.9, 1, 2)
    microns = np.asarray(thickness_m) * 1e6
    for part, loads in parts:
        style = {"marker": "o" if loads else "s", "ms": 3.5, "ls": "-" if loads else "--"}
        named = part.start == parts[0][0].start if loads else part.start == parts[1][0].start
        word = "loading" if loads else "release"
        left.plot(
            microns[part],
            np.asarray(coordination)[part],
            color=CYCLE[0] if loads else CYCLE[1],
            label=word if named else None,
            **style,
        )
        for colour, name, tensor in ((CYCLE[2], "contacts", fabric), (CYCLE[3], "binder bridges", bridge_fabric)):
            along = np.asarray(tensor)[part, 0, 0]
            along = np.where(np.trace(np.asarray(tensor)[part], axis1=1, axis2=2) > 0, along, np.nan)
            right.plot(microns[part], along, color=colour, label=name if named and loads else None, **style)
    for axis in (left, right):
        axis.invert_xaxis()
        axis.set_xlabel("thickness / µm")
    left.set_ylabel("contacts a particle")
    left.set_ylim(bottom=0)
    right.axhline(1 / 3, color="#777777", lw=1, ls=":")
    right.annotate("isotropic", (0.015, 1 / 3), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    right.set_ylabel("fabric tensor along the thickness")
    left.legend()
    right.legend()
    return figure


@styled
def recovery(time_s, thickness_um) -> Figure:
    """Thickness over the time after the film was let go, on a logarithmic axis."""
    figure, axis = _figure(5.4, 3.9)
    time, thickness = np.asarray(time_s), np.asarray(thickness_um)
    axis.axhline(thickness[0], color="#777777", lw=1, ls=":")
    axis.plot(time[1:], thickness[1:], "o-", ms=3.5, color=CYCLE[0])
    axis.annotate("when let go", (0.7, thickness[0]), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    axis.set_xscale("log")
    axis.set(xlabel="time after release / s", ylabel="thickness / µm")
    axis.ticklabel_format(axis="y", useOffset=False)
    return figure


@styled
def bridges(thickness_m, shares: dict[str, np.ndarray], parts) -> Figure:
    """Shares of the binder bridges, such as those that yielded, over the thickness."""
    figure, axis = _figure(5.4, 3.9)
    microns = np.asarray(thickness_m) * 1e6
    for number, (name, share) in enumerate(shares.items()):
        for index, (part, loads) in enumerate(parts):
            axis.plot(
                microns[part],
                100 * np.asarray(share)[part],
                color=CYCLE[number],
                marker="o" if loads else "s",
                ms=3.5,
                ls="-" if loads else "--",
                label=f"{name}, {'loading' if loads else 'release'}" if index < 2 else None,
            )
    axis.invert_xaxis()
    axis.set(xlabel="thickness / µm", ylabel="share of the binder bridges / %")
    axis.set_ylim(0, 100)
    figure.legend(loc="outside upper center", ncols=2)
    return figure
