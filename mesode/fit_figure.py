"""The curves of a fit: voltage and temperature measured, before and after, over the charge drawn."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mesode.figures import CYCLE, _figure, styled


@styled
def curves(found: Mapping) -> Figure:
    """Of each curve the readings as dots, the model at the start dashed and after the fit as a line.

    **Arguments:** `found`, by name: `use`, `current_A`, `measured`, `before_run`, `after_run`, each of these with
    `time_s`, `voltage_V` and perhaps `temperature_K`.
    """
    warm = any("temperature_K" in curve["measured"] for curve in found.values())
    figure, axes = _figure(10.0 if warm else 6.0, 4.4, 1, 2 if warm else 1, squeeze=False)
    axes = axes[0]
    for colour, (name, curve) in zip(_colours(), found.items(), strict=False):
        _curve(axes, name, curve, colour)
    axes[0].plot([], [], "k.", ms=5, label="measured")
    axes[0].plot([], [], "k--", lw=1.1, label="before the fit")
    axes[0].set(xlabel="charge / Ah", ylabel="voltage / V")
    axes[0].legend(loc="lower left", fontsize=9)
    if warm:
        axes[1].set(xlabel="charge / Ah", ylabel="temperature / °C")
    return figure


def _colours():
    while True:
        yield from CYCLE


def _curve(axes, name, curve, colour) -> None:
    current = float(curve["current_A"])
    text = f"{name}, {'fitted' if curve['use'] == 'fit' else 'predicted'}"
    styles = {
        "measured": {"ls": "", "marker": ".", "ms": 3, "alpha": 0.6},
        "before_run": {"ls": "--", "lw": 1.1},
        "after_run": {"lw": 1.9, "label": text},
    }
    for part, style in styles.items():
        data = curve[part]
        charge = current * np.asarray(data["time_s"]) / 3600.0
        axes[0].plot(charge, data["voltage_V"], color=colour, **style)
        if len(axes) > 1 and "temperature_K" in data and "temperature_K" in curve["measured"]:
            axes[1].plot(charge, np.asarray(data["temperature_K"]) - 273.15, color=colour, **style)
