"""Effective conductivity of a structure: from phases or labels to a network, from the network to the number."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from microstructure.grid import Grid
from microstructure.voxel import Phases
from solver.numerics.flux import Faces, pad
from solver.numerics.solution import Result, Solution

from .conduct import Conduction, Network, conduct


def _interior(array: Array, axis: int) -> Array:
    return lax.slice_in_dim(array, 1, array.shape[axis] - 1, axis=axis)


def _harmonic(k: Array, axis: int) -> Array:
    """The harmonic mean of the conductivities of neighbours; zero where either is."""
    n = k.shape[axis]
    low, high = lax.slice_in_dim(k, 0, n - 1, axis=axis), lax.slice_in_dim(k, 1, n, axis=axis)
    total = low + high
    return jnp.where(total > 0, 2 * low * high / jnp.where(total > 0, total, 1), 0)


def _network(k: Array, openings: tuple[Array, Array, Array] | None, grid: Grid, axis: int) -> Network:
    """The network along `axis` of conductivities `k` and open fractions of all faces (`None`: all open), turned so that
    the flux is along axis 0; in units of (face area / spacing) along that axis, so that it is near one in float32."""
    order = (axis, *[a for a in range(3) if a != axis])
    spacing = grid.spacing[jnp.asarray(order)]
    k = jnp.moveaxis(k, axis, 0)
    # (area / distance) of faces along each turned axis over that along the flux.
    ratio = ((spacing[0] / spacing) ** 2).astype(k.dtype)
    faces = [ratio[a] * _harmonic(k, a) for a in range(3)]
    low, high = 2 * k[0], 2 * k[-1]
    if openings is not None:
        openings = [jnp.moveaxis(openings[a], axis, 0) for a in order]
        faces = [_interior(openings[a], a) * faces[a] for a in range(3)]
        low, high = openings[0][0] * low, openings[0][-1] * high
    n = k.shape[0]
    plate = pad(low[None], 0, 0, n - 1) + pad(high[None], 0, n - 1, 0)  # one slice may have both plates
    return Network(Faces(*faces, plate), low, high, float(k.shape[0]), float(k.shape[1] * k.shape[2]))


def phase_network(phases: Phases, conductivities: Float[Array, " phases"], axis: int, mask=None) -> Network:
    """The network of the conducting phases of a structure, float32.

    A voxel conducts as the mean of its conducting phases; a face as its aperture, summed over the conducting phases,
    times the harmonic mean of its two voxels. For one phase that is aperture times conductivity.

    **Arguments:** `conductivities`, shape (phases,), S/m, zero for phases that take no part; `axis`, of the flux;
    `mask`, boolean (nx, ny, nz), the voxels that connect both ends, held fixed.
    """
    conducts = lax.stop_gradient(conductivities > 0).astype(phases.fractions.dtype)
    share = jnp.einsum("p,pxyz->xyz", conducts, phases.fractions)
    amount = jnp.einsum("p,pxyz->xyz", conductivities.astype(share.dtype), phases.fractions)
    filled = share > 0
    k = jnp.where(filled, amount / jnp.where(filled, share, 1), 0)
    if mask is not None:
        k = jnp.where(jnp.asarray(mask), k, 0)
    openings = tuple(jnp.einsum("p,pxyz->xyz", conducts, a).astype(jnp.float32) for a in phases.apertures)
    return _network(k.astype(jnp.float32), openings, phases.grid, axis)


def label_network(
    labels, conductivities: dict[int, float], grid: Grid, axis: int, mask=None, dtype=np.float32
) -> Network:
    """The network of a label image: the special case of whole voxels, without the memory of `Phases`.

    **Arguments:** `labels`, (nx, ny, nz); `conductivities`, S/m by label, zero for labels not named.
    """
    table = np.zeros(int(np.max(labels)) + 1, dtype)
    for label, value in conductivities.items():
        if label < len(table):
            table[label] = value
    k = table[np.asarray(labels)]
    if mask is not None:
        k = np.where(mask, k, 0)
    return _build(jnp.asarray(k), None, grid, axis)


_build = eqx.filter_jit(_network)


def effective_conductivity(
    phases: Phases, conductivities, axis: int, mask=None, method: Conduction | None = None
) -> Solution:
    """The effective conductivity of a structure along one axis, plates at its two ends and no flux through its sides.

    **Arguments:** `conductivities`, shape (phases,), S/m (or relative diffusivities); `axis`, static; `mask`, the
    voxels that connect both ends, from [`microstructure.measure.percolating`][]; `method`, [`Conduction`][].

    **Returns:** a `Solution` of (conductivity, field with the flux along axis 0) with the stats of [`conduct`][].
    """
    network, unit = _scaled_network(phases, jnp.asarray(conductivities), axis, mask)
    solution = conduct(network, method)
    value, field = solution.value
    return Solution((value.astype(unit.dtype) * unit, field), solution.result, solution.stats)


@eqx.filter_jit
def _scaled_network(phases: Phases, conductivities: Array, axis: int, mask):
    """The network with the largest conductivity as its unit, so that float32 keeps its digits; and that unit."""
    largest = lax.stop_gradient(jnp.max(conductivities))
    unit = jnp.where(largest > 0, largest, 1)
    return phase_network(phases, conductivities / unit, axis, mask), unit


conduct_network = eqx.filter_jit(conduct)


def tortuosity_factor(volume_fraction, relative_conductivity):
    """Volume fraction over relative effective conductivity; infinite where nothing conducts.

    **Source:** Cooper et al. 2016, doi 10.1016/j.softx.2016.09.002.
    """
    conducts = relative_conductivity > 0
    return jnp.where(conducts, volume_fraction / jnp.where(conducts, relative_conductivity, 1), jnp.inf)


def succeeded(solution: Solution) -> bool:
    """Whether an effective property is a number to use; outside `jit`."""
    return bool(jax.device_get(solution.result == Result.successful))
