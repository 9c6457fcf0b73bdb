"""Spheres between a collector and a plate, periodic sideways, and what can be asked of them directly."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .checks import require


class Packing(eqx.Module):
    """Spheres in a box: collector at x = 0, plate or free surface at x = box[0], periodic along axes 1 and 2.

    Positions need not lie inside the lateral period: they are kept unwrapped, so that images stay the same while
    particles move. [`wrapped`][] folds them back.

    **Arguments:** `positions`, (N, 3), m; `radii`, (N,), m; `box`, (3,), m.
    """

    positions: Float[Array, "n 3"] = eqx.field(converter=jnp.asarray)
    radii: Float[Array, " n"] = eqx.field(converter=jnp.asarray)
    box: Float[Array, " 3"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if self.positions.ndim != 2 or self.positions.shape[1] != 3 or self.radii.shape != self.positions.shape[:1]:
            raise ValueError(
                f"Argument `positions` must have shape (N, 3) and `radii` (N,), but {self.positions.shape} and "
                f"{self.radii.shape} were given."
            )
        require("radii", self.radii, 1e-12, 1.0, unit="m")
        require("box", self.box, 1e-12, 10.0, unit="m")
        require("positions", self.positions, unit="m")


def solid_volume(packing: Packing) -> Float[Array, ""]:
    """The sum of the spheres' volumes, m3; overlaps are counted twice."""
    return 4 / 3 * jnp.pi * jnp.sum(packing.radii**3)


def solid_fraction(packing: Packing) -> Float[Array, ""]:
    """The sum of the spheres' volumes over the volume of the box."""
    return solid_volume(packing) / jnp.prod(packing.box)


def wrapped(packing: Packing) -> Packing:
    """The same packing with every centre inside the lateral period."""
    lateral = packing.positions[:, 1:]
    folded = lateral - packing.box[1:] * jnp.floor(lateral / packing.box[1:])
    positions = jnp.concatenate([packing.positions[:, :1], folded], axis=1)
    return Packing(positions, packing.radii, packing.box)


def minimum_image(displacement: Float[Array, "*b 3"], box: Float[Array, " 3"]) -> Float[Array, "*b 3"]:
    """The shortest of the periodic images of `displacement`, m; axis 0 is not periodic."""
    period = box * jnp.asarray([0.0, 1.0, 1.0])
    safe = jnp.where(period > 0, period, 1)
    return displacement - period * jnp.round(displacement / safe)


def over_pairs(packing: Packing, reduce):
    """`reduce(overlap, reduced)` of every particle against all others, in memory of order N.

    **Arguments:** `reduce`, from the overlaps (N,), m (minus infinity against itself), and the radii Ri Rj / (Ri + Rj)
    (N,), m, to a number.

    **Returns:** (N,) numbers.
    """
    count = packing.radii.shape[0]

    def row(index):
        relative = minimum_image(packing.positions - packing.positions[index], packing.box)
        squared = jnp.sum(relative**2, axis=1)
        itself = jnp.arange(count) == index
        distance = jnp.sqrt(jnp.where(itself, 1, squared))
        radius = packing.radii[index]
        overlap = jnp.where(itself, -jnp.inf, radius + packing.radii - distance)
        return reduce(overlap, radius * packing.radii / (radius + packing.radii))

    return jax.lax.map(row, jnp.arange(count), batch_size=min(count, 64))


def coordination_number(packing: Packing, tolerance=0.0) -> Float[Array, ""]:
    """The mean number of particles that each touches, plate and collector left out.

    **Arguments:** `tolerance`, the gap, m, that still counts as touching.
    """
    touching = over_pairs(packing, lambda overlap, _: jnp.sum(overlap > -tolerance))
    return jnp.mean(touching.astype(packing.radii.dtype))


def largest_overlap(packing: Packing) -> Float[Array, ""]:
    """The largest overlap of two particles or a particle and a plate, over its reduced or own radius; 0 without any."""
    pairs = jnp.max(over_pairs(packing, lambda overlap, reduced: jnp.max(overlap / reduced)))
    depth = packing.positions[:, 0]
    plates = jnp.max(jnp.maximum(packing.radii - depth, depth + packing.radii - packing.box[0]) / packing.radii)
    return jnp.maximum(jnp.maximum(pairs, plates), 0)
