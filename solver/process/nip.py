"""The nip of a calender: from roll diameter, gap and web speed to the pressure on the web, line load and time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import curve_fit

from microstructure.checks import require


class Nip(eqx.Module):
    """Two equal rigid rolls that a web passes between.

    The rolls are so much larger than the web is thick that the web is a slab everywhere, pressed to h(x) = gap + 2 x^2
    / D at the distance x from the narrowest line.

    **Arguments:** `diameter`, D, m; `speed`, of the web, m/s.

    **Source:** the geometry of rolling, Johnson 1985, Contact Mechanics, doi 10.1017/CBO9781139171731, section 9.1;
    line load as in Meyer et al. 2017, doi 10.1016/j.jmatprotec.2017.05.031.
    """

    diameter: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.8)
    speed: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.5)

    def __check_init__(self):
        require("diameter", self.diameter, 1e-3, 10.0, unit="m")
        require("speed", self.speed, 1e-6, 100.0, unit="m/s")

    def thickness(self, gap, x):
        """The web's thickness at the distance `x`, m, from the narrowest line."""
        return gap + 2 * x**2 / self.diameter

    def length(self, gap, thickness):
        """The way over which a web of `thickness`, m, is pressed to `gap`, m: sqrt(D (h - gap) / 2)."""
        reduction = thickness - gap
        safe = jnp.where(reduction > 0, reduction, 1)
        return jnp.where(reduction > 0, jnp.sqrt(self.diameter * safe / 2), 0)

    def duration(self, gap, thickness):
        """The time from the first touch to the narrowest line, s."""
        return self.length(gap, thickness) / self.speed


def line_load(nip: Nip, thickness: Float[Array, " n"], pressure: Float[Array, " n"], lowest: int) -> Float[Array, ""]:
    """q = integral of p dx through the nip, N/m, from a course of pressing and letting go.

    Between the points of the course the pressure is linear in the thickness, for which the integral over x is exact.

    **Arguments:** `thickness`, m, falling to the gap at the index `lowest` and rising after it; `pressure`, Pa.
    """
    gap = thickness[lowest]
    x = nip.length(gap, thickness)
    fraction = nip.diameter / 2
    h0, h1, p0, p1, x0, x1 = thickness[:-1], thickness[1:], pressure[:-1], pressure[1:], x[:-1], x[1:]
    step = h1 - h0
    safe = jnp.where(step != 0, step, 1)
    slope = jnp.where(step != 0, (p1 - p0) / safe, 0)
    # p = p0 + slope (h - h0) with h = gap + x^2 / (D / 2), integrated over x.
    parts = (p0 + slope * (gap - h0)) * (x1 - x0) + slope * (x1**3 - x0**3) / (3 * fraction)
    pressing = jnp.arange(parts.shape[0]) < lowest
    return jnp.sum(jnp.where(pressing, -parts, parts))


def line_loads(nip: Nip, thickness: Float[Array, " n"], pressure: Float[Array, " n"], lowest: int):
    """The line load, N/m, that rolls with their gap at each point of the loading curve would exert, (lowest + 1,).

    The way in is exact; the way out is taken to add the share that it adds at the gap.

    **Arguments:** as in [`line_load`][].
    """
    falling, rising = thickness[: lowest + 1], pressure[: lowest + 1]
    way_in = jax.vmap(lambda gap: line_load(nip, jnp.maximum(falling, gap), rising, lowest))(falling)
    whole = line_load(nip, thickness, pressure, lowest)
    entry = way_in[-1]
    return way_in * jnp.where(entry > 0, whole / jnp.where(entry > 0, entry, 1), 1)


class Compaction(eqx.Module):
    """The exponential law of compaction, porosity = least + (first - least) exp(-load / resistance).

    **Arguments:** `least`, `first`, porosities; `resistance`, in the unit of the load; `error`, root mean square of the
    fit, in porosity.

    **Source:** Meyer et al. 2017, doi 10.1016/j.jmatprotec.2017.05.031. It fits nearly any compaction: that it fits is
    weak evidence.
    """

    least: float = eqx.field(static=True)
    first: float = eqx.field(static=True)
    resistance: float = eqx.field(static=True)
    error: float = eqx.field(static=True)


def compaction(load, porosity) -> Compaction:
    """[`Compaction`][] fitted by least squares to a loading curve. Host only.

    **Arguments:** `load`, pressure or line load (n,), any unit; `porosity` (n,), at least 4 points.

    **Raises:** `ValueError` where the points are too few or do not fall.
    """
    load, porosity = np.asarray(load, float), np.asarray(porosity, float)
    if len(load) < 4 or np.ptp(load) <= 0 or porosity[np.argmax(load)] >= porosity[np.argmin(load)]:
        raise ValueError(
            "Arguments `load` and `porosity` must be at least 4 points of a compaction, the porosity falling with the "
            f"load, but {len(load)} points were given. Give the loading curve alone."
        )

    def law(load, least, first, resistance):
        return least + (first - least) * np.exp(-load / resistance)

    guess = (porosity.min(), porosity.max(), np.ptp(load) / 2)
    values, _ = curve_fit(law, load, porosity, guess, bounds=([-1, 0, 1e-9 * np.ptp(load)], [1, 1, 1e3 * np.ptp(load)]))
    error = float(np.sqrt(np.mean((law(load, *values) - porosity) ** 2)))
    return Compaction(*map(float, values), error)
