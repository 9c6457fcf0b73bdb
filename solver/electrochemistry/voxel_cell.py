"""What all cells on voxels share: their parts become a system under a current, and why one cannot."""

import abc
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
from .conductors import Conductors, SeparatorStack, double
from .domains import Domains, domains
from .electrolyte import Electrolyte
from .kinetics import MetalKinetics
from .resolved import ResolvedCell
from .roles import Role
from .stencil import network
from .structure import Part, structure

_CONTRAST = 100.0  # of electronic conductivities, above which voxels are joined by the strength of their links


class VoxelCell(eqx.Module):
    """Electrodes on voxels with electrolyte between them, [`HalfCell`][solver.electrochemistry.half_cell] or
    [`FullCell`][solver.electrochemistry.full_cell].

    **Arguments:** as in these.
    """

    electrolyte: eqx.AbstractVar[Electrolyte]
    lithium: eqx.AbstractVar[MetalKinetics | None]
    separator: eqx.AbstractVar[SeparatorStack | None]
    temperature: eqx.AbstractVar[Float[Array, ""]]
    lower_cutoff: eqx.AbstractVar[Float[Array, ""]]
    contact_resistance: eqx.AbstractVar[Float[Array, ""]]
    domains: eqx.AbstractVar[Domains]
    periodic: eqx.AbstractVar[bool]

    @property
    @abc.abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """The electrodes, the second one turned."""

    @abc.abstractmethod
    def conductors(self, parts: tuple[Part, ...]) -> Conductors:
        """The [`Conductors`][solver.electrochemistry.conductors.Conductors] of `parts` in double precision."""

    @abc.abstractmethod
    def theoretical_capacity(self) -> Array:
        """Charge, C, above which no discharge can draw."""

    @property
    def section(self) -> Array:
        """Area of the cell, m2."""
        grid = self.parts[0].phases.grid
        _, ny, nz = grid.shape
        return (grid.spacing[1] * grid.spacing[2] * float(ny * nz)).astype(jnp.result_type(float))

    def made(self) -> tuple[tuple[Part, ...], Conductors]:
        """The electrodes in double precision, and the conductors of the cell."""
        parts = tuple(part._replace(phases=double(part.phases)) for part in self.parts)
        return parts, self.conductors(parts)

    def resolved(self, current) -> ResolvedCell:
        """The system under `current`, A, positive on discharge. Differentiable in all of the cell."""
        parts, made = self.made()
        current = jnp.asarray(current, jnp.result_type(float))
        hour = lax.stop_gradient(self.theoretical_capacity()) / 3600.0
        unit = jnp.maximum(jnp.abs(lax.stop_gradient(current)), 1e-3 * hour)
        return ResolvedCell(
            structure(parts, made, self.domains, self.periodic),
            tuple(role for part in self.parts for role in active_roles(part.phases, part.roles)),
            self.electrolyte, self.lithium, self.temperature, current, unit, self.contact_resistance,
        )  # fmt: skip


def active_roles(phases: Phases, roles: Mapping[str, Role]) -> tuple[Role, ...]:
    """The roles of the active phases, in the order of the phases."""
    return tuple(roles[name] for name in phases.names if roles[name].material is not None)


def charge_to(part: Part, bound: float) -> Array:
    """Charge, C, that all active phases of an electrode, isolated ones too, take or give from their stoichiometry at
    the start to `bound`."""
    phases, total = part.phases, jnp.zeros(())
    for name, role in part.roles.items():
        if role.material is not None:
            volume = jnp.sum(phases.fractions[phases.index(name)].astype(jnp.result_type(float)))
            room = faraday * role.material.maximum_concentration * jnp.abs(bound - role.stoichiometry)
            total = total + volume * jnp.prod(phases.grid.spacing).astype(total.dtype) * room
    return total


# --- outside `jit` ----------------------------------------------------------------------------------------------------


def checked_roles(phases: Phases, roles: Mapping[str, Role], argument: str = "roles") -> dict[str, Role]:
    """`roles` in the order of the phases. `ValueError` where a phase has none or nothing is active."""
    missing = sorted(set(phases.names) - set(roles))
    if missing:
        raise ValueError(
            f"Argument `{argument}` must name every phase, but {', '.join(missing)} has none. Give `inert()`."
        )
    if not any(roles[name].material is not None for name in phases.names):
        raise ValueError(f"Argument `{argument}` must hold an active phase, but no phase has a `material`.")
    return {name: roles[name] for name in phases.names}


def checked_numbers(temperature, lower_cutoff, contact_resistance) -> None:
    """`ValueError` for a number out of its range, or a precision that will not do."""
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError("The resolved cell needs float64. Enable x64 before making the cell.")
    require("temperature", temperature, 200.0, 400.0, unit="K")
    require("lower_cutoff", lower_cutoff, 0.0, 6.0, unit="V")
    require("contact_resistance", contact_resistance, 0.0, 10.0, unit="ohm m2")


@eqx.filter_jit
def _conductors(cell: VoxelCell) -> Conductors:
    return cell.made()[1]


@eqx.filter_jit
def _areas(cell: VoxelCell) -> list[Array]:
    particles = cell.resolved(1.0).structure.particles
    return [sum(jnp.sum(p.area) for p in particles if p.grounded == part.grounded) for part in cell.parts]


def with_domains(cell: VoxelCell, found: Domains | None) -> VoxelCell:
    """`cell` with the voxels that take part, checked.

    **Arguments:** `found`, the domains of a structure near by, which a derivative holds fixed.

    **Raises:** `ValueError` where nothing percolates.
    """
    concrete = is_concrete([part[:2] for part in cell.parts])
    if found is None:
        if not concrete:
            raise ValueError("Which voxels take part is found outside `jit`: give `found` of a structure near by.")
        made = jax.device_get(_conductors(cell))
        found = domains(made)
        if _contrasted(cell) and not cell.periodic:  # joints of periodic sides would only be smoothed
            electrons = network(made.solid_links, cell.periodic, plate=made.plate, far=made.ground)
            found = dataclasses.replace(found, joined=aggregation.plan(electrons))
    cell = dataclasses.replace(cell, domains=found)
    if concrete:
        for part, area in zip(cell.parts, _areas(cell), strict=True):
            if not area > 0:
                raise ValueError(_idle(cell, part))
    return cell


def _contrasted(cell: VoxelCell) -> bool:
    roles = [role for part in cell.parts for role in part.roles.values()]
    conductivities = [float(role.conductivity) for role in roles if role.conductivity is not None]
    return max(conductivities, default=1.0) > _CONTRAST * min(conductivities, default=1.0)


def _idle(cell: VoxelCell, part: Part) -> str:
    """Why nothing of an electrode reacts."""
    phases, where = part.phases, slice(part.first, part.first + part.phases.grid.shape[0])
    sides = {False: " of the positive electrode", True: " of the negative electrode"}
    called = "" if len(cell.parts) == 1 else sides[part.grounded]
    advice = "Check the labels of the phases and the axis of the thickness."
    if not jnp.any(cell.domains.lyte[where]):
        return (
            f"The pores{called} are cut off from the separator: no path of ions leads from it into the electrode. "
            f"{advice}"
        )
    held = sum(phases.fractions[phases.index(name)] for name in phases.names if part.roles[name].material is not None)
    if not jnp.any((held > 0) & cell.domains.solid[where]):
        return (
            f"The solid{called} does not percolate: no active material is joined to the collector by phases that "
            f"conduct electrons. {advice}"
        )
    return (
        f"No active material{called} takes part: none of it both conducts to the collector and touches pores that "
        f"reach the separator. {advice}"
    )
