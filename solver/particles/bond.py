"""Binder bridges: springs along and across a fixed direction that yield at the binder's strength."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require


class Binder(eqx.Module):
    """An elastic, plastic cylinder of binder between two particles, or between a particle and the collector.

    Stiffness k_n = c E_b A / L along and k_s = E_b A / (2 (1 + nu) L) across the bridge, A = pi (radius R)^2 and
    L = length R with R the smaller radius; each yields at the force A sigma_Y. After yielding the share `hardening`
    of the stiffness remains. Rotation of the particles is suppressed, which stiffens the network across the bridges.

    **Arguments:** `modulus`, E_b, Pa; `poisson`; `strength`, sigma_Y, Pa; `radius`, `length`, over the smaller particle
    radius; `confinement`, c; `hardening`, share of the stiffness kept beyond yield; `background`, stiffness of pairs
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
    hardening: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.05)
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

    **Arguments:** `along`, `across`, stiffnesses (P,); `limit`, yield force (P,); `direction`, (P, 3) unit vectors;
    `hardening`, number.
    """

    along: Array
    across: Array
    limit: Array
    direction: Array
    hardening: Array


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


def _huber(squared, stiffness, limit):
    """k w^2 / 2 up to the force `limit`, then limit |w| - limit^2 / 2k; smooth at w = 0, fine at k = 0."""
    inside = stiffness**2 * squared <= limit**2
    length = jnp.sqrt(jnp.where(inside, 1, squared))
    safe = jnp.where(inside, 1, stiffness)
    return jnp.where(inside, 0.5 * stiffness * squared, limit * length - 0.5 * limit**2 / safe)


def energy(u: Float[Array, "p 3"], plastic: Float[Array, "p 3"], bridge: Bridge) -> Float[Array, " p"]:
    """The incremental energy at the elongation `u`, given the plastic elongation of the steps before."""
    along, across = _split(u, bridge.direction)
    w_along, w_across = _split(u - plastic, bridge.direction)
    kept = bridge.hardening
    elastic = 0.5 * bridge.along * along**2 + 0.5 * bridge.across * jnp.sum(across**2, axis=-1)
    slip = _huber(w_along**2, bridge.along, bridge.limit)
    slip = slip + _huber(jnp.sum(w_across**2, axis=-1), bridge.across, bridge.limit)
    return kept * elastic + (1 - kept) * slip


def yielded(u: Float[Array, "p 3"], plastic: Float[Array, "p 3"], bridge: Bridge) -> Float[Array, "p 3"]:
    """The plastic elongation after a step that ended at the elongation `u`."""
    w_along, w_across = _split(u - plastic, bridge.direction)

    def excess(squared, stiffness):
        over = stiffness**2 * squared > bridge.limit**2
        length, safe = jnp.sqrt(jnp.where(over, squared, 1)), jnp.where(over, stiffness, 1)
        return jnp.where(over, 1 - bridge.limit / (safe * length), 0)

    flow_along = excess(w_along**2, bridge.along) * w_along
    flow_across = excess(jnp.sum(w_across**2, axis=-1), bridge.across)[..., None] * w_across
    return plastic + flow_along[..., None] * bridge.direction + flow_across
