"""The particle-resolved half-cell: a planar stack against an independent solution, its balances, its derivative."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import half_cells
from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.half_cell import half_cell, rest
from solver.electrochemistry.resolved_run import Held, ResolvedMethod, discharge
from solver.electrochemistry.resolved_slopes import eliminated
from solver.electrochemistry.resolved_solve import NewtonMethod, newton_krylov
from solver.electrochemistry.roles import active, carbon_binder, pores
from solver.electrochemistry.structure import separator_on
from solver.numerics.march import March
from solver.numerics.solution import Result
from tests.resolved_block import SPACING, labels

FULL = 17038.0 / 63104.0  # Chen 2020
METAL = library.half_cell(library.chen_positive(), library.nyman_electrolyte()).negative.kinetics

# Lithium, 20 um of electrolyte, 5 um of the NMC of Chen 2020 at 20 A/m2: spectral elements and Radau IIA in
# plain numpy and scipy, to 1e-9 V; V at s.
PLANAR = {10.0: 3.92429753, 60.0: 3.60392574}


@pytest.fixture(scope="module")
def planar():
    cell, method = half_cells.slab(500), ResolvedMethod(march=March(tolerance=5e-5, max_steps=150, order=3))
    run = eqx.filter_jit(lambda duration: discharge(cell, 20.0 * cell.section, method, duration=duration))
    return {time: run(time) for time in PLANAR}


def test_a_planar_stack_is_the_independent_solution_within_a_tenth_of_a_millivolt(planar):
    for time, wanted in PLANAR.items():
        assert planar[time].result == Result.successful
        assert float(planar[time].value.end_time) == pytest.approx(time, rel=1e-12)
        assert abs(float(planar[time].value.voltage[-1]) - wanted) < 1e-4


def test_lithium_and_charge_balance(planar):
    """Made to by `balanced` in every step: this holds its sums, not what Newton's method leaves."""
    run = planar[60.0].value
    drawn = float(run.capacity)
    assert abs(float(run.filling) - drawn) < 1e-8 * drawn
    assert abs(float(run.salt)) < 1e-8 * drawn


def _small(size=1.0):
    """Two overlapping particles in a film of binder on a small block, with every kind of link; radii times `size`."""
    shape, box = (5, 4, 4), 8e-6
    axes = [np.linspace(0, box * n / 5, n + 1) for n in shape]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    level = np.min(
        [
            np.linalg.norm(places - c, axis=-1) - size * r
            for c, r in (((2e-6, 3e-6, 3e-6), 2.6e-6), ((5e-6, 4e-6, 2e-6), 2e-6))
        ],
        0,
    )
    film = np.minimum(level - 0.5e-6, places[..., 0] - 0.7e-6)
    grid = Grid(shape, jnp.full(3, box / 5))
    phases = voxel.nested((jnp.asarray(level), jnp.asarray(film)), grid, ("active", "binder", "pore"), blur=0.3)
    roles = {"active": active(library.chen_nmc(), FULL, 0.18), "binder": carbon_binder(), "pore": pores()}
    stack = separator_on(grid.spacing, 6e-6, 0.39, 0.24)
    return half_cell(phases, roles, library.nyman_electrolyte(), METAL, stack, periodic=True)


@pytest.fixture(scope="module")
def small():
    cell = _small()

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


@pytest.mark.slow  # compiles three steps
def test_binder_in_pieces_is_solved_by_aggregates(backwards_error):
    """Of 100 S/m, 555 times the active: the same step as with voxels joined two by two, in fewer linear steps, and the
    same derivative."""
    cell = half_cells.image(labels(), SPACING)
    assert cell.domains.joined is not None
    plain = dataclasses.replace(cell, domains=dataclasses.replace(cell.domains, joined=None))

    @eqx.filter_jit
    def step(cell):
        system = cell.resolved(cell.theoretical_capacity() / 3600.0)
        y, w = rest(cell, system)
        return system, newton_krylov(system, w, y, jnp.asarray(30.0), NewtonMethod(tolerance=1e-8))

    (system, joined), (_, twos) = step(cell), step(plain)
    assert joined.result == Result.successful
    assert float(joined.value[-1]) == pytest.approx(float(twos.value[-1]), abs=1e-7)
    assert int(joined.stats["inner"]) < int(twos.stats["inner"])
    held = Held(system, jnp.asarray(3.0), NewtonMethod(adjoint=1e-12))
    left, off = eqx.filter_jit(lambda w: backwards_error(held, w, system.state(w), jnp.asarray(30.0)))(joined.value)
    assert left < 1e-7 and off < 1e-9


@pytest.mark.slow  # compiles the march twice
def test_a_batch_of_structures_is_its_lanes():
    """Three half-cells of different particles side by side under `vmap`, each at its own rate, beside one by one."""
    cells = [_small(size) for size in (0.95, 1.0, 1.05)]
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
