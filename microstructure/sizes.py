"""Particle-size distributions as values, and radii drawn from them by fixed unit draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from .checks import is_concrete, require


class LogNormal(eqx.Module):
    """A log-normal distribution of radii by number, cut at multiples of its median.

    ln r is normal with mean ln(median) and standard deviation ln(spread).

    **Arguments:** `median`, median radius by number, m; `spread`, geometric standard deviation, at least 1; `smallest`,
    `largest`, where it is cut, as multiples of the median, so that scaling the median scales every radius alike.

    **Source:** Limpert, Stahel and Abbt 2001, doi 10.1641/0006-3568(2001)051[0341:LNDATS]2.0.CO;2.
    """

    median: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    spread: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.35)
    smallest: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    largest: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3.0)

    def __check_init__(self):
        require("median", self.median, 1e-9, 1e-3, unit="m", hint="It is a radius in metres.")
        require("spread", self.spread, 1.0, 5.0, hint="It is the geometric standard deviation.")
        require("smallest", self.smallest, 1e-3, 1.0)
        require("largest", self.largest, 1.0, 1e3)

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles lies."""
        # A spread of exactly 1 has no logarithm to divide by; 1e-9 is monodisperse to every digit that matters.
        sigma = jnp.maximum(jnp.log(self.spread), 1e-9)
        low, high = ndtr(jnp.log(self.smallest) / sigma), ndtr(jnp.log(self.largest) / sigma)
        return self.median * jnp.exp(sigma * ndtri(low + (high - low) * u))


class Bins(eqx.Module):
    """A measured distribution: shares by number between edges, uniform in radius inside each bin.

    **Arguments:** `edges`, (k + 1,) radii, m, increasing; `shares`, (k,) numbers or fractions of particles, any scale;
    `scale`, a factor on every radius.
    """

    edges: Float[Array, " k1"] = eqx.field(converter=jnp.asarray)
    shares: Float[Array, " k"] = eqx.field(converter=jnp.asarray)
    scale: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def __check_init__(self):
        if self.edges.shape[0] != self.shares.shape[0] + 1:
            raise ValueError(
                f"Argument `edges` must have one entry more than `shares`, but {self.edges.shape[0]} and "
                f"{self.shares.shape[0]} were given."
            )
        require("edges", self.edges, 1e-9, 1e-3, unit="m", hint="They are radii in metres.")
        require("shares", self.shares, 0.0)
        if is_concrete(self.edges) and not bool(jnp.all(jnp.diff(self.edges) > 0)):
            raise ValueError("Argument `edges` must increase, but it does not. Sort the bins by radius.")
        if is_concrete(self.shares):
            require("the sum of shares", jnp.sum(self.shares), 1e-30)

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles lies."""
        total = jnp.concatenate([jnp.zeros((1,)), jnp.cumsum(self.shares)])
        # Empty bins would make the inverse ambiguous; a vanishing slope keeps it single-valued.
        cumulative = total / total[-1] + 1e-12 * jnp.arange(float(total.shape[0]))
        return self.scale * jnp.interp(u, cumulative / cumulative[-1], self.edges)


def unit_draws(key, count: int) -> Float[Array, " n"]:
    """`count` draws in (0, 1), one in each of `count` equal strata and in random order.

    Stratifying keeps the sampled mean volume near the true one, so that seeds differ in arrangement and not in mass.
    """
    order, inside = jax.random.split(key)
    strata = jax.random.permutation(order, jnp.arange(float(count)))
    strata = strata + jax.random.uniform(inside, (count,), minval=0.02, maxval=0.98)
    return strata / count


def sample(distribution, draws: Float[Array, " n"]) -> Float[Array, " n"]:
    """Radii, m, at the given unit draws: with the draws held, smooth in every parameter of the `distribution`."""
    return distribution.quantile(draws)
