"""Particle-size distributions as values, and radii drawn from them by fixed unit draws.

A distribution has two functions that are each other's inverse: `quantile(u)`, the radius below which the share `u` of
the particles lies, and `share_below(radius)`. Shares are by number; [`ByVolume`][] turns a distribution whose shares
are by volume, as laser diffraction and data sheets quote them, into one by number. With the unit draws held, radii are
smooth in every parameter, so that means and widths carry derivatives.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from .checks import is_concrete, require


class LogNormal(eqx.Module):
    """A log-normal distribution of radii, cut at multiples of its median.

    ln r is normal with mean ln(median) and standard deviation ln(spread).

    **Arguments:** `median`, median radius, m; `spread`, geometric standard deviation, at least 1; `smallest`,
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

    def _cut(self):
        # A spread of exactly 1 has no logarithm to divide by; 1e-9 is monodisperse to every digit that matters.
        sigma = jnp.maximum(jnp.log(self.spread), 1e-9)
        return sigma, ndtr(jnp.log(self.smallest) / sigma), ndtr(jnp.log(self.largest) / sigma)

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles lies."""
        sigma, low, high = self._cut()
        # A cut far out in the tail leaves a share that rounds to 0 or 1, whose probit is infinite.
        ends = jnp.log(jnp.stack([self.smallest, self.largest])) / sigma
        return self.median * jnp.exp(sigma * jnp.clip(ndtri(low + (high - low) * u), ends[0], ends[1]))

    def share_below(self, radius: Float[Array, " n"]) -> Float[Array, " n"]:
        """The share of the particles that is smaller than `radius`, m."""
        sigma, low, high = self._cut()
        return jnp.clip((ndtr(jnp.log(radius / self.median) / sigma) - low) / (high - low), 0, 1)


class Weibull(eqx.Module):
    """A Weibull distribution of radii, known as Rosin-Rammler when its shares are by volume, cut like [`LogNormal`][].

    The share above r is exp(-(r / scale)^shape).

    **Arguments:** `scale`, radius, m, that 36.8 % exceed; `shape`, the larger the narrower; `smallest`, `largest`,
    where it is cut, as multiples of the scale. Shares by volume with a shape up to 3 mean numbers that grow without
    bound towards small radii, so that `smallest` decides how many fines there are.

    **Source:** Weibull 1951, doi 10.1115/1.4010337; Rosin and Rammler 1933, J. Inst. Fuel 7, 29.
    """

    scale: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    shape: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3.0)
    smallest: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.2)
    largest: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3.0)

    def __check_init__(self):
        require("scale", self.scale, 1e-9, 1e-3, unit="m", hint="It is a radius in metres.")
        require("shape", self.shape, 0.5, 100.0)
        require("smallest", self.smallest, 1e-3, 0.99)
        require("largest", self.largest, 1.0, 1e3)

    def _cut(self):
        low, high = -jnp.expm1(-(self.smallest**self.shape)), -jnp.expm1(-(self.largest**self.shape))
        return low, high

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles lies."""
        low, high = self._cut()
        return self.scale * (-jnp.log1p(-(low + (high - low) * u))) ** (1 / self.shape)

    def share_below(self, radius: Float[Array, " n"]) -> Float[Array, " n"]:
        """The share of the particles that is smaller than `radius`, m."""
        low, high = self._cut()
        return jnp.clip((-jnp.expm1(-((radius / self.scale) ** self.shape)) - low) / (high - low), 0, 1)


class Bins(eqx.Module):
    """A measured distribution: shares between edges, uniform in radius inside each bin.

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

    def _cumulative(self):
        total = jnp.concatenate([jnp.zeros((1,)), jnp.cumsum(self.shares)])
        # Empty bins would make the inverse ambiguous; a vanishing slope keeps it single-valued.
        cumulative = total / total[-1] + 1e-12 * jnp.arange(float(total.shape[0]))
        return cumulative / cumulative[-1]

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles lies."""
        return self.scale * jnp.interp(u, self._cumulative(), self.edges)

    def share_below(self, radius: Float[Array, " n"]) -> Float[Array, " n"]:
        """The share of the particles that is smaller than `radius`, m."""
        return jnp.interp(radius / self.scale, self.edges, self._cumulative())


