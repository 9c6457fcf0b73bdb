"""From conductivities of voxels to the network between two plates: fields, structures and label images."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from microstructure.grid import Grid
from microstructure.voxel import Phases
from solver.numerics.flux import Faces, Plates, Wrap, slice_of

from .conduct import Network


class Resistances(eqx.Module):
    """What a current meets on surfaces, beside the voxels themselves.

    **Arguments:** `faces`, for each axis the resistances of the interior faces, ohm m2 for conductivities in S/m, of
    the shape of [`Faces`][], or `None`; `low`, `high`, of the contacts to the two plates, ohm m2; `joints`, for each
    axis the resistances between its last and first slice where they are joined, with 1 along the axis, or `None`.
    """

    faces: tuple[Array, Array, Array] | None = None
    low: Array = eqx.field(converter=jnp.asarray, default=0.0)
    high: Array = eqx.field(converter=jnp.asarray, default=0.0)
    joints: tuple[Array, Array, Array] | None = None


class Layout(eqx.Module):
    """Where the plates are and what happens at the sides.

    **Arguments:** `periodic`, for each axis across the flux whether its two sides are joined, else nothing flows
    through them; `at_nodes`, whether the plates hold the centres of the first and last voxels, as in PoreSpy and
    OpenImpala, instead of their outer faces.
    """

    periodic: tuple[bool, bool, bool] = eqx.field(static=True, default=(False, False, False))
    at_nodes: bool = eqx.field(static=True, default=False)


def _harmonic(low: Array, high: Array) -> Array:
    """The harmonic mean of the conductivities of neighbours; zero where either is."""
    if low.dtype == jnp.bool_:
        return low & high
    total = low + high
    return jnp.where(total > 0, 2 * low * high / jnp.where(total > 0, total, 1), 0)


def _across(array: Array, axis: int) -> tuple[Array, Array]:
    n = array.shape[axis]
    return lax.slice_in_dim(array, 0, n - 1, axis=axis), lax.slice_in_dim(array, 1, n, axis=axis)


def _in_series(conductance: Array, resistance) -> Array:
    return conductance / (1 + conductance * jnp.asarray(resistance, conductance.dtype))


def _weights(grid: Grid) -> Float[Array, "3"]:
    """Area over distance of the faces of each axis, over the largest: one each for cubes."""
    inverse = 1 / grid.spacing**2
    return inverse / jnp.max(inverse)


class Conductor(eqx.Module):
    """Conductances of faces without plates, in units of the largest area over distance.

    **Arguments:** `interior`, for each axis; `ends`, for each axis the links of first and last slice to a plate half a
    voxel outside; `joint`, for each axis the links between last and first slice.
    """

    interior: tuple[Array, Array, Array]
    ends: tuple[Plates, Plates, Plates]
    joint: tuple[Wrap, Wrap, Wrap]


def conductor(k, grid: Grid, openings=None, resistances: Resistances | None = None) -> Conductor:
    """The conductances of voxels with conductivities `k`.

    **Arguments:** `k`, (nx, ny, nz), or (3, nx, ny, nz) for a diagonal tensor in each voxel; booleans stay so for
    cubes; `openings`, open fractions of all faces, the outer ones too, by axis (`None`: all open).
    """
    weights, along = _weights(grid), [k] * 3 if k.ndim == 3 else list(k)
    binary = k.dtype == jnp.bool_
    interior, ends, joint = [], [], []
    for axis in range(3):
        here, n = along[axis], along[axis].shape[axis]
        dtype = jnp.float32 if binary else here.dtype
        weight = weights[axis].astype(dtype)
        first, last = slice_of(here, axis, 0), slice_of(here, axis, n - 1)
        faces, wrap = _harmonic(*_across(here, axis)), _harmonic(last, first).astype(dtype)
        plates = Plates(2 * weight * first.astype(dtype), 2 * weight * last.astype(dtype))
        if resistances is not None:
            distance = grid.spacing[axis].astype(dtype)
            low, high = resistances.low.astype(dtype) / distance, resistances.high.astype(dtype) / distance
            plates = Plates(_in_series(plates.low, low / weight), _in_series(plates.high, high / weight))
            if resistances.faces is not None:
                faces = _in_series(faces, resistances.faces[axis].astype(dtype) / distance)
            if resistances.joints is not None:
                wrap = _in_series(wrap, resistances.joints[axis].astype(dtype) / distance)
        if openings is not None:
            outer = slice_of(openings[axis], axis, 0), slice_of(openings[axis], axis, n)
            faces = faces * lax.slice_in_dim(openings[axis], 1, n, axis=axis)
            plates, wrap = Plates(plates.low * outer[0], plates.high * outer[1]), wrap * outer[0]
        interior.append(faces if binary else weight * faces)
        ends.append(plates)
        joint.append(Wrap(weight * wrap))
    return Conductor(tuple(interior), tuple(ends), tuple(joint))


def between_plates(made: Conductor, grid: Grid, axis: int, layout: Layout | None = None) -> Network:
    """The network of a conductor along `axis`."""
    layout = layout or Layout()
    shape, weight = grid.shape, _weights(grid)[axis]
    ends = [made.joint[a] if layout.periodic[a] else None for a in range(3)]
    ends[axis], interior, length = made.ends[axis], made.interior, shape[axis]
    if layout.at_nodes:
        if shape[axis] < 3:
            raise ValueError(f"Plates at voxel centres need 3 slices along the flux, but there are {shape[axis]}.")
        interior, ends, length = *_inner(made, ends, axis), shape[axis] - 1
    direction = jnp.zeros(3, jnp.float32).at[axis].set(1)
    area = float(np.prod(shape) // shape[axis])
    return Network(Faces(*interior, tuple(ends)), direction, length / (area * weight))


def _inner(made: Conductor, ends, axis: int):
    """Interior faces and ends where first and last slice are the plates: what remains lies between them."""
    n, trimmed = made.interior[axis].shape[axis], []
    for a in range(3):
        low, high = (0, n - 1) if a == axis else (1, n)
        trimmed.append(lax.slice_in_dim(made.interior[a], low + (a == axis), high, axis=axis))
        if a != axis and ends[a] is not None:
            ends[a] = Wrap(lax.slice_in_dim(ends[a].link, 1, n, axis=axis))
    dtype = jnp.result_type(made.ends[axis].low)
    outer = (slice_of(made.interior[axis], axis, i).astype(dtype) for i in (0, n - 1))
    ends[axis] = Plates(*outer)
    return trimmed, ends


def along_all_axes(made: Conductor, grid: Grid) -> Network:
    """The networks along the three axes as one batch that shares the faces between voxels: `ends`, `direction` and
    `scale` have a leading axis of 3, and the plates of the axes across the flux are shut."""
    directions, shape = jnp.eye(3, dtype=jnp.float32), jnp.asarray(grid.shape, float)
    area = jnp.prod(shape) / shape
    ends = []
    for axis, plates in enumerate(made.ends):
        driven = directions[:, axis, None, None, None]
        ends.append(Plates(*(driven.astype(p.dtype) * p for p in (plates.low, plates.high))))
    return Network(Faces(*made.interior, tuple(ends)), directions, shape / (area * _weights(grid)))


def field_network(k, grid: Grid, axis: int, *, openings=None, resistances=None, layout=None) -> Network:
    """The network along `axis` of conductivities `k` of voxels; see [`conductor`][] and [`between_plates`][]."""
    return between_plates(conductor(k, grid, openings, resistances), grid, axis, layout)


def phase_conductor(phases: Phases, conductivities, mask=None, dtype=jnp.float32) -> Conductor:
    """The conductor of the conducting phases of a structure.

    A voxel conducts as the mean of its conducting phases; a face as its aperture, summed over the conducting phases,
    times the harmonic mean of its two voxels. For one phase that is aperture times conductivity.

    **Arguments:** `conductivities`, shape (phases,), or (phases, 3) along the axes, S/m, zero for phases that take no
    part; `mask`, boolean (nx, ny, nz), the voxels that take part, held fixed.
    """
    conducts = lax.stop_gradient(conductivities > 0).astype(phases.fractions.dtype)
    conducts = conducts if conducts.ndim == 1 else jnp.max(conducts, axis=1)
    share = jnp.einsum("p,pxyz->xyz", conducts, phases.fractions)
    amount = jnp.einsum("p...,pxyz->...xyz", conductivities.astype(share.dtype), phases.fractions)
    filled = share > 0
    if mask is not None:
        filled = filled & jnp.asarray(mask)
    k = jnp.where(filled, amount / jnp.where(filled, share, 1), 0)
    openings = tuple(jnp.einsum("p,pxyz->xyz", conducts, a).astype(dtype) for a in phases.apertures)
    return conductor(k.astype(dtype), phases.grid, openings)


def phase_network(phases: Phases, conductivities, axis: int, mask=None, layout=None, dtype=jnp.float32) -> Network:
    """The network along `axis` of the conducting phases of a structure; see [`phase_conductor`][]."""
    return between_plates(phase_conductor(phases, conductivities, mask, dtype), phases.grid, axis, layout)


def label_field(labels, conductivities: Mapping[int, float], mask=None, dtype=np.float32) -> np.ndarray:
    """Conductivities of the voxels of a label image, zero for labels not named.

    **Arguments:** `conductivities`, by label, a number or three along the axes; `dtype`, bool for one conductivity.
    """
    values = {label: np.asarray(value, float) for label, value in conductivities.items()}
    tensor = any(v.ndim for v in values.values())
    table = np.zeros((3 if tensor else 1, int(np.max(labels)) + 1), dtype)
    for label, value in values.items():
        if 0 <= label < table.shape[1]:
            table[:, label] = value
    k = np.stack([row[np.asarray(labels)] for row in table])
    if mask is not None:
        k = np.where(mask, k, np.zeros((), dtype))
    return k if tensor else k[0]


def label_network(labels, conductivities: Mapping[int, float], grid: Grid, axis: int, mask=None, dtype=np.float32):
    """The network of a label image: the special case of whole voxels, without the memory of `Phases`.

    **Arguments:** `labels`, (nx, ny, nz); `conductivities`, S/m by label, zero for labels not named; `dtype`, float32,
    float64, or bool for a single conductivity of one.
    """
    return _network_of(jnp.asarray(label_field(labels, conductivities, mask, dtype)), grid, axis)


@eqx.filter_jit
def _network_of(k, grid: Grid, axis: int) -> Network:
    return field_network(k, grid, axis)
