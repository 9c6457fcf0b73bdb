"""One constant-current discharge of the porous-electrode cell: time, accuracy, gradient, and the ratio to PyBaMM."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import pybamm_peer
from solver.cell.library import chen2020, marquis2019
from solver.cell.porous import Mesh
from solver.cell.protocol import DFN, discharge
from solver.numerics.march import March

CELLS = {"Marquis2019": (marquis2019, 0.680616), "Chen2020": (chen2020, 5.0)}  # and the nominal capacity, Ah
REFINED = DFN(Mesh(80, 40, 80, 20), March(tolerance=1e-5, max_steps=1500))


def measure(repeats: int = 20, peers: bool = True) -> list[dict]:
    """Every case of the suite, as rows of plain numbers."""
    rows = []
    for name in CELLS:
        refined = _curve(name, 1.0, REFINED)
        rows += [_discharge(name, 1.0, refined, repeats, peers), _gradient(name, 1.0, repeats)]
    return rows


def _discharge(name, c_rate, refined, repeats, peers):
    """The value, with the rms voltage error between 0.6 and 95 % of the discharge against a refined solution."""
    arrays, function = _problem(name, c_rate, DFN())
    row = {"suite": "cell", "problem": f"discharge {name} {c_rate:g}C", "size": _size(DFN())}
    row |= _timed(function, arrays, repeats)
    end, value, _ = function(*arrays)
    error = _rms(np.asarray(value.voltage_at(refined[0])), refined[1])
    row |= {"accuracy": {"rms_mV": error, "end_time_error_s": float(end) - refined[2]}}
    if peers:
        row["peer"] = pybamm_peer.discharge(name, c_rate, refined[0], refined[1], repeats)
        if row["peer"].get("cpu_s"):
            row["ratio"] = row["cpu_s"] / row["peer"]["cpu_s"]
    return row


def _gradient(name, c_rate, repeats):
    """Energy with its gradient in every number of the cell, and the cost over that of the value."""
    method = DFN()
    arrays, function = _problem(name, c_rate, method)
    value = _timed(function, arrays, repeats)
    cell, current = arrays

    def energy(cell):
        return discharge(cell, current, method).value.energy

    both = eqx.filter_jit(eqx.filter_value_and_grad(energy))
    row = {"suite": "cell", "problem": f"discharge and gradient {name} {c_rate:g}C", "size": _size(method)}
    row |= _timed(both, (cell,), repeats)
    return row | {"accuracy": None, "ratio_to_value": row["cpu_s"] / value["cpu_s"]}


def _problem(name, c_rate, method):
    make, capacity = CELLS[name]
    cell = make()
    current = jnp.asarray(capacity * c_rate) / cell.area

    @eqx.filter_jit
    def function(cell, current):
        value = discharge(cell, current, method).value
        return value.end_time, value, value.energy

    return (cell, current), function


def _curve(name, c_rate, method):
    arrays, function = _problem(name, c_rate, method)
    end, value, _ = function(*arrays)
    time = jnp.linspace(0.006 * end, 0.95 * end, 300)
    return time, np.asarray(value.voltage_at(time)), float(end)


def _timed(function, arguments, repeats):
    """Compile time, median and spread (interquartile) of the wall time, and mean processor time of one call."""
    start = time.perf_counter()
    jax.block_until_ready(jax.tree.leaves(function(*arguments)))
    first = time.perf_counter() - start
    walls, cpu = [], time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(jax.tree.leaves(function(*arguments)))
        walls.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / repeats
    low, median, high = np.quantile(walls, [0.25, 0.5, 0.75])
    return {"compile_s": first - median, "median_s": median, "spread": high - low, "cpu_s": cpu}


def _rms(found, expected):
    return 1e3 * float(np.sqrt(np.mean((found - expected) ** 2)))


def _size(method):
    mesh = method.mesh
    cells = mesh.negative + mesh.separator + mesh.positive
    return {"cells": cells, "particle_modes": mesh.particle, "unknowns": cells + 2 * (mesh.negative + mesh.positive)}
