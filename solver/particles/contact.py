"""Normal contact of two spheres: Hertz, then plastic at constant pressure, unloading on a shifted Hertz branch."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require


class ContactLaw(eqx.Module):
    """An elastic, perfectly plastic material in frictionless contact with itself or a rigid plane.

    Loading: F = 4/3 E* sqrt(R*) d^1.5 up to the overlap d_y at which the pressure in the contact's centre reaches p_y,
    d_y = (pi p_y / 2 E*)^2 R*; then F = F_y + pi p_y R* (d - d_y), with the same slope. Unloading and reloading up to
    the largest overlap so far, d_m: F = 4/3 E* sqrt(R*) (d - d_p)^1.5 with d_p = d_m - [(3 F(d_m) / 4 E*)^2 /
    R*]^(1/3). A large `yield_pressure` gives Hertz.

    **Arguments:** `modulus`, Young's modulus, Pa; `poisson`, Poisson's ratio; `yield_pressure`, p_y, Pa.

    **Source:** Johnson 1985, Contact Mechanics, doi 10.1017/CBO9781139171731, sections 4.2 and 6.2; loading as Thornton
    1997, doi 10.1115/1.2787319 (unchecked). Numbers: NMC, Lundkvist et al. 2024, doi 10.1016/j.powtec.2024.119873:
    E = 140 GPa, nu = 0.3, yield stress of the particles 2.4 to 4 GPa.
    """

    modulus: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=140e9)
    poisson: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    yield_pressure: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3e9)

    def __check_init__(self):
        require("modulus", self.modulus, 1e3, 1e13, unit="Pa")
        require("poisson", self.poisson, 0.0, 0.5)
        require("yield_pressure", self.yield_pressure, 1e3, 1e30, unit="Pa", hint="1e20 Pa is elastic.")

    def pair_modulus(self):
        """E* of two such spheres, Pa."""
        return self.modulus / (2 * (1 - self.poisson**2))

    def plane_modulus(self):
        """E* of such a sphere on a rigid plane, Pa."""
        return self.modulus / (1 - self.poisson**2)


class Hertz(eqx.Module):
    """The constants of the law, one per contact, in any consistent units.

    **Arguments:** `stiffness`, 4/3 E* sqrt(R*); `slope`, pi p_y R*; `onset`, the yield overlap d_y.
    """

    stiffness: Array
    slope: Array
    onset: Array


def constants(modulus, yield_pressure, radius) -> Hertz:
    """[`Hertz`][] from E*, p_y and R* (arrays that broadcast)."""
    return Hertz(
        4 / 3 * modulus * jnp.sqrt(radius),
        jnp.pi * yield_pressure * radius,
        (jnp.pi * yield_pressure / (2 * modulus)) ** 2 * radius,
    )


def _root(e):
    """sqrt(max(e, 0)) with zero derivative at and below zero."""
    return jnp.where(e > 0, jnp.sqrt(jnp.where(e > 0, e, 1)), 0)


def hertz_force(e, stiffness):
    """Force at the elastic overlap `e`; none when negative."""
    return stiffness * e * _root(e)


def loading_force(d, law: Hertz):
    """Force on first loading at the overlap `d`."""
    below = d < law.onset
    elastic = hertz_force(jnp.where(below, d, law.onset), law.stiffness)
    return elastic + jnp.where(below, 0, law.slope * (d - law.onset))


def permanent_overlap(largest, law: Hertz):
    """d_p, the overlap at which the force vanishes on unloading, after a largest overlap `largest`."""
    yielded = largest > law.onset
    safe = jnp.where(yielded, largest, 2 * law.onset)
    elastic = (loading_force(safe, law) / law.stiffness) ** (2 / 3)
    return jnp.where(yielded, safe - elastic, 0)


class Branch(eqx.Module):
    """The force law of one increment, given the history: shifted Hertz up to `reach`, a line from the force `peak` on.

    **Arguments:** `stiffness`, `slope` as in [`Hertz`][]; `reach`, the largest overlap so far, at least the yield
    overlap; `permanent`, d_p; `peak`, the force at `reach`.
    """

    stiffness: Array
    slope: Array
    reach: Array
    permanent: Array
    peak: Array


def branch(largest, law: Hertz) -> Branch:
    """The [`Branch`][] after the largest overlap `largest`."""
    reach = jnp.where(largest > law.onset, largest, law.onset)
    peak = law.stiffness * law.onset * jnp.sqrt(law.onset) + law.slope * (reach - law.onset)
    return Branch(law.stiffness, law.slope, reach, permanent_overlap(largest, law), peak)


def force(d, now: Branch):
    """Force at the overlap `d`; never negative."""
    inside = d < now.reach
    elastic = hertz_force(jnp.where(inside, d, now.reach) - now.permanent, now.stiffness)
    return jnp.where(inside, elastic, now.peak + now.slope * (d - now.reach))


def energy(d, now: Branch):
    """The integral of [`force`][] over the overlap up to `d`, at fixed history; never negative."""
    inside = d < now.reach
    e = jnp.where(inside, d, now.reach) - now.permanent
    beyond = jnp.where(inside, 0, d - now.reach)
    stored = 0.4 * now.stiffness * jnp.where(e > 0, e, 0) ** 2 * _root(e)
    return stored + beyond * (now.peak + 0.5 * now.slope * beyond)


def stiffness(d, now: Branch):
    """Derivative of [`force`][] with respect to the overlap; never negative."""
    return jnp.where(d < now.reach, 1.5 * now.stiffness * _root(d - now.permanent), now.slope)


def dissipation(before, after, law: Hertz):
    """Work lost to plastic flow while the largest overlap grew from `before` to `after`; never negative."""
    old, new = branch(before, law), branch(after, law)
    lost = energy(new.reach, old) - energy(new.reach, new)
    return jnp.where(new.reach > old.reach, lost, 0)
