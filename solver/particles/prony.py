"""Relaxation of a viscoelastic material by a Prony series, exact where the strain is linear within a step."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import is_concrete, require


class Prony(eqx.Module):
    """Stress after a step strain falls as 1 - sum_i alpha_i (1 - exp(-t / tau_i)) of the instantaneous stress.

    **Arguments:** `shares`, alpha_i (M,); `times`, tau_i (M,), s.

    **Source:** the update is that of Lundkvist et al. 2024, doi 10.1016/j.powtec.2024.119873 (axlun/DEMsim), and so are
    the default numbers, of a binder of 2 GPa.
    """

    shares: Float[Array, " m"] = eqx.field(converter=jnp.asarray, default=(0.25, 0.0394, 0.0789))
    times: Float[Array, " m"] = eqx.field(converter=jnp.asarray, default=(1e-3, 1.747, 38.08))

    def __check_init__(self):
        if self.shares.shape != self.times.shape or self.shares.ndim != 1:
            raise ValueError(
                f"Arguments `shares` and `times` must have one entry for each term, but {self.shares.shape} and "
                f"{self.times.shape} were given."
            )
        require("shares", self.shares, 0.0, 1.0)
        require("times", self.times, 1e-15, 1e15, unit="s")
        if is_concrete(self.shares):
            require("the sum of shares", jnp.sum(self.shares), 0.0, 1.0, hint="What is left is the stress at rest.")

    def fresh(self, shape) -> Float[Array, "m *s"]:
        """The viscous strains of a material of `shape` that never moved."""
        return jnp.zeros((*self.shares.shape, *shape))

    def step(self, viscous, before, after, duration):
        """The change of the stress over the instantaneous modulus while the strain goes from `before` to `after`.

        **Arguments:** `viscous` (M, ...), from [`fresh`][] or the step before; `before`, `after` (...); `duration`, s.

        **Returns:** the change (...), and the viscous strains after the step.
        """
        tall = (-1, *[1] * (viscous.ndim - 1))
        ratio = (duration / self.times).reshape(tall)
        decay = -jnp.expm1(-ratio)
        safe = jnp.where(ratio > 0, ratio, 1)
        lag = jnp.where(ratio > 1e-4, 1 - decay / safe, ratio / 2 - ratio**2 / 6)
        change = decay * (before - viscous) + lag * (after - before)
        shares = self.shares.reshape(tall)
        return after - before - jnp.sum(shares * change, axis=0), viscous + change
