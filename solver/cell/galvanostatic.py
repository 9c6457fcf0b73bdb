"""A constant current at a constant temperature up to a voltage: the plainest load."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.march import System
from ..numerics.root import newton
from .elimination import corrected, eliminated
from .memory import memory
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
            step = eliminated(self.porous, w, past, gamma).solve(self.porous, -residual[:, None])[:, 0]
            return corrected(self.porous.layout, w, step, residual)

        return newton(correct, w, tolerance=1e-11, max_steps=25)

    def derivative(self, w, past, gamma):
        return eliminated(self.porous, w, past, gamma), memory(self.porous, w, past, gamma)

    def pull_back(self, derivative, w_bar, y_bar):
        elimination, memory = derivative
        w_bar = w_bar + memory.to_unknowns(self.porous.layout, y_bar)
        multiplier = -elimination.solve_transposed(self.porous, w_bar[:, None])[:, 0]
        return multiplier, memory.to_past(self.porous.layout, multiplier, y_bar)

    def state(self, w, past, gamma):
        return self.porous.state(w, past, gamma)

    def observe(self, w):
        return self.porous.voltage(w)

    def gap(self, w):
        return self.sign * (self.porous.voltage(w) - self.level) / jnp.maximum(jnp.abs(self.level), 1.0)

    def distance(self, w, other):
        return self.porous.distance(w, other)
