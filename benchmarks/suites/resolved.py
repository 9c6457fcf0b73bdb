"""The particle-resolved half-cell: accuracy, balance, speed, growth of the linear steps, and the cost of a gradient.

Speed and balance are those of one packing of NMC spheres under carbon-binder (`benchmarks.half_cells`), discharged at
1C to 3.5 V; what the model is held against has cells of its own (`benchmarks.suites.resolved_accuracy`). No peer is
asked: the open ones that resolve the structure (finite elements of NREL, BEST) give neither a gradient nor a batch, and
do not install from a package index.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from benchmarks import half_cells
from benchmarks.harness import aimed, case, compiled_of
from benchmarks.suites import resolved_accuracy
from solver.electrochemistry.half_cell import HalfCell
from solver.electrochemistry.resolved_run import ResolvedDischarge, ResolvedMethod, discharge
from solver.electrochemistry.resolved_solve import NewtonMethod, newton_krylov
from solver.electrochemistry.resolved_start import rest
from solver.numerics.march import March

SECONDS = 120.0  # of a discharge of 64^3 voxels at 1C on two processor cores
CORRECTIONS, LINEAR, GROWTH = 4.0, 20.0, 1.5
BALANCE, GRADIENT = 1e-8, 4.0
STEP = 40.0  # s, of the single step whose linear steps are counted
SETTLED = 5.0  # s, after which the voltage of a discharge is held against that of a finer march


def measure(peers: bool = True, sides=(32, 64, 96)):
    """Every case of the suite, as rows of plain numbers, as they come."""
    yield aimed(_discharge(64), "median_s", SECONDS)
    yield _discharge(32, against_finer=True)
    yield from resolved_accuracy.brief()
    counts = {}
    for side in sides:
        row = _linear_steps(side)
        counts[side] = row["linear_per_correction"]
        yield aimed(row, "linear_per_correction", LINEAR)
    row = case("resolved", f"growth of linear steps, {sides[0]} to {sides[-1]} a side", {}, "float64")
    yield aimed(row | {"growth": counts[sides[-1]] / counts[sides[0]]}, "growth", GROWTH)
    yield from resolved_accuracy.long()
    yield _gradient(16)


def _capacity_current(cell: HalfCell) -> float:
    return float(cell.theoretical_capacity()) / 3600.0


def _size(cell: HalfCell) -> dict:
    voxels = int(np.prod(cell.phases.grid.shape))
    _, ny, nz = cell.phases.grid.shape
    return {"voxels": voxels, "unknowns": 5 * (voxels + cell.separator.layers * ny * nz)}


def _discharge(side: int, against_finer: bool = False):
    """One discharge, warm; its balances, what its steps cost, and on request by how much a finer march is off it."""
    cell = half_cells.packing(side)
    current = _capacity_current(cell)
    run, row = compiled_of(eqx.filter_jit(lambda cell: discharge(cell, current)), cell)
    jax.block_until_ready(run(cell).value.voltage)
    wall, cpu = time.perf_counter(), time.process_time()
    solution = jax.block_until_ready(run(cell))
    row |= {"median_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "repeats": 1}
    if not bool(solution.value.reached):  # sums balance on any march, so that nothing else here would tell
        raise RuntimeError(
            f"The discharge of {side}^3 stopped at {float(solution.value.end_time):g} s, not at its cut-off."
        )
    value, stats = solution.value, {name: int(n) for name, n in solution.stats.items()}
    drawn = float(value.capacity)
    balance = {"lithium": abs(float(value.filling) / drawn - 1.0), "salt": abs(float(value.salt)) / drawn}
    row |= {"balance": max(balance.values()), "corrections_per_step": stats["newton"] / stats["trials"]} | stats
    row |= {"accuracy": balance, "end_time_s": float(value.end_time)}
    if against_finer:
        row |= {"voltage_mV": _off_finer(cell, current, value)}
        row["accuracy"] |= {"voltage_mV": row["voltage_mV"]}
    row = case("resolved", f"discharge of {side}^3 at 1C", _size(cell), "float64", **row)
    return aimed(aimed(row, "balance", BALANCE), "corrections_per_step", CORRECTIONS)


def _off_finer(cell: HalfCell, current: float, value: ResolvedDischarge) -> float:
    """The largest difference of the voltage from that of a march and a Newton's method that are far more exact, mV,
    at the steps of `value` after [`SETTLED`][]; between the finer steps goes a cubic spline."""
    method = ResolvedMethod(March(tolerance=3e-5, max_steps=400), NewtonMethod(tolerance=1e-7))
    finer = eqx.filter_jit(lambda cell: discharge(cell, current, method))(cell).value
    if not bool(finer.reached):
        raise RuntimeError(f"The finer discharge stopped at {float(finer.end_time):g} s, not at its cut-off.")
    times, first = np.unique(np.asarray(finer.time), return_index=True)  # after the end all entries repeat the last
    wanted = CubicSpline(times, np.asarray(finer.voltage)[first])
    time, voltage = np.asarray(value.time), np.asarray(value.voltage)
    common = (time > SETTLED) & (time <= times[-1])
    return 1e3 * float(np.max(np.abs(voltage - wanted(time))[common]))


def _linear_steps(side: int):
    """Two steps from rest at 1C: the linear steps that a correction takes in the second, and what that step leaves.

    `left_in_balances` is the 2-norm, in shares of the current, of all balances of lithium, salt and charge in voxels
    at the answer, after the even shifts by which `balanced` makes their sums hold: whether those stay within what
    Newton's method leaves, `left_by_newton`, the norm that it ended with before them, reactions taken out.
    """
    cell = half_cells.packing(side)
    current = _capacity_current(cell)
    system = eqx.filter_jit(lambda cell: cell.resolved(current))(cell)
    method, gamma = NewtonMethod(), jnp.asarray(STEP)
    start, guess = rest(system)
    step = eqx.filter_jit(lambda w, past: newton_krylov(system, w, past, gamma, method))
    first = step(guess, start)
    second = step(first.value, system.state(first.value))
    balances = eqx.filter_jit(lambda w, past: system.equations(w, past, gamma)[0])
    left = float(jnp.linalg.norm(balances(second.value, system.state(first.value))))
    corrections, inner = int(second.stats["steps"]), int(second.stats["inner"])
    beside = {"left_in_balances": left, "left_by_newton": float(second.stats["residual"])}
    return case("resolved", f"linear steps of {side}^3", _size(cell), "float64", corrections=corrections,
                linear_steps=inner, linear_per_correction=inner / max(corrections, 1), accuracy=beside)  # fmt: skip


def _gradient(side: int):
    """Energy of ten minutes at 1C with its gradient in every number of the half-cell, geometry included."""
    cell = half_cells.packing(side)
    current = _capacity_current(cell)
    method = ResolvedMethod(march=March(tolerance=5e-4, max_steps=60))
    arrays, static = eqx.partition(cell, eqx.is_inexact_array)

    def energy(arrays):
        return discharge(eqx.combine(arrays, static), current, method, duration=600.0).value.energy

    seconds = {}
    for name, function in (("value", jax.jit(energy)), ("gradient", jax.jit(jax.value_and_grad(energy)))):
        run, row = compiled_of(function, arrays)
        jax.block_until_ready(run(arrays))
        cpu = time.process_time()
        jax.block_until_ready(run(arrays))
        seconds[name] = time.process_time() - cpu
    size = _size(cell) | {"parameters": sum(leaf.size for leaf in jax.tree.leaves(arrays))}
    row |= {"cpu_s": seconds["gradient"], "value_cpu_s": seconds["value"], "repeats": 1}
    row |= {"over_value": seconds["gradient"] / seconds["value"]}
    return aimed(case("resolved", "energy and gradient in all of it", size, "float64", **row), "over_value", GRADIENT)
