"""From spheres to signed distances at the voxel corners, smooth in every centre and radius.

For distances at the corners of sub-voxels give the refined grid, and its spacing to [`patches`][].
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .grid import Grid


class Patches(eqx.Module):
    """Which voxel corners each sphere can reach: groups of spheres of similar size, each with a fixed patch of corners.

    **Arguments:** `members`, for each group the indices of its spheres; `halves`, for each group the half width of its
    patch in corners along each axis, static.
    """

    members: tuple[Int[Array, "..."], ...]
    halves: tuple[tuple[int, int, int], ...] = eqx.field(static=True)


def patches(
    radii: np.ndarray, spacing: np.ndarray, band: float, *, bounds=None, groups: int = 8, margin: float = 1.1
) -> Patches:
    """The patches of spheres with `radii` on a grid of `spacing`, both concrete, m.

    Half widths are even, so that seeds and neighbouring recipes mostly share them, and with them compiled code.

    **Arguments:** `band`, how far outside a sphere its distance is wanted, m; `bounds`, what the sorted radii stay
    below whatever the seed, m, by default themselves; `margin`, how much radii and spacing may change before the patch
    is too small.
    """
    radii = np.asarray(radii)
    order = np.argsort(radii)
    highest = radii[order] if bounds is None else np.maximum(np.sort(np.asarray(bounds)), radii[order])
    ranks = [part for part in np.array_split(np.arange(radii.size), groups) if part.size]
    reach = [(highest[part[-1]] + band) * margin / np.asarray(spacing) for part in ranks]
    halves = tuple(tuple(2 * int(np.ceil((r + 1) / 2)) for r in row) for row in reach)
    return Patches(tuple(jnp.asarray(order[part]) for part in ranks), halves)


class Union(eqx.Module):
    """Signed distances to a union of spheres at the voxel corners, m: negative inside.

    **Arguments:** `sharp`, shape (nx+1, ny+1, nz+1), smoothed over a fraction of a voxel only, so that it can be
    differentiated; `blunt`, smoothed over the bridging length: lower wherever two surfaces are near each other.
    """

    sharp: Array
    blunt: Array


def union(
    positions: Float[Array, "n 3"],
    radii: Float[Array, " n"],
    grid: Grid,
    patches: Patches,
    *,
    sharp: Array,
    blunt: Array,
    band: Array,
) -> Union:
    """The smooth union of spheres, d = -w log(sum_i exp(-d_i / w)), periodic along axes 1 and 2.

    **Arguments:** `positions`, `radii`, m; `sharp`, `blunt`, the widths w, m; `band`, the distance outside the spheres
    beyond which the result is constant, m.
    """
    nx, ny, nz = grid.shape
    sums = jnp.zeros((2, (nx + 1) * ny * nz), positions.dtype)
    for members, half in zip(patches.members, patches.halves, strict=True):
        index, weights = _stamp(positions[members], radii[members], grid, half, (sharp, blunt), band)
        sums = sums.at[:, index.ravel()].add(weights.reshape(2, -1), mode="drop")
    sums = sums.reshape(2, nx + 1, ny, nz)
    tiny = jnp.finfo(sums.dtype).tiny  # where widths are so small that the band underflows
    fields = [
        -w * jnp.log(s + jnp.maximum(jnp.exp(-band / w), tiny)) for w, s in zip((sharp, blunt), sums, strict=True)
    ]
    return Union(*(_wrap(field) for field in fields))


def _wrap(field: Array) -> Array:
    """Adds the last corners of the periodic axes, which are the first."""
    field = jnp.concatenate([field, field[:, :1]], axis=1)
    return jnp.concatenate([field, field[:, :, :1]], axis=2)


def _stamp(positions, radii, grid: Grid, half, widths, band):
    """Flat corner indices (out of range where dropped) and weights exp(-d / w) of each sphere on its patch."""
    nx, ny, nz = grid.shape
    squared, indices = jnp.zeros(()), []
    for axis in range(3):
        offsets = jnp.arange(-half[axis], half[axis] + 2)
        base = jnp.floor(jax.lax.stop_gradient(positions[:, axis] / grid.spacing[axis])).astype(offsets.dtype)
        corner = base[:, None] + offsets
        step = corner.astype(positions.dtype) * grid.spacing[axis] - positions[:, axis, None]
        expand = [slice(None)] + [slice(None) if a == axis else None for a in range(3)]
        squared = squared + (step**2)[tuple(expand)]
        indices.append(corner[tuple(expand)])
    x, y, z = indices
    inside = (x >= 0) & (x <= nx)
    index = jnp.where(inside, (x * ny + y % ny) * nz + z % nz, (nx + 1) * ny * nz)
    centre = squared == 0
    distance = jnp.where(centre, 0, jnp.sqrt(jnp.where(centre, 1, squared))) - radii[:, None, None, None]
    outside = jnp.clip(distance / band, 0, 1)
    taper = (1 - outside**2) ** 2
    # Deep inside, where the union is flat anyway, the exponential must not overflow.
    highest = 0.9 * math.log(jnp.finfo(distance.dtype).max)
    weights = jnp.stack([taper * jnp.exp(jnp.minimum(-distance / w, highest)) for w in widths])
    return index, weights
