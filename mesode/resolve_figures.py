"""Figures of a resolved discharge, drawn from the plain arrays of a run file."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mesode.figures import CYCLE, _figure, rate_name, styled

_MAPS = {  # field: title, colours, factor
    "state_of_charge": ("state of charge", "viridis", 1.0),
    "reaction_A_m2": ("reaction current / (A/m²)", "magma", -1.0),
    "salt_mol_m3": ("salt / (mol/m³)", "cividis", 1.0),
}
_PROFILES = {  # profile: axis label, factor
    "state_of_charge": ("state of charge", 1.0),
    "reaction_A_m3": ("reaction / (A/cm³)", -1e-6),
    "salt_mol_m3": ("salt / (mol/m³)", 1.0),
}
_MOST = 6  # moments shown side by side


def moments(looks: dict) -> list[dict]:
    """The looks in the order of their times, the first one, at rest, left out where there are more than enough."""
    ordered = [looks[key] for key in sorted(looks, key=int)]
    if len(ordered) <= _MOST:
        return ordered
    return [ordered[k] for k in np.unique(np.linspace(0, len(ordered) - 1, _MOST).round().astype(int))]


def _depths(looks: list[dict], rate: float) -> list[float]:
    return [float(look["time_s"]) * rate / 3600.0 for look in looks]


@styled
def slices(looks: dict, spacing_m, rate: float, index: int) -> Figure:
    """The slice `index` of axis 2 at each depth of discharge, collector below: charge, reaction and salt."""
    shown = moments(looks)
    edges = np.asarray(spacing_m) * 1e6
    nx, ny, _ = np.shape(shown[0]["fields"]["salt_mol_m3"])
    wide, high = ny * edges[1], nx * edges[0]
    scale = min(1.9 / wide, 3.2 / high)
    figure = Figure(
        figsize=(1.7 + len(shown) * (wide * scale + 0.3), 3 * (high * scale + 0.35) + 0.8), layout="constrained"
    )
    matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(shown), squeeze=False, sharex=True, sharey=True)
    for number, (name, (title, colours, factor)) in enumerate(_MAPS.items()):
        row = axes[number]
        cuts = [factor * np.asarray(look["fields"][name])[:, :, index] for look in shown]
        low, high_value = _range(cuts, whole=name == "state_of_charge")
        for axis, cut, depth in zip(row, cuts, _depths(shown, rate), strict=True):
            image = axis.imshow(
                np.ma.masked_invalid(cut), origin="lower", extent=(0, wide, 0, high), cmap=colours, vmin=low,
                vmax=high_value, interpolation="nearest",
            )  # fmt: skip
            axis.set_facecolor("#d0d0d0")
            axis.grid(False)
            axis.tick_params(labelsize=8)
            if number == 0:
                axis.set_title(f"{100 * depth:.0f} %", fontsize=10)
            if number == len(_MAPS) - 1:
                axis.set_xlabel("y / µm")
        row[0].set_ylabel("x / µm")
        figure.colorbar(image, ax=list(row), shrink=0.9, label=title)
    figure.suptitle(f"depth of discharge, {rate_name(rate)}", fontsize=10)
    return figure


def _range(cuts, whole: bool) -> tuple[float, float]:
    """One scale for a row: all of it, or but for the extremes of a percent."""
    values = np.concatenate([cut[np.isfinite(cut)] for cut in cuts])
    if not values.size:
        return 0.0, 1.0
    low, high = (values.min(), values.max()) if whole else np.percentile(values, [1, 99])
    return float(low), float(high) if high > low else float(low) + max(1e-9, abs(float(low)) * 1e-6)


@styled
def depth_profiles(looks: dict, spacing_m, rate: float) -> Figure:
    """Means of the slices over the depth, from the collector on, at each depth of discharge."""
    shown = moments(looks)
    figure, axes = _figure(10.6, 3.6, 1, 3)
    colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, len(shown)))
    for axis, (name, (label, factor)) in zip(axes, _PROFILES.items(), strict=True):
        for look, colour, depth in zip(shown, colours, _depths(shown, rate), strict=True):
            values = factor * np.asarray(look["profiles"][name])
            place = (np.arange(len(values)) + 0.5) * float(np.asarray(spacing_m)[0]) * 1e6
            axis.plot(place, values, color=colour, label=f"{100 * depth:.0f} %")
        axis.set(xlabel="depth from the collector / µm", ylabel=label)
        axis.set_xlim(left=0)
    axes[-1].legend(title="discharged", fontsize=8, loc="best")
    return figure


@styled
def particles(look: dict, used_over: dict) -> Figure:
    """How far each particle was used at the end, over its size and its depth; the area of a dot is its volume.

    **Arguments:** `used_over`, the distributions `over_diameter_m` and `over_depth_m`.
    """
    figure, axes = _figure(9.4, 3.9, 1, 2, sharey=True)
    tables = look["particles"]
    largest = max(float(np.max(table["volume_m3"])) for table in tables.values())
    for number, (name, table) in enumerate(tables.items()):
        used = 100 * (1 - np.asarray(table["state_of_charge"]))
        size = 8 + 140 * np.asarray(table["volume_m3"]) / largest
        for axis, along in zip(axes, ("diameter_m", "depth_m"), strict=True):
            axis.scatter(
                np.asarray(table[along]) * 1e6, used, s=size, color=CYCLE[number % len(CYCLE)], alpha=0.55,
                edgecolors="white", linewidths=0.5, label=name,
            )  # fmt: skip
    mean = 100 * float(used_over["mean"])
    for axis, name in zip(axes, ("over_diameter_m", "over_depth_m"), strict=True):
        bins = used_over[name]
        axis.errorbar(
            np.asarray(bins["along"]) * 1e6, 100 * np.asarray(bins["mean"]), 100 * np.asarray(bins["deviation"]),
            color="#333333", lw=1.1, elinewidth=0.9, capsize=2, label="mean and deviation by volume",
        )  # fmt: skip
    for axis, label in zip(axes, ("diameter of a sphere as large / µm", "depth of its centre / µm"), strict=True):
        axis.axhline(mean, color="#777777", lw=1, ls=":")
        axis.set(xlabel=label)
        axis.set_xlim(left=0)
    axes[0].set_ylabel("used at the end / %")
    axes[1].annotate("mean", (0.99, mean), xycoords=("axes fraction", "data"), va="bottom", ha="right", fontsize=8)
    lowest = min(100 * float(1 - np.max(table["state_of_charge"])) for table in tables.values())
    axes[0].set_ylim(bottom=min(-5.0, lowest - 5.0) if lowest < 20.0 else None)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=len(tables) + 1)
    return figure


@styled
def heat(curve: dict, section: float) -> Figure:
    """The heat of a discharge over its time, by source."""
    figure, axis = _figure(5.8, 4.0)
    time = np.asarray(curve["time_s"]) / 60.0
    for number, (name, label) in enumerate(
        (("ohmic", "ohmic"), ("reaction", "reaction"), ("reversible", "reversible"))
    ):
        values = np.asarray(curve[f"{name}_heat_W"]) / section
        if np.any(values):
            axis.plot(time, values, color=CYCLE[number], label=label)
    axis.set(xlabel="time / min", ylabel="heat / (W/m²)", ylim=(0, None))
    axis.set_xlim(left=0)
    axis.legend()
    return figure
