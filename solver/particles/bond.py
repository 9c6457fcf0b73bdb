"""Binder bridges: springs along and across a fixed direction that yield at the binder's strength."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require


class Binder(eqx.Module):
    """An elastic, plastic cylinder of binder between two particles, or between a particle and the collector.

    Stiffness k_n = c E_b A / L along and k_s = E_b A / (2 (1 + nu) L) across the bridge, A = pi (radius R)^2 and
    L = length R with R the smaller radius; each yields at the force A sigma_Y. Beyond, the force grows by the share
    `hardening` of the stiffness and so does the yield force (isotropic hardening; 0 is perfectly plastic). Rotation of
    the particles is suppressed, which stiffens the network across the bridges.

    **Arguments:** `modulus`, E_b, Pa; `poisson`; `strength`, sigma_Y, Pa; `radius`, `length`, over the smaller particle
    radius; `confinement`, c; `hardening`, tangent beyond yield over the stiffness; `background`, stiffness of pairs
    in the list that are not bonded, as a share of a bond, so that no particle floats.

    **Source:** Potyondy and Cundall 2004, doi 10.1016/j.ijrmms.2004.09.011. Numbers: Lundkvist et al. 2024 (Powder
    Technology 443, 119873): E_b = 2 GPa, nu = 0.3, length 0.5 R; strength 50 MPa and radius 0.7 R are starting values
    to be calibrated on in-plane stiffness; hardening and background are numerical choices.
    """

    modulus: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=2e9)
    poisson: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    strength: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=50e6)
    radius: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.7)
    length: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.5)
    confinement: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    hardening: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)
    background: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)

    def __check_init__(self):
        require("modulus", self.modulus, 0.0, 1e12, unit="Pa")
        require("poisson", self.poisson, 0.0, 0.5)
        require("strength", self.strength, 1.0, 1e20, unit="Pa")
        require("radius", self.radius, 1e-3, 3.0)
        require("length", self.length, 1e-3, 3.0)
        require("hardening", self.hardening, 0.0, 1.0)


class Bridge(eqx.Module):
    """The constants of bridges, in any consistent units.

    **Arguments:** `along`, `across`, stiffnesses (P,); `limit`, first yield force (P,); `direction`, (P, 3) unit
    vectors; `hardening`, number.
    """

    along: Array
    across: Array
    limit: Array
    direction: Array
    hardening: Array


class Flow(eqx.Module):
    """Internal variables of bridges: `plastic`, elongation (P, 3); `along`, `across`, yield forces by now (P,)."""

    plastic: Array
    along: Array
    across: Array


def fresh(bridge: Bridge) -> Flow:
    """Bridges that never yielded."""
    return Flow(jnp.zeros_like(bridge.direction), bridge.limit, bridge.limit)


def bridges(binder: Binder, radius, weight, direction, stress_unit=1.0) -> Bridge:
    """[`Bridge`][] for particle pairs whose smaller radius is `radius`, each counted `weight` times.

    **Arguments:** `radius`, (P,); `weight`, (P,); `direction`, (P, 3); `stress_unit`, Pa, of the units in use.
    """
    area = jnp.pi * (binder.radius * radius) ** 2 * weight / stress_unit
    along = binder.confinement * binder.modulus * area / (binder.length * radius)
    across = binder.modulus * area / (2 * (1 + binder.poisson) * binder.length * radius)
    return Bridge(along, across, binder.strength * area, direction, binder.hardening)


def _split(u, direction):
    along = jnp.sum(u * direction, axis=-1)
    return along, u - along[..., None] * direction


def _work(squared, stiffness, limit, hardening):
    """Incremental energy at the trial elongation w: k w^2 / 2 up to the force `limit`, then with the slope h k."""
    inside = stiffness**2 * squared <= limit**2
    safe = jnp.where(inside, 1, stiffness)
    first = limit / safe
    beyond = jnp.sqrt(jnp.where(inside, 1, squared)) - first
    line = 0.5 * limit * first + beyond * (limit + 0.5 * hardening * stiffness * beyond)
    return jnp.where(inside, 0.5 * stiffness * squared, line)


def energy(u: Float[Array, "p 3"], past: Flow, bridge: Bridge) -> Float[Array, " p"]:
    """The incremental energy at the elongation `u`, given what flowed in the steps before; never negative."""
    w_along, w_across = _split(u - past.plastic, bridge.direction)
    along = _work(w_along**2, bridge.along, past.along, bridge.hardening)
    return along + _work(jnp.sum(w_across**2, axis=-1), bridge.across, past.across, bridge.hardening)


def flow(u: Float[Array, "p 3"], past: Flow, bridge: Bridge) -> Flow:
    """The internal variables after a step that ended at the elongation `u`."""
    w_along, w_across = _split(u - past.plastic, bridge.direction)

    def step(squared, stiffness, limit):
        over = stiffness**2 * squared > limit**2
        length, safe = jnp.sqrt(jnp.where(over, squared, 1)), jnp.where(over, stiffness, 1)
        beyond = length - limit / safe
        share = jnp.where(over, (1 - bridge.hardening) * beyond / length, 0)
        return share, limit + jnp.where(over, bridge.hardening * stiffness * beyond, 0)

    share_along, limit_along = step(w_along**2, bridge.along, past.along)
    share_across, limit_across = step(jnp.sum(w_across**2, axis=-1), bridge.across, past.across)
    moved = (share_along * w_along)[:, None] * bridge.direction + share_across[:, None] * w_across
    return Flow(past.plastic + moved, limit_along, limit_across)


def forces(u: Float[Array, "p 3"], after: Flow, bridge: Bridge) -> Float[Array, "p 3"]:
    """The force of each bridge at the elongation `u`, with the internal variables updated to it."""
    along, across = _split(u - after.plastic, bridge.direction)
    return (bridge.along * along)[:, None] * bridge.direction + bridge.across[:, None] * across


def yield_ratios(u: Float[Array, "p 3"], past: Flow, bridge: Bridge) -> Float[Array, "2 p"]:
    """Trial force over yield force along and across at the elongation `u`; infinite where there is no bridge."""
    w_along, w_across = _split(u - past.plastic, bridge.direction)

    def ratio(squared, stiffness, limit):
        there = limit > 0
        return jnp.where(there, stiffness * jnp.sqrt(squared) / jnp.where(there, limit, 1), jnp.inf)

    across = ratio(jnp.sum(w_across**2, axis=-1), bridge.across, past.across)
    return jnp.stack([ratio(w_along**2, bridge.along, past.along), across])


def stiffness(u: Float[Array, "p 3"], past: Flow, bridge: Bridge, sharpness=1.0) -> Float[Array, "p 3 3"]:
    """The Hessian of [`energy`][]; positive when hardening is.

    **Arguments:** `sharpness`, 1 for the Hessian, 0 for the secant of the force beyond yield, in between a mixture.
    """
    w_along, w_across = _split(u - past.plastic, bridge.direction)

    def moduli(squared, stiffness, limit):
        """Secant, and tangent or its mixture with that, of the force over the length of the trial elongation."""
        flows = stiffness**2 * squared > limit**2
        length, stiff = jnp.sqrt(jnp.where(flows, squared, 1)), jnp.where(flows, stiffness, 1)
        tangent = bridge.hardening * stiffness
        secant = jnp.where(flows, (limit + tangent * (length - limit / stiff)) / length, stiffness)
        mixed = jnp.where(flows, sharpness * tangent + (1 - sharpness) * secant, stiffness)
        return secant, mixed, length

    _, along, _ = moduli(w_along**2, bridge.along, past.along)
    across, tangent, length = moduli(jnp.sum(w_across**2, axis=-1), bridge.across, past.across)
    # Across the bridge the force turns with w at its secant and grows with |w| at its tangent.
    growth = (tangent - across) / length**2
    n = bridge.direction
    outer = (along - across)[:, None, None] * n[:, :, None] * n[:, None, :]
    outer = outer + growth[:, None, None] * w_across[:, :, None] * w_across[:, None, :]
    return outer + across[:, None, None] * jnp.eye(3)
