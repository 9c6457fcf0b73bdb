"""A constant current at a constant temperature up to a voltage: the plainest load."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.march import System
from ..numerics.root import newton
from .elimination import corrected, eliminated
from .porous import PorousCell
from .single_particle import SingleParticle


class Galvanostatic(System):
    """The cell under its own current until `sign` (V - `level`) falls to zero; recorded is the voltage, V."""

    porous: PorousCell | SingleParticle
    level: Float[Array, ""]
    sign: Float[Array, ""]

    def residual(self, w, past, gamma):
        return self.porous.residual(w, past, gamma)

    def solve(self, w, past, gamma):
        def correct(w):
            residual = self.residual(w, past, gamma)
            step = eliminated(self.porous, w, past, gamma).solve(-residual[:, None])[:, 0]
            return corrected(self.porous.layout, w, step, residual)

        return newton(correct, w, tolerance=1e-11, max_steps=25)

    def solve_transposed(self, w, past, gamma, cotangent):
        return eliminated(self.porous, w, past, gamma).solve_transposed(cotangent[:, None])[:, 0]

    def state(self, w, past, gamma):
        return self.porous.state(w, past, gamma)

    def observe(self, w):
        return self.porous.voltage(w)

    def gap(self, w):
        return self.sign * (self.porous.voltage(w) - self.level) / jnp.maximum(jnp.abs(self.level), 1.0)

    def distance(self, w, other):
        return self.porous.distance(w, other)
