"""The particle-resolved half-cell: a planar stack against an independent solution, its balances, its derivative."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gradient_cell
from benchmarks.planar_stacks import CURRENT, THICK, THICK_VOLTAGES, discharged, off, upright
from solver.electrochemistry.half_cell import rest
from solver.electrochemistry.resolved_run import Held
from solver.electrochemistry.resolved_slopes import eliminated
from solver.electrochemistry.resolved_solve import NewtonMethod
from tests.resolved_reference import Layer, chen_stack


@pytest.fixture(scope="module")
def planar():
    return discharged(upright(500), tuple(THICK_VOLTAGES))


def test_the_voltages_of_the_thick_stack_are_those_of_the_reference():
    slab, electrolyte = THICK
    exact, error = chen_stack(layers=(Layer(electrolyte),), slab=slab).refined(CURRENT, tuple(THICK_VOLTAGES))
    assert error < 1e-9
    np.testing.assert_allclose(list(THICK_VOLTAGES.values()), exact, rtol=0, atol=1e-9)


def test_a_planar_stack_is_the_independent_solution_within_a_tenth_of_a_millivolt(planar):
    assert np.max(np.abs(off(planar, THICK_VOLTAGES))) < 1e-4


def test_lithium_and_charge_balance(planar):
    """Made to by `balanced` in every step: this holds its sums, not what Newton's method leaves."""
    drawn = float(planar.capacity)
    assert abs(float(planar.filling) - drawn) < 1e-8 * drawn
    assert abs(float(planar.salt)) < 1e-8 * drawn


@pytest.fixture(scope="module")
def small():
    cell = gradient_cell.base()

    @eqx.filter_jit
    def made(cell):
        system = cell.resolved(cell.theoretical_capacity() / 3600.0)
        return system, *rest(cell, system)

    system, y, w = made(cell)
    rng = np.random.default_rng(0)
    u = system.cut(w)
    moved = jax.tree.map(lambda x: x + 0.01 * jnp.asarray(rng.normal(size=x.shape)), u)
    salt = u.salt + 50.0 * jnp.asarray(rng.normal(size=u.salt.shape))
    return cell, system, y, system.join(eqx.tree_at(lambda u: u.salt, moved, salt))


def test_the_slopes_are_the_derivative_of_the_equations(small):
    _, system, past, w = small

    @eqx.filter_jit
    def both(system, w, direction, gamma):
        _, exact = jax.jvp(lambda w: system.residual(w, past, gamma), (w,), (direction,))
        parts = eliminated(system, w, gamma)
        return exact, parts.whole(parts.balances(direction), parts.kinetics(direction))

    direction = jnp.asarray(np.random.default_rng(1).normal(size=w.shape))
    for gamma in (0.0, 30.0):
        exact, slopes = both(system, w, direction, jnp.asarray(gamma))
        np.testing.assert_allclose(slopes, exact, atol=1e-12 * float(jnp.max(jnp.abs(exact))), rtol=1e-9)


def test_a_step_backwards_is_automatic_differentiation(small, backwards_error):
    _, system, past, w = small
    held = Held(system, jnp.asarray(3.0), NewtonMethod(adjoint=1e-12))
    left, off = eqx.filter_jit(lambda w: backwards_error(held, w, past, jnp.asarray(30.0)))(w)
    assert left < 1e-7 and off < 1e-9
