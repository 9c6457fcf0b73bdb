"""Normal contact of spheres in motion: how hard they press, given the overlap and the largest overlap so far.

Every law here is a value with one method, `press(overlap, memory, pair)`, that returns a [`Press`][]; `overlap` (...,),
m, is negative where apart, and `memory` is what the law remembers of a contact: `None`, or an array that is 0 for a
contact that never was.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require
from solver.particles import contact


class Pair(eqx.Module):
    """The reduced constants of each contact: `radius`, R*, m; `modulus`, E*, Pa; `shear`, G*, Pa; `mass`, m*, kg."""

    radius: Array
    modulus: Array
    shear: Array
    mass: Array


class Press(eqx.Module):
    """`force`, N, positive when pushing apart; `radius` of the contact, m; `memory`, what the law remembers now."""

    force: Array
    radius: Array
    memory: Array | None


def _root(x):
    """sqrt(max(x, 0))."""
    return jnp.sqrt(jnp.maximum(x, 0))


def _require_yield(name, value):
    """Raises a `ValueError` unless `value`, Pa, can be a yield stress."""
    require(name, value, 1e3, 1e30, unit="Pa", hint="1e20 Pa is elastic.")


class Hertz(eqx.Module):
    """F = 4/3 E* sqrt(R*) d^1.5, contact radius sqrt(R* d).

    **Source:** Johnson 1985, Contact Mechanics, doi 10.1017/CBO9781139171731, section 4.2.
    """

    def press(self, overlap, memory: None, pair: Pair) -> Press:
        """See the module."""
        radius = _root(pair.radius * overlap)
        return Press(4 / 3 * pair.modulus * radius * jnp.maximum(overlap, 0), radius, None)


class Plastic(eqx.Module):
    """Hertz up to the contact pressure p_y, then F = F_y + pi p_y R* (d - d_y); unloads on Hertz with the same R*,
    shifted by the permanent overlap d_p = d_m - [(3 F(d_m) / 4 E*)^2 / R*]^(1/3).

    The law of [`solver.particles.contact.ContactLaw`][], which calendering uses. Memory: the largest overlap, m. The
    contact radius is that of the elastic branch, sqrt(R* (d - d_p)).

    **Source:** loading Thornton 1997, doi 10.1115/1.2787319 (unchecked); unloading Lundkvist et al. 2024, doi
    10.1016/j.powtec.2024.119873.
    """

    yield_pressure: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3e9)

    def __check_init__(self):
        _require_yield("yield_pressure", self.yield_pressure)

    def press(self, overlap, memory, pair: Pair) -> Press:
        """See the module."""
        law = contact.constants(pair.modulus, self.yield_pressure, pair.radius)
        largest = jnp.maximum(memory, overlap)
        branch = contact.branch(largest, law)
        return Press(contact.force(overlap, branch), _root(pair.radius * (overlap - branch.permanent)), largest)


class ThorntonNing(eqx.Module):
    """Hertz up to the contact pressure p_y, then F = F_y + pi p_y R* (d - d_y); unloads on Hertz with a flatter radius.

    Unloading: F = 4/3 E* sqrt(R_p) (d - d_p)^1.5 with R_p = 4 E* a_m^3 / (3 F_m), a_m^2 = R* d_m, and d_p from F(d_m)
    = F_m. Without adhesion. Memory: the largest overlap, m.

    **Arguments:** `yield_pressure`, p_y, Pa.

    **Source:** Thornton and Ning 1998, doi 10.1016/S0032-5910(98)00099-0.
    """

    yield_pressure: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3e9)

    def __check_init__(self):
        _require_yield("yield_pressure", self.yield_pressure)

    def press(self, overlap, memory, pair: Pair) -> Press:
        """See the module."""
        law = contact.constants(pair.modulus, self.yield_pressure, pair.radius)
        largest = jnp.maximum(memory, overlap)
        yielded = largest > law.onset
        peak = jnp.where(yielded, largest, 2 * law.onset)
        most = contact.loading_force(peak, law)
        flat = jnp.where(yielded, 4 / 3 * pair.modulus * (pair.radius * peak) ** 1.5 / most, pair.radius)
        stiffness = 4 / 3 * pair.modulus * jnp.sqrt(flat)
        permanent = jnp.where(yielded, peak - (most / stiffness) ** (2 / 3), 0)
        elastic = contact.hertz_force(overlap - permanent, stiffness)
        force = jnp.where(yielded & (overlap >= peak), contact.loading_force(overlap, law), elastic)
        return Press(force, _root(flat * (overlap - permanent)), largest)


class MasterCurve(eqx.Module):
    """A fitted elastic-plastic indentation curve, F = R*^2 s_Y (F1 h^a1 + F2 h^a2) with h = d / R*.

    Beyond h = 0.25 it goes on with its slope there. Unloading as in [`Plastic`][]: F = 4/3 E* sqrt(R*) (d - d_p)^1.5.
    Where the curve lies above Hertz's, so that d_p would be negative, nothing is lost: it is gone back on, as in the
    code of the source. Of the defaults that is up to h = 0.07; of E = 50 GPa and s_Y = 2.4 GPa, with factors 69.532 and
    -62.111 and exponents 1.71146 and 1.84891, nowhere. Memory: the largest overlap, m.

    **Arguments:** `yield_stress`, s_Y, Pa; `factors`, F1 and F2; `exponents`, a1 and a2. The defaults are those of
    NMC with E = 140 GPa and s_Y = 4.0 GPa.

    **Source:** Lundkvist et al. 2024, doi 10.1016/j.powtec.2024.119873, and the code that belongs to it (axlun/DEMsim).
    """

    yield_stress: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=4e9)
    factors: Float[Array, " 2"] = eqx.field(converter=jnp.asarray, default=(77.460, -66.712))
    exponents: Float[Array, " 2"] = eqx.field(converter=jnp.asarray, default=(1.49545, 1.58855))

    def __check_init__(self):
        _require_yield("yield_stress", self.yield_stress)
        require("exponents", self.exponents, 1.0, 10.0)

    def loading(self, overlap, pair: Pair):
        """The force on first loading, N."""
        h = jnp.maximum(overlap, 0) / pair.radius
        inside = jnp.minimum(h, 0.25)
        safe = jnp.where(inside > 0, inside, 1)
        powers = [jnp.where(inside > 0, f * safe**a, 0) for f, a in zip(self.factors, self.exponents, strict=True)]
        slope = jnp.sum(self.factors * self.exponents * 0.25 ** (self.exponents - 1))
        return pair.radius**2 * self.yield_stress * (sum(powers) + slope * (h - inside))

    def press(self, overlap, memory, pair: Pair) -> Press:
        """See the module."""
        largest = jnp.maximum(memory, overlap)
        most = self.loading(largest, pair)
        elastic = ((3 * most / (4 * pair.modulus)) ** 2 / pair.radius) ** (1 / 3)
        permanent = jnp.maximum(largest - elastic, 0)
        radius = _root(pair.radius * (overlap - permanent))
        unloading = 4 / 3 * pair.modulus * radius * jnp.maximum(overlap - permanent, 0)
        on_curve = (overlap >= largest) | (permanent <= 0)
        return Press(jnp.where(on_curve, self.loading(overlap, pair), unloading), radius, largest)


class Luding(eqx.Module):
    """Linear hysteresis: loading with k1, unloading with a steeper k2, down to a tension limit -k_c d.

    Loading F = k1 d; un- and reloading F = k2 (d - d_m) + k1 d_m, with k2 growing linearly in d_m from k1 to `stiffest`
    at d* = k2max / (k2max - k1) phi 2 R*, beyond which loading follows `stiffest` too; on the limit branch d_m becomes
    (k2 + k_c) / (k2 - k1) d. Memory: d_m, m.

    **Arguments:** `loading`, k1, and `stiffest`, k2max, N/m; `cohesion`, k_c, N/m; `depth`, phi, the plastic depth
    over 2 R*.

    **Source:** Luding 2008, doi 10.1007/s10035-008-0099-x, section 3.
    """

    loading: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    stiffest: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    cohesion: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    depth: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.05)

    def __check_init__(self):
        require("loading", self.loading, 1e-12, unit="N/m")
        require("stiffest", self.stiffest, 1e-12, unit="N/m")
        require("stiffest over loading", self.stiffest / self.loading, 1.0, hint="Unloading is the stiffer branch.")
        require("cohesion", self.cohesion, 0.0, unit="N/m")
        require("depth", self.depth, 1e-6, 1.0)

    def press(self, overlap, memory, pair: Pair) -> Press:
        """See the module."""
        k1, k_max, k_c = self.loading, self.stiffest, self.cohesion
        span = jnp.where(k_max > k1, k_max - k1, 1)
        deepest = jnp.where(k_max > k1, k_max / span * self.depth * 2 * pair.radius, 0)
        # Beyond d* the particle is as stiff as it gets, and what it remembers stays d*.
        largest = jnp.minimum(jnp.maximum(memory, overlap), deepest)
        k2 = jnp.where(deepest > 0, k1 + span * largest / jnp.where(deepest > 0, deepest, 1), k1)
        elastic = k2 * (overlap - largest) + k1 * largest
        limit = -k_c * overlap
        tension = elastic < limit
        turned = jnp.where(k2 > k1, (k2 + k_c) / jnp.where(k2 > k1, k2 - k1, 1) * overlap, largest)
        touching = overlap > 0
        force = jnp.where(touching, jnp.where(tension, limit, elastic), 0)
        remembered = jnp.where(touching & tension & (k_c > 0), turned, jnp.maximum(largest, 0))
        return Press(force, _root(pair.radius * overlap), jnp.where(touching, remembered, memory))


def fresh(law, count: int) -> Float[Array, " c"] | None:
    """What `law` remembers of `count` contacts that never were: `None` of Hertz's, which has no history."""
    return None if isinstance(law, Hertz) else jnp.zeros(count)