class Percentiles(eqx.Module):
    """A distribution through tabulated percentiles, as D10, D50 and D90 of a data sheet.

    ln r is a monotone cubic in z = probit(tail + (1 - 2 tail) u) through the table, and goes on straight beyond its
    ends: the table of a log-normal distribution gives that distribution. The percentiles are met exactly. Data sheets
    quote diameters and shares by volume: halve them and wrap this in [`ByVolume`][].

    **Arguments:** `radii`, (k,), m, increasing; `shares`, (k,) of the particles below each, increasing, in [0, 1];
    `tail`, how far the tails reach: they end where a normal distribution has this share left.

    **Source:** slopes of Fritsch and Butland 1984, doi 10.1137/0905021.
    """

    radii: Float[Array, " k"] = eqx.field(converter=jnp.asarray)
    shares: Float[Array, " k"] = eqx.field(converter=jnp.asarray, default=(0.1, 0.5, 0.9))
    tail: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)

    def __check_init__(self):
        if self.radii.ndim != 1 or self.radii.shape != self.shares.shape or self.radii.shape[0] < 2:
            raise ValueError(
                f"Arguments `radii` and `shares` must be lists of one length, at least 2, but the shapes "
                f"{self.radii.shape} and {self.shares.shape} were given."
            )
        require("radii", self.radii, 1e-9, 1e-3, unit="m", hint="They are radii in metres.")
        require("shares", self.shares, 0.0, 1.0, hint="D10 has the share 0.1.")
        require("tail", self.tail, 1e-9, 0.05)
        for name, values in (("radii", self.radii), ("shares", self.shares)):
            if is_concrete(values) and not bool(jnp.all(jnp.diff(values) > 0)):
                raise ValueError(f"Argument `{name}` must increase, but it does not. Sort the table.")

    def _knots(self):
        """z and ln r of the table, and the slope at each entry."""
        z, y = ndtri(self.tail + (1 - 2 * self.tail) * self.shares), jnp.log(self.radii)
        secant = jnp.diff(y) / jnp.diff(z)
        inner = 2 * secant[1:] * secant[:-1] / (secant[1:] + secant[:-1])
        return z, y, jnp.concatenate([secant[:1], inner, secant[-1:]])

    def _log_radius(self, at):
        z, y, slope = self._knots()
        i = jnp.clip(jnp.searchsorted(z, lax.stop_gradient(at)) - 1, 0, z.shape[0] - 2)
        width = z[i + 1] - z[i]
        t = jnp.clip((at - z[i]) / width, 0, 1)
        inside = (1 + 2 * t) * (1 - t) ** 2 * y[i] + t**2 * (3 - 2 * t) * y[i + 1]
        inside = inside + width * t * (1 - t) * ((1 - t) * slope[i] - t * slope[i + 1])
        return inside + slope[0] * jnp.minimum(at - z[0], 0) + slope[-1] * jnp.maximum(at - z[-1], 0)

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles lies."""
        return jnp.exp(self._log_radius(ndtri(self.tail + (1 - 2 * self.tail) * u)))

    def share_below(self, radius: Float[Array, " n"]) -> Float[Array, " n"]:
        """The share of the particles that is smaller than `radius`, m."""
        ends = ndtri(jnp.stack([self.tail, 1 - self.tail]))
        low, high = self._log_radius(ends)
        knots = jnp.linspace(ends[0], ends[1], 65)
        z = _inverse(self._log_radius, jnp.clip(jnp.log(radius), low, high), knots)
        return jnp.clip((ndtr(z) - self.tail) / (1 - 2 * self.tail), 0, 1)


class Mixture(eqx.Module):
    """Several populations of particles in one: bimodal, or fines beside coarse grains.

    The shares below add up; the radius of a unit draw is found by bisection and differentiated implicitly, so that the
    parameters of the parts and their shares all carry derivatives. Where two parts hardly overlap, few draws lie
    between them and carry the whole derivative in the shares, which is then a noisy one.

    **Arguments:** `parts`, distributions; `shares`, (k,), any scale, of the same kind as those of the parts: inside
    [`ByVolume`][] they are shares of volume.
    """

    parts: tuple
    shares: Float[Array, " k"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if len(self.parts) == 0 or self.shares.shape != (len(self.parts),):
            raise ValueError(
                f"Argument `shares` must have one entry for each of the {len(self.parts)} parts, but the shape "
                f"{self.shares.shape} was given."
            )
        require("shares", self.shares, 0.0)
        if is_concrete(self.shares):
            require("the sum of shares", jnp.sum(self.shares), 1e-30)

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles lies."""
        return _quantile_by_number(self, u)

    def _quantile(self, u):
        ladder = jnp.asarray(_EDGES[::4])
        knots = jnp.sort(jnp.log(jnp.concatenate([part.quantile(ladder) for part in self.parts])))
        return jnp.exp(_inverse(lambda y: self.share_below(jnp.exp(y)), u, lax.stop_gradient(knots)))

    def share_below(self, radius: Float[Array, " n"]) -> Float[Array, " n"]:
        """The share of the particles that is smaller than `radius`, m."""
        shares = self.shares / jnp.sum(self.shares)
        return sum(share * part.share_below(radius) for share, part in zip(shares, self.parts, strict=True))


