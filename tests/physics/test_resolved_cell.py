"""The particle-resolved half-cell: a planar stack against an independent solution, its balances, its derivative."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from benchmarks import gradient_cell, half_cells
from benchmarks.planar_stacks import CURRENT, THICK, THICK_VOLTAGES, discharged, off, upright
from solver.electrochemistry.resolved_run import Held, ResolvedMethod, discharge
from solver.electrochemistry.resolved_slopes import eliminated
from solver.electrochemistry.resolved_solve import NewtonMethod, newton_krylov
from solver.electrochemistry.resolved_start import rest
from solver.numerics.solution import Result
from tests.resolved_reference import Layer, chen_stack


@pytest.fixture(scope="module")
def planar():
    return discharged(upright(500), tuple(THICK_VOLTAGES))


def test_the_voltages_of_the_thick_stack_are_those_of_the_reference():
    slab, electrolyte = THICK
    exact, error = chen_stack(layers=(Layer(electrolyte),), slab=slab).refined(CURRENT, tuple(THICK_VOLTAGES))
    assert error < 1e-9
    np.testing.assert_allclose(list(THICK_VOLTAGES.values()), exact, rtol=0, atol=1e-9)


@pytest.mark.slow  # a march on 600 slices, as the next; a discharge of the default suite is that of the command
def test_a_planar_stack_is_the_independent_solution_within_a_tenth_of_a_millivolt(planar):
    assert np.max(np.abs(off(planar, THICK_VOLTAGES))) < 1e-4


@pytest.mark.slow
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
        return system, *rest(system)

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


def _in_pieces(n: int) -> np.ndarray:
    """Labels of n^3 voxels: half active, an eighth carbon-binder in small pieces, the rest pores."""
    random = np.random.default_rng(0)
    coarse, fine = (ndimage.gaussian_filter(random.normal(size=(n, n, n)), width) for width in (1.5, 0.8))
    solid = coarse < np.quantile(coarse, 0.5)
    return np.where(solid, 1, np.where(fine < np.quantile(fine[~solid], 0.25), 2, 0))


@pytest.mark.slow  # compiles three steps
def test_binder_in_pieces_is_solved_by_aggregates(backwards_error):
    """Of 100 S/m, 555 times the active: the same step as with voxels joined two by two, in fewer linear steps, and the
    same derivative."""
    cell = half_cells.image(_in_pieces(16), 0.5e-6)
    assert cell.domains.joined is not None
    plain = dataclasses.replace(cell, domains=dataclasses.replace(cell.domains, joined=None))

    @eqx.filter_jit
    def step(cell):
        system = cell.resolved(cell.theoretical_capacity() / 3600.0)
        y, w = rest(system)
        return system, newton_krylov(system, w, y, jnp.asarray(30.0), NewtonMethod(tolerance=1e-7))

    (system, joined), (_, twos) = step(cell), step(plain)
    assert joined.result == Result.successful
    assert float(joined.value[-1]) == pytest.approx(float(twos.value[-1]), abs=1e-6)
    assert int(joined.stats["inner"]) < int(twos.stats["inner"])
    held = Held(system, jnp.asarray(3.0), NewtonMethod(adjoint=1e-12))
    left, off = eqx.filter_jit(lambda w: backwards_error(held, w, system.state(w), jnp.asarray(30.0)))(joined.value)
    assert left < 1e-7 and off < 1e-9


@pytest.mark.slow  # compiles the march twice
def test_a_batch_of_structures_is_its_lanes():
    """Three half-cells of different particles side by side under `vmap`, each at its own rate, beside one by one."""
    shares = (-0.05, 0.0, 0.05)
    cells = [gradient_cell.base({**gradient_cell.unmoved(), "radius": jnp.asarray(share)}) for share in shares]
    currents = jnp.asarray([rate * float(cells[1].theoretical_capacity()) / 3600.0 for rate in (0.5, 1.0, 2.0)])
    method = ResolvedMethod(newton=NewtonMethod(tolerance=1e-9))

    def last(cell, current):
        run = discharge(cell, current, method, duration=jnp.asarray(300.0))
        return run.value.voltage[-1], run.result == Result.successful

    arrays = jax.tree.map(lambda *x: jnp.stack(x), *[eqx.filter(cell, eqx.is_array) for cell in cells])
    batch = eqx.combine(arrays, eqx.filter(cells[0], eqx.is_array, inverse=True))
    voltage, ended = eqx.filter_jit(eqx.filter_vmap(last))(batch, currents)
    alone = eqx.filter_jit(last)
    assert jnp.all(ended) and len(set(np.round(np.asarray(voltage), 3))) == 3
    for lane, (cell, current) in enumerate(zip(cells, currents, strict=True)):
        assert float(voltage[lane]) == pytest.approx(float(alone(cell, current)[0]), abs=1e-7)
