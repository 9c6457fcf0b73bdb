"""The one stencil: face flux by slicing, divergence by padding. Conservative and symmetric by construction."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class Faces(eqx.Module):
    """Conductances of a seven-point network: the faces between voxels, and the link of each voxel to a fixed value.

    **Arguments:** `x`, shape (nx-1, ny, nz); `y`, (nx, ny-1, nz); `z`, (nx, ny, nz-1), all in units of conductivity
    times area over distance; `plate`, (nx, ny, nz), the conductance between a voxel and a plate held at zero.
    """

    x: Float[Array, "..."]
    y: Float[Array, "..."]
    z: Float[Array, "..."]
    plate: Float[Array, "nx ny nz"]

    @property
    def interior(self) -> tuple[Array, Array, Array]:
        return self.x, self.y, self.z

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.plate.shape


def difference(field: Array, axis: int) -> Array:
    """The step of `field` across each interior face normal to `axis`, upper minus lower."""
    n = field.shape[axis]
    return lax.slice_in_dim(field, 1, n, axis=axis) - lax.slice_in_dim(field, 0, n - 1, axis=axis)


def pad(flux: Array, axis: int, low: int, high: int) -> Array:
    """`flux` with `low` zeros before and `high` zeros after it along `axis`."""
    config = [(0, 0, 0)] * flux.ndim
    config[axis] = (low, high, 0)
    return lax.pad(flux, jnp.zeros((), flux.dtype), config)


def outflow(flux: Array, axis: int) -> Array:
    """What leaves each voxel through its faces normal to `axis`, for a flux that is positive upwards."""
    return pad(flux, axis, 0, 1) - pad(flux, axis, 1, 0)


def apply(faces: Faces, field: Array) -> Array:
    """A field: the sum over faces of conductance times difference, in difference form (never a rounded diagonal)."""
    out = faces.plate * field
    for axis, conductance in enumerate(faces.interior):
        out = out - outflow(conductance * difference(field, axis), axis)
    return out


def diagonal(faces: Faces) -> Array:
    """The diagonal of [`apply`][], for preconditioners only."""
    out = faces.plate
    for axis, conductance in enumerate(faces.interior):
        out = out + pad(conductance, axis, 0, 1) + pad(conductance, axis, 1, 0)
    return out
