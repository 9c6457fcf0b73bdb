"""Particles of several materials: a packing, and what each of its spheres is made of."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .checks import require
from .packing import Packing


class Particles(eqx.Module):
    """A packing and what its particles are made of.

    **Arguments:** `packing`; `material`, (N,) number of the material of each, from 0, all of one by default;
    `densities`, (m,) of the materials, kg/m3, where they are known.
    """

    packing: Packing
    material: Int[Array, " n"]
    densities: Float[Array, " m"] | None

    def __init__(self, packing: Packing, material=None, densities=None):
        self.packing = packing
        self.material = jnp.zeros(packing.radii.shape, jnp.int32) if material is None else jnp.asarray(material)
        self.densities = None if densities is None else jnp.asarray(densities)

    def __check_init__(self):
        if self.material.shape != self.packing.radii.shape or self.material.dtype.kind not in "iu":
            raise ValueError(
                f"Argument `material` must hold one whole number for each of the {self.packing.radii.shape[0]} "
                f"particles, but {self.material.dtype} of shape {self.material.shape} was given."
            )
        highest = 1000 if self.densities is None else self.densities.shape[0] - 1
        require("material", self.material, 0, highest, hint="Materials are numbered from 0, each with its density.")
        if self.densities is not None:
            require("densities", self.densities, 1.0, 1e5, unit="kg/m3")


def areal_loading(particles: Particles) -> Float[Array, ""]:
    """Mass of the particles over the area of the box, kg/m2; their densities must be known."""
    if particles.densities is None:
        raise ValueError("The areal loading needs `densities`, but these particles have none.")
    mass = 4 / 3 * jnp.pi * jnp.sum(particles.densities[particles.material] * particles.packing.radii**3)
    return mass / (particles.packing.box[1] * particles.packing.box[2])
