"""Figures of impedance: the Nyquist and the Bode diagram."""

import numpy as np
from matplotlib.figure import Figure

from mesode.figures import CYCLE, _figure, styled


@styled
def nyquist_and_bode(spectra: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """The negative imaginary over the real part at one scale, and magnitude and phase over the frequency.

    Full decades are marked on the Nyquist curves and named on the first.

    **Arguments:** `spectra`, by name, each with the frequency, Hz, and the complex impedance, ohm.
    """
    figure, axes = _figure(10.4, 4.6, 1, 2)
    nyquist, magnitude = axes
    phase = magnitude.twinx()
    for number, (name, (frequency, z)) in enumerate(spectra.items()):
        order = np.argsort(frequency)
        frequency, z = np.asarray(frequency)[order], np.asarray(z)[order] * 1e3
        colour = CYCLE[number % len(CYCLE)]
        nyquist.plot(z.real, -z.imag, color=colour, label=name)
        _decades(nyquist, frequency, z, colour, named=number == 0)
        magnitude.plot(frequency, np.abs(z), color=colour)
        phase.plot(frequency, np.degrees(np.angle(z)), color=colour, ls="--", lw=1.3)
    nyquist.set(xlabel="real part of the impedance / mΩ", ylabel="negative imaginary part / mΩ")
    nyquist.set_aspect("equal", adjustable="datalim")
    magnitude.set(xscale="log", yscale="log", xlabel="frequency / Hz", ylabel="magnitude / mΩ (solid)")
    magnitude.grid(which="minor", visible=False)
    phase.set_ylabel("phase / ° (dashed)")
    phase.spines["right"].set_visible(True)
    phase.grid(visible=False)
    if len(spectra) > 1:
        nyquist.legend()
    return figure


def _decades(axis, frequency, z, colour, named: bool) -> None:
    """Marks 1, 10, 100 Hz and so on, where they lie inside the sweep; names those that stand apart."""
    powers = np.arange(np.ceil(np.log10(frequency[0]) - 1e-9), np.floor(np.log10(frequency[-1]) + 1e-9) + 1)
    at = [complex(*(np.interp(p, np.log10(frequency), part) for part in (z.real, z.imag))) for p in powers]
    axis.plot([w.real for w in at], [-w.imag for w in at], "o", ms=4, color=colour)
    size, last = np.ptp(z.real) + np.ptp(z.imag), None
    for power, w in zip(powers[::-1], at[::-1], strict=True):
        if named and (last is None or abs(w - last) > 0.06 * size):
            label = f"{10**power:g} Hz" if -3 < power < 4 else f"$10^{{{power:.0f}}}$ Hz"
            beside = (6, 2) if last is not None else (4, -11)  # the fastest are close together
            axis.annotate(label, (w.real, -w.imag), xytext=beside, textcoords="offset points", fontsize=8)
            last = w
