"""The state of rest of a resolved cell, and where a solve under load begins."""

import jax.numpy as jnp
from jaxtyping import Array

from .resolved import ResolvedCell, Unknowns


def rest(system: ResolvedCell) -> tuple[Array, Array]:
    """The state y at rest, and a guess for w under load: an even reaction on each side and the potentials it needs."""
    s, none = system.structure, jnp.zeros(system.structure.shape)
    filled = tuple(jnp.full(s.shape, 1.0) * role.stoichiometry for role in system.active)
    salt = jnp.full(s.shape, 1.0) * system.electrolyte.initial_concentration
    even = {side: _even(system, side) for side in (False, True)}
    reaction = tuple(jnp.where(p.area > 0, even[p.grounded], 0.0) for p in s.particles)
    metal = jnp.zeros_like(s.metal_area)
    if system.lithium is not None:
        metal = jnp.where(s.metal_area > 0, system.current / jnp.sum(s.metal_area), 0.0)
    start = Unknowns(filled, salt, none, none, reaction, metal, jnp.zeros(()))
    # What the reaction lacks at potentials of zero is what the solid has to have over the electrolyte.
    level = _lack(system, start, True)
    lyte = jnp.where(s.with_ions, level, 0.0)
    w = system.join(Unknowns(filled, salt, lyte, none, reaction, metal, level - _lack(system, start, False)))
    return system.state(w), w


def _even(system: ResolvedCell, grounded: bool) -> Array:
    """The even current density of all active material of one side, A/m2."""
    area = sum((jnp.sum(p.area) for p in system.structure.particles if p.grounded == grounded), jnp.zeros(()))
    return (system.current if grounded else -system.current) / jnp.where(area > 0, area, 1.0)


def _lack(system: ResolvedCell, start: Unknowns, grounded: bool) -> Array:
    """What the kinetic equations of one side lack, V, averaged over its area."""
    s = system.structure
    if grounded and system.lithium is not None:
        lack = system.metal_kinetics(system.top(start.salt), system.top(start.lyte), start.metal)
        return jnp.sum(lack * s.metal_area) / jnp.sum(s.metal_area)
    total, area = jnp.zeros(()), jnp.zeros(())
    for k, (p, j) in enumerate(zip(s.particles, start.reaction, strict=True)):
        if p.grounded == grounded:
            lack = jnp.where(p.area > 0, system.kinetics(k, system.read(k, start), j), 0.0)
            total, area = total + jnp.sum(p.area * lack), area + jnp.sum(p.area)
    return total / area
