"""Places particles at random. Making them a dense or stable packing needs mechanics and is `solver.process.settle`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .checks import is_concrete
from .packing import Packing


def scatter(key, radii: Float[Array, " n"], box: Float[Array, " 3"]) -> Packing:
    """Uniformly random centres between collector and surface; spheres may overlap each other but not the two planes.

    **Arguments:** `key`, of `jax.random`; `radii`, (N,), m; `box`, (3,), m.
    """
    radii, box = jnp.asarray(radii), jnp.asarray(box)
    if is_concrete(radii, box) and float(box[0]) < 2 * float(radii.max()):
        raise ValueError(
            f"Argument `box` must be thicker than the largest particle, {2e6 * float(radii.max()):.3g} um, but "
            f"{1e6 * float(box[0]):.3g} um was given. Use smaller particles or a higher areal loading."
        )
    u = jax.random.uniform(key, (radii.shape[0], 3))
    depth = radii + u[:, 0] * (box[0] - 2 * radii)
    return Packing(jnp.stack([depth, u[:, 1] * box[1], u[:, 2] * box[2]], axis=1), radii, box)
