"""One constant-current discharge of the porous-electrode cell: time, accuracy, gradient, and the ratio to PyBaMM."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import against, aimed, ask_peer, case, timed
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020, marquis2019
from solver.cell.protocol import DFN, discharge
from solver.numerics.march import March

CELLS = {"Marquis2019": (marquis2019, 0.680616), "Chen2020": (chen2020, 5.0)}  # and the nominal capacity, Ah
REFINED = DFN(Mesh(80, 40, 80, 20), March(tolerance=1e-5, max_steps=1500))
PEER_SHARE = 3.0  # of PyBaMM's processor seconds at its defaults, the target


def measure(peers: bool = True, repeats: int = 20) -> list[dict]:
    """Every case of the suite, as rows of plain numbers."""
    rows = []
    for name in CELLS:
        row = _discharge(name, 1.0, repeats, peers)
        rows += [row, _gradient(name, 1.0, repeats, row["cpu_s"])]
    return rows


def _discharge(name, c_rate, repeats, peers):
    """The value, with the rms voltage error between 0.6 and 95 % of the discharge against a refined solution."""
    times, voltages, refined_end = _curve(name, c_rate, REFINED)
    arrays, function = _problem(name, c_rate, DFN())
    (end, value, _), row = timed(function, arrays, repeats)
    error = _rms(np.asarray(value.voltage_at(times)), voltages)
    row |= {"accuracy": {"rms_mV": error, "end_time_error_s": float(end) - refined_end}}
    row = case("cell", f"discharge {name} {c_rate:g}C", _size(DFN()), "float64", **row)
    if not peers:
        return row
    question = {"name": name, "c_rate": c_rate, "times": times.tolist(), "voltages": voltages.tolist()}
    row = against(row, ask_peer("pybamm", question | {"repeats": repeats}), PEER_SHARE)
    if row.get("peer_accuracy"):
        row["rms_over_peer"] = error / row["peer_accuracy"]["rms_mV"]
        row = aimed(row, "rms_over_peer", 1.0)
    return row


def _gradient(name, c_rate, repeats, value_cpu):
    """Energy with its gradient in every number of the cell, and the cost over that of the value."""
    method = DFN()
    (cell, current), _ = _problem(name, c_rate, method)

    def energy(cell):
        return discharge(cell, current, method).value.energy

    _, row = timed(eqx.filter_jit(eqx.filter_value_and_grad(energy)), (cell,), repeats)
    row["over_value"] = row["cpu_s"] / value_cpu
    return case("cell", f"discharge and gradient {name} {c_rate:g}C", _size(method), "float64", **row)


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


def _rms(found, expected):
    return 1e3 * float(np.sqrt(np.mean((found - expected) ** 2)))


def _size(method):
    mesh = method.mesh
    cells = mesh.negative + mesh.separator + mesh.positive
    return {"cells": cells, "particle_modes": mesh.particle, "unknowns": cells + 2 * (mesh.negative + mesh.positive)}
