"""The course of a protocol: voltage, current, temperature and plating potential over time."""

import numpy as np
from matplotlib.figure import Figure

from mesode.figures import CYCLE, _figure, styled

_MARKED = 40  # steps, above which their beginnings are not marked
_CALM = 300.0  # mV, of the plating potential, above which nothing is to be seen


@styled
def course(out: dict) -> Figure:
    """One panel each, one below the other, with a faint line where a step begins.

    **Arguments:** `out`, the arrays `time_s`, `voltage_V`, `current_A`, positive on discharge, `temperature_K`,
    `plating_V` or `None`, and `step`, all (n,); `nominal_capacity_Ah`, and `thermal`, whether the temperature moves.
    """
    unit, scale = _unit(out["time_s"][-1])
    time, nominal = np.asarray(out["time_s"]) / scale, out["nominal_capacity_Ah"]
    panels = [("voltage / V", out["voltage_V"], CYCLE[0]), ("current / A\n(discharge > 0)", out["current_A"], CYCLE[1])]
    if out["thermal"]:
        panels.append(("temperature / °C", np.asarray(out["temperature_K"]) - 273.15, CYCLE[4]))
    if out["plating_V"] is not None:
        panels.append(("plating potential\n/ mV", 1e3 * np.asarray(out["plating_V"]), CYCLE[2]))
    figure, axes = _figure(8.4, 1.2 + 1.7 * len(panels), len(panels), 1, sharex=True)
    begins = time[np.flatnonzero(np.diff(out["step"])) + 1]
    for axis, (name, values, colour) in zip(axes, panels, strict=True):
        axis.plot(time, values, color=colour, lw=1.5)
        axis.set_ylabel(name)
        if name.startswith(("current", "plating")):
            axis.axhline(0.0, color="#777777", lw=0.9, zorder=1)
        for at in begins if begins.size <= _MARKED else ():
            axis.axvline(at, color="#bbbbbb", lw=0.8, ls=":", zorder=0)
    rate = axes[1].secondary_yaxis("right", functions=(lambda i: i / nominal, lambda c: c * nominal))
    rate.set_ylabel("C-rate")
    rate.spines["right"].set_visible(True)
    if out["plating_V"] is not None:
        low, high = axes[-1].get_ylim()
        axes[-1].axhspan(min(low, -1.0), 0.0, color="#cc79a7", alpha=0.15, lw=0)
        axes[-1].set_ylim(low, min(high, _CALM))
        if np.min(out["plating_V"]) < 0:
            axes[-1].annotate("lithium plates", (0.995, 0.03), xycoords="axes fraction", ha="right", fontsize=8)
    axes[-1].set_xlabel(f"time / {unit}")
    axes[-1].set_xlim(time[0], time[-1] if time[-1] > time[0] else time[0] + 1)
    figure.align_ylabels(axes)
    return figure


def _unit(end: float) -> tuple[str, float]:
    """The unit of the time axis, and s in it."""
    return ("s", 1.0) if end < 600 else ("min", 60.0) if end < 3 * 3600 else ("h", 3600.0)
