"""The porous-electrode cell against the reference figures, and its conservation laws."""

import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.units import Ah, Wh, faraday
from solver.cell.discretise import build, rest
from solver.cell.library import marquis2019
from solver.cell.protocol import DFN, Stop, charge, discharge
from solver.electrochemistry.intercalation import sphere_profile
from solver.numerics.solution import Result

CURVES = pathlib.Path(__file__).parents[1] / "systems" / "data" / "pybamm_marquis2019.json"
NOMINAL = 0.680616  # Ah, Marquis 2019
# End time s, capacity Ah and energy Wh, converged: an independent Chebyshev-collocation solution (rtol 1e-9).
CONVERGED = {0.5: (7327.177, 0.692638, 2.53308), 1.0: (3617.752, 0.683972, 2.47221), 2.0: (1765.401, 0.667533, 2.37177)}


@pytest.fixture(scope="module")
def cell():
    return marquis2019()


@pytest.fixture(scope="module")
def run(cell):
    compiled = eqx.filter_jit(discharge)

    def at(rate, cell=cell, **options):
        return compiled(cell, jnp.asarray(NOMINAL * rate) / cell.area, **options)

    return at


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_end_of_discharge(run, cell, rate):
    solution = run(rate)
    value = solution.value
    end, capacity, energy = CONVERGED[rate]
    assert solution.result == Result.successful and value.stop == Stop.cut_off
    assert value.end_time == pytest.approx(end, abs=0.02)
    assert value.capacity * cell.area / Ah == pytest.approx(capacity, abs=4e-6)
    assert value.energy * cell.area / Wh == pytest.approx(energy, rel=3e-5)
    assert value.voltage[-1] == pytest.approx(float(cell.lower_cutoff), abs=1e-9)


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_curve_of_the_peer(run, rate):
    curve = next(c for c in json.loads(CURVES.read_text())["curves"] if c["c_rate"] == rate)
    time, voltage = np.array(curve["time_s"]), np.array(curve["voltage_V"])
    kept = (time > 0.006 * time[-1]) & (time < 0.95 * time[-1])
    difference = (
        np.asarray(jax.jit(lambda d, t: d.voltage_at(t))(run(rate).value, jnp.asarray(time)))[kept] - voltage[kept]
    )
    assert np.sqrt(np.mean(difference**2)) < 1.2e-4 * max(rate, 1.0)  # V, of which the peer owns 0.065 mV per C


def test_lithium_and_charge_are_conserved(run, cell):
    current = jnp.asarray(NOMINAL) / cell.area
    value = run(1.0).value
    passed = float(value.capacity) / faraday
    for electrode, mean, sign in zip((cell.negative, cell.positive), value.final.mean, (-1.0, 1.0), strict=True):
        content = electrode.material.maximum_concentration * electrode.active_fraction * electrode.thickness
        gained = float(content) * (float(jnp.mean(mean)) - float(electrode.stoichiometry_full))
        assert gained == pytest.approx(sign * passed, rel=1e-10)
    system = build(cell, current, DFN().mesh)
    salt = float(jnp.sum(system.storage * value.final.concentration))
    assert salt == pytest.approx(float(jnp.sum(system.storage) * cell.electrolyte.initial_concentration), rel=1e-11)
    for nodes, reaction, sign in zip(system.particles, value.final.reaction, (1.0, -1.0), strict=True):
        assert float(jnp.sum(nodes.area * reaction)) == pytest.approx(sign * float(current), rel=1e-9)


def test_inventory_at_the_start(cell):
    """0.07758269 mol in the particles and 0.002410515 mol in the electrolyte (electrochemistry reference, D.12)."""
    system = build(cell, jnp.asarray(0.0), DFN().mesh)
    y, _ = rest(system, cell, jnp.asarray(1.0))
    solid = sum(
        float(
            jnp.mean(sphere_profile(q, [1.0])[0]) * e.material.maximum_concentration * e.active_fraction * e.thickness
        )
        for q, e in zip(system.amplitudes(y), (cell.negative, cell.positive), strict=True)
    )
    assert solid * float(cell.area) == pytest.approx(0.07758269, rel=1e-7)
    assert float(jnp.sum(system.storage * y[: system.size]) * cell.area) == pytest.approx(0.002410515, rel=1e-7)


def test_no_current_no_change(run):
    solution = run(0.0)
    assert solution.value.stop == Stop.time_limit
    assert np.allclose(solution.value.voltage, 3.85182066, atol=2e-8)
    assert float(solution.value.energy) == 0.0


def test_past_the_cutoff_under_load(run, cell):
    value = run(1.0, eqx.tree_at(lambda c: c.lower_cutoff, cell, jnp.asarray(3.84, dtype=float))).value
    assert value.stop == Stop.already_past_cut_off
    assert float(value.end_time) == 0.0 and float(value.energy) == 0.0
    assert 3.7 < float(value.voltage[0]) < 3.84


def test_depletion_is_a_result(run):
    """At 10C the electrolyte is used up; at 300C the current cannot be carried at all."""
    fast = run(10.0)
    assert fast.result == Result.successful and bool(jnp.all(jnp.isfinite(fast.value.voltage)))
    assert float(fast.value.final.concentration.min()) < 5.0
    extreme = run(300.0)
    assert bool(jnp.all(jnp.isfinite(extreme.value.voltage)))
    assert extreme.value.stop == Stop.already_past_cut_off


@pytest.mark.slow
def test_charge_follows_the_discharge_at_small_current(cell, run):
    """At C/50 both curves lie about the voltage at rest: charge and discharge capacities agree within two percent."""
    out = run(0.02).value
    back = eqx.filter_jit(charge)(
        eqx.tree_at(lambda c: c.upper_cutoff, cell, jnp.asarray(3.8518, dtype=float)), 0.02 * NOMINAL / cell.area
    )
    assert back.value.stop == Stop.cut_off
    assert float(back.value.capacity) == pytest.approx(float(out.capacity), rel=0.02)
    assert float(back.value.average_voltage) > float(out.average_voltage)
