"""Neighbours on a block of voxels: steps to the next voxel along an axis, what leaves a voxel, and networks of it.

A link along an axis belongs to the lower of its two voxels, so links have the shape of the voxels; the last ones close
a periodic axis and are zero on another. Axis 0 is never periodic.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..numerics.flux import Faces, Plates, Wrap, pad, slice_of


def following(x: Array, axis: int, periodic: bool) -> Array:
    """The value of the next voxel along `axis`; beyond the last one zero, or that of the first. Shape (nx, ny, nz)."""
    n = x.shape[axis]
    out = pad(lax.slice_in_dim(x, 1, n, axis=axis), axis, 0, 1)
    return out + pad(slice_of(x, axis, 0), axis, n - 1, 0) if periodic else out


def preceding(x: Array, axis: int, periodic: bool) -> Array:
    """The value of the voxel before along `axis`; the transpose of [`following`][]."""
    n = x.shape[axis]
    out = pad(lax.slice_in_dim(x, 0, n - 1, axis=axis), axis, 1, 0)
    return out + pad(slice_of(x, axis, n - 1), axis, 0, n - 1) if periodic else out


def wraps(periodic: bool) -> tuple[bool, bool, bool]:
    """By axis, whether it is joined to itself, where the sides are `periodic`."""
    return False, periodic, periodic


def leaving(flux: Array, axis: int, periodic: bool) -> Array:
    """What leaves each voxel for fluxes of links along `axis`, positive upwards."""
    return flux - preceding(flux, axis, periodic)


def network(
    links: tuple[Array, Array, Array], periodic: bool, shunt: Array | None = None, plate=None, far=None
) -> Faces:
    """The seven-point network of `links`, with `shunt` to the ground, and `plate` and `far`, (1, ny, nz), links to
    grounded plates below the first slice and beyond the last one."""
    interior, ends = [], []
    for axis, link in enumerate(links):
        n = link.shape[axis]
        interior.append(lax.slice_in_dim(link, 0, n - 1, axis=axis))
        ends.append(Wrap(slice_of(link, axis, n - 1)) if wraps(periodic)[axis] else None)
    if plate is not None:
        ends[0] = Plates(plate, jnp.zeros_like(plate) if far is None else far)
    return Faces(*interior, tuple(ends), shunt)


def in_series(low: Array, high: Array) -> Array:
    """Two conductances one after the other; zero where either is."""
    total = low + high
    return jnp.where(total > 0, low * high / jnp.where(total > 0, total, 1.0), 0.0)
