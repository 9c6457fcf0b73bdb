"""Cut cells: from a level set at the voxel corners to apertures, volume fractions and interface areas.

A shape is where the level set is negative. Plane surfaces are cut where they lie (shares within 0.001), and everything
is differentiable in the level set.

Where two surfaces meet within a voxel the level set is flat, and a face would open or shut at once. `blur`, the least
step of the level set across a voxel along each axis (its units are the level set's), spreads that event and leaves the
mean place of a plane surface unchanged.

Level sets may be given on a grid finer than the voxels by an integer factor. Cuts are then made in the sub-voxels,
whose planes are `curved`, and brought back to voxels by [`coarse_shares`][] and [`coarse_areas`][].
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_RIDGE = 0.3  # bend of a level set across a cell over its slope beyond which it is a ridge between two surfaces
_TILT = 0.01  # least slope along an axis over the total slope: keeps the closed forms away from 0/0


def half_space(level: Array, slopes: tuple[Array, ...], blur: tuple[Array, ...]) -> Array:
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


def aperture(corners: Float[Array, "nx+1 ny+1 nz+1"], axis: int, blur: Array, curved: bool = False) -> Array:
    """The area fraction of each voxel face normal to `axis` that lies inside the shape, from the plane through its
    corners.

    **Arguments:** `corners`, the level set at the voxel corners; `axis`, 0, 1 or 2; `blur`, shape (3,), see above;
    `curved`, whether the plane is let in to the mean of the curved level set, static.

    **Returns:** fractions in [0, 1], one face more than voxels along `axis`: those on the boundary are included.
    """
    first, second = [a for a in range(3) if a != axis]
    level = _pair(_pair(corners, first), second) / 4
    slopes = (_step(_pair(corners, second), first) / 2, _step(_pair(corners, first), second) / 2)
    if curved:
        bends = (_pair(_bend(corners, first), second) / 2, _pair(_bend(corners, second), first) / 2)
        level = level - _sag(bends, slopes)
    return half_space(level, slopes, (blur[first], blur[second]))


def apertures(corners: Array, blur: Array | None = None, curved: bool = False) -> tuple[Array, Array, Array]:
    """[`aperture`][] along the three axes."""
    blur = jnp.zeros(3, corners.dtype) if blur is None else blur
    return tuple(aperture(corners, axis, blur, curved) for axis in range(3))


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


def volume_fraction(corners: Array, blur: Array | None = None, curved: bool = False) -> Array:
    """The share of each voxel inside the shape, from the plane through its corners.

    **Arguments:** `corners`, the level set at the voxel corners, shape (nx+1, ny+1, nz+1); `blur`, `curved`, as in
    [`aperture`][].
    """
    level, slopes = plane(corners)
    if curved:
        others = ((1, 2), (0, 2), (0, 1))
        bends = tuple(_pair(_pair(_bend(corners, axis), b), c) / 4 for axis, (b, c) in enumerate(others))
        level = level - _sag(bends, slopes)
    blur = jnp.zeros(3, corners.dtype) if blur is None else blur
    return half_space(level, slopes, tuple(blur))


def plane(corners: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """The plane through the corners of each voxel: level in its middle, and steps across it along the three axes."""
    x = _pair(corners, 0)
    xy, yz, xz = _pair(x, 1), _pair(_pair(corners, 1), 2), _pair(x, 2)
    return _pair(xy, 2) / 8, (_step(yz, 0) / 4, _step(xz, 1) / 4, _step(xy, 2) / 4)


def refinement(corners: Array, shape: tuple[int, int, int]) -> int:
    """By which factor the grid whose corners carry a level set is finer than one of `shape`."""
    factor = (corners.shape[0] - 1) // shape[0]
    if factor < 1 or corners.shape != tuple(factor * n + 1 for n in shape):
        raise ValueError(
            f"Argument `corners` must hold values at the corners of {shape} voxels or of a whole number of sub-voxels "
            f"in each, but its shape is {corners.shape}."
        )
    return factor


def coarse_shares(shares: Array, refine: int, normal: int | None = None) -> Array:
    """Shares of voxels from those of their sub-voxels, or shares of voxel faces from those of their sub-faces.

    **Arguments:** `refine`, sub-voxels in a voxel along each axis, static; `normal`, of the faces, None for voxels.
    """
    if normal is not None:
        shares = lax.slice_in_dim(shares, 0, None, refine, normal)
    return _block_sum(shares, refine, normal) / refine ** (3 if normal is None else 2)


def coarse_areas(areas: Array, refine: int) -> Array:
    """The area of interface in each voxel from that in its sub-voxels, m2."""
    return _block_sum(areas, refine)


def _block_sum(values: Array, refine: int, without: int | None = None) -> Array:
    if refine == 1:
        return values
    for axis in range(3):
        if axis != without:
            shape = values.shape
            split = (*shape[:axis], shape[axis] // refine, refine, *shape[axis + 1 :])
            values = jnp.sum(jnp.reshape(values, split), axis + 1)
    return values


def _bend(values: Array, axis: int) -> Array:
    """The second difference along `axis`, the mean of the two ends of each cell; at the boundary that of the next."""
    inner = _step(_step(values, axis), axis)
    n = inner.shape[axis]
    first, last = lax.slice_in_dim(inner, 0, 1, axis=axis), lax.slice_in_dim(inner, n - 1, n, axis=axis)
    return _pair(jnp.concatenate([first, inner, last], axis), axis) / 2


def _sag(bends: tuple[Array, ...], slopes: tuple[Array, ...]) -> Array:
    """How far the mean of the corners of a cell lies above the mean of the level set over it.

    b / 8 above its middle less b / 24, summed over the axes, b the second difference. On a ridge between two surfaces
    b is no curvature, and is held back.
    """
    total = sum(slope**2 for slope in slopes)
    scale = _RIDGE**2 * jnp.where(total > 0, total, 1)
    return sum(jnp.where(total > 0, bend / (1 + bend**2 / scale), 0) for bend in bends) / 12


def _pair(values: Array, axis: int) -> Array:
    low, high = _ends(values, axis)
    return low + high


def _step(values: Array, axis: int) -> Array:
    low, high = _ends(values, axis)
    return high - low
