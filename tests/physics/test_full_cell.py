"""The particle-resolved full cell: a planar stack against an independent solution, balances, losses, derivatives."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gradient_cell, small_full_cell
from benchmarks.planar_stacks import CURRENT, FULL_VOLTAGES, GRAPHITE, THICK, discharged, facing, off
from microstructure.units import faraday
from solver.electrochemistry.full_cell import full_cell
from solver.electrochemistry.lost_capacity import lost_capacity
from solver.electrochemistry.resolved_fields import fields, figures
from solver.electrochemistry.resolved_heat import heat
from solver.electrochemistry.resolved_losses import losses
from solver.electrochemistry.resolved_run import Held
from solver.electrochemistry.resolved_slopes import eliminated
from solver.electrochemistry.resolved_solve import NewtonMethod, newton_krylov
from solver.electrochemistry.resolved_start import rest
from solver.electrochemistry.salt_limit import salt_limit
from solver.electrochemistry.utilisation import particle_table
from solver.numerics.solution import Result
from tests.resolved_reference import Layer, chen_graphite_slab, chen_stack

STEP = jnp.asarray(30.0)  # s
ENDS = (0.854, 0.026)  # stoichiometries of the discharged cell


def test_the_voltages_of_the_full_stack_are_those_of_the_reference():
    slab, electrolyte = THICK
    stack = chen_stack(layers=(Layer(electrolyte),), slab=slab, second=chen_graphite_slab(GRAPHITE))
    exact, error = stack.refined(CURRENT, tuple(FULL_VOLTAGES))
    assert error < 1e-9
    np.testing.assert_allclose(list(FULL_VOLTAGES.values()), exact, rtol=0, atol=1e-9)


@pytest.mark.slow  # a march on 1,300 slices
def test_a_planar_full_cell_is_the_independent_solution_within_a_tenth_of_a_millivolt():
    run = discharged(facing(500), tuple(FULL_VOLTAGES))
    assert np.max(np.abs(off(run, FULL_VOLTAGES))) < 1e-4
    for taken in (run.filling, run.emptying):
        assert float(taken) == pytest.approx(float(run.capacity), rel=1e-8)
    assert abs(float(run.salt)) < 1e-8 * float(run.capacity)


@pytest.fixture(scope="module")
def small():
    """A small cell, its system at 1C, the state at rest and a guess under load."""
    cell = small_full_cell.base()

    @eqx.filter_jit
    def made(cell):
        system = cell.resolved(small_full_cell.current(cell))
        return system, *rest(system)

    return cell, *made(cell)


def test_the_slopes_are_the_derivative_of_the_equations(small):
    _, system, y, guess = small
    random = np.random.default_rng(1)

    def scattered(size):
        return system.join(jax.tree.map(lambda x: size * jnp.asarray(random.normal(size=x.shape)), system.cut(guess)))

    @eqx.filter_jit
    def both(system, w, direction):
        exact = jax.jvp(lambda w: system.residual(w, y, STEP), (w,), (direction,))[1]
        parts = eliminated(system, w, STEP)
        balances, kinetics = parts.balances(direction), parts.kinetics(direction)
        return exact, jnp.concatenate([balances[:-1], kinetics, balances[-1:]])

    exact, made = both(system, guess + scattered(1e-3), scattered(1.0))
    np.testing.assert_allclose(made, exact, rtol=1e-9, atol=1e-9 * float(jnp.max(jnp.abs(exact))))


def test_what_is_lost_and_what_the_salt_carries(small):
    cell, system, _, _ = small
    assert lost_capacity(cell, system, ENDS).total == pytest.approx(0.0, abs=1e-12)
    assert salt_limit(cell, system) > 3.0 * float(system.current)


@pytest.fixture(scope="module")
def stepped(small):
    """The small cell half a minute later, and what is looked at then."""
    cell, system, y, guess = small

    @eqx.filter_jit
    def step(system, y, w):
        found = newton_krylov(system, w, y, STEP, NewtonMethod(tolerance=1e-9))
        u, owners = system.cut(found.value), [jnp.zeros(system.structure.shape, jnp.int32)] * 2
        ends = tuple(map(jnp.asarray, ENDS))
        left = jnp.linalg.norm(system.residual(found.value, y, STEP))
        looked = losses(system, u, owners), heat(system, u), fields(system, u, ends), figures(system, u, ends)
        return found, u, left, looked

    found, u, left, looked = step(system, y, guess)
    assert found.result == Result.successful and float(left) < 1e-8
    assert int(found.stats["inner"]) < 20 * int(found.stats["steps"])
    return system, y, found.value, u, looked


@pytest.mark.slow  # compiles a step, as the next two
def test_what_one_electrode_gives_the_other_takes(stepped):
    system, y, _, u, _ = stepped
    s, (held, salted) = system.structure, system.contents(y)
    drawn = float(system.current * STEP)
    for p, role, new, old in zip(s.particles, system.active, u.filled, held, strict=True):
        content = faraday * role.material.maximum_concentration * p.storage
        change = float(jnp.sum(content * (new - old)))
        assert change == pytest.approx(-drawn if p.grounded else drawn, rel=1e-9)
    assert abs(float(faraday * jnp.sum(s.storage * (u.salt - salted)))) < 1e-9 * drawn
    back = float(jnp.sum(s.ground * system.top(u.solid)))
    assert back == pytest.approx(-float(system.current), rel=1e-9)


@pytest.mark.slow
def test_losses_add_up_and_heat_is_what_they_take(stepped):
    system, _, _, _, (lost, made, _, _) = stepped
    assert float(lost.total) == pytest.approx(float(lost.open_circuit - lost.voltage), abs=1e-8)
    assert 4.0 < float(lost.open_circuit) < 4.2
    assert np.all(np.asarray(lost.parts)[3, [0, 2]] > 0)  # both electrodes need an overpotential
    surfaces = float(jnp.sum(lost.parts[4:]))  # of diffusion in the solid, which is no heat of a link
    taken = float(system.current) * (float(lost.total) - surfaces)
    assert float(jnp.sum(made.ohmic + made.reaction)) == pytest.approx(taken, rel=1e-6)


@pytest.mark.slow
def test_what_is_looked_at_knows_both_electrodes(stepped):
    system, _, _, u, (_, _, maps, numbers) = stepped
    s = system.structure
    first, layers, _ = s.slices
    potential = np.asarray(maps.solid_potential)
    assert np.nanmin(potential[:first]) > 3.0 and np.nanmax(np.abs(potential[first + layers :])) < 0.1
    assert np.all(np.isnan(potential[first : first + layers]))
    charge = np.asarray(maps.state_of_charge)
    assert 0.9 < np.nanmin(charge) and np.nanmax(charge) < 1.0 + 1e-6
    assert float(numbers.overpotential) < 0 < float(numbers.other_overpotential)
    assert 0.0 < float(numbers.against_lithium) < 0.4  # of the graphite, which is empty enough not to be plated on
    for k, (owner, end) in enumerate(zip((np.zeros((5, 4, 4), int), np.zeros((4, 4, 4), int)), ENDS, strict=True)):
        table = particle_table(system, u, k, owner, end)
        thickness = float(np.sum(np.asarray(s.widths)[:first] if k == 0 else np.asarray(s.widths)[first + layers :]))
        assert 0.0 < table.depth[0] < 0.6 * thickness and 0.0 < table.utilisation[0] < 0.1


@pytest.mark.slow  # compiles the transposed solve
def test_a_step_backwards_is_automatic_differentiation(stepped, backwards_error):
    system, y, w, _, _ = stepped
    held = Held(system, jnp.asarray(2.5), NewtonMethod(adjoint=1e-12))
    left, of_past = eqx.filter_jit(lambda w: backwards_error(held, w, y, STEP))(w)
    assert left < 1e-7 and of_past < 1e-9


@pytest.mark.slow  # compiles the whole march backwards
def test_derivatives_are_central_differences():
    figure = small_full_cell.figure()
    gradient = gradient_cell.gradient(figure, small_full_cell.unmoved())
    jitted = eqx.filter_jit(figure)
    for name in small_full_cell.NAMES:
        wanted = gradient_cell.central_difference(jitted, name, small_full_cell.unmoved())
        tolerance = 1e-4 if name in small_full_cell.GEOMETRY else 1e-6
        assert float(gradient[name]) == pytest.approx(wanted, rel=tolerance), name


def test_electrodes_that_do_not_fit_or_conduct_are_refused():
    cell = small_full_cell.base()
    rest_of_it = cell.electrolyte, cell.separator

    def made(positive, negative, roles=cell.negative_roles):
        return full_cell(positive, cell.positive_roles, negative, roles, *rest_of_it, periodic=True)

    narrow = jax.tree.map(lambda x: x, cell.negative)
    narrow = dataclasses.replace(narrow, grid=dataclasses.replace(narrow.grid, shape=(4, 4, 3)))
    with pytest.raises(ValueError, match="as many voxels along axes 1 and 2, but have 4 x 4 and 4 x 3"):
        made(cell.positive, narrow)
    grid = dataclasses.replace(cell.negative.grid, spacing=cell.negative.grid.spacing * 2.0)
    with pytest.raises(ValueError, match="voxels of one size along axes 1 and 2"):
        made(cell.positive, dataclasses.replace(cell.negative, grid=grid))
    empty = eqx.tree_at(
        lambda n: (n.fractions, n.apertures),
        cell.negative,
        (
            jnp.zeros_like(cell.negative.fractions).at[2].set(1.0),
            tuple(jnp.zeros_like(a).at[2].set(1.0) for a in cell.negative.apertures),
        ),
    )
    with pytest.raises(ValueError, match="The negative electrode has no contact with the collector"):
        made(cell.positive, empty)
    with pytest.raises(ValueError, match="`negative_roles` must name every phase, but binder"):
        made(cell.positive, cell.negative, {k: v for k, v in cell.negative_roles.items() if k != "binder"})
