"""What a modeller looks at in a resolved cell: fields on its voxels, and their means by depth.

All fields have the shape of the cell, (nx, ny, nz), with the layers of the separator and the second electrode, whose
collector comes last (`Structure.slices`); they are not a number where they mean nothing.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .resolved import ResolvedCell, Unknowns
from .resolved_heat import heat
from .resolved_power import kinetic_overpotential, over, power
from .roles import Role


class Fields(eqx.Module):
    """The fields at a moment.

    **Arguments:** `state_of_charge`, of active material, 1 at the start of a discharge and 0 where its stoichiometry is
    that of the end; `salt`, mol/m3; `lyte_potential`, against the lithium, and `solid_potential`, V; on the interface
    `reaction`, A/m2 of it, negative where lithium enters; `overpotential`, V; `against_lithium`, V, potential of the
    surface against lithium in the electrolyte beside it: plating on it is possible where it is negative; `heat`, W/m3.
    """

    state_of_charge: Float[Array, "nx ny nz"]
    salt: Float[Array, "nx ny nz"]
    lyte_potential: Float[Array, "nx ny nz"]
    solid_potential: Float[Array, "nx ny nz"]
    reaction: Float[Array, "nx ny nz"]
    overpotential: Float[Array, "nx ny nz"]
    against_lithium: Float[Array, "nx ny nz"]
    heat: Float[Array, "nx ny nz"]


class Profiles(eqx.Module):
    """Means of the slices, shape (nx,): `state_of_charge`, `salt`, mol/m3, `lyte_potential` and `solid_potential`, V,
    each over what holds it; `reaction`, A/m3 of the slice; `heat`, W/m3."""

    state_of_charge: Float[Array, " nx"]
    salt: Float[Array, " nx"]
    lyte_potential: Float[Array, " nx"]
    solid_potential: Float[Array, " nx"]
    reaction: Float[Array, " nx"]
    heat: Float[Array, " nx"]


def state_of_charge(role: Role, stoichiometry: Array, end: Array) -> Array:
    """1 at the stoichiometry at which `role` starts, 0 at the stoichiometry `end`."""
    return (end - stoichiometry) / (end - role.stoichiometry)


def _or_nothing(there: Array, x: Array) -> Array:
    return jnp.where(there, x, jnp.nan)


def charge_and_volume(system: ResolvedCell, u: Unknowns, ends: Sequence[Array]) -> tuple[Array, Array]:
    """State of charge of the active material in each voxel, its phases averaged by capacity, and that capacity in
    mol, both with the layers of the separator."""
    held, content = jnp.zeros(system.structure.shape), jnp.zeros(system.structure.shape)
    for p, role, x, end in zip(system.structure.particles, system.active, u.filled, ends, strict=True):
        room = p.storage * role.material.maximum_concentration * jnp.abs(end - role.stoichiometry)
        held, content = held + room, content + room * state_of_charge(role, x, end)
    return over(content, held), held


def solid_potential(system: ResolvedCell, u: Unknowns) -> Array:
    """Over that of the lithium or the second collector, V."""
    return u.solid + jnp.where(system.structure.first_electrode, u.voltage, 0.0)


def fields(system: ResolvedCell, u: Unknowns, ends: Sequence[Array]) -> Fields:
    """The [`Fields`][] of a moment.

    **Arguments:** `ends`, for each active phase the stoichiometry of a state of charge of zero.
    """
    s = system.structure
    charge, held = charge_and_volume(system, u, ends)
    area, current, eta, against = (jnp.zeros(s.shape) for _ in range(4))
    for k, (p, j) in enumerate(zip(s.particles, u.reaction, strict=True)):
        seen = system.read(k, u)
        stoichiometry, at, difference = system.surface(k, seen, j)
        area, current = area + p.area, current + p.area * j
        eta = eta + p.area * kinetic_overpotential(system, k, at, stoichiometry, j)
        against = against + p.area * jnp.where(p.area > 0, difference, 0.0)
    touching = area > 0
    return Fields(
        state_of_charge=_or_nothing(held > 0, charge),
        salt=_or_nothing(s.with_ions, u.salt),
        lyte_potential=_or_nothing(s.with_ions, u.lyte),
        solid_potential=_or_nothing(s.with_electrons, solid_potential(system, u)),
        reaction=_or_nothing(touching, over(current, area)),
        overpotential=_or_nothing(touching, over(eta, area)),
        against_lithium=_or_nothing(touching, over(against, area)),
        heat=heat(system, u).total / s.voxel_volumes,
    )


def profiles(system: ResolvedCell, u: Unknowns, ends: Sequence[Array]) -> Profiles:
    """The [`Profiles`][] of a moment; arguments as of [`fields`][]. A slice that holds nothing has no mean."""
    s = system.structure
    charge, held = charge_and_volume(system, u, ends)
    slices = s.widths * s.section

    def summed(x):
        return jnp.sum(x, axis=(1, 2))

    def mean(x, weight):
        total = summed(weight)
        return jnp.where(total > 0, over(summed(weight * x), total), jnp.nan)

    current = sum(p.area * j for p, j in zip(s.particles, u.reaction, strict=True))
    conducting = s.with_electrons.astype(u.solid.dtype)
    return Profiles(
        state_of_charge=mean(charge, held),
        salt=mean(u.salt, s.storage),
        lyte_potential=mean(u.lyte, s.storage),
        solid_potential=mean(solid_potential(system, u), conducting),
        reaction=summed(current) / slices,
        heat=summed(heat(system, u).total) / slices,
    )


class Figures(eqx.Module):
    """Numbers of a moment.

    **Arguments:** `state_of_charge`, of the active material that takes part, `least_charge` and `most_charge`, over its
    voxels; `least_salt` and `most_salt`, mol/m3; `overpotential`, mean over the reacting current of the electrode, and
    `other_overpotential`, that of the lithium or the second electrode, V; `against_lithium`, the least of the map, V;
    `ohmic`, `reaction` and `reversible` heat, W, of the whole cell.
    """

    state_of_charge: Array
    least_charge: Array
    most_charge: Array
    least_salt: Array
    most_salt: Array
    overpotential: Array
    other_overpotential: Array
    against_lithium: Array
    ohmic: Array
    reaction: Array
    reversible: Array


def figures(system: ResolvedCell, u: Unknowns, ends: Sequence[Array]) -> Figures:
    """The [`Figures`][] of a moment; arguments as of [`fields`][]."""
    s = system.structure
    charge, held = charge_and_volume(system, u, ends)
    taken = power(system, u)
    made = heat(system, u, taken)
    lowest = jnp.nanmin(fields(system, u, ends).against_lithium)
    wet = s.storage > 0
    kinetic = jnp.sum(taken.kinetic, axis=(1, 2))
    return Figures(
        state_of_charge=jnp.sum(charge * held) / jnp.sum(held),
        least_charge=jnp.min(jnp.where(held > 0, charge, jnp.inf)),
        most_charge=jnp.max(jnp.where(held > 0, charge, -jnp.inf)),
        least_salt=jnp.min(jnp.where(wet, u.salt, jnp.inf)),
        most_salt=jnp.max(jnp.where(wet, u.salt, -jnp.inf)),
        overpotential=-jnp.sum(kinetic[: s.slices[0]]) / system.current,
        other_overpotential=(jnp.sum(taken.metal) + jnp.sum(kinetic[s.slices[0] :])) / system.current,
        against_lithium=lowest,
        ohmic=jnp.sum(made.ohmic),
        reaction=jnp.sum(made.reaction),
        reversible=jnp.sum(made.reversible),
    )
