"""The losses of a discharge as stacked areas between the voltage at rest and the voltage under load."""

import numpy as np
from matplotlib.figure import Figure

from mesode.figures import _figure, styled

# A colour for each place, from Okabe and Ito (2008), made lighter from cause to cause.
_TINTS = {"negative": "#0072b2", "separator": "#009e73", "positive": "#d55e00"}
_NAMES = {
    "ohmic_solid": "ohmic, solid",
    "ohmic_electrolyte": "ohmic, electrolyte",
    "concentration": "concentration",
    "kinetic": "kinetic",
    "solid_diffusion": "solid diffusion",
    "uneven_use": "uneven use",
}


@styled
def losses(capacity, open_circuit, voltage, parts, causes, places, least=5e-4) -> Figure:
    """Voltage over areal capacity, with each loss as an area; those that never exceed `least`, V, are left white.

    **Arguments:** `capacity`, C/m2, `open_circuit` and `voltage`, V, shape (n,); `parts`, V, shape (n, causes, places).
    """
    import matplotlib

    along = np.asarray(capacity) / 3.6 / 1e4  # C/m2 -> mAh/cm2
    parts, top = np.asarray(parts), np.asarray(open_circuit, dtype=float).copy()
    figure, axis = _figure(8.6, 4.6)
    axis.plot(along, open_circuit, color="black", lw=1.4, label="at rest")
    for column, place in enumerate(places):
        base = np.array(matplotlib.colors.to_rgb(_TINTS[place]))
        shown = [row for row in range(len(causes)) if np.max(np.abs(parts[:, row, column])) > least]
        for rank, row in enumerate(shown):
            tint = 1 - (1 - base) * (1 - 0.75 * rank / max(len(shown), 1))
            lower = top - parts[:, row, column]
            label = f"{place}: {_NAMES[causes[row]]}"
            axis.fill_between(along, lower, top, color=tint, lw=0, label=label)
            top = lower
    axis.plot(along, voltage, color="black", lw=2.0, label="under load")
    axis.set(xlabel="discharged capacity / (mAh/cm²)", ylabel="cell voltage / V", xlim=(0, along[-1]))
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
