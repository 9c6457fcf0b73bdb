"""Planar stacks that lie anywhere in the grid: collector and lithium as plates inside a block one voxel thick.

The half-cell has its collector below and its lithium above the block. On a block of one voxel along axis 0 every voxel
faces both, so that plates may be put wherever a stack within the slice has its ends: [`Plated`][] gives the links to
the collector and the surface of the lithium voxel by voxel, and all else, the laws of the interface, the readings, the
links between voxels and the march, is the solver's own.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.half_cell import HalfCell, half_cell
from solver.electrochemistry.roles import active, pores

FULL = 17038.0 / 63104.0  # Chen 2020
SIGMA = 0.18  # S/m, Chen 2020
nested = eqx.filter_jit(voxel.nested)
METAL = library.half_cell(library.chen_positive(), library.nyman_electrolyte()).negative.kinetics


class Plated(eqx.Module):
    """A half-cell with its plates put by hand, (1, ny, nz) each.

    **Arguments:** `half`; `plate`, links to the collector, S; `metal_area`, m2, and `metal_path`, m, to the lithium.
    """

    half: HalfCell
    plate: Array
    metal_area: Array
    metal_path: Array

    def resolved(self, current):
        def plates(cell):
            return cell.structure.plate, cell.structure.metal_area, cell.structure.metal_path

        return eqx.tree_at(plates, self.half.resolved(current), (self.plate, self.metal_area, self.metal_path))

    def theoretical_capacity(self):
        return self.half.theoretical_capacity()

    @property
    def lower_cutoff(self):
        return self.half.lower_cutoff


def _half(level, grid, periodic) -> HalfCell:
    phases = nested((jnp.asarray(level),), grid, ("active", "pore"))
    roles = {"active": active(library.chen_nmc(), FULL, SIGMA), "pore": pores()}
    return half_cell(phases, roles, library.nyman_electrolyte(), METAL, lower_cutoff=2.5, periodic=periodic)


def along(axis: int, slab: float, electrolyte: float, voxels: int) -> tuple[Plated, float]:
    """A slab and electrolyte, m, in `voxels` along `axis`, which the surface between them cuts wherever it does; and
    the section of the stack, m2."""
    length, side = slab + electrolyte, 1e-6
    shape, spacing = [1, 1, 1], [side] * 3
    shape[axis], spacing[axis] = voxels, length / voxels
    places = np.linspace(0.0, length, voxels + 1) - slab
    corners = [2, 2, 2]
    corners[axis] = voxels + 1
    level = np.broadcast_to(places.reshape([-1 if a == axis else 1 for a in range(3)]), corners)
    half = _half(level, Grid(tuple(shape), jnp.asarray(spacing)), False)
    first, last = np.zeros(shape)[:1], np.zeros(shape)[:1]
    first.flat[0] = last.flat[-1] = side**2
    width = spacing[axis]
    path = jnp.full(first.shape, 0.5 * width)
    return Plated(half, jnp.asarray(first * 2.0 * SIGMA / width), jnp.asarray(last), path), side**2


def inclined(slab: float, electrolyte: float, voxels: int) -> tuple[Plated, float]:
    """The stack along (0, 1, 1) / sqrt 2, mirrored at both ends, in `voxels` by `voxels` with their sides joined; and
    its section, m2.

    On the torus f(y + z) has the period of the block. Collector and lithium are diagonals of voxels whose middles lie
    on the two mirror planes: what holds at the middle of such a voxel holds at the plate, and both halves of the
    voxel belong to the stack. So the fields are those of the stack in one dimension, at voxel middles h / sqrt 2
    apart, and what is tested are cut voxels, links through cut faces and readings on a surface askew.
    """
    period = 2.0 * (slab + electrolyte)
    h, n, side = np.sqrt(2.0) * period / voxels, voxels, 1e-6
    y = np.arange(n + 1)
    across = (y[:, None] + y[None, :]) * h / np.sqrt(2.0) % period
    level = np.broadcast_to(np.minimum(across, period - across) - slab, (2, n + 1, n + 1))
    half = _half(level, Grid((1, n, n), jnp.asarray([side, h, h])), True)
    i = np.arange(n)
    diagonal = (i[:, None] + i[None, :] + 1)[None] % n
    # Each voxel of the diagonals bears sqrt 2 h of the plate on either side.
    facing = 2.0 * np.sqrt(2.0) * h * side
    plate = np.where(diagonal == 0, 1e6 * facing * SIGMA / h, 0.0)
    metal = np.where(diagonal == n // 2, facing, 0.0)
    return Plated(half, jnp.asarray(plate), jnp.asarray(metal), jnp.zeros(plate.shape)), n * facing
