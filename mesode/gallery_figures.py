"""Figures of a problem of the gallery: the course of its searches, its variables, and what changes along its axis."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mesode.figures import CYCLE, _figure, styled

_GREY = "#8a949e"


@styled
def course(baselines: dict, objective: str, sense: float) -> Figure:
    """The best design so far of every search over the solves spent; levels of the start and the best uniform design.

    **Arguments:** `baselines`, by name, each with `best` and, but for the start, `course` with `solves` and `best`.
    """
    figure, axis = _figure(8.2, 4.0)
    colours = iter(CYCLE)
    for name, row in baselines.items():
        if name in ("start", "best uniform"):
            continue
        solves, best = np.atleast_1d(row["course"]["solves"]), np.atleast_1d(row["course"]["best"])
        wide, label = (2.4, "exact derivatives") if name == "climb" else (1.4, name)
        axis.step(solves, best, where="post", color=next(colours), lw=wide, label=label, zorder=3 if wide > 2 else 2)
    level = baselines["start"]["best"]
    axis.axhline(level, color=_GREY, lw=1.0, ls=":", label="start")
    if "best uniform" in baselines:
        axis.axhline(baselines["best uniform"]["best"], color="black", lw=1.2, ls="--", label="best uniform design")
    _cut(axis, [level, *(row["best"] for row in baselines.values())])
    axis.set(xlabel="forward-equivalent solves", ylabel=f"{objective}, {'most' if sense > 0 else 'least'} so far")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _cut(axis, values) -> None:
    """Limits that show the range between the final values well."""
    values = np.asarray([v for v in values if np.isfinite(v)], float)
    low, high = values.min(), values.max()
    room = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
    axis.set_ylim(low - room, high + room)


@styled
def variables(rows: dict) -> Figure:
    """Start and best value of every variable between its bounds.

    **Arguments:** `rows`, by name, each with `start`, `best`, `low` and `high`.
    """
    figure, axis = _figure(6.4, 0.9 + 0.32 * len(rows))
    for k, row in enumerate(rows.values()):
        low, high = row["low"], row["high"]
        logarithmic = low > 0 and high / low > 8  # shown so, whatever the transform of the search
        place = (lambda v, a=low, b=high: np.log(v / a) / np.log(b / a)) if logarithmic else None
        place = place or (lambda v, a=low, b=high: (v - a) / (b - a))
        axis.plot([0, 1], [k, k], color="#d5dae0", lw=5, solid_capstyle="round", zorder=1)
        axis.annotate(
            "", (place(row["best"]), k), (place(row["start"]), k), arrowprops={"arrowstyle": "-", "color": _GREY}
        )
        axis.plot(place(row["start"]), k, "o", mfc="white", mec=_GREY, ms=7, zorder=3, label="start" if not k else None)
        axis.plot(place(row["best"]), k, "o", color=CYCLE[0], ms=8, zorder=4, label="best" if not k else None)
        axis.text(-0.02, k, f"{low:.3g}", ha="right", va="center", fontsize=8, color=_GREY)
        axis.text(1.02, k, f"{high:.3g}", ha="left", va="center", fontsize=8, color=_GREY)
        axis.text(1.24, k, f"{row['start']:.4g} → {row['best']:.4g}", ha="left", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set(xlim=(-0.14, 1.6), xticks=[], ylim=(len(rows) - 0.4, -0.6))
    axis.grid(False)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(left=False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


@styled
def along(variants: dict, own: dict | None = None) -> Figure:
    """What the best designs are along the axis of a challenge, one panel a figure.

    **Arguments:** `variants`, with `along`, `shown` and `rows`, each with `at` and `figures`.
    """
    shown = list(variants["shown"])
    rows = sorted(variants["rows"].values(), key=lambda row: row["at"])
    at = [row["at"] for row in rows]
    figure, axes = _figure(3.1 * len(shown) + 0.6, 3.1, 1, len(shown), squeeze=False)
    for axis, name, colour in zip(axes[0], shown, CYCLE, strict=False):
        axis.plot(at, [row["figures"][name] for row in rows], "o-", color=colour, ms=5)
        axis.set(xlabel=variants["along"], ylabel=name)
        if max(at) / max(min(at), 1e-9) >= 8:
            axis.set_xscale("log", base=2)
            axis.set_xticks(at, [f"{a:g}" for a in at])
        axis.yaxis.set_major_locator(MaxNLocator(6))
        axis.ticklabel_format(axis="y", useOffset=False)
        _widen(axis)
    return figure


def _widen(axis, least: float = 0.01) -> None:
    """Limits at least a percent apart, so that what does not change looks like it."""
    low, high = axis.get_ylim()
    room = 0.5 * (least * max(abs(low), abs(high)) - (high - low))
    if room > 0:
        axis.set_ylim(low - room, high + room)


@styled
def profiles(rows: dict, start: dict | None = None) -> Figure | None:
    """Profiles through the thickness among the variables, as steps; `None` where there are none.

    **Arguments:** `rows`, variables by name, those of a profile ending in `_1`, `_2` and on.
    """
    found: dict[str, list] = {}
    for name, row in rows.items():
        stem, _, index = name.rpartition("_")
        if index.isdigit():
            found.setdefault(stem, []).append(row)
    found = {stem: entries for stem, entries in found.items() if len(entries) > 1}
    if not found:
        return None
    figure, axis = _figure(7.2, 3.4)
    for (stem, entries), colour in zip(found.items(), CYCLE, strict=False):
        edges = np.linspace(0.0, 1.0, len(entries) + 1)
        axis.stairs([row["best"] for row in entries], edges, color=colour, lw=2.2, baseline=None, label=f"{stem}, best")
        axis.stairs([row["start"] for row in entries], edges, color=colour, lw=1.0, ls=":", baseline=None,
                    label=f"{stem}, start")  # fmt: skip
    axis.set(xlabel="position, share of the thickness, entry 1 on the left", ylabel=", ".join(found))
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
