"""A structure made into a particle-resolved half-cell, against lithium metal."""

from collections.abc import Mapping

import equinox as eqx
from jaxtyping import Array, Float

from microstructure.voxel import Phases

from ..numerics.real import real
from .conductors import Conductors, SeparatorStack, against_lithium
from .domains import Domains
from .electrolyte import Electrolyte
from .kinetics import MetalKinetics
from .roles import Role
from .structure import Part
from .voxel_cell import VoxelCell, charge_to, checked_numbers, checked_roles, with_domains


class HalfCell(VoxelCell):
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
    domains: Domains | None
    periodic: bool = eqx.field(static=True)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Part(self.phases, self.roles),)

    def conductors(self, parts: tuple[Part, ...]) -> Conductors:
        return against_lithium(parts[0].phases, self.roles, self.separator, self.periodic)

    def theoretical_capacity(self, empty=1.0) -> Array:
        """Charge, C, that all active phases, isolated ones too, take from their stoichiometry at the start to `empty`,
        full of lithium."""
        return charge_to(self.parts[0], empty)


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
    checked_numbers(temperature, lower_cutoff, contact_resistance)
    roles = checked_roles(phases, roles)
    cell = HalfCell(
        phases, roles, electrolyte, lithium, separator, temperature, lower_cutoff, contact_resistance, None,
        bool(periodic),
    )  # fmt: skip
    return with_domains(cell, found)
