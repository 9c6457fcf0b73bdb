"""Binder bridges: springs along and across a fixed direction that yield at the binder's strength, and may break."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require


def _optional(value):
    return None if value is None else jnp.asarray(value)


class Binder(eqx.Module):
    """An elastic, plastic cylinder of binder between two particles, or between a particle and the collector.

    Stiffness k_n = c E_b A / L along and k_s = E_b A / (2 (1 + nu) L) across the bridge, A = pi (radius R)^2 and
    L = length R with R the smaller radius; each yields at the force A sigma_Y. Beyond, the force grows by the share
    `hardening` of the stiffness and so does the yield force (isotropic hardening; 0 is perfectly plastic). Rotation of
    the particles is suppressed, which stiffens the network across the bridges.

    A bridge breaks at the end of an increment in which its strain, sqrt(max(u_n, 0)^2 + u_s^2) / L of the elongations
    u along and across, reaches `fracture_strain`, or its stress, the same of the forces over A, `fracture_stress`;
    pushing breaks nothing. From then on it is as a pair without binder. No derivative sees a rupture.

    **Arguments:** `modulus`, E_b, Pa; `poisson`; `strength`, sigma_Y, Pa; `radius`, `length`, over the smaller particle
    radius; `confinement`, c; `hardening`, tangent beyond yield over the stiffness; `background`, stiffness of pairs
    in the list that are not bonded, as a share of a bond, so that no particle floats; `fracture_strain`, and
    `fracture_stress`, Pa, or `None`, never.

    **Source:** Potyondy and Cundall 2004, doi 10.1016/j.ijrmms.2004.09.011. Numbers: Lundkvist et al. 2024, doi
    10.1016/j.powtec.2024.119873: E_b = 2 GPa, nu = 0.3, length 0.5 R; strength 50 MPa and radius 0.7 R are starting
    values to be calibrated on in-plane stiffness; hardening and background are numerical choices. Their later runs take
    fracture strains of 0.05 to 0.2.
    """

    modulus: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=2e9)
    poisson: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    strength: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=50e6)
    radius: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.7)
    length: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.5)
    confinement: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    hardening: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)
    background: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    fracture_strain: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    fracture_stress: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)

    def __check_init__(self):
        require("modulus", self.modulus, 0.0, 1e12, unit="Pa")
        require("poisson", self.poisson, 0.0, 0.5)
        require("strength", self.strength, 1.0, 1e20, unit="Pa")
        require("radius", self.radius, 1e-3, 3.0)
        require("length", self.length, 1e-3, 3.0)
        require("hardening", self.hardening, 0.0, 1.0)
        if self.fracture_strain is not None:
            require("fracture_strain", jnp.minimum(self.fracture_strain, 1e30), 0.0)
        if self.fracture_stress is not None:
            require("fracture_stress", jnp.minimum(self.fracture_stress, 1e30), 0.0, unit="Pa")

    def softened(self, share, shift) -> "Binder":
        """The binder with `share` of its modulus and strengths; it has no relaxation times to `shift`."""
        changed = eqx.tree_at(lambda b: (b.modulus, b.strength), self, (share * self.modulus, share * self.strength))
        if self.fracture_stress is None:
            return changed
        return eqx.tree_at(lambda b: b.fracture_stress, changed, share * self.fracture_stress)


class Bridge(eqx.Module):
    """The constants of bridges, in any consistent units.

    **Arguments:** `along`, `across`, stiffnesses (P,); `limit`, first yield force (P,); `direction`, (P, 3) unit
    vectors; `hardening`, number. Of bridges that may break: `stretch`, elongation, and `pull`, force at which they do
    (P,); `remnant`, what a pair without binder has of the stiffness (P,).
    """

    along: Array
    across: Array
    limit: Array
    direction: Array
    hardening: Array
    stretch: Array | None = None
    pull: Array | None = None
    remnant: Array | None = None


class Flow(eqx.Module):
    """Internal variables of bridges: `plastic`, elongation (P, 3); `along`, `across`, yield forces by now of the whole
    bridge (P,); `intact`, 1 until it breaks, then 0 (P,), or `None` where nothing can break."""

    plastic: Array
    along: Array
    across: Array
    intact: Array | None = None


def fresh(bridge: Bridge) -> Flow:
    """Bridges that never yielded."""
    intact = None if bridge.remnant is None else jnp.ones_like(bridge.limit)
    return Flow(jnp.zeros_like(bridge.direction), bridge.limit, bridge.limit, intact)


def bridges(binder: Binder, radius, weight, direction, stress_unit=1.0, bare=0.0) -> Bridge:
    """[`Bridge`][] for particle pairs whose smaller radius is `radius`, each counted `weight` times.

    **Arguments:** `radius`, (P,); `weight`, (P,); `direction`, (P, 3); `stress_unit`, Pa, of the units in use; `bare`,
    (P,) the weight that each has without binder, which is left of it when it breaks.
    """
    area = jnp.pi * (binder.radius * radius) ** 2 * weight / stress_unit
    along = binder.confinement * binder.modulus * area / (binder.length * radius)
    across = binder.modulus * area / (2 * (1 + binder.poisson) * binder.length * radius)
    whole = Bridge(along, across, binder.strength * area, direction, binder.hardening)
    if binder.fracture_strain is None and binder.fracture_stress is None:
        return whole
    never = jnp.full_like(area, jnp.inf)
    stretch = never if binder.fracture_strain is None else binder.fracture_strain * binder.length * radius
    pull = never if binder.fracture_stress is None else binder.fracture_stress * area
    remnant = jnp.where(weight > 0, bare / jnp.where(weight > 0, weight, 1), 1)
    changes = (stretch, pull, remnant)
    return eqx.tree_at(lambda b: (b.stretch, b.pull, b.remnant), whole, changes, is_leaf=lambda x: x is None)


def _left(past: Flow, bridge: Bridge):
    """What is left of the bridges: of a broken one the share that a pair without binder has, which yielded with it."""
    if past.intact is None:
        return past, bridge
    share = jnp.where(past.intact > 0, 1, bridge.remnant)
    parts = (share * bridge.along, share * bridge.across, share * bridge.limit)
    bridge = eqx.tree_at(lambda b: (b.along, b.across, b.limit), bridge, parts)
    return eqx.tree_at(lambda f: (f.along, f.across), past, (share * past.along, share * past.across)), bridge


def broken(u: Float[Array, "p 3"], after: Flow, bridge: Bridge) -> Flow:
    """The internal variables once the bridges that the elongation `u` tears have broken: at the end of an increment."""
    if after.intact is None:
        return after

    def size(vector):
        along, across = _split(vector, bridge.direction)
        return jnp.sqrt(jnp.maximum(along, 0) ** 2 + jnp.sum(across**2, axis=-1))

    u, after, bridge = lax.stop_gradient((u, after, bridge))
    torn = (size(u) >= bridge.stretch) | (size(forces(u, after, bridge)) >= bridge.pull)
    # A pair that never had binder has none to lose.
    torn = torn & (bridge.remnant < 1)
    return eqx.tree_at(lambda f: f.intact, after, jnp.where(torn, 0, after.intact))


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
    past, bridge = _left(past, bridge)
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
    return Flow(past.plastic + moved, limit_along, limit_across, past.intact)


def forces(u: Float[Array, "p 3"], after: Flow, bridge: Bridge) -> Float[Array, "p 3"]:
    """The force of each bridge at the elongation `u`, with the internal variables updated to it."""
    after, bridge = _left(after, bridge)
    along, across = _split(u - after.plastic, bridge.direction)
    return (bridge.along * along)[:, None] * bridge.direction + bridge.across[:, None] * across


def yield_ratios(u: Float[Array, "p 3"], past: Flow, bridge: Bridge) -> Float[Array, "2 p"]:
    """Trial force over yield force along and across at the elongation `u`; infinite where there is no bridge."""
    past, bridge = _left(past, bridge)
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
    past, bridge = _left(past, bridge)
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
