"""Cut cells: from a level set at the voxel corners to apertures, volume fractions and interface areas.

A shape is where the level set is negative. Plane surfaces are cut where they lie (shares within 0.001), and everything
is differentiable in the level set.

Where two surfaces meet within a voxel the level set is flat, and a face would open or shut at once. `blur`, the least
step of the level set across a voxel along each axis (its units are the level set's), spreads that event and leaves the
mean place of a plane surface unchanged.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_TILT = 0.01  # least slope along an axis over the total slope: keeps the closed forms away from 0/0


def _half_space(level: Array, slopes: tuple[Array, ...], blur: tuple[Array, ...]) -> Array:
    """The share of a unit square or cube in which level + sum_i slope_i x_i < 0, with x_i in [-1/2, 1/2].

    The integral of a step over a box is a sum over its corners of truncated powers,
    sum_signs (prod signs) max(sum_i signs_i h_i - level, 0)^n / (n! prod_i 2 h_i), with h_i = |slope_i| / 2.
    """
    n = len(slopes)
    total = sum(slope**2 for slope in slopes)
    # A level set without any slope is full or empty: its own level is the only scale there is.
    total = jnp.where(total > 0, total, jnp.where(level != 0, level**2, 1))
    halves = [jnp.sqrt(slope**2 + _TILT**2 * total + wide**2) / 2 for slope, wide in zip(slopes, blur, strict=True)]
    reach = sum(halves)
    cut = jnp.abs(level) < reach
    corners = [(jnp.where(cut, reach - level, reach), 1)]
    for half in halves:
        corners += [(value - 2 * half, -sign) for value, sign in corners]
    powers = sum(sign * jnp.where(value > 0, value, 0) ** n for value, sign in corners)
    share = powers / (math.factorial(n) * 2**n * math.prod(halves))
    return jnp.where(cut, jnp.clip(share, 0, 1), jnp.where(level < 0, 1.0, 0.0).astype(level.dtype))


def _ends(values: Array, axis: int) -> tuple[Array, Array]:
    n = values.shape[axis]
    return lax.slice_in_dim(values, 0, n - 1, axis=axis), lax.slice_in_dim(values, 1, n, axis=axis)


def aperture(corners: Float[Array, "nx+1 ny+1 nz+1"], axis: int, blur: Array) -> Array:
    """The area fraction of each voxel face normal to `axis` that lies inside the shape, from the plane through its
    corners.

    **Arguments:** `corners`, the level set at the voxel corners; `axis`, 0, 1 or 2; `blur`, shape (3,), see above.

    **Returns:** fractions in [0, 1], one face more than voxels along `axis`: those on the boundary are included.
    """
    first, second = [a for a in range(3) if a != axis]
    level = _pair(_pair(corners, first), second) / 4
    slopes = (_step(_pair(corners, second), first) / 2, _step(_pair(corners, first), second) / 2)
    return _half_space(level, slopes, (blur[first], blur[second]))


def apertures(corners: Array, blur: Array | None = None) -> tuple[Array, Array, Array]:
    """[`aperture`][] along the three axes."""
    blur = jnp.zeros(3, corners.dtype) if blur is None else blur
    return aperture(corners, 0, blur), aperture(corners, 1, blur), aperture(corners, 2, blur)


def interface(faces: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """The interface in each voxel as a vector in units of voxel faces, pointing out of the shape.

    By Gauss's theorem it is the difference of the apertures of opposite faces.
    """
    return tuple(low - high for low, high in (_ends(a, axis) for axis, a in enumerate(faces)))


def interface_area(faces: tuple[Array, Array, Array], face_areas: Float[Array, "3"]) -> Array:
    """The area of the interface in each voxel, m2.

    **Arguments:** `faces`, apertures; `face_areas`, of a voxel face normal to each axis, m2.
    """
    squared = sum((vector * face_areas[axis].astype(vector.dtype)) ** 2 for axis, vector in enumerate(interface(faces)))
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def volume_fraction(corners: Array, blur: Array | None = None) -> Array:
    """The share of each voxel inside the shape, from the plane through its corners.

    **Arguments:** `corners`, the level set at the voxel corners, shape (nx+1, ny+1, nz+1).
    """
    x = _pair(corners, 0)
    xy, yz, xz = _pair(x, 1), _pair(_pair(corners, 1), 2), _pair(x, 2)
    slopes = (_step(yz, 0) / 4, _step(xz, 1) / 4, _step(xy, 2) / 4)
    blur = jnp.zeros(3, corners.dtype) if blur is None else blur
    return _half_space(_pair(xy, 2) / 8, slopes, tuple(blur))


def _pair(values: Array, axis: int) -> Array:
    low, high = _ends(values, axis)
    return low + high


def _step(values: Array, axis: int) -> Array:
    low, high = _ends(values, axis)
    return high - low
