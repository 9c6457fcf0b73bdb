"""A small resolved full cell whose figure is a function of shares by which both geometries, materials and the current
move: what its derivative is held against are central differences."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from benchmarks import gradient_cell
from benchmarks.half_cells import FULL, SIGMA
from benchmarks.planar_stacks import CHARGED
from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.conductors import separator_on
from solver.electrochemistry.full_cell import FullCell, full_cell
from solver.electrochemistry.roles import active, carbon_binder, pores

SHAPE, EDGE, WIDTH = (4, 4, 4), gradient_cell.EDGE, 2.0e-6  # voxels of the negative; their sides and thickness, m
GEOMETRY = ("radius", "place", "film", "graphite", "thickness")
MATERIALS = ("diffusivity", "rate", "transference", "current")
NAMES = GEOMETRY + MATERIALS


def unmoved() -> dict:
    """No share of anything."""
    return {name: jnp.zeros(()) for name in NAMES}


def negative(p: dict):
    """Two overlapping particles of graphite under a film of binder, the larger one on the collector, moved by `p`."""
    edges = np.asarray([WIDTH, EDGE, EDGE])
    places = np.stack(np.meshgrid(*[np.arange(n + 1) for n in SHAPE], indexing="ij"), -1) * edges
    centres = np.asarray([[2.2e-6, 3e-6, 3.5e-6], [5.5e-6, 4e-6, 2.5e-6]])
    radii = [2.9e-6 * (1 + p["graphite"]), 2.2e-6]
    gaps = [jnp.sqrt(jnp.sum((places - c) ** 2, -1)) - r for c, r in zip(centres, radii, strict=True)]
    level = jnp.minimum(*gaps)
    film = jnp.minimum(level - 0.5e-6, places[..., 0] - 0.7e-6)
    grid = Grid(SHAPE, jnp.asarray(edges) * jnp.stack([1 + p["thickness"], jnp.ones(()), jnp.ones(())]))
    return voxel.nested((level, film), grid, ("active", "binder", "pore"), blur=0.3)


def base() -> FullCell:
    """The full cell as it is."""
    others = {"binder": carbon_binder(), "pore": pores()}
    return full_cell(
        gradient_cell.phases(gradient_cell.unmoved()),
        {"active": active(library.chen_nmc(), FULL, SIGMA), **others},
        negative(unmoved()),
        {"active": active(library.chen_graphite(), CHARGED, 215.0), **others},
        library.nyman_electrolyte(),
        separator_on((EDGE,) * 3, 6e-6, 0.39, 0.24),
        periodic=True,
    )


def current(cell: FullCell):
    """1C, A."""
    return cell.theoretical_capacity(0.854, 0.026) / 3600.0


def figure():
    """[`gradient_cell.replayed`][benchmarks.gradient_cell.replayed] of the full cell at 1C."""
    cell = base()
    return gradient_cell.replayed(cell, float(current(cell)), _moved)


def _moved(cell: FullCell, p: dict) -> FullCell:
    def parts(c):
        material = c.negative_roles["active"].material
        return (
            c.positive, c.negative, material.diffusivity, material.kinetics.rate, c.electrolyte.transference_number,
        )  # fmt: skip

    _, _, diffusivity, rate, transference = parts(cell)
    scaled = diffusivity * (1 + p["diffusivity"]), rate * (1 + p["rate"]), transference * (1 + p["transference"])
    positive = gradient_cell.phases({**gradient_cell.unmoved(), **{name: p[name] for name in GEOMETRY[:3]}})
    return eqx.tree_at(parts, cell, (positive, negative(p), *scaled))
