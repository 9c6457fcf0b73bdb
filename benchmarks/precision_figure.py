"""The accuracy of the cell model as a figure, from the results of suite `cell`: error over processor time, and by rate.

`python -m benchmarks.precision_figure benchmarks/results/cpu_cell.json docs/cell_precision.png`
"""

import json
import pathlib
import sys

from mesode.figures import CYCLE, _figure, png, styled

NAMES = ("Marquis2019", "Chen2020")
OURS, THEIRS = CYCLE[0], CYCLE[1]
MARKS = {10: "v", 20: "o", 40: "s", 80: "D"}  # cells in each layer


@styled
def precision(cases):
    """Work-precision diagrams of both cells at 1C, and the errors of both codes at their defaults over the rate.

    **Arguments:** `cases`, by the name of the problem, as suite `cell` writes them.
    """
    figure, axes = _figure(12.6, 4.2, 1, 3)
    for axis, name in zip(axes, NAMES, strict=False):
        for points, colour in (
            (cases[f"work-precision {name} 1C"]["points"], OURS),
            (cases[f"work-precision {name} 1C, PyBaMM"]["points"], THEIRS),
        ):
            for cells, mark in MARKS.items():
                drawn = sorted((p["cpu_s"] * 1e3, p["rms_mV"]) for p in points if p["cells"] == cells)
                if drawn:
                    axis.plot(*zip(*drawn, strict=True), mark + "-", color=colour, lw=1.2, ms=5)
        axis.set(xscale="log", yscale="log", xlabel="processor time of a discharge / ms", title=f"{name} at 1C")
        _ticks(axis, (10, 20, 50, 100, 200, 500))
    _errors_by_rate(axes[2], cases)
    axes[0].set_ylabel("rms error of the voltage / mV")
    axes[0].plot([], [], color=OURS, label="Mesode")
    axes[0].plot([], [], color=THEIRS, label="PyBaMM")
    for cells, mark in MARKS.items():
        axes[0].plot([], [], mark, color="#555555", ms=5, label=f"{cells} cells in a layer")
    axes[0].legend(fontsize=8.5)
    return figure


def _errors_by_rate(axis, cases):
    for name, dashes in zip(NAMES, ("-", "--"), strict=True):
        start = f"accuracy {name} "
        mine = {problem.removeprefix(start)[:-1]: row for problem, row in cases.items() if problem.startswith(start)}
        rows = sorted((float(rate), row) for rate, row in mine.items())
        rates = [rate for rate, _ in rows]
        ours = [row["accuracy"]["rms_20_20_20_mV"] for _, row in rows]
        theirs = [row["peer_accuracy"]["rms_mV"] for _, row in rows]
        axis.plot(rates, ours, "o" + dashes, color=OURS, ms=4)
        axis.plot([], [], "k" + dashes, label=name)
        axis.plot(rates, theirs, "o" + dashes, color=THEIRS, ms=4)
    axis.set(xscale="log", yscale="log", xlabel="C-rate", title="20 cells in each layer")
    _ticks(axis, (0.1, 0.5, 1, 2, 3))
    axis.legend(fontsize=8.5)


def _ticks(axis, places):
    axis.set_xticks(places, [f"{x:g}" for x in places])
    axis.minorticks_off()


if __name__ == "__main__":
    results, picture = sys.argv[1:]
    cases = {row["problem"]: row for row in json.loads(pathlib.Path(results).read_text())["cases"]}
    pathlib.Path(picture).write_bytes(png(precision(cases)))
