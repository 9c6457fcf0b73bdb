"""The one stencil: face flux by slicing, divergence by padding. Conservative and symmetric by construction."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class Plates(eqx.Module):
    """The two ends of an axis linked to plates held at fixed values.

    **Arguments:** `low`, `high`, conductances of the first and the last slice to their plates, of the shape of a slice
    with 1 along the axis.
    """

    low: Array
    high: Array

    def outflow(self, field: Array, axis: int) -> Array:
        """What leaves each voxel to plates held at zero."""
        n = field.shape[axis]
        low, high = self.low.astype(field.dtype), self.high.astype(field.dtype)
        first, last = slice_of(field, axis, 0), slice_of(field, axis, n - 1)
        return pad(low * first, axis, 0, n - 1) + pad(high * last, axis, n - 1, 0)

    def diagonal(self, n: int, axis: int, dtype) -> Array:
        return pad(self.low.astype(dtype), axis, 0, n - 1) + pad(self.high.astype(dtype), axis, n - 1, 0)


class Wrap(eqx.Module):
    """The two ends of an axis joined to each other: a periodic axis.

    **Arguments:** `link`, conductances between the last and the first slice, of the shape of a slice with 1 along the
    axis.
    """

    link: Array

    def outflow(self, field: Array, axis: int) -> Array:
        """What leaves each voxel through the joint."""
        n = field.shape[axis]
        flux = self.link.astype(field.dtype) * (slice_of(field, axis, 0) - slice_of(field, axis, n - 1))
        return pad(flux, axis, 0, n - 1) - pad(flux, axis, n - 1, 0)

    def diagonal(self, n: int, axis: int, dtype) -> Array:
        link = self.link.astype(dtype) * int(n > 1)  # a single slice is joined to itself, and nothing flows
        return pad(link, axis, 0, n - 1) + pad(link, axis, n - 1, 0)


class Faces(eqx.Module):
    """Conductances of a seven-point network: the faces between voxels, and what lies at the two ends of each axis.

    **Arguments:** `x`, shape (nx-1, ny, nz); `y`, (nx, ny-1, nz); `z`, (nx, ny, nz-1), all in units of conductivity
    times area over distance, booleans where a face is open or shut; `ends`, for each axis [`Plates`][], [`Wrap`][], or
    `None` where nothing flows through; `shunt`, the conductance of each voxel to the ground, (nx, ny, nz), or `None`.
    """

    x: Float[Array, "..."]
    y: Float[Array, "..."]
    z: Float[Array, "..."]
    ends: tuple[Plates | Wrap | None, Plates | Wrap | None, Plates | Wrap | None] = (None, None, None)
    shunt: Array | None = None

    @property
    def interior(self) -> tuple[Array, Array, Array]:
        return self.x, self.y, self.z

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.y.shape[-3], self.x.shape[-2], self.x.shape[-1]


def slice_of(array: Array, axis: int, index: int) -> Array:
    """One slice of `array`, the axis kept."""
    return lax.slice_in_dim(array, index, index + 1, axis=axis)


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
    out = jnp.zeros((), field.dtype)
    for axis, (conductance, end) in enumerate(zip(faces.interior, faces.ends, strict=True)):
        out = out - outflow(conductance.astype(field.dtype) * difference(field, axis), axis)
        if end is not None:
            out = out + end.outflow(field, axis)
    return out if faces.shunt is None else out + faces.shunt.astype(field.dtype) * field


def plate_links(faces: Faces, dtype) -> Array:
    """The conductance between each voxel and plates, shape (nx, ny, nz)."""
    out = jnp.zeros(faces.shape, dtype)
    for axis, end in enumerate(faces.ends):
        if isinstance(end, Plates):
            out = out + end.diagonal(faces.shape[axis], axis, dtype)
    return out


def diagonal(faces: Faces, dtype) -> Array:
    """The diagonal of [`apply`][], for preconditioners only; computed where it is used, it costs no memory traffic."""
    out = jnp.zeros((), dtype)
    for axis, (conductance, end) in enumerate(zip(faces.interior, faces.ends, strict=True)):
        conductance = conductance.astype(dtype)
        out = out + pad(conductance, axis, 0, 1) + pad(conductance, axis, 1, 0)
        if end is not None:
            out = out + end.diagonal(faces.shape[axis], axis, dtype)
    return out if faces.shunt is None else out + faces.shunt.astype(dtype)


def over_diagonal(faces: Faces, residual: Array) -> Array:
    """`residual` over the diagonal, zero where nothing conducts."""
    d = diagonal(faces, residual.dtype)
    return residual * jnp.where(d > 0, 1 / jnp.where(d > 0, d, 1), 0)  # in a loop, one field is all that XLA keeps