# The shares 0 to 1 in panels that are narrow at both ends, where quantiles are steep; 5 Gauss points in each.
_EDGES = np.arange(257.0) ** 4 / (np.arange(257.0) ** 4 + np.arange(256.0, -1, -1) ** 4)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_NODES, _WEIGHTS = 0.5 + 0.5 * _NODES, 0.5 * _WEIGHTS


class ByVolume(eqx.Module):
    """The distribution by number of particles whose shares by volume are those of `shares`.

    Of the volume in dp at the quantile r(p), r(p)^-3 dp is the number: N(p) = integral of r^-3 over 0 to p, over that
    from 0 to 1. Integrated by Gauss quadrature and inverted by Newton's method; for a log-normal distribution it moves
    the median by exp(-3 ln(spread)^2).

    **Arguments:** `shares`, a distribution whose shares are by volume.

    **Source:** Hatch and Choate 1929, doi 10.1016/S0016-0032(29)91451-4.
    """

    shares: eqx.Module

    def _table(self):
        """The unit of length, and the number below each edge of the panels in units of r^-3, not normalised."""
        unit = lax.stop_gradient(self.shares.quantile(jnp.asarray([0.5])))[0]
        width = jnp.asarray(np.diff(_EDGES))
        at = jnp.asarray(_EDGES[:-1, None] + np.diff(_EDGES)[:, None] * _NODES)
        density = (self.shares.quantile(at.ravel()) / unit).reshape(at.shape) ** -3.0
        below = jnp.cumsum(width * (density @ jnp.asarray(_WEIGHTS)))
        return unit, jnp.concatenate([jnp.zeros((1,)), below])

    def _number_below(self, p, table):
        """The share by number below the quantile `p` by volume."""
        unit, below = table
        i = jnp.clip(jnp.searchsorted(jnp.asarray(_EDGES), lax.stop_gradient(p), side="right") - 1, 0, 255)
        start = jnp.asarray(_EDGES)[i]
        at = start + (p - start) * jnp.asarray(_NODES)[:, None]
        density = (self.shares.quantile(at.ravel()) / unit).reshape(at.shape) ** -3.0
        return (below[i] + (p - start) * (jnp.asarray(_WEIGHTS) @ density)) / below[-1]

    def quantile(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The radius, m, below which the share `u` of the particles, by number, lies."""
        return _quantile_by_number(self, u)

    def _quantile(self, u):
        if isinstance(self.shares, Mixture):  # its parts by number, which saves an inversion inside an inversion
            parts = tuple(ByVolume(part) for part in self.shares.parts)
            number = jnp.stack([part._table()[1][-1] / part._table()[0] ** 3 for part in parts])
            return Mixture(parts, self.shares.shares * number / jnp.sum(number))._quantile(u)
        table = self._table()
        held, fixed, at = lax.stop_gradient((self, table, u))
        start = jnp.interp(at, fixed[1] / fixed[1][-1], jnp.asarray(_EDGES))
        p = lax.fori_loop(0, 5, lambda _, p: held._newton(p, at, fixed), start)
        return self.shares.quantile(self._newton(p, u, table))

    def _newton(self, p, u, table):
        """One step of Newton's method; at the solution its derivative is that of the implicit function."""
        slope = lax.stop_gradient((self.shares.quantile(p) / table[0]) ** -3.0 / table[1][-1])
        return jnp.clip(p - (self._number_below(p, table) - u) / slope, 0, 1)

    def share_below(self, radius: Float[Array, " n"]) -> Float[Array, " n"]:
        """The share of the particles, by number, that is smaller than `radius`, m."""
        return self._number_below(self.shares.share_below(radius), self._table())


def _inverse(function, target, knots):
    """x between the first and the last of the `knots` where the rising `function` is `target`.

    Bracketed by the knots, found by Newton's method, and differentiated as an implicit function by the last step.
    """

    def step(x, target):
        value, slope = jax.jvp(function, (x,), (jnp.ones_like(x),))
        slope = lax.stop_gradient(slope)
        flat = ~(slope > 1e-9)  # between two parts that do not overlap there is nothing to step along
        return x + jnp.where(flat, 0, target - value) / jnp.where(flat, 1, slope)

    at, knots = lax.stop_gradient((target, knots))
    values = lax.stop_gradient(function(knots))
    i = jnp.clip(jnp.searchsorted(values, at), 1, knots.shape[0] - 1)
    low, high = knots[i - 1], knots[i]
    rise = values[i] - values[i - 1]
    start = low + (high - low) * jnp.clip((at - values[i - 1]) / jnp.where(rise > 0, rise, 1), 0, 1)
    found = lax.fori_loop(0, 6, lambda _, x: jnp.clip(lax.stop_gradient(step(x, at)), low, high), start)
    return jnp.clip(step(lax.stop_gradient(found), target), low, high)


@eqx.filter_jit
def _quantile_by_number(distribution, u):
    """Compiled as a whole: step by step, the loops of an inversion would each be compiled alone."""
    return distribution._quantile(u)


Distribution = LogNormal | Weibull | Bins | Percentiles | Mixture | ByVolume


def moment(distribution: Distribution, power: int) -> Float[Array, ""]:
    """The mean of radius^power over the particles, m^power, by Gauss quadrature over the quantiles.

    Of a mixture it is the mean of its parts', and by number it is that of r^(power - 3) by volume over that of r^-3.
    """
    if isinstance(distribution, Mixture):
        shares = distribution.shares / jnp.sum(distribution.shares)
        return sum(share * moment(part, power) for share, part in zip(shares, distribution.parts, strict=True))
    if isinstance(distribution, ByVolume):
        return moment(distribution.shares, power - 3) / moment(distribution.shares, -3)
    width = np.diff(_EDGES)
    at = (_EDGES[:-1, None] + width[:, None] * _NODES).ravel()
    weight = (width[:, None] * _WEIGHTS).ravel()
    return jnp.sum(jnp.asarray(weight) * distribution.quantile(jnp.asarray(at)) ** float(power))


def volume_percentiles(radii: Float[Array, " n"], shares=(0.1, 0.5, 0.9)) -> Float[Array, " k"]:
    """Diameters, m, below which the `shares` of the volume of these particles lie: D10, D50 and D90."""
    diameters = 2 * jnp.sort(radii)
    volume = diameters**3
    middle = (jnp.cumsum(volume) - 0.5 * volume) / jnp.sum(volume)
    return jnp.interp(jnp.asarray(shares), middle, diameters)


def unit_draws(key, count: int) -> Float[Array, " n"]:
    """`count` draws in (0, 1), one in each of `count` equal strata and in random order.

    Stratifying keeps the sampled mean volume near the true one, so that seeds differ in arrangement and not in mass.
    """
    order, inside = jax.random.split(key)
    strata = jax.random.permutation(order, jnp.arange(float(count)))
    strata = strata + jax.random.uniform(inside, (count,), minval=0.02, maxval=0.98)
    return strata / count


def sample(distribution: Distribution, draws: Float[Array, " n"]) -> Float[Array, " n"]:
    """Radii, m, at the given unit draws: with the draws held, smooth in every parameter of the `distribution`."""
    return distribution.quantile(draws)
