"""What fills the voxels: fractions, apertures and interface areas of every phase."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from . import surface
from .checks import require
from .grid import Grid


class Phases(eqx.Module):
    """Phases on a grid as an embedded boundary: a label image is the special case of fractions 0 and 1.

    **Arguments:** `grid`, [`Grid`][]; `fractions`, shape (phases, nx, ny, nz), share of each voxel; `apertures`, three
    arrays of shapes (phases, nx+1, ny, nz), (phases, nx, ny+1, nz), (phases, nx, ny, nz+1), share of each voxel face;
    `areas`, shape (phases, nx, ny, nz), area of the boundary of a phase in each voxel, m2; `names`, static. Fractions
    and apertures sum to one over the phases.
    """

    grid: Grid
    fractions: Float[Array, "phases nx ny nz"]
    apertures: tuple[Array, Array, Array]
    areas: Float[Array, "phases nx ny nz"]
    names: tuple[str, ...] = eqx.field(static=True)

    def index(self, name: str) -> int:
        """The position of a phase by name."""
        if name not in self.names:
            raise ValueError(f"Argument `name` must be one of {', '.join(self.names)}, but {name!r} was given.")
        return self.names.index(name)


def nested(corners: tuple[Array, ...], grid: Grid, names: tuple[str, ...], blur: float = 0.0) -> Phases:
    """Phases from nested shapes, each level set at most its predecessor's, and a last phase around them all.

    **Arguments:** `corners`, level sets at the corners of the voxels, or of a whole number of sub-voxels in each (see
    [`Grid.refined`][]), m, innermost shape first; `names`, of the shapes from the inside out, then of what surrounds
    them; `blur`, of surfaces that meet, in (sub-)voxels.
    """
    refine = surface.refinement(corners[0], grid.shape)
    fine, curved = grid.refined(refine), refine > 1
    dtype = corners[0].dtype
    least, inner_faces = blur * fine.spacing.astype(dtype), (jnp.zeros((), dtype),) * 3
    inner = jnp.zeros(fine.shape, dtype)
    fractions, apertures, shells = [], [], [jnp.zeros(grid.shape, dtype)]
    for level in corners:
        faces = tuple(map(jnp.maximum, surface.apertures(level, least, curved), inner_faces))
        shells.append(surface.coarse_areas(surface.interface_area(faces, fine.face_areas), refine))
        filled = jnp.maximum(surface.volume_fraction(level, least, curved), inner)
        fractions.append(surface.coarse_shares(filled - inner, refine))
        apertures.append([surface.coarse_shares(faces[a] - inner_faces[a], refine, a) for a in range(3)])
        inner, inner_faces = filled, faces
    fractions.append(surface.coarse_shares(1 - inner, refine))
    apertures.append([surface.coarse_shares(1 - inner_faces[a], refine, a) for a in range(3)])
    shells.append(jnp.zeros(grid.shape, dtype))
    areas = [a + b for a, b in zip(shells[:-1], shells[1:], strict=True)]
    stacked = tuple(jnp.stack([a[axis] for a in apertures]) for axis in range(3))
    return Phases(grid, jnp.stack(fractions), stacked, jnp.stack(areas), names)


def turned(phases: Phases, axes: tuple[int, int, int]) -> Phases:
    """`phases` with their axes in another order: (2, 0, 1) makes the third one the thickness, as for a stack of images
    taken through the electrode."""
    if sorted(axes) != [0, 1, 2]:
        raise ValueError(f"Argument `axes` must hold 0, 1 and 2 in some order, but {tuple(axes)} was given.")

    def moved(x):
        return jnp.transpose(x, (0, *(1 + axis for axis in axes)))

    grid = Grid(tuple(phases.grid.shape[axis] for axis in axes), phases.grid.spacing[np.asarray(axes)])
    apertures = tuple(moved(phases.apertures[axis]) for axis in axes)
    return Phases(grid, moved(phases.fractions), apertures, moved(phases.areas), phases.names)


def from_labels(labels: np.ndarray, grid: Grid, names: dict[int, str], *, dtype=jnp.float32) -> Phases:
    """Phases of a label image.

    A face between two phases belongs half to each, so that apertures sum to one; the harmonic mean of the
    conductivities on its two sides then decides what crosses it. Areas come from the indicator smoothed over one voxel,
    because counted faces overstate them by half.

    **Arguments:** `labels`, integers of shape (nx, ny, nz); `grid`; `names`, phase name by label.
    """
    labels = np.asarray(labels)
    unknown = sorted(set(np.unique(labels).tolist()) - set(names))
    if unknown:
        raise ValueError(f"Argument `labels` holds the values {unknown}, for which `names` gives no phase.")
    masks = jnp.asarray(np.stack([labels == label for label in names]), dtype)
    return _whole_voxels(masks, grid, tuple(names.values()))


def from_grey(shares: np.ndarray, grid: Grid, names: tuple[str, ...], *, dtype=jnp.float32) -> Phases:
    """Phases of an image of partial volumes, such as a tomogram whose grey levels are shares of one phase.

    Fractions are as given. Apertures and areas are cut from a level set at the voxel corners that reproduces the
    fractions of the mixed voxels; with it a flat interface inside a voxel lies where the fractions put it. A layer
    that is thinner than a voxel and has pure voxels on both sides is open where it fills more than about half of one.
    Not meant to be differentiated.

    **Arguments:** `shares`, in [0, 1], shape (nx, ny, nz) of one phase, or (phases, nx, ny, nz) of nested phases from
    the inside out, which sum to one; `grid`; `names`, of the phases, the last one what surrounds the others.
    """
    shares = np.asarray(shares)
    require("shares", shares, 0.0, 1.0, hint="Give the share of each voxel that a phase fills.")
    shares = np.stack([shares, 1 - shares]) if shares.ndim == 3 else shares
    if shares.shape != (len(names), *grid.shape):
        raise ValueError(
            f"Argument `shares` must be an image of {grid.shape} voxels of one phase or of each of {', '.join(names)}, "
            f"but its shape is {shares.shape}."
        )
    total = shares.sum(0)
    worst = total.flat[np.argmax(np.abs(total - 1))]
    if abs(worst - 1) > 1e-4:
        raise ValueError(f"Argument `shares` must sum to one over the phases, but somewhere they sum to {worst:g}.")
    return _mixed_voxels(jnp.asarray(shares / total, dtype), grid, tuple(names))


@eqx.filter_jit
def _mixed_voxels(shares: Array, grid: Grid, names: tuple[str, ...]) -> Phases:
    filled = jnp.cumsum(shares[:-1], 0)
    cut = nested(tuple(_level_of(f) for f in filled), grid, names)
    return Phases(grid, shares, cut.apertures, cut.areas, names)


_THIN = 0.1  # least step of a level set across a mixed voxel: moves it where a thin layer leaves none


def _level_of(filled: Array, steps: int = 8) -> Array:
    """A level set at the voxel corners whose cuts fill the mixed voxels as given.

    It starts as the grey level at the corners. Each voxel then says how far its plane has to move, and each corner
    follows its voxels, the most mixed ones most. More steps than these fit noise.
    """
    weight = filled * (1 - filled)
    around = _to_corners(weight) + 0.01  # keeps corners in place that no mixed voxel moves

    def fit(_, level):
        _, slopes = surface.plane(level)
        excess = surface.volume_fraction(level) - filled
        return level + _to_corners(weight * excess * jnp.maximum(sum(map(jnp.abs, slopes)), _THIN)) / around

    return lax.fori_loop(0, steps, fit, 0.5 - _to_corners(filled))


@eqx.filter_jit
def _whole_voxels(masks: Array, grid: Grid, names: tuple[str, ...]) -> Phases:
    apertures = tuple(jnp.stack([_label_aperture(mask, axis) for mask in masks]) for axis in range(3))
    return Phases(grid, masks, apertures, lax.map(lambda mask: smoothed_area(mask, grid), masks), names)


def _label_aperture(mask: Array, axis: int) -> Array:
    n = mask.shape[axis]
    first, last = lax.slice_in_dim(mask, 0, 1, axis=axis), lax.slice_in_dim(mask, n - 1, n, axis=axis)
    low, high = lax.slice_in_dim(mask, 0, n - 1, axis=axis), lax.slice_in_dim(mask, 1, n, axis=axis)
    return jnp.concatenate([first, (low + high) / 2, last], axis=axis)


def _mirrored(values: Array, axis: int) -> Array:
    """`values` with their first and last slice repeated along `axis`."""
    n = values.shape[axis]
    first, last = lax.slice_in_dim(values, 0, 1, axis=axis), lax.slice_in_dim(values, n - 1, n, axis=axis)
    return jnp.concatenate([first, values, last], axis=axis)


def _to_corners(values: Array) -> Array:
    """The mean of the eight voxels around each corner, mirrored at the boundary."""
    for axis in range(3):
        wide = _mirrored(values, axis)
        n = wide.shape[axis]
        values = (lax.slice_in_dim(wide, 0, n - 1, axis=axis) + lax.slice_in_dim(wide, 1, n, axis=axis)) / 2
    return values


def _smooth_to_corners(mask: Array) -> Array:
    """A box filter over one voxel to the corners, and one more of the same kind that stays on the corners."""
    mask = _to_corners(mask)
    for axis in range(3):
        wide, n = _mirrored(mask, axis), mask.shape[axis]
        sides = lax.slice_in_dim(wide, 0, n, axis=axis) + lax.slice_in_dim(wide, 2, n + 2, axis=axis)
        mask = (sides + 2 * mask) / 4
    return mask


@eqx.filter_jit
def smoothed_area(mask: Float[Array, "nx ny nz"], grid: Grid, *, steps: int = 24) -> Array:
    """The area of the boundary of a labelled phase in each voxel, m2, without the faces that the block itself cuts.

    The indicator is smoothed over one voxel and cut at the level that keeps the volume, found by bisection in `steps`.
    """
    smooth = _smooth_to_corners(mask)
    wanted = jnp.sum(mask)

    def volume(level):
        corners = level - smooth
        return jnp.sum(surface.volume_fraction(corners))

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        too_large = volume(middle) > wanted
        return jnp.where(too_large, middle, low), jnp.where(too_large, high, middle)

    ends = (jnp.asarray(0.05, mask.dtype), jnp.asarray(0.95, mask.dtype))
    low, high = lax.fori_loop(0, steps, halve, ends)
    faces = surface.apertures((low + high) / 2 - smooth)
    return surface.interface_area(faces, grid.face_areas)
