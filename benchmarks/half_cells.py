"""Particle-resolved half-cells for the benchmarks: one packing of spheres at any resolution, and a real cathode."""

import functools

import jax.numpy as jnp
import numpy as np

from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.conductors import separator_on
from solver.electrochemistry.domains import Domains
from solver.electrochemistry.half_cell import HalfCell, half_cell
from solver.electrochemistry.roles import Role, active, carbon_binder, pores

EDGE = 25.6e-6  # m, of the block
FILM = 0.9e-6  # m, of carbon-binder on the spheres and on the collector
BLUR = 0.3  # voxels, over which the edges of a cut are rounded, so that derivatives have no kinks
SOLID = 0.4  # share of the block in spheres, before they overlap
BINDER = 10.0  # S/m, of the film of a packing
FULL = 17038.0 / 63104.0  # Chen 2020: stoichiometry of the charged cathode
SIGMA = 0.18  # S/m, of the active material, Chen 2020
SEPARATOR = (12e-6, 0.47, 0.3209)  # Chen 2020: thickness, m, porosity, relative transport
CUTOFF = 3.5  # V; the potential of the full material is 3.487 V, and all that lies below is how its surface fills up


@functools.cache
def spheres(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Centres, (n, 3), and radii, m, of spheres placed at random with a fifth of overlap; periodic but along axis 0."""
    random = np.random.default_rng(seed)
    centres, radii = np.zeros((0, 3)), np.zeros(0)
    while np.sum(4 / 3 * np.pi * radii**3) < SOLID * EDGE**3:
        radius = random.uniform(2.5e-6, 4.5e-6)
        place = random.uniform([0.0, 0.0, 0.0], EDGE)
        gap = centres - place
        gap[:, 1:] -= EDGE * np.round(gap[:, 1:] / EDGE)
        if np.all(np.linalg.norm(gap, axis=1) > 0.9 * (radii + radius)):
            centres, radii = np.vstack([centres, place]), np.append(radii, radius)
    return centres, radii


def packing(n: int, seed: int = 1) -> HalfCell:
    """NMC spheres under a film of carbon-binder on n^3 voxels: every `n` has the same structure."""
    return of_levels(*levels(n, seed))


def levels(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Distances, m, from the surfaces of the spheres and of the film at the corners of n^3 voxels, negative inside."""
    centres, radii = spheres(seed)
    axis = np.linspace(0.0, EDGE, n + 1)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    level = np.full(places.shape[:3], np.inf)
    for centre, radius in zip(centres, radii, strict=True):
        gap = places - centre
        gap[..., 1:] -= EDGE * np.round(gap[..., 1:] / EDGE)
        level = np.minimum(level, np.linalg.norm(gap, axis=-1) - radius)
    return level, np.minimum(level - FILM, places[..., 0] - FILM)


def of_levels(level, film, found: Domains | None = None) -> HalfCell:
    """The half-cell of two level sets at the corners of voxels; `found`, its domains, which a derivative holds."""
    n = level.shape[0] - 1
    grid = Grid((n, n, n), jnp.full(3, EDGE / n))
    phases = voxel.nested((jnp.asarray(level), jnp.asarray(film)), grid, ("active", "binder", "pore"), blur=BLUR)
    return _assembled(phases, EDGE / n, carbon_binder(BINDER), periodic=True, found=found)


def image(labels: np.ndarray, voxel_size: float) -> HalfCell:
    """A label image of a cathode, 0 pore, 1 active, 2 carbon-binder, axis 0 through the thickness; shut sides."""
    grid = Grid(labels.shape, jnp.full(3, voxel_size))
    phases = voxel.from_labels(labels, grid, {0: "pore", 1: "active", 2: "binder"}, dtype=jnp.float64)
    return _assembled(phases, voxel_size, carbon_binder(), periodic=False)


def _assembled(phases, edge: float, binder: Role, periodic: bool, found: Domains | None = None) -> HalfCell:
    roles = {"active": active(library.chen_nmc(), FULL, SIGMA), "binder": binder, "pore": pores()}
    stack = separator_on((edge,) * 3, *SEPARATOR)
    return half_cell(
        phases, roles, library.nyman_electrolyte(), library.xu_lithium().kinetics, stack,
        lower_cutoff=CUTOFF, periodic=periodic, found=found,
    )  # fmt: skip
