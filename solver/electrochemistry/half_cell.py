"""A structure made into a particle-resolved half-cell, and what of it is lost."""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import is_concrete, require
from microstructure.units import faraday
from microstructure.voxel import Phases

from ..numerics import aggregation
from ..numerics.real import real
from .domains import Domains, domains
from .electrolyte import Electrolyte
from .kinetics import MetalKinetics
from .resolved import ResolvedCell, Unknowns
from .roles import Role
from .stencil import network
from .structure import Conductors, SeparatorStack, conductors, double, structure

_CONTRAST = 100.0  # of electronic conductivities, above which voxels are joined by the strength of their links


class HalfCell(eqx.Module):
    """A structure against lithium metal.

    **Arguments:** `phases`, collector at index 0 of axis 0, separator after its last; `roles`, the [`Role`][] of each
    phase by name; `electrolyte`; `lithium`, kinetics on the cell's section; `separator`, or `None` for lithium right
    on the last slice; `temperature`, K; `lower_cutoff`, V; `contact_resistance`, of the collector, ohm m2; `domains`,
    which voxels take part, found once ([`half_cell`][]); `periodic`, whether the sides are joined, static.
    """

    phases: Phases
    roles: dict[str, Role]
    electrolyte: Electrolyte
    lithium: MetalKinetics
    separator: SeparatorStack | None
    temperature: Float[Array, ""] = eqx.field(converter=real)
    lower_cutoff: Float[Array, ""] = eqx.field(converter=real)
    contact_resistance: Float[Array, ""] = eqx.field(converter=real)
    domains: Domains
    periodic: bool = eqx.field(static=True)

    @property
    def section(self) -> Array:
        """Area of the cell, m2."""
        spacing, (_, ny, nz) = self.phases.grid.spacing, self.phases.grid.shape
        return (spacing[1] * spacing[2] * float(ny * nz)).astype(jnp.result_type(float))

    def resolved(self, current) -> ResolvedCell:
        """The system under `current`, A, positive on discharge. Differentiable in all of the half-cell."""
        phases = double(self.phases)
        made = conductors(phases, self.roles, self.separator, self.periodic)
        current = jnp.asarray(current, jnp.result_type(float))
        hour = lax.stop_gradient(self.theoretical_capacity()) / 3600.0
        unit = jnp.maximum(jnp.abs(lax.stop_gradient(current)), 1e-3 * hour)
        return ResolvedCell(
            structure(phases, self.roles, made, self.domains, self.periodic), active_roles(self.phases, self.roles),
            self.electrolyte, self.lithium, self.temperature, current, unit, self.contact_resistance,
        )  # fmt: skip

    def theoretical_capacity(self, empty=1.0) -> Array:
        """Charge, C, that all active phases, isolated ones too, take from their stoichiometry at the start to `empty`,
        full of lithium."""
        total = jnp.zeros(())
        for name, role in self.roles.items():
            if role.material is not None:
                volume = jnp.sum(self.phases.fractions[self.phases.index(name)].astype(jnp.result_type(float)))
                room = faraday * role.material.maximum_concentration * (empty - role.stoichiometry)
                total = total + volume * jnp.prod(self.phases.grid.spacing).astype(total.dtype) * room
        return total


def active_roles(phases: Phases, roles: Mapping[str, Role]) -> tuple[Role, ...]:
    """The roles of the active phases, in the order of the phases."""
    return tuple(roles[name] for name in phases.names if roles[name].material is not None)


@eqx.filter_jit
def _conductors(phases, roles, separator, periodic) -> Conductors:
    return conductors(double(phases), roles, separator, periodic)


