"""Two structures made into a particle-resolved cell, with a separator between them."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from microstructure.checks import is_concrete
from microstructure.voxel import Phases

from ..numerics.real import real
from .conductors import Conductors, SeparatorStack, face_to_face, turned
from .domains import Domains
from .electrolyte import Electrolyte
from .roles import Role
from .structure import Part
from .voxel_cell import VoxelCell, charge_to, checked_numbers, checked_roles, with_domains


class FullCell(VoxelCell):
    """Two structures face to face.

    **Arguments:** `positive` and `negative`, both with the collector at index 0 of axis 0 and the separator after
    their last slice, the same number and size of voxels along the other axes; `positive_roles`, `negative_roles`, the
    [`Role`][] of each phase by name; `electrolyte`; `separator`, layers from the positive on; `temperature`, K;
    `lower_cutoff`, V; `contact_resistance`, of the positive collector, where that of both may be put, ohm m2;
    `domains`, which voxels take part, found once ([`full_cell`][]); `periodic`, whether the sides are joined, static.
    """

    positive: Phases
    positive_roles: dict[str, Role]
    negative: Phases
    negative_roles: dict[str, Role]
    electrolyte: Electrolyte
    separator: SeparatorStack
    temperature: Float[Array, ""] = eqx.field(converter=real)
    lower_cutoff: Float[Array, ""] = eqx.field(converter=real)
    contact_resistance: Float[Array, ""] = eqx.field(converter=real)
    domains: Domains | None
    periodic: bool = eqx.field(static=True)
    lithium: None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        beyond = self.positive.grid.shape[0] + self.separator.layers
        return Part(self.positive, self.positive_roles), Part(turned(self.negative), self.negative_roles, beyond, True)

    def conductors(self, parts: tuple[Part, ...]) -> Conductors:
        first, second = (part[:2] for part in parts)
        return face_to_face(first, self.separator, second, self.periodic)

    def theoretical_capacity(self, full=1.0, empty=0.0) -> Array:
        """Charge, C, that the positive takes to the stoichiometry `full` or the negative gives to `empty`, whichever is
        less; isolated material too."""
        positive, negative = self.parts
        return jnp.minimum(charge_to(positive, full), charge_to(negative, empty))


def full_cell(
    positive: Phases,
    positive_roles: Mapping[str, Role],
    negative: Phases,
    negative_roles: Mapping[str, Role],
    electrolyte: Electrolyte,
    separator: SeparatorStack,
    *,
    temperature=298.15,
    lower_cutoff=2.5,
    contact_resistance=0.0,
    periodic: bool = False,
    found: Domains | None = None,
) -> FullCell:
    """A [`FullCell`][], checked, with the voxels that take part; outside `jit`.

    **Arguments:** as in [`FullCell`][]; `found`, the domains of a structure near by, which a derivative holds fixed.

    **Raises:** `ValueError` where a phase has no role, the electrodes do not fit or nothing percolates.
    """
    checked_numbers(temperature, lower_cutoff, contact_resistance)
    _require_fit(positive, negative)
    roles = checked_roles(positive, positive_roles, "positive_roles")
    others = checked_roles(negative, negative_roles, "negative_roles")
    cell = FullCell(
        positive, roles, negative, others, electrolyte, separator, temperature, lower_cutoff, contact_resistance, None,
        bool(periodic),
    )  # fmt: skip
    return with_domains(cell, found)


def _require_fit(positive: Phases, negative: Phases) -> None:
    """A sentence where the electrodes do not lie voxel on voxel."""
    one, other = positive.grid, negative.grid
    if one.shape[1:] != other.shape[1:]:
        sides = (" x ".join(map(str, grid.shape[1:])) for grid in (one, other))
        raise ValueError(
            "Arguments `positive` and `negative` must have as many voxels along axes 1 and 2, but have {} and {}. Crop "
            "the larger one.".format(*sides)
        )
    if is_concrete(one.spacing, other.spacing):
        edges = [np.asarray(grid.spacing, float)[1:] for grid in (one, other)]
        if not np.allclose(*edges, rtol=1e-6, atol=0.0):
            sizes = (" x ".join(f"{1e6 * e:g}" for e in edge) for edge in edges)
            raise ValueError(
                "Arguments `positive` and `negative` must have voxels of one size along axes 1 and 2, but theirs are "
                "{} and {} um. Resample one of them.".format(*sizes)
            )
