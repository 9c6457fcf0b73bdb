"""From a resolved half-cell to the porous-electrode cell of what is measured on its voxels."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solver.cell import library
from solver.cell.cell import Cell, Electrode, Separator
from solver.electrochemistry.half_cell import HalfCell
from solver.handover import diffusing
from solver.numerics.solution import Result, Solution, raise_unless_successful
from solver.transport.conduct import for_gradients
from solver.transport.effective import effective_conductivity
from solver.transport.uptake import diffusion_radius, solid


class Effective(eqx.Module):
    """What the porous-electrode model takes from a structure with one active phase: of what takes part only.

    **Arguments:** `porosity`, nanopores included; `active_fraction`; `specific_area`, 1/m; `electrolyte_transport`,
    effective over free diffusivity, and `electronic_conductivity`, S/m, through the thickness; `diffusion_radius`, m,
    of the sphere that fills and empties as slowly ([`solver.transport.uptake`][]).
    """

    porosity: Float[Array, ""]
    active_fraction: Float[Array, ""]
    specific_area: Float[Array, ""]
    electrolyte_transport: Float[Array, ""]
    electronic_conductivity: Float[Array, ""]
    diffusion_radius: Float[Array, ""]

    @property
    def area_radius(self) -> Array:
        """Of the sphere with the same area per volume, m."""
        return 3.0 * self.active_fraction / self.specific_area


def effective(cell: HalfCell) -> Effective:
    """What is measured on the voxels of `cell`; outside `jit`.

    **Raises:** `ValueError` for more than one active phase; `SolveError` where a solve does not converge.
    """
    return raise_unless_successful(eqx.filter_jit(measured)(cell), "Effective properties of the structure")


def measured(cell: HalfCell) -> Solution:
    """A `Solution` with the [`Effective`][] of `cell`; differentiable in its structure and its roles.

    **Raises:** `ValueError` for more than one active phase.
    """
    phases, roles = cell.phases, [cell.roles[name] for name in cell.phases.names]
    active = [k for k, role in enumerate(roles) if role.material is not None]
    if len(active) != 1:
        raise ValueError(
            f"Argument `cell` must have one active phase, but has {len(active)}: the porous electrode has one."
        )
    n = phases.grid.shape[0]
    made = cell.resolved(1.0).structure
    volume, part = cell.section * phases.grid.size[0].astype(float), made.particles[0]

    def through(values) -> Solution:
        method = for_gradients(dtype=np.float64)
        given = jnp.stack([jnp.zeros(()) if v is None else v for v in values])
        return effective_conductivity(phases, given, 0, None, method)

    ions, electrons = through([role.transport for role in roles]), through([role.conductivity for role in roles])
    uptake = diffusion_radius(solid(phases, active[0]))
    value = Effective(
        porosity=jnp.sum(made.storage[:n]) / volume,
        active_fraction=jnp.sum(part.storage) / volume,
        specific_area=jnp.sum(part.area) / volume,
        electrolyte_transport=ions.value[0],
        electronic_conductivity=electrons.value[0],
        diffusion_radius=uptake.value.astype(float),
    )
    result = Result.successful
    for solution in (ions, electrons, uptake):
        result = Result.where(solution.result == Result.successful, result, solution.result)
    return Solution(value, result, {})


def porous(cell: HalfCell, found: Effective, empty, radius: str = "diffusion") -> Cell:
    """The half-cell of the porous-electrode model with the properties `found`, and all else as in `cell`.

    **Arguments:** `empty`, stoichiometry of the discharged material, for the capacity that C-rates count by;
    `radius`, "diffusion" for spheres of the diffusion radius that react as fast as the measured area does, "area" for
    spheres with the measured area.
    """
    if radius not in ("diffusion", "area"):
        raise ValueError(f'Argument `radius` must be "diffusion" or "area", but is {radius!r}.')
    role = next(role for role in cell.roles.values() if role.material is not None)
    stack = cell.separator
    if stack is None:
        raise ValueError("The porous-electrode model needs a separator, but `cell` has none. Give one to `half_cell`.")
    positive = Electrode(
        thickness=cell.phases.grid.size[0].astype(float),
        porosity=found.porosity,
        active_fraction=found.active_fraction,
        specific_area=found.specific_area,
        particle_radius=found.area_radius,
        electrolyte_transport=found.electrolyte_transport,
        electronic_conductivity=found.electronic_conductivity,
        material=role.material,
        stoichiometry_full=role.stoichiometry,
        stoichiometry_empty=empty,
    )
    if radius == "diffusion":
        positive = diffusing(positive, found.diffusion_radius)
    separator = Separator(stack.thickness, stack.porosity, stack.transport)
    made = library.half_cell(positive, cell.electrolyte, cell.lower_cutoff, separator=separator)
    return eqx.tree_at(lambda c: (c.negative.kinetics, c.temperature), made, (cell.lithium, cell.temperature))
