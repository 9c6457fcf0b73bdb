"""The resolved half-cell along every axis and askew: the same cell however it lies in the grid.

A planar stack with its normal along axis 0 is in `test_resolved_cell`. Here it lies along the other two and along
(0, 1, 1) / sqrt 2, with its collector and its lithium inside the slice, and the surface of the slab cuts voxels
(`benchmarks.planar_stacks`). All are held against the independent one-dimensional solution.
"""

import itertools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.half_cells import FULL, SIGMA
from benchmarks.planar_stacks import (
    COARSE,
    CURRENT,
    REFINED,
    THIN,
    THIN_VOLTAGES,
    along,
    discharged,
    inclined,
    nested,
    off,
)
from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.domains import Domains
from solver.electrochemistry.half_cell import half_cell
from solver.electrochemistry.roles import active, carbon_binder, pores
from solver.numerics.march import March
from tests.resolved_reference import Layer, chen_stack

TIMES = tuple(THIN_VOLTAGES)  # s


def test_the_voltages_of_the_thin_stack_are_those_of_the_reference():
    slab, electrolyte = THIN
    exact, error = chen_stack(layers=(Layer(electrolyte),), slab=slab).refined(CURRENT, TIMES)
    assert error < 1e-9
    np.testing.assert_allclose(list(THIN_VOLTAGES.values()), exact, rtol=0, atol=1e-9)


def error(stack, times=TIMES, march=None) -> np.ndarray:
    """Of the voltage of a thin stack at `times`, V."""
    value = discharged(stack, times, march)
    assert abs(float(value.filling / value.capacity) - 1.0) < 1e-8
    return np.abs(off(value, {time: THIN_VOLTAGES[time] for time in times}))


@pytest.mark.slow  # a march of 80 steps each
@pytest.mark.parametrize("axis", [1, 2])
def test_a_stack_along_the_other_axes_is_the_independent_solution_within_a_tenth_of_a_millivolt(axis):
    assert np.max(error(along(axis, 101))) < 1e-4


@pytest.mark.slow  # two marches of 70 steps
def test_an_inclined_stack_is_the_independent_solution_within_a_millivolt_and_of_second_order():
    """Voxel middles lie 25 nm apart along the normal in the finer one, 2.5 times as far as along the axes above."""
    coarse, refined = (error(inclined(n)) for n in (COARSE, REFINED))
    assert np.max(refined) < 1e-3
    assert np.min(np.log(coarse / refined)) > 1.7 * np.log(REFINED / COARSE)


@pytest.mark.slow  # compiles a march; the equations of a block turned are tested below
def test_an_inclined_stack_on_a_coarse_grid():
    """What of the above costs least: fewer steps to the earlier time, and voxel middles 62 nm apart."""
    assert error(inclined(COARSE), TIMES[:1], March(tolerance=5e-3, max_steps=40, order=3))[0] < 5e-3


# --- the equations of a block turned ----------------------------------------------------------------------------------


def _block():
    """Phases of every kind in a cube of five voxels, 1.0 by 1.1 by 1.3 um each, with surfaces in all directions."""
    shape, spacing = (5, 5, 5), np.array([1.0e-6, 1.1e-6, 1.3e-6])
    places = np.stack(np.meshgrid(*(np.arange(6) * h for h in spacing), indexing="ij"), -1)
    centres = ((1.3e-6, 2.1e-6, 3.0e-6, 2.1e-6), (3.8e-6, 4.2e-6, 2.2e-6, 1.7e-6))
    level = np.min([np.linalg.norm(places - c[:3], axis=-1) - c[3] for c in centres], 0)
    film = np.minimum(level - 0.4e-6, np.abs(places[..., 0] - 2.5e-6) - 0.8e-6)
    names = ("active", "binder", "pore")
    return nested((jnp.asarray(level), jnp.asarray(film)), Grid(shape, jnp.asarray(spacing)), names, blur=0.3)


def _turned_cell(phases, axes):
    """A half-cell of the turned block, every voxel taking part."""
    roles = {"active": active(library.chen_nmc(), FULL, SIGMA), "binder": carbon_binder(), "pore": pores()}
    every = Domains(*[jnp.ones(phases.grid.shape, bool)] * 4)
    return half_cell(
        voxel.turned(phases, axes), roles, library.nyman_electrolyte(), library.xu_lithium().kinetics, found=every
    )


def test_the_equations_of_a_turned_block_are_the_turned_equations():
    """Interface, links, readings, layings and laws know no direction: to rounding, for all orders of the axes.

    Collector and lithium, which alone belong to axis 0, are taken away.
    """
    rng, phases = np.random.default_rng(0), _block()
    fields = [0.3 + 0.05 * rng.random((5, 5, 5)), 1000.0 + 50.0 * rng.random((5, 5, 5))]
    fields += [0.1 * rng.random((5, 5, 5)) for _ in range(3)]  # both potentials and the reaction

    @eqx.filter_jit
    def equations(cell, moved, gamma):
        system = cell.resolved(1e-9)
        none = jnp.zeros((1, 5, 5))
        system = eqx.tree_at(lambda c: (c.structure.plate, c.structure.metal_area), system, (none, none))
        w = jnp.concatenate([jnp.concatenate([jnp.ravel(x) for x in moved]), jnp.zeros(25), jnp.full(1, 4.0)])
        left = system.cut(system.residual(w, 0.9 * system.state(w), gamma))
        return left.filled[0], left.salt, left.lyte, left.solid, left.reaction[0]

    whole = None
    for axes in itertools.permutations(range(3)):
        cell = _turned_cell(phases, axes)
        found = equations(cell, [jnp.asarray(np.transpose(x, axes)) for x in fields], jnp.asarray(10.0))
        found = [np.transpose(x, np.argsort(axes)) for x in found]
        whole = found if whole is None else whole
        for one, other in zip(whole, found, strict=True):
            scale = np.max(np.abs(one))
            assert np.sum(np.abs(one) > 1e-6 * scale) > 20
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 * scale)


def test_axes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="must hold 0, 1 and 2 in some order"):
        voxel.turned(_block(), (0, 1, 1))
