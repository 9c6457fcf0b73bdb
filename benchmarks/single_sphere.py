"""One sphere of active material on voxels, cut from its distance or of labels, and its reaction at one overpotential.

The sphere lies in a carbon-binder that is all electrolyte and conducts electrons too, so that nothing but the sphere
matters.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax

from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.electrolyte import Electrolyte
from solver.electrochemistry.half_cell import half_cell
from solver.electrochemistry.laws import Constant
from solver.electrochemistry.roles import active, carbon_binder

NAMES = ("active", "binder")
EDGE = 1e-6  # m, of the voxels
SALT, FILLED = 1000.0, 0.4  # mol/m3, and stoichiometry
# Current density, A/m2, at an overpotential, V: 2 j0 sinh(F eta / 2RT) with the j0 of the NMC of Chen 2020 at that salt
# and stoichiometry and 298.15 K, typed anew in numpy (tests/resolved_reference: chen_stack, sphere_reaction).
DENSITIES = {0.01: 1.3095399977, -0.15: -61.7566444803}

nested = eqx.filter_jit(voxel.nested)


# --- voxels -----------------------------------------------------------------------------------------------------------


def distance(voxels: int, centre, sample: int, start: float) -> np.ndarray:
    """From `centre`, in voxels, at places `sample` a voxel, the first one at `start`; (n, n, n)."""
    x = np.arange(start, voxels + 1e-9, 1.0 / sample)
    places = np.stack(np.meshgrid(x, x, x, indexing="ij"), -1)
    return np.linalg.norm(places - np.asarray(centre), axis=-1)


def halves(voxels: int, centre, radius: float, h: float = EDGE, sample: int = 2):
    """A sphere from its distance at the corners of half voxels; `radius` and `centre` in voxels of edge `h`, m."""
    grid = Grid((voxels,) * 3, jnp.full(3, h))
    return nested((jnp.asarray(h * (distance(voxels, centre, sample, 0.0) - radius)),), grid, NAMES)


def corners(voxels: int, centre, radius: float):
    """The same from the corners of voxels alone."""
    return halves(voxels, centre, radius, sample=1)


def labelled(voxels: int, centre, radius: float):
    """A sphere as the labels of the voxels whose middles it holds."""
    labels = np.where(distance(voxels, centre, 1, 0.5) < radius, 0, 1)
    return voxel.from_labels(labels, Grid(labels.shape, jnp.full(3, EDGE)), dict(enumerate(NAMES)), dtype=jnp.float64)


def centres(voxels: int, count: int) -> np.ndarray:
    """The middle of a block, and places near by, in voxels."""
    moved = np.random.default_rng(0).uniform(-0.5, 0.5, (count - 1, 3))
    return 0.5 * voxels + np.concatenate([np.zeros((1, 3)), moved])


# --- reaction ---------------------------------------------------------------------------------------------------------


def of_reaction(phases):
    """The half-cell of a sphere to whose surface lithium and ions come as they please."""
    material = dataclasses.replace(library.chen_nmc(), diffusivity=1.0)
    roles = {"active": active(material, FILLED, 1e9), "binder": carbon_binder(1e9, 1.0, 1.0)}
    electrolyte = Electrolyte(SALT, Constant(1.0), Constant(1e9), 0.3)
    return half_cell(phases, roles, electrolyte, library.xu_lithium().kinetics)


@eqx.filter_jit
def reaction_current(cell, eta):
    """The current out of the active phase, A, where all fields are even and the overpotential is `eta`, V: the roots
    of the kinetic equations of all voxels, by bisection."""
    system = cell.resolved(1e-9)
    shape, part, role = system.structure.shape, system.structure.particles[0], system.active[0]
    filled = jnp.broadcast_to(role.stoichiometry, shape)
    salt = jnp.broadcast_to(system.electrolyte.initial_concentration, shape)
    across = role.material.potential_at(role.stoichiometry, system.temperature) + eta
    seen = filled, salt, jnp.zeros(shape), jnp.broadcast_to(across, shape)

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        more = system.kinetics(0, seen, middle) > 0
        return jnp.where(more, middle, low), jnp.where(more, high, middle)

    low, high = lax.fori_loop(0, 80, halve, (jnp.full(shape, -1e4), jnp.full(shape, 1e4)))
    return jnp.sum(part.area * 0.5 * (low + high))


def off_reaction(make, voxels: int, radius: float, count: int = 4) -> float:
    """The worst relative error of the reaction current of `count` spheres of `radius` voxels that `make` puts in a
    block, [`halves`][], [`corners`][] or [`labelled`][], against the exact area."""
    area, worst = 4.0 * np.pi * (radius * EDGE) ** 2, 0.0
    for centre in centres(voxels, count):
        cell = of_reaction(make(voxels, centre, radius))
        for eta, density in DENSITIES.items():
            worst = max(worst, abs(float(reaction_current(cell, jnp.asarray(eta))) / (density * area) - 1.0))
    return worst
