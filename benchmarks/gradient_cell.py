"""A small resolved half-cell whose figure is a function of shares by which its geometry, materials and current move:
what its derivative is held against are central differences."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from benchmarks.half_cells import FULL, SIGMA
from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.conductors import separator_on
from solver.electrochemistry.half_cell import HalfCell, half_cell
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge
from solver.electrochemistry.resolved_solve import NewtonMethod
from solver.electrochemistry.roles import active, carbon_binder, pores
from solver.electrochemistry.voxel_cell import VoxelCell
from solver.numerics.march import March

SHAPE, EDGE = (5, 4, 4), 1.6e-6  # voxels, m
DURATION = 600.0  # s, at 1C
GEOMETRY = ("radius", "place", "film", "spacing")
MATERIALS = ("diffusivity", "rate", "transference", "current")
NAMES = GEOMETRY + MATERIALS


def unmoved() -> dict:
    """No share of anything."""
    return {name: jnp.zeros(()) for name in NAMES}


def phases(p: dict):
    """Two overlapping particles under a film of binder on a binder layer, moved by shares `p`."""
    places = np.stack(np.meshgrid(*[EDGE * np.arange(n + 1) for n in SHAPE], indexing="ij"), -1)
    first = jnp.sqrt(jnp.sum((places - np.asarray([2e-6, 3e-6, 3e-6])) ** 2, -1)) - 2.6e-6 * (1 + p["radius"])
    centre = jnp.asarray([5e-6, 4e-6, 2e-6]) + p["place"] * jnp.asarray([1e-6, 2e-6, -1e-6])
    level = jnp.minimum(first, jnp.sqrt(jnp.sum((places - centre) ** 2, -1)) - 2e-6)
    film = jnp.minimum(level - 0.5e-6 * (1 + p["film"]), places[..., 0] - 0.7e-6)
    grid = Grid(SHAPE, jnp.full(3, EDGE) * (1 + p["spacing"]))
    return voxel.nested((level, film), grid, ("active", "binder", "pore"), blur=0.3)


def base(p: dict | None = None) -> HalfCell:
    """The half-cell, its geometry moved by shares `p` if at all, its materials as they are."""
    roles = {"active": active(library.chen_nmc(), FULL, SIGMA), "binder": carbon_binder(), "pore": pores()}
    stack = separator_on((EDGE,) * 3, 6e-6, 0.39, 0.24)
    return half_cell(
        phases(p or unmoved()), roles, library.nyman_electrolyte(), library.xu_lithium().kinetics, stack, periodic=True
    )


def figure():
    """[`replayed`][] of the half-cell at 1C."""
    cell = base()
    return replayed(cell, float(cell.theoretical_capacity()) / 3600.0, _moved)


def replayed(cell: VoxelCell, current: float, moved):
    """The last voltage plus the mean voltage of ten minutes under `current`, A, in V, of shares, on the steps of one
    march; `moved`, a cell by shares."""
    newton = NewtonMethod(tolerance=1e-13, adjoint=1e-11)
    freely = ResolvedMethod(March(tolerance=1e-3, max_steps=40, first_step=1e-3), newton)
    times = eqx.filter_jit(lambda c: discharge(c, current, freely, duration=DURATION).value.time)(cell)
    method = ResolvedMethod(March(max_steps=40, schedule=times), newton)

    def of_shares(p):
        run = discharge(moved(cell, p), current * (1 + p["current"]), method, duration=DURATION).value
        return run.voltage[-1] + run.energy / (DURATION * current)

    return of_shares


def _moved(cell: HalfCell, p: dict) -> HalfCell:
    def parts(c):
        material = c.roles["active"].material
        return c.phases, material.diffusivity, material.kinetics.rate, c.electrolyte.transference_number

    _, diffusivity, rate, transference = parts(cell)
    scaled = diffusivity * (1 + p["diffusivity"]), rate * (1 + p["rate"]), transference * (1 + p["transference"])
    return eqx.tree_at(parts, cell, (phases(p), *scaled))


def gradient(of_shares, none: dict | None = None) -> dict:
    """In every share, at `none` of them."""
    return eqx.filter_jit(eqx.filter_value_and_grad(of_shares))(none or unmoved())[1]


def central_difference(of_shares, name: str, none: dict | None = None, step: float = 1e-4) -> float:
    """The same in one share; `of_shares`, jitted."""

    def at(share):
        # Of a fixed dtype: a weak one, as of a Python number, has the march compiled anew for every name.
        return of_shares({**(none or unmoved()), name: jnp.full((), share, jnp.zeros(()).dtype)})

    return float(at(step) - at(-step)) / (2.0 * step)
