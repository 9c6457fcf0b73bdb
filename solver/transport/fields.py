"""What the potential between two plates tells about a structure: where the current flows and what resists it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from solver.numerics.flux import Faces, Plates, Wrap, difference, pad, slice_of

from .conduct import Network


class Fields(eqx.Module):
    """Local figures of a solved network.

    **Arguments:** `flux`, (nx, ny, nz), magnitude of the flux over the mean flux through the block; `power`, (nx, ny,
    nz), dissipated power of each voxel over its mean; `resistance`, (n,), the resistance of each slice along the flux
    over its mean.
    """

    flux: Float[Array, "nx ny nz"]
    power: Float[Array, "nx ny nz"]
    resistance: Float[Array, " n"]


@eqx.filter_jit
def local_fields(network: Network, field: Float[Array, "nx ny nz"], axis: int) -> Fields:
    """Flux and dissipation in every voxel, half of each face to the voxels at its sides.

    The mean of `resistance` times tau is the tortuosity factor's own profile tau(x): where it is high the current is
    constricted.

    **Arguments:** `network`, along `axis`; `field`, its solved potential.
    """
    squared, power, through = jnp.zeros((), field.dtype), jnp.zeros((), field.dtype), None
    for a in range(3):
        low, high = _currents(network.faces, field, a)
        squared = squared + ((low[0] + high[0]) / 2) ** 2
        power = power + low[1] + high[1]
        if a == axis:
            through = (low[0] + high[0]) / 2
    mean = jnp.mean(through)
    across = tuple(a for a in range(3) if a != axis)
    slices = jnp.mean(power, axis=across)
    return Fields(jnp.sqrt(squared) / jnp.abs(mean), power / jnp.mean(power), slices / jnp.mean(slices))


def _currents(faces: Faces, field: Array, axis: int):
    """(Current, share of power) through the lower and the upper face of each voxel, downwards positive."""
    n, conductance = field.shape[axis], faces.interior[axis].astype(field.dtype)
    step = difference(field, axis)
    current, power = conductance * step, conductance * step**2 / 2
    low = [pad(current, axis, 1, 0), pad(power, axis, 1, 0)]
    high = [pad(current, axis, 0, 1), pad(power, axis, 0, 1)]
    end, first, last = faces.ends[axis], slice_of(field, axis, 0), slice_of(field, axis, n - 1)
    if isinstance(end, Plates):
        links = ((end.low.astype(field.dtype), first), (end.high.astype(field.dtype), 1 - last))
        shares = 1.0  # the plate itself dissipates nothing
    elif isinstance(end, Wrap):
        links, shares = ((end.link.astype(field.dtype), first - last),) * 2, 0.5
    else:
        return low, high
    for k, (side, (link, jump)) in enumerate(zip((low, high), links, strict=True)):
        where = (0, n - 1) if k == 0 else (n - 1, 0)
        side[0] = side[0] + pad(link * jump, axis, *where)
        side[1] = side[1] + pad(shares * link * jump**2, axis, *where)
    return low, high
