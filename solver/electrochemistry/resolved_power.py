"""Where a resolved cell takes power: every link, interface and contact by itself, laid on the voxels.

Multiplied by the potentials, the balances of charge say that the power of all parts is what the voltage lacks to that
of the surfaces at rest:

    sum of powers = I (sum_k w_k U(x_surface,k) - V),   w_k = a_k j_k / sum(a j),

without a remainder. A link counts half to each of its two voxels.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.flux import pad, slice_of
from ..numerics.written import written
from .kinetics import overpotential, smooth_positive
from .resolved import SALT_FLOOR, ResolvedCell, Unknowns
from .stencil import preceding, wraps


class Power(eqx.Module):
    """Power in each voxel, W, (nx, ny, nz) with the layers of the separator after the electrode.

    **Arguments:** `ohmic_solid`, `ohmic_electrolyte`; `concentration`, diffusion potential of the salt, negative where
    the salt drives the current; `kinetic`, charge transfer of the particles; `metal`, that of the lithium, zero where
    there is none, and `contact`, between the first slice and the terminal, (1, ny, nz).
    """

    ohmic_solid: Float[Array, "nx ny nz"]
    ohmic_electrolyte: Float[Array, "nx ny nz"]
    concentration: Float[Array, "nx ny nz"]
    kinetic: Float[Array, "nx ny nz"]
    metal: Float[Array, "1 ny nz"]
    contact: Float[Array, "1 ny nz"]

    @property
    def total(self) -> Array:
        """W."""
        parts = self.ohmic_solid + self.ohmic_electrolyte + self.concentration + self.kinetic
        return jnp.sum(parts) + jnp.sum(self.metal) + jnp.sum(self.contact)


def over(x: Array, y: Array) -> Array:
    """x / y, zero where y is."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)


def kinetic_overpotential(system: ResolvedCell, k: int, salt: Array, stoichiometry: Array, j: Array) -> Array:
    """eta, V, of active phase `k` at an interface with these concentrations that gives off j; zero where there is
    none."""
    material, area = system.active[k].material, system.structure.particles[k].area
    exchange = material.exchange_current_density(smooth_positive(salt, SALT_FLOOR), stoichiometry, system.temperature)
    return jnp.where(area > 0, overpotential(j, exchange, system.thermal_voltage), 0.0)


def metal_overpotential(system: ResolvedCell, u: Unknowns) -> Array:
    """eta of the lithium, V, (1, ny, nz); zero where there is none."""
    if system.lithium is None:
        return jnp.zeros_like(u.metal)
    at, _ = system.beside(system.top(u.salt), system.top(u.lyte), u.metal, system.structure.metal_path)
    exchange = system.lithium(smooth_positive(at, SALT_FLOOR))
    there = system.structure.metal_area > 0
    return jnp.where(there, overpotential(u.metal, exchange, system.thermal_voltage), 0.0)


def power(system: ResolvedCell, u: Unknowns) -> Power:
    """The [`Power`][] of all parts."""
    s, last = system.structure, system.structure.shape[0] - 1
    solid, contact = _solid(system, u)
    ohmic, salt = _electrolyte(system, u)
    kinetic = jnp.zeros(s.shape)
    for k, (p, j) in enumerate(zip(s.particles, u.reaction, strict=True)):
        seen = system.read(k, u)
        stoichiometry, _, _ = system.surface(k, seen, j)
        at = _at_surface(system, seen[1], j, p.lyte_path)
        kinetic = kinetic + p.area * j * kinetic_overpotential(system, k, at, stoichiometry, j)
        solid = solid + p.area * j**2 * p.solid_path
        rise, fall = _beside(system, seen[1], j, p.lyte_path)
        ohmic, salt = ohmic + p.area * j * rise, salt + p.area * j * fall
    rise, fall = _beside(system, system.top(u.salt), u.metal, s.metal_path)
    drawn = s.metal_area * u.metal
    return Power(
        ohmic_solid=solid,
        ohmic_electrolyte=ohmic + pad(drawn * rise, 0, last, 0),
        concentration=salt + pad(drawn * fall, 0, last, 0),
        kinetic=kinetic,
        metal=drawn * metal_overpotential(system, u),
        contact=contact,
    )


def _at_surface(system, salt, j, path):
    return system.beside(salt, jnp.zeros_like(salt), j, path)[0]


def _beside(system, salt, j, path):
    """The ohmic step of the potential from where the electrolyte is read to the surface, V, and that of its salt."""
    _, conductivity = system.electrolyte.transport(salt, system.temperature)
    at, step = system.beside(salt, jnp.zeros_like(salt), j, path)
    ohmic = j * path / conductivity
    return ohmic, step - ohmic


def _halved(power: Array, axis: int, periodic: bool) -> Array:
    """What links along `axis` take, half to each of their voxels."""
    return 0.5 * (power + preceding(power, axis, wraps(periodic)[axis]))


def _solid(system: ResolvedCell, u: Unknowns) -> tuple[Array, Array]:
    """Of the electrons in the solid, and of their contact with the collector."""
    s = system.structure
    out = jnp.zeros(s.shape)
    for axis, link in enumerate(s.solid_links):
        out = out + _halved(link * system.steps(u.solid, axis) ** 2, axis, s.periodic)
    through = system.plate * slice_of(u.solid, 0, 0)
    facet = s.section / s.plate.size
    out = out + pad(over(through**2, s.plate), 0, 0, s.shape[0] - 1)
    if s.ground is not None:
        out = out + pad(s.ground * system.top(u.solid) ** 2, 0, s.shape[0] - 1, 0)
    return out, through**2 * system.contact_resistance / facet


def _electrolyte(system: ResolvedCell, u: Unknowns) -> tuple[Array, Array]:
    """Of the ions: ohmic, and against the diffusion potential."""
    s = system.structure
    ohmic, diffusion = jnp.zeros(s.shape), jnp.zeros(s.shape)
    here, log = [written(x) for x in system.lyte_laws(u.salt)], written(system.logarithm(u.salt))
    for axis, link in enumerate(s.lyte_links):
        _, conductivity, ratio = system.between(here, u.salt, axis)
        by_salt = ratio * system.steps(u.salt, axis) + system.bare * system.steps(log, axis)
        drive = conductivity * system.steps(u.lyte, axis) - system.diffusion_potential * by_salt
        current = -link * drive
        ohmic = ohmic + _halved(written(over(current**2, link * conductivity)), axis, s.periodic)
        against = -current * system.diffusion_potential * by_salt / conductivity
        diffusion = diffusion + _halved(written(against), axis, s.periodic)
    return ohmic, diffusion
