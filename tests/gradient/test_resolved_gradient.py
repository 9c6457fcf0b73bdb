"""Derivatives of a resolved discharge, to its geometry through the level sets and to its materials."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.half_cell import half_cell
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge
from solver.electrochemistry.resolved_solve import NewtonMethod
from solver.electrochemistry.roles import active, carbon_binder, pores
from solver.electrochemistry.structure import separator_on
from solver.numerics.march import March

pytestmark = pytest.mark.slow  # compiles the whole march backwards

SHAPE, EDGE = (5, 4, 4), 1.6e-6
NEWTON = NewtonMethod(tolerance=1e-13, adjoint=1e-11)
NAMES = ("radius", "place", "film", "spacing", "diffusivity", "rate", "transference", "current")


def _phases(p):
    """Two overlapping particles under a film of binder on a binder layer, moved by shares `p`."""
    places = np.stack(np.meshgrid(*[EDGE * np.arange(n + 1) for n in SHAPE], indexing="ij"), -1)
    first = jnp.sqrt(jnp.sum((places - np.asarray([2e-6, 3e-6, 3e-6])) ** 2, -1)) - 2.6e-6 * (1 + p["radius"])
    centre = jnp.asarray([5e-6, 4e-6, 2e-6]) + p["place"] * jnp.asarray([1e-6, 2e-6, -1e-6])
    level = jnp.minimum(first, jnp.sqrt(jnp.sum((places - centre) ** 2, -1)) - 2e-6)
    film = jnp.minimum(level - 0.5e-6 * (1 + p["film"]), places[..., 0] - 0.7e-6)
    grid = Grid(SHAPE, jnp.full(3, EDGE) * (1 + p["spacing"]))
    return voxel.nested((level, film), grid, ("active", "binder", "pore"), blur=0.3)


@pytest.fixture(scope="module")
def problem():
    """The last voltage plus the mean voltage of ten minutes at 1C, on the steps of one march."""
    rest = {name: jnp.zeros(()) for name in NAMES}
    roles = {"active": active(library.chen_nmc(), 0.27, 0.18), "binder": carbon_binder(), "pore": pores()}
    metal = library.half_cell(library.chen_positive(), library.nyman_electrolyte()).negative.kinetics
    stack = separator_on((EDGE,) * 3, 6e-6, 0.39, 0.24)
    cell = half_cell(_phases(rest), roles, library.nyman_electrolyte(), metal, stack, periodic=True)
    current = float(cell.theoretical_capacity()) / 3600.0
    freely = ResolvedMethod(March(tolerance=1e-3, max_steps=40, first_step=1e-3), NEWTON)
    times = eqx.filter_jit(lambda c: discharge(c, current, freely, duration=600.0).value.time)(cell)
    method = ResolvedMethod(March(max_steps=40, schedule=times), NEWTON)

    def figure(p):
        def moved(c):
            material = c.roles["active"].material
            return c.phases, material.diffusivity, material.kinetics.rate, c.electrolyte.transference_number

        _, diffusivity, rate, transference = moved(cell)
        scaled = diffusivity * (1 + p["diffusivity"]), rate * (1 + p["rate"]), transference * (1 + p["transference"])
        changed = eqx.tree_at(moved, cell, (_phases(p), *scaled))
        run = discharge(changed, current * (1 + p["current"]), method, duration=600.0).value
        return run.voltage[-1] + run.energy / (600.0 * current)

    return rest, eqx.filter_jit(figure), eqx.filter_jit(eqx.filter_value_and_grad(figure))(rest)[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_derivative_is_the_central_difference(problem, name):
    rest, figure, gradient = problem
    step = 1e-4
    up, down = (figure({**rest, name: jnp.asarray(sign * step)}) for sign in (1.0, -1.0))
    tolerance = 1e-4 if name in NAMES[:4] else 1e-6
    assert float(gradient[name]) == pytest.approx(float(up - down) / (2 * step), rel=tolerance)
