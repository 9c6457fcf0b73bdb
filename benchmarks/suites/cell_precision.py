"""Observed orders of the cell model, and error against processor time at several meshes and tolerances."""

import jax.numpy as jnp
import numpy as np

from benchmarks import discharges
from benchmarks.discharges import CELLS, rms
from benchmarks.harness import aimed, ask_peer, case, repeated
from solver.cell.discretise import Mesh
from solver.cell.protocol import DFN
from solver.numerics.march import March

LAYERS = (10, 20, 40)  # cells in each layer
TOLERANCES = (1e-3, 2e-4, 4e-5, 1e-5)
THEIRS = ((20, 1e-4), (20, 1e-6), (40, 1e-4), (40, 1e-6), (80, 1e-4), (80, 1e-6))  # cells and shells, rtol
_STEPS = 600


def measure(peers: bool = True):
    """The rows of the work-precision diagram and of the orders."""
    for name in CELLS:
        truth = discharges.refined(name, 1.0)
        yield _ours(name, truth)
        if peers:
            yield _theirs(name, truth)
    yield from _orders("Marquis2019", 1.0)


def _ours(name, truth):
    times, voltages, _ = truth
    points = []
    for n in LAYERS:
        for tolerance in TOLERANCES:
            method = DFN(Mesh(n, n, n, 10 if n == 10 else 14), March(tolerance=tolerance, max_steps=_STEPS))
            points.append(_point(name, method, times, voltages) | {"cells": n, "tolerance": tolerance})
    points += [_point(name, DFN(), times, voltages) | {"cells": "30/10/20", "tolerance": float(March().tolerance)}]
    return case("cell", f"work-precision {name} 1C", {"points": len(points)}, "float64", points=points)


def _point(name, method, times, voltages):
    arguments = (*discharges.problem(name, 1.0), method)
    solution, row = repeated(lambda: discharges.run(*arguments), 5)
    error = rms(discharges.voltage_at(solution.value, times), voltages)
    return {"cpu_s": row["cpu_s"], "median_s": row["median_s"], "rms_mV": error, "steps": int(solution.stats["steps"])}


def _theirs(name, truth):
    times, voltages, _ = truth
    question = {"name": name, "c_rate": 1.0, "times": times.tolist(), "voltages": voltages.tolist(), "repeats": 5}
    points, row = [], case("cell", f"work-precision {name} 1C, PyBaMM", {"points": len(THEIRS)}, "float64")
    for n, rtol in THEIRS:
        answer = ask_peer("pybamm", question | {"cells": n, "shells": n, "rtol": rtol})
        if "not_run" in answer:
            return row | {"peer": answer["peer"], "peer_not_run": answer["not_run"]}
        error = answer["accuracy"]["rms_mV"]
        points.append({"cells": n, "tolerance": rtol, "cpu_s": answer["cpu_s"], "rms_mV": error})
    return row | {"peer": answer["peer"], "points": points}


# --- orders ---------------------------------------------------------------------------------------------------------


def _orders(name, rate):
    """Observed orders in x and t at 1C, and the error over the number of particle modes."""
    cell, current = discharges.problem(name, rate)
    fine = DFN(Mesh(80, 80, 80, 14), March(tolerance=1e-5, max_steps=_STEPS))
    value = discharges.run(cell, current, fine).value
    times = discharges.window(value.end_time)
    expected = discharges.voltage_at(value, times)
    errors = []
    for n in LAYERS:
        found = discharges.run(cell, current, DFN(Mesh(n, n, n, 14), March(tolerance=1e-5, max_steps=_STEPS))).value
        errors.append(rms(discharges.voltage_at(found, times), expected))
    yield _order(f"order in x {name} {rate:g}C", "cells in each layer", LAYERS, errors)
    yield _modes(name, cell, current)
    yield _in_time(name, cell, current)


def _order(problem, what, counts, errors, least=1.8):
    """A row with the orders between neighbours; the target is on the shortfall of the last one from two."""
    orders = np.log(np.array(errors[:-1]) / errors[1:]) / np.log(np.array(counts[1:]) / counts[:-1])
    row = case("cell", problem, {what: list(counts)}, "float64", errors_mV=list(errors), orders=orders.tolist())
    row |= {"accuracy": {f"order_{k}": float(o) for k, o in enumerate(orders)}, "short_of_two": 2.0 - float(orders[-1])}
    return aimed(row, "short_of_two", 2.0 - least)


def _modes(name, cell, current, counts=(3, 5, 7, 10, 14)):
    """Errors over the modes of a particle, in the closed form of a sphere at the surface of which j steps at t = 0."""
    from solver.electrochemistry.intercalation import sphere_modes

    depth = 0.01  # D t / R^2: 45 s of a Marquis particle
    drops = []
    for count in (*counts, 40):
        rates, values = sphere_modes(count)
        growth = np.where(rates > 0, -np.expm1(-rates * depth) / np.where(rates > 0, rates, 1.0), depth)
        drops.append(float(np.sum(3 * values**2 * growth)))
    errors = [abs(x / drops[-1] - 1) for x in drops[:-1]]
    accuracy = {f"relative_{n}_modes": e for n, e in zip(counts, errors, strict=True)}
    return case(
        "cell", "particle modes, surface at D t/R^2 = 0.01", {"modes": list(counts)}, "float64", accuracy=accuracy
    )


def _in_time(name, cell, current):
    """The steps of an adaptive run, each cut into 2, 4, 8: rms differences of the voltage at the common times."""
    mesh = Mesh(10, 10, 10, 8)
    solution = discharges.run(cell, current, DFN(mesh, March(tolerance=1e-3, max_steps=150)))
    count, time = int(solution.stats["steps"]), np.asarray(solution.value.time)
    # Half steps of the start too, which is of first order: its share falls as fast since its first step is short.
    curves, counts = [], (1, 2, 4, 16)
    for parts in counts:
        cut = np.interp(np.arange(parts * count + 1) / parts, np.arange(count + 1), time[: count + 1])
        method = DFN(mesh, March(schedule=jnp.asarray(np.append(cut, 2 * cut[-1])), max_steps=parts * count + 1))
        voltage = np.asarray(discharges.run(cell, current, method).value.voltage)
        curves.append(voltage[: parts * (count - 1) + 1 : parts])
    kept = (time[:count] > 0.006 * time[count]) & (time[:count] < 0.95 * time[count])
    errors = [rms(curve[kept], curves[-1][kept]) for curve in curves[:-1]]
    return _order(f"order in t {name} 1C", "steps", [n * count for n in counts[:-1]], errors)
