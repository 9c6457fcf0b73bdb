"""Constant-current discharges of the porous-electrode cell: accuracy, time, gradient and batches, beside PyBaMM.

Every error is the rms of the voltage between 0.6 and 95 % of the discharge against a refined solution of our own, which
is itself held against the figures of an independent solution and against PyBaMM, refined and extrapolated.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import discharges
from benchmarks.discharges import CELLS, EVEN, RATES, REFINED, rms
from benchmarks.harness import against, aimed, ask_peer, case, compiled_of, repeated, timed
from benchmarks.suites import cell_precision, impedance
from microstructure.units import Ah, Wh
from solver.cell.discretise import Mesh
from solver.cell.protocol import DFN, discharge
from solver.numerics.march import March

PEER_SHARE = 3.0  # of PyBaMM's processor seconds at its defaults, the target of a single discharge
BATCH_SHARE = 1.0  # the same for a batch
ERROR_SHARE = 0.3  # of PyBaMM's error at its defaults
GRADIENT_SHARE = 3.0  # of the processor seconds of the value


def measure(peers: bool = True, repeats: int = 20):
    """Every case of the suite, as rows of plain numbers, as they come."""
    for name in CELLS:
        truth = {rate: discharges.refined(name, rate) for rate in RATES[name]}
        if name == "Marquis2019":
            yield _converged(name, truth)
        if peers:
            yield _independent(name, truth)
        yield from _accuracy(name, truth, peers)
        row = _discharge(name, 1.0, truth[1.0], repeats, peers)
        yield row
        yield from _gradients(name, 1.0, repeats, row["cpu_s"])
        yield _batch(name, 1.0, peers)
    yield _event_derivative("Marquis2019", 1.0)
    yield from impedance.rows(peers, repeats)
    yield from cell_precision.measure(peers)


# --- how true -----------------------------------------------------------------------------------------------------


def _converged(name, truth):
    """The refined solutions against the figures of an independent one."""
    area = float(discharges.problem(name, 1.0)[0].area)
    off = {"end_time_s": 0.0, "capacity_Ah": 0.0, "energy_relative": 0.0}
    for rate, (end, capacity, energy) in discharges.CONVERGED.items():
        value = truth[rate][2]
        found = {"end_time_s": float(value.end_time) - end, "capacity_Ah": float(value.capacity) * area / Ah - capacity}
        found["energy_relative"] = float(value.energy) * area / Wh / energy - 1.0
        off = {key: max(off[key], abs(found[key])) for key in off}
    row = case("cell", f"refined {name}, all rates", discharges.size(REFINED), "float64", accuracy=off, **off)
    return aimed(aimed(row, "end_time_s", 0.02), "capacity_Ah", 1e-5)


def _independent(name, truth, rate=1.0):
    """The refined solution against PyBaMM on 80 and 160 cells a layer and shells, extrapolated at its first order."""
    times, voltages, _ = truth[rate]
    question = {"name": name, "c_rate": rate, "times": times.tolist(), "voltages": voltages.tolist(), "repeats": 1}
    answers = [ask_peer("pybamm", question | {"cells": n, "shells": n, "rtol": 1e-7, "curve": True}) for n in (80, 160)]
    row = case("cell", f"refined {name} {rate:g}C beside PyBaMM", discharges.size(REFINED), "float64")
    if any("not_run" in answer for answer in answers):
        return row | {"peer": "pybamm", "peer_not_run": answers[-1].get("not_run", "no reason given")}
    coarse, fine = (np.array(answer["voltage_V"]) for answer in answers)
    off = {"rms_mV": rms(2 * fine - coarse, voltages), "rms_80_mV": rms(coarse, voltages)}
    return row | {"accuracy": off | {"rms_160_mV": rms(fine, voltages)}, "peer": answers[0]["peer"]}


def _accuracy(name, truth, peers):
    """Error at each rate, at our default mesh and at 20 cells in each layer, and over that of PyBaMM's defaults."""
    for rate, (times, voltages, value) in truth.items():
        errors, ends = {}, {}
        for key, method in (("rms_mV", DFN()), ("rms_20_20_20_mV", EVEN)):
            found = discharges.run(*discharges.problem(name, rate), method).value
            errors[key] = rms(discharges.voltage_at(found, times), voltages)
            ends[key.replace("rms", "end_time").replace("mV", "s")] = float(found.end_time - value.end_time)
        row = case("cell", f"accuracy {name} {rate:g}C", discharges.size(EVEN), "float64", accuracy=errors | ends)
        if peers:
            question = {"name": name, "c_rate": rate, "times": times.tolist(), "voltages": voltages.tolist()}
            answer = ask_peer("pybamm", question | {"repeats": 1})
            row |= {"peer": answer["peer"], "peer_accuracy": answer.get("accuracy")}
            if "not_run" in answer:
                row["peer_not_run"] = answer["not_run"]
            else:
                theirs = answer["accuracy"]["rms_mV"]
                row |= {
                    "rms_over_peer": errors["rms_mV"] / theirs,
                    "even_over_peer": errors["rms_20_20_20_mV"] / theirs,
                }
                share = 1.0 if rate < 0.2 else ERROR_SHARE
                row = aimed(aimed(row, "rms_over_peer", share), "even_over_peer", share)
        yield row