def half_cell(
    phases: Phases,
    roles: Mapping[str, Role],
    electrolyte: Electrolyte,
    lithium: MetalKinetics,
    separator: SeparatorStack | None = None,
    *,
    temperature=298.15,
    lower_cutoff=3.0,
    contact_resistance=0.0,
    periodic: bool = False,
    found: Domains | None = None,
) -> HalfCell:
    """A [`HalfCell`][], checked, with the voxels that take part; outside `jit`.

    **Arguments:** as in [`HalfCell`][]; `found`, the domains of a structure near by, which a derivative holds fixed.

    **Raises:** `ValueError` where a phase has no role or nothing percolates.
    """
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError("The resolved cell needs float64. Enable x64 before making the cell.")
    missing = sorted(set(phases.names) - set(roles))
    if missing:
        raise ValueError(f"Argument `roles` must name every phase, but {', '.join(missing)} has none. Give `inert()`.")
    if not any(roles[name].material is not None for name in phases.names):
        raise ValueError("Argument `roles` must hold an active phase, but no phase has a `material`.")
    require("temperature", temperature, 200.0, 400.0, unit="K")
    require("lower_cutoff", lower_cutoff, 0.0, 6.0, unit="V")
    require("contact_resistance", contact_resistance, 0.0, 10.0, unit="ohm m2")
    roles = {name: roles[name] for name in phases.names}
    if found is None:
        if not is_concrete(phases, roles):
            raise ValueError("Which voxels take part is found outside `jit`: give `found` of a structure near by.")
        made = jax.device_get(_conductors(phases, roles, separator, periodic))
        found = domains(made.electrons, made.solid_links, made.plate, made.ions, made.lyte_links, made.metal_area)
        if _contrasted(roles) and not periodic:  # joints of periodic sides would only be smoothed
            electrons = network(made.solid_links, periodic, plate=made.plate)
            found = dataclasses.replace(found, joined=aggregation.plan(electrons))
    cell = HalfCell(
        phases, roles, electrolyte, lithium, separator, temperature, lower_cutoff, contact_resistance,
        found, bool(periodic),
    )  # fmt: skip
    if is_concrete(phases, roles) and not _reacts(cell):
        raise ValueError(_idle(cell))
    return cell


def _contrasted(roles: Mapping[str, Role]) -> bool:
    conductivities = [float(role.conductivity) for role in roles.values() if role.conductivity is not None]
    return max(conductivities, default=1.0) > _CONTRAST * min(conductivities, default=1.0)


def _idle(cell: HalfCell) -> str:
    """Why nothing reacts."""
    n, phases = cell.phases.grid.shape[0], cell.phases
    advice = "Check the labels of the phases and the axis of the thickness."
    if not jnp.any(cell.domains.lyte[:n]):
        return f"The pores are cut off from the separator: no path of ions leads from it into the electrode. {advice}"
    held = sum(phases.fractions[phases.index(name)] for name in phases.names if cell.roles[name].material is not None)
    if not jnp.any((held > 0) & cell.domains.solid[:n]):
        return (
            "The solid does not percolate: no active material is joined to the collector by phases that conduct "
            f"electrons. {advice}"
        )
    return (
        "No active material takes part: none of it both conducts to the collector and touches pores that reach the "
        f"separator. {advice}"
    )


@eqx.filter_jit
def _area(cell: HalfCell) -> Array:
    return sum(jnp.sum(p.area) for p in cell.resolved(1.0).structure.particles)


def _reacts(cell: HalfCell) -> bool:
    return bool(_area(cell) > 0)


def rest(cell: HalfCell, system: ResolvedCell) -> tuple[Array, Array]:
    """The state y at rest, and a guess for w under load: an even reaction and the potentials that it needs."""
    s = system.structure
    filled = tuple(jnp.full(s.shape, 1.0) * role.stoichiometry for role in system.active)
    salt = jnp.full(s.shape, 1.0) * system.electrolyte.initial_concentration
    area = sum(jnp.sum(p.area) for p in s.particles)
    even = -system.current / area
    reaction = tuple(jnp.where(p.area > 0, even, 0.0) for p in s.particles)
    metal = jnp.where(s.metal_area > 0, system.current / jnp.sum(s.metal_area), 0.0)
    none = jnp.zeros(s.shape)
    start = Unknowns(filled, salt, none, none, reaction, metal, jnp.zeros(()))
    # What the reaction lacks at potentials of zero is what the solid has to have.
    lack = [
        jnp.where(p.area > 0, system.kinetics(k, system.read(k, start), reaction[k]), 0.0)
        for k, p in enumerate(s.particles)
    ]
    weight = sum(jnp.sum(p.area * x) for p, x in zip(s.particles, lack, strict=True))
    metal_lack = jnp.sum(system.metal_kinetics(system.top(salt), system.top(none), metal) * s.metal_area) / jnp.sum(
        s.metal_area
    )
    lyte = jnp.where(s.with_ions, metal_lack, 0.0)
    voltage = metal_lack - weight / area
    w = system.join(Unknowns(filled, salt, lyte, none, reaction, metal, voltage))
    return system.state(w), w
