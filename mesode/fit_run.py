"""A job of `mesode fit` as the solver's objects, what is found, and what would help next, as plain numbers."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from inverse.agreement import agreement, end_interval
from inverse.calibrate import Calibration, Curve, Errors, judged, measured, prior_of
from inverse.fit import Estimate, Fitted
from inverse.informative import Gain, further_curve, gain, of_curve, spectrum_jacobian
from inverse.parameters import parameter_space
from mesode.fit_job import FitJob
from solver.cell.discretise import Mesh
from solver.cell.method import DFN

WIDE = 0.5  # share of the bounds, or of their logarithm, above which an interval says little
SPECTRUM = np.logspace(-2.0, 3.0, 12)  # Hz, of the spectrum that may be measured next
SPECTRUM_ERROR = 0.02  # of the size of the impedance, errors of the model included
PULSE = (1.0, 30.0)  # C-rate and duration, s


def calibration_of(job: FitJob, cell) -> tuple[Calibration, dict[str, Curve]]:
    """The calibration by the curves that are to be fitted, and all curves by name, of one shape."""
    space = parameter_space(cell, job.bounds, job.start)
    means = int(job.method["means"])
    curves = [
        measured(
            r.time, r.voltage, r.current, r.temperature if job.thermal else None,
            ambient=r.ambient or (None if r.temperature is None else r.temperature[0]), rest=r.rest,
            means=means, warm_means=max(1, means // 2),
        )
        for r in job.readings.values()
    ]  # fmt: skip
    mesh = job.method["mesh"]
    method = DFN() if mesh is None else DFN(mesh=Mesh(*(int(n) for n in mesh)))
    prior = prior_of(space, job.deviations)
    everything = Calibration(space, cell, curves, Errors(**job.errors), method, prior)
    named = dict(zip(job.readings, everything.curves, strict=True))
    fitted = tuple(curve for name, curve in named.items() if name not in job.predicted)
    return dataclasses.replace(everything, curves=fitted), named


def summary(job: FitJob, calibration: Calibration, curves: Mapping[str, Curve], fitted: Fitted, cell, nominal) -> dict:
    """Values with intervals and verdicts, curves before and after, and what to measure next."""
    known, rho = judged(calibration, fitted, job.method["confidence"])
    start = np.asarray(calibration.space.start)
    deviations = calibration.weights
    first = float(0.5 * np.sum((deviations * calibration.linearise(start)[0]) ** 2))
    keys = job.keys
    return {
        "variables": {keys[name]: value for name, value in known.values.items()},
        "intervals": {keys[name]: [known.low[name], known.high[name]] for name in known.values},
        "start_values": {keys[n]: float(v) for n, v in zip(known.values, calibration.space.values(start), strict=True)},
        "verdicts": {keys[name]: text for name, text in verdicts(known, fitted).items()},
        "objective": float(0.5 * np.sum(fitted.weighted[0] ** 2)),
        "start": first,
        "degrees_of_freedom": float(known.degrees),
        "misfit": float(known.misfit),
        "correlation_of_residuals": rho,
        "warnings": [_renamed(text, keys) for text in known.warnings],
        "curves": {
            name: _curve(job, calibration, known, name, curve, start, fitted.x) for name, curve in curves.items()
        },
        "next": _next(job, calibration, known, fitted.x, cell, nominal, rho),
        "information": known.information,
        "directions": known.directions,
    }


def verdicts(known: Estimate, fitted: Fitted) -> dict[str, str]:
    """Whether the data determine each variable: its interval against its bounds."""
    sides, found = fitted.space.at_bounds(fitted.x), {}
    for variable in fitted.space.variables:
        name = variable.name
        width = float(variable.to_unit(known.high[name]) - variable.to_unit(known.low[name]))
        if name in sides:
            found[name] = f"at its {sides[name]} bound"
        elif not width < 1:
            found[name] = "not determined: its interval is wider than its bounds"
        else:
            found[name] = "poorly determined" if width > WIDE else "determined"
    return found


def _renamed(text: str, keys: Mapping[str, str]) -> str:
    for name in sorted(keys, key=len, reverse=True):
        text = text.replace(f"`{name}`", f"`{keys[name]}`")
    return text


def _curve(job, calibration, known, name, curve, start, x) -> dict:
    """Before and after, as figures and as runs to be drawn."""
    reading = job.readings[name]
    found: dict = {"use": "predict" if name in job.predicted else "fit", "current_A": float(curve.current)}
    for when, design in (("before", start), ("after", x)):
        run = calibration.run(design, curve)
        used = int(np.count_nonzero(np.diff(np.asarray(run.time)) > 0)) + 1
        found[when] = agreement(run, curve)
        found[f"{when}_run"] = {
            "time_s": np.asarray(run.time)[:used],
            "voltage_V": np.asarray(run.voltage)[:used],
            "temperature_K": np.asarray(run.temperature)[:used],
        }
    found["measured"] = {"time_s": reading.time, "voltage_V": reading.voltage}
    if reading.temperature is not None and job.thermal:
        found["measured"]["temperature_K"] = reading.temperature
    if name in job.predicted:
        found["end_time_interval_s"] = list(end_interval(calibration, known, x, curve, job.method["confidence"]))
    return found


def _next(job: FitJob, calibration: Calibration, known: Estimate, x, cell, nominal: float, rho: float) -> list[dict]:
    """The candidates, best first, with what each is expected to leave of the intervals."""
    candidates: list[tuple[str, Callable[[str], Gain]]] = []

    def curve(current, **options):
        return lambda name: of_curve(name, known, further_curve(calibration, x, current, **options), x, rho)

    for rate in job.candidates["c_rates"]:
        candidates.append((f"discharge at {rate:g}C", curve(rate * nominal, warm=False)))
        if job.thermal:
            candidates.append((f"discharge at {rate:g}C with its temperature", curve(rate * nominal)))
    if job.candidates["pulse"]:
        rate, lasting = PULSE
        text = f"pulse of {lasting:g} s at {rate:g}C and 50 % SOC"
        candidates.append((text, curve(rate * nominal, warm=False, state_of_charge=0.5, duration=lasting)))
    if job.candidates["impedance"]:
        candidates.append(
            (
                "impedance from 10 mHz to 1 kHz at 50 % SOC",
                lambda name: gain(
                    name, known, calibration.space.names, spectrum_jacobian(calibration, x, SPECTRUM) / SPECTRUM_ERROR
                ),
            )
        )
    found = [make(name) for name, make in candidates]
    return [
        {"measurement": g.name, "volume": g.volume, "largest": g.largest,
         "intervals": {job.keys[k]: v for k, v in g.intervals.items()}}
        for g in sorted(found, key=lambda g: g.volume) if math.isfinite(g.volume)
    ]  # fmt: skip


def cell_of(job: FitJob):
    """The cell of the job and its nominal capacity, Ah."""
    from mesode.commands.cells import load_cell

    load_cell(job.cell)  # a name that is none is said before that it has no thermal model
    cell, nominal = load_cell(job.cell, job.thermal)
    if job.laws:
        from solver.cell.library import with_chen_temperature_laws

        cell = with_chen_temperature_laws(cell)
    return cell, nominal