# --- how fast -----------------------------------------------------------------------------------------------------


def _discharge(name, c_rate, truth, repeats, peers):
    """The value at our defaults."""
    times, voltages, reference = truth
    method = DFN()
    value, row = timed(
        eqx.filter_jit(lambda *a: discharge(*a, method).value), discharges.problem(name, c_rate), repeats
    )
    error = rms(discharges.voltage_at(value, times), voltages)
    row |= {"accuracy": {"rms_mV": error, "end_time_error_s": float(value.end_time - reference.end_time)}}
    row = case("cell", f"discharge {name} {c_rate:g}C", discharges.size(method), "float64", **row)
    if not peers:
        return row
    question = {"name": name, "c_rate": c_rate, "times": times.tolist(), "voltages": voltages.tolist()}
    row = against(row, ask_peer("pybamm", question | {"repeats": repeats}), PEER_SHARE)
    if row.get("peer_accuracy"):
        row["rms_over_peer"] = error / row["peer_accuracy"]["rms_mV"]
        row = aimed(row, "rms_over_peer", 1.0)
    return row


def _gradients(name, c_rate, repeats, value_cpu):
    """Energy, and energy with capacity and end time, with their gradients in every number of the cell."""
    method = DFN()
    cell, current = discharges.problem(name, c_rate)
    arrays, static = eqx.partition(cell, eqx.is_inexact_array)

    def figures(arrays):
        value = discharge(eqx.combine(arrays, static), current, method).value
        return jnp.stack([value.energy, value.capacity, value.end_time])

    def all_three(arrays):
        found, pull_back = jax.vjp(figures, arrays)
        return found, jax.vmap(pull_back)(jnp.eye(3))

    parameters = sum(leaf.size for leaf in jax.tree.leaves(arrays))
    for what, function in (
        ("energy", jax.value_and_grad(lambda a: figures(a)[0])),
        ("energy, capacity, end time", all_three),
    ):
        _, row = timed(jax.jit(function), (arrays,), repeats)
        row |= {"over_value": row["cpu_s"] / value_cpu}
        size = discharges.size(method) | {"parameters": parameters}
        yield aimed(
            case("cell", f"gradient {name} {c_rate:g}C, {what}", size, "float64", **row), "over_value", GRADIENT_SHARE
        )


def _batch(name, c_rate, peers, count=100):
    """A hundred designs of five random inputs in one `vmap`, and PyBaMM's list of inputs on one thread."""
    scales, method = discharges.scales(count), DFN()
    fine = discharges.batch(name, c_rate, DFN(Mesh(60, 20, 60, 18), March(tolerance=2e-5, max_steps=600)), alone=True)
    ends, voltages = (np.asarray(x) for x in fine(jnp.asarray(scales), None))
    times = jax.vmap(lambda end: discharges.window(end, 60))(jnp.asarray(ends))
    compiled, row = compiled_of(discharges.batch(name, c_rate, method), jnp.asarray(scales), times)
    (_, found), took = repeated(lambda: compiled(jnp.asarray(scales), times), 5)
    error = rms(found, voltages)
    size = discharges.size(method) | {"designs": count}
    row = case("cell", f"batch {name} {c_rate:g}C", size, "float64", **row, **took, accuracy={"rms_mV": error})
    row["cpu_s_each"] = row["cpu_s"] / count
    if not peers:
        return row
    question = {"task": "batch", "name": name, "c_rate": c_rate, "scales": scales.tolist(), "times": times.tolist()}
    row = against(row, ask_peer("pybamm", question | {"voltages": voltages.tolist()}), BATCH_SHARE)
    if row.get("peer_accuracy"):
        row["rms_over_peer"] = error / row["peer_accuracy"]["rms_mV"]
        row = aimed(row, "rms_over_peer", 1.0)
    return row


# --- the derivative of the event ----------------------------------------------------------------------------------


def _event_derivative(name, c_rate):
    """The derivative of the end time against central differences at the same steps, in 20 parameters, the worst."""
    mesh = Mesh(8, 4, 8, 8)
    cell, current = discharges.problem(name, c_rate)
    method = discharges.replayed(cell, current, mesh)
    function = jax.jit(lambda scale: discharge(discharges.scaled(cell, scale), current, method).value.end_time)
    one = jnp.ones(len(discharges.PARAMETERS))
    found = np.asarray(jax.jit(jax.grad(function))(one))
    expected = np.array([discharges.central(lambda x, k=k: function(one.at[k].set(x))) for k in range(len(one))])
    off = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-2 * float(function(one)))
    size = discharges.size(method) | {"parameters": len(one)}
    row = case("cell", f"event-time derivative {name} {c_rate:g}C", size, "float64")
    return aimed(row | {"accuracy": {"worst_relative": float(off.max())}, "off": float(off.max())}, "off", 1e-6)
