"""Effective conductivity of a structure: from phases to the number."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from microstructure.voxel import Phases
from solver.numerics.solution import Result, Solution

from .conduct import Conduction, Network, conduct
from .network import Layout, phase_network


def effective_conductivity(
    phases: Phases, conductivities, axis: int, mask=None, method: Conduction | None = None, layout: Layout | None = None
) -> Solution:
    """The effective conductivity of a structure along one axis between plates at its two ends.

    **Arguments:** `conductivities`, shape (phases,) or (phases, 3), S/m (or relative diffusivities); `axis`, static;
    `mask`, the voxels that connect both ends, from [`microstructure.measure.percolating`][]; `method`,
    [`Conduction`][]; `layout`, [`Layout`][], of the sides.

    **Returns:** a `Solution` of (conductivity, field) with the stats of [`conduct`][].
    """
    method = method or Conduction()
    network, unit = _scaled_network(phases, jnp.asarray(conductivities), axis, mask, layout, method.dtype)
    solution = conduct(network, method)
    value, field = solution.value
    return Solution((value.astype(unit.dtype) * unit, field), solution.result, solution.stats)


@eqx.filter_jit
def _scaled_network(phases: Phases, conductivities: Array, axis: int, mask, layout, dtype):
    """The network with the largest conductivity as its unit, so that float32 keeps its digits; and that unit."""
    largest = lax.stop_gradient(jnp.max(conductivities))
    unit = jnp.where(largest > 0, largest, 1)
    return phase_network(phases, conductivities / unit, axis, mask, layout, dtype), unit


conduct_network = eqx.filter_jit(conduct)


@eqx.filter_jit
def conduct_all_axes(networks: Network, method: Conduction | None = None) -> Solution:
    """[`conduct`][] along the three axes in one batched solve, of [`solver.transport.network.along_all_axes`][]."""
    faces = networks.faces

    def one(ends, direction, scale):
        network = Network(eqx.tree_at(lambda f: f.ends, faces, ends), direction, scale)
        return conduct(network, method)

    return jax.vmap(one)(faces.ends, networks.direction, networks.scale)


@eqx.filter_jit
def conduct_batch(networks: Network, method: Conduction | None = None) -> Solution:
    """[`conduct`][] for many small networks of one shape in one batched solve, which fills an accelerator.

    Each has its own result code: one without a path, or with values that are not finite, leaves the others alone. The
    batch takes as many steps as its slowest member.

    **Arguments:** `networks`, one [`Network`][] whose arrays have a leading axis, from [`stacked`][].
    """
    return jax.vmap(lambda network: conduct(network, method))(networks)


def stacked(networks: Sequence[Network]) -> Network:
    """Networks of one shape and with the same ends as one batch for [`conduct_batch`][]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)


def tortuosity_factor(volume_fraction, relative_conductivity):
    """Volume fraction over relative effective conductivity; infinite where nothing conducts.

    **Source:** Cooper et al. 2016, doi 10.1016/j.softx.2016.09.002.
    """
    conducts = relative_conductivity > 0
    return jnp.where(conducts, volume_fraction / jnp.where(conducts, relative_conductivity, 1), jnp.inf)


def succeeded(solution: Solution) -> bool:
    """Whether an effective property is a number to use; outside `jit`."""
    return bool(jax.device_get(solution.result == Result.successful))
