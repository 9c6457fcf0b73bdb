"""`mesode impedance`: the spectrum of a cell at rest."""

import math
import time

import numpy as np

from mesode import process
from mesode.commands.cells import load_cell
from mesode.commands.outputs import CSV, FIGURE, check_outputs
from mesode.process import log

COLUMNS = ("Frequency / Hz", "Real Impedance / ohm", "Imaginary Impedance / ohm")
_BOUNDS = {  # of the options, with their units
    "soc": (0.0, 1.0, ""),
    "temperature": (200.0, 400.0, " K"),
    "lowest": (1e-9, 1e9, " Hz"),
    "highest": (1e-9, 1e9, " Hz"),
    "points": (1, 100000, ""),
    "double_layer": (0.0, 1e4, " F/m2"),
}


def impedance(options) -> dict:
    """The impedance of the cell over a logarithmic sweep of the frequency."""
    _check(options)
    start = time.perf_counter()
    process.configure(options.device)
    clock = process.CompileClock()
    import equinox as eqx
    import jax.numpy as jnp

    from solver.cell.cell import covered
    from solver.cell.impedance import impedance as spectrum

    cell, _ = load_cell(options.cell)
    if options.temperature is not None:
        cell = eqx.tree_at(lambda c: c.temperature, cell, jnp.asarray(options.temperature, cell.temperature.dtype))
    frequency = np.geomspace(options.highest, options.lowest, options.points)
    if options.double_layer:
        cell = covered(cell, options.double_layer, options.double_layer)
    found = eqx.filter_jit(spectrum)(cell, jnp.asarray(frequency), state_of_charge=jnp.asarray(options.soc))
    z = np.asarray(found.of_cell)
    out = {
        "frequency_Hz": frequency,
        "real_ohm": z.real,
        "imag_ohm": z.imag,
        "soc": options.soc,
        "temperature_K": float(cell.temperature),
        "area_m2": float(cell.area),
        "double_layer_F_m2": options.double_layer,
    }
    _write(options, frequency, z)
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
    if not options.json:
        _print(out, options.cell)
    return out


def _check(options) -> None:
    for name, (low, high, unit) in _BOUNDS.items():
        value, option = getattr(options, name), name.replace("_", "-")
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"`--{option}` must lie between {low:g} and {high:g}{unit}, but {value:g} was given.")
    if options.lowest > options.highest:
        raise ValueError(
            f"`--lowest` must not be above `--highest`, but {options.lowest:g} and {options.highest:g} Hz were given."
        )
    check_outputs(options, {"output": CSV, "figure": FIGURE})


def _write(options, frequency, z) -> None:
    if options.output:
        from mesode.commands.files import write_csv

        write_csv(options.output, [COLUMNS, *zip(frequency, z.real, z.imag, strict=True)])
        log(f"wrote {options.output}", quiet=options.quiet)
    if options.figure:
        from mesode.impedance_figures import nyquist_and_bode

        figure = nyquist_and_bode({f"{options.cell}, state of charge {options.soc:g}": (frequency, z)})
        figure.savefig(options.figure, dpi=150, facecolor="white")
        log(f"wrote {options.figure}", quiet=options.quiet)


def _print(out: dict, name: str) -> None:
    print(f"impedance of {name} at a state of charge of {out['soc']:g} and {out['temperature_K']:g} K")
    print(f"  {'frequency / Hz':>15} {'real / mohm':>13} {'imaginary / mohm':>17}")
    for frequency, real, imaginary in zip(out["frequency_Hz"], out["real_ohm"], out["imag_ohm"], strict=True):
        print(f"  {frequency:15.4g} {1e3 * real:13.5g} {1e3 * imaginary:17.5g}")
