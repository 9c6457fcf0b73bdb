"""`mesode discharge` and `mesode charge`: the cell model at constant current."""

import math
import pathlib
import time

import numpy as np

from mesode import process
from mesode.process import log

NOMINAL_Ah = {  # what a C-rate of a built-in cell refers to
    "Marquis2019": 0.680616,  # Marquis et al. 2019, doi 10.1149/2.0341915jes, as in the published parameter set
    "Chen2020": 5.0,  # Chen et al. 2020, doi 10.1149/1945-7111/ab9050
    "Xu2019": 0.0024,  # half-cell of Xu et al. 2019, doi 10.1149/2.0161914jes, as in the published parameter set
}
MODELS = {"dfn": "DFN", "spme": "SPMe", "spm": "SPM"}  # of `--model`, and what they are called in the library
DEPLETED = 10.0  # mol/m3 of salt at the end, below which the electrolyte is why a run ended
STOPS = ("cut_off", "already_past_cut_off", "time_limit", "not_converged")


def discharge(options) -> dict:
    """A constant-current discharge of the charged cell."""
    return _run(options, "discharge")


def charge(options) -> dict:
    """A constant-current charge of the discharged cell."""
    return _run(options, "charge")


def load_cell(name: str, thermal: bool = False):
    """The cell of a command line and its nominal capacity in Ah: a built-in set, a BPX file or a run file.

    With `thermal`, the lumped thermal model in it, or a `ValueError` where nothing is known of it.
    """
    path = pathlib.Path(name)
    if name == "Chen2020" and thermal:
        from solver.cell import library
        from solver.cell.cell import warmed

        return warmed(library.chen2020(), library.chen_thermal()), NOMINAL_Ah[name]
    if thermal and path.suffix.lower() != ".json":
        raise ValueError(
            f"`--thermal` needs thermal parameters, of which `{name}` has none; Chen2020 and BPX files may."
        )
    if name in NOMINAL_Ah:
        from solver.cell import library

        return getattr(library, name.lower())(), NOMINAL_Ah[name]
    if path.suffix.lower() == ".json":
        return _cell_of_bpx(path, thermal)
    if path.suffix.lower() in (".h5", ".hdf5"):
        return _cell_of_run(path)
    import difflib

    known = {known.lower(): known for known in NOMINAL_Ah}
    close = difflib.get_close_matches(name.lower(), known, 1, 0.4)
    hint = f"; did you mean `{known[close[0]]}`?" if close else "."
    raise ValueError(
        f"Cell `{name}` is neither a built-in set ({', '.join(NOMINAL_Ah)}) nor a BPX file (.json) nor a run file "
        f"(.h5){hint}"
    )


def _cell_of_bpx(path, thermal):
    from microstructure.exchange.bpx import read_bpx
    from solver.cell.bpx import cell_from_bpx, thermal_from_bpx
    from solver.cell.cell import warmed

    source = read_bpx(path)
    cell = cell_from_bpx(source)
    if thermal:
        cell = warmed(cell, thermal_from_bpx(source))
    for note in source.notes:
        log(note)
    if source.state_of_charge not in (None, 1.0):
        log(f"The state of charge in `{path}`, {source.state_of_charge:g}, is not used: cells start full or empty.")
    return cell, float(source.cell["Nominal cell capacity [A.h]"])


def _cell_of_run(path):
    """The cell of a run file, per square metre of electrode, with its theoretical capacity as the nominal one."""
    from mesode.chain import cell_of
    from mesode.job import parse_job
    from microstructure import store
    from solver.cell.cell import theoretical_capacity

    run = store.read(path, groups=("job", "electrode"))
    if not {"job", "electrode"} <= set(run):
        raise ValueError(f"File `{path}` holds no electrode to make a cell of.")
    cell = cell_of(parse_job(run["job"], str(path)), run["electrode"])
    return cell, float(theoretical_capacity(cell.positive) * cell.area) / 3600.0


def _run(options, kind: str) -> dict:
    if not (math.isfinite(options.c_rate) and 1e-3 <= options.c_rate <= 100.0):
        raise ValueError(
            f"`--c-rate` must lie between 0.001 and 100, but {options.c_rate:g} was given; it is a multiple of the "
            "nominal capacity per hour, no charge in coulombs and no current in amperes."
        )
    start = time.perf_counter()
    process.configure(options.device)
    clock = process.CompileClock()
    import equinox as eqx
    import jax.numpy as jnp

    from solver.cell import method, protocol
    from solver.numerics.solution import Result, SolveError

    cell, nominal = load_cell(options.cell, options.thermal)
    current = options.c_rate * nominal
    density = jnp.asarray(current / float(cell.area))  # a plain number would be compiled in, for each C-rate anew
    model = getattr(method, MODELS[options.model])()
    solution = eqx.filter_jit(getattr(protocol, kind))(cell, density, model)
    run = solution.value
    stop = next(name for name in STOPS if bool(getattr(protocol.Stop, name) == run.stop))
    if stop == "not_converged":
        raise SolveError(f"The {kind} did not converge: {Result[solution.result]}")
    if stop == "already_past_cut_off":
        raise ValueError(
            f"The cell is past its cut-off voltage as soon as {current:g} A flow; use a lower `--c-rate` than "
            f"{options.c_rate:g}."
        )
    out = {"model": options.model} | _curve(run, options.c_rate, current, float(cell.area), stop)
    if options.csv:
        from mesode.commands.files import write_curve

        sign = 1.0 if kind == "discharge" else -1.0
        write_curve(options.csv, {**out, "current_A": sign * current})
        log(f"wrote {options.csv}", quiet=options.quiet)
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
    if not options.json:
        _print(out, kind)
    return out


def _curve(run, c_rate: float, current: float, area: float, stop: str) -> dict:
    time_s, voltage = np.asarray(run.time), np.asarray(run.voltage)
    salt = float(np.min(np.asarray(run.final.concentration)))
    used = int(np.count_nonzero(np.diff(time_s) > 0)) + 1  # the record repeats its last entry up to its fixed length
    return {
        "c_rate": c_rate,
        "current_A": current,
        "time_s": time_s[:used],
        "voltage_V": voltage[:used],
        "capacity_Ah": float(run.capacity) * area / 3600.0,
        "energy_Wh": float(run.energy) * area / 3600.0,
        "end_time_s": float(run.end_time),
        "stop": stop,
        "temperature_K": np.asarray(run.temperature)[:used],
        "least_salt_mol_m3": salt,
        "depleted": salt < DEPLETED,
    }


def _print(out: dict, kind: str) -> None:
    print(f"{kind} at {out['c_rate']:g}C ({out['current_A']:.4g} A): stopped by {out['stop'].replace('_', ' ')}")
    print(f"  time       {out['end_time_s']:.2f} s")
    print(f"  capacity   {out['capacity_Ah']:.5g} Ah")
    print(f"  energy     {out['energy_Wh']:.5g} Wh")
    print(f"  voltage    {out['voltage_V'][0]:.4f} V to {out['voltage_V'][-1]:.4f} V")
    if out["depleted"]:
        least = max(out["least_salt_mol_m3"], 0.0)
        print(f"  depleted   the salt is down to {least:.2g} mol/m3 in places, which ended the run")
    celsius = out["temperature_K"] - 273.15
    if np.ptp(celsius) > 0:
        print(f"  warmed to  {np.max(celsius):.2f} °C from {celsius[0]:.2f} °C")
