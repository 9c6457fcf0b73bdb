"""The losses of a discharge: its voltages at rest and under load, and between them each loss as an area."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mesode.figures import _figure, styled

# A colour for each place, of Okabe and Ito (2008), made lighter from cause to cause.
_TINTS = {"negative": "#0072b2", "separator": "#009e73", "positive": "#d55e00"}
NAMES = {
    "ohmic_solid": "ohmic, solid",
    "ohmic_electrolyte": "ohmic, electrolyte",
    "concentration": "concentration",
    "kinetic": "kinetic",
    "solid_diffusion": "solid diffusion",
    "uneven_use": "uneven use",
}


@styled
def losses(capacity, open_circuit, voltage, parts, causes, places, least=1e-3) -> Figure:
    """Voltages over areal capacity, and below them the losses, stacked; those that never exceed `least`, V, as one.

    A loss that turns negative, as uneven use may, folds its area back over the one below.

    **Arguments:** `capacity`, C/m2, `open_circuit` and `voltage`, V, shape (n,); `parts`, V, shape (n, causes, places).
    """
    along = np.asarray(capacity) / 3.6 / 1e4  # C/m2 -> mAh/cm2
    parts = np.asarray(parts)
    figure, (above, below) = _figure(8.4, 6.4, 2, 1, sharex=True, height_ratios=(1.0, 1.5))
    above.plot(along, open_circuit, color="#777777", lw=1.4, label="at rest")
    above.plot(along, voltage, color="black", lw=2.0, label="under load")
    above.set(ylabel="cell voltage / V")
    above.legend(loc="lower left")
    base, rest = np.zeros_like(along), np.asarray(open_circuit) - np.asarray(voltage)
    for column, place in enumerate(places):
        tint = np.array(matplotlib.colors.to_rgb(_TINTS[place]))
        shown = [row for row in range(len(causes)) if np.max(np.abs(parts[:, row, column])) > least]
        for rank, row in enumerate(shown):
            colour = 1 - (1 - tint) * (1 - 0.75 * rank / max(len(shown), 1))
            top = base + 1e3 * parts[:, row, column]
            label = f"{place}: {NAMES[causes[row]]}"
            below.fill_between(along, base, top, color=colour, ec="white", lw=0.5, label=label)
            base = top
    below.fill_between(along, base, 1e3 * rest, color="#cccccc", ec="white", lw=0.5, label="all others")
    below.plot(along, 1e3 * rest, color="black", lw=1.6)
    below.set(xlabel="discharged capacity / (mAh/cm²)", ylabel="loss / mV", xlim=(0, along[-1]), ylim=(0, None))
    handles, labels = below.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right lower", fontsize=8)
    return figure
