"""A discharge with its losses from one march, and the cycle that gives charging time and efficiency."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.breakdown import breakdown
from solver.cell.cell import open_circuit_voltage, theoretical_capacity
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020
from solver.cell.losses import CAUSES
from solver.cell.operation import round_trip
from solver.cell.performance import n_to_p_ratio
from solver.cell.protocol import DFN, Stop, discharge
from solver.numerics.march import March

METHOD = DFN(Mesh(8, 4, 8, 8))


@pytest.fixture(scope="module")
def cell():
    return chen2020()


@pytest.fixture(scope="module")
def one(cell):
    return theoretical_capacity(cell.positive) / 3600.0


@pytest.fixture(scope="module")
def account():
    return eqx.filter_jit(lambda *a: breakdown(*a[:2], METHOD, state_of_charge=a[2], duration=a[3]).value)


def drawn(account, cell, current, state_of_charge=1.0, duration=1e5):
    return account(cell, *(jnp.asarray(x, float) for x in (current, state_of_charge, duration)))


def test_it_is_the_discharge_and_its_losses(cell, one, account):
    """Voltage, time and energy of `discharge`; at each step the losses add up; their means are what the discharge is

    short of its voltage at rest.
    """
    found = drawn(account, cell, 2 * one, duration=1.5 * 1800.0)
    run = eqx.filter_jit(discharge)(cell, 2 * one, METHOD).value
    assert found.stop == run.stop == Stop.cut_off
    assert float(found.energy) == pytest.approx(float(run.energy), rel=1e-12)
    np.testing.assert_allclose(found.voltage, run.voltage, rtol=0, atol=1e-12)
    part = found.course.losses
    np.testing.assert_allclose(part.total, part.open_circuit - part.voltage, rtol=0, atol=1e-10)
    rest = float(jnp.trapezoid(part.open_circuit, found.course.capacity) / found.capacity)
    short = rest - float(run.average_voltage)
    assert float(jnp.sum(found.mean_losses)) == pytest.approx(short, rel=2e-3)
    assert float(jnp.min(found.mean_losses[CAUSES.index("kinetic")])) >= 0.0
    assert np.all(np.isfinite(found.mean_losses))


def test_a_pulse_and_no_current(cell, one, account):
    """Ten seconds from rest end on time; no current loses nothing."""
    found = drawn(account, cell, one, 0.5, 10.0)
    assert found.stop == Stop.time_limit and float(found.time[-1]) == pytest.approx(10.0, rel=1e-12)
    before = float(open_circuit_voltage(cell, 0.5))
    assert before - float(found.voltage[-1]) == pytest.approx(float(found.course.losses.total[-1]), abs=5e-3)
    still = drawn(account, cell, 0.0, 0.5, 10.0)
    assert float(still.capacity) == 0.0 and np.all(np.asarray(still.mean_losses) == 0.0)
    assert np.max(np.abs(np.asarray(still.course.losses.total))) < 1e-8  # what Newton leaves


@pytest.fixture(scope="module")
def trips(cell, one):
    run = eqx.filter_jit(lambda c, i: round_trip(c, i, i, METHOD).value)
    return {rate: run(cell, rate * one) for rate in (0.05, 0.5, 2.0)}


def test_a_slow_charge_takes_the_time_of_its_current(one, trips):
    """At constant current 70 % of the capacity takes 0.7 h over the rate; at 2C the cut-off slows the charge."""
    for rate in (0.05, 0.5):
        assert float(trips[rate].charging_time) == pytest.approx(0.7 * 3600.0 / rate, rel=1e-9)
    assert float(trips[2.0].charging_time) > 1.1 * 0.7 * 1800.0


def test_the_efficiency_falls_with_the_rate(trips):
    """A cycle closes to 1e-3 of its charge; its loss at C/20 is a tenth of that at C/2, for losses go with the current,

    and a cell charged fast enough plates.
    """
    loss = {rate: 1.0 - float(trip.efficiency) for rate, trip in trips.items()}
    assert 0.0 < loss[0.05] < loss[0.5] < loss[2.0] < 0.3
    assert loss[0.05] == pytest.approx(0.1 * loss[0.5], rel=0.35)
    assert all(float(trip.returned) == pytest.approx(1.0, abs=1e-3) for trip in trips.values())
    assert float(trips[0.05].plating_margin) > 0.0 > float(trips[2.0].plating_margin)


def test_round_trip_refuses_what_is_no_current(cell):
    with pytest.raises(ValueError, match="Argument `charge_current` must"):
        round_trip(cell, -1.0, 1.0)


def test_the_balance_counts_what_stays_empty(cell):
    """N/P is the ratio of contents; a negative of which a tenth stays empty has 1 / 0.9 of what is used."""
    negative = cell.negative
    used = negative.stoichiometry_empty + 0.9 * (negative.stoichiometry_full - negative.stoichiometry_empty)
    short = eqx.tree_at(lambda c: c.negative.stoichiometry_full, cell, used)
    full = float(n_to_p_ratio(cell))
    assert float(n_to_p_ratio(short)) == pytest.approx(0.9 * full, rel=1e-12)
    assert float(n_to_p_ratio(short, negative.stoichiometry_full)) == pytest.approx(full, rel=1e-12)
    slope = jax.grad(lambda x: n_to_p_ratio(eqx.tree_at(lambda c: c.negative.thickness, cell, x)))
    assert float(slope(negative.thickness) * negative.thickness) == pytest.approx(full, rel=1e-12)


@pytest.mark.slow
def test_gradient_of_the_round_trip(cell, one):
    """Charging time, ks, and efficiency by the logarithms of thickness and porosity, against central differences.

    The steps are free, so that the differences carry a little of the error of time: 5e-4 of an efficiency.
    """
    method = DFN(METHOD.mesh, March(tolerance=4e-6, max_steps=900))

    @jax.jit
    def value(logarithms):
        x = jnp.exp(logarithms) * jnp.stack([cell.positive.thickness, cell.negative.porosity])
        changed = eqx.tree_at(lambda c: (c.positive.thickness, c.negative.porosity), cell, (x[0], x[1]))
        found = round_trip(changed, 1.5 * one, one, method).value
        return jnp.stack([found.charging_time / 1e3, found.efficiency])

    found = np.asarray(jax.jit(jax.jacrev(value))(jnp.zeros(2)))
    expected = np.stack([(value(row) - value(-row)) / 0.02 for row in 0.01 * jnp.eye(2)], axis=1)
    assert np.all(np.abs(expected[0]) > 0.01) and abs(expected[1, 0]) > 0.02
    assert np.allclose(found, expected, rtol=1e-2, atol=5e-4)
