"""From a resolved half-cell to the porous-electrode cells of what is measured on its voxels, and which is nearest."""

from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solver.cell import library
from solver.cell.cell import Cell, Electrode, Separator
from solver.cell.method import Method
from solver.cell.protocol import Discharge, discharge
from solver.electrochemistry.half_cell import HalfCell
from solver.electrochemistry.resolved_run import ResolvedDischarge
from solver.electrochemistry.salt_limit import drops
from solver.numerics.solution import Result, Solution, raise_unless_successful
from solver.transport.conduct import for_gradients
from solver.transport.effective import effective_conductivity
from solver.transport.uptake import solid, uptake_radii

from .closures import CLOSURES, of_diffusion

_POINTS = 400  # at which two discharges are compared


class Effective(eqx.Module):
    """What the porous-electrode model takes from a structure with one active phase: of what takes part only.

    **Arguments:** `porosity`, nanopores included; `active_fraction`; `specific_area`, 1/m; `electrolyte_transport`,
    effective over free diffusivity, and `electronic_conductivity`, S/m, through the thickness; `electrode_transport`,
    effective over free diffusivity for an even reaction, dead ends counted: that of a porous electrode with the same
    mean fall of the potential from its face to what reacts; `uptake_radii`, m, of the spheres that fill and empty as
    the solid does, to the orders 1 to 4 ([`solver.transport.uptake`][]).
    """

    porosity: Float[Array, ""]
    active_fraction: Float[Array, ""]
    specific_area: Float[Array, ""]
    electrolyte_transport: Float[Array, ""]
    electronic_conductivity: Float[Array, ""]
    electrode_transport: Float[Array, ""]
    uptake_radii: Float[Array, "4"]

    @property
    def diffusion_radius(self) -> Array:
        """Of the sphere with the same slow uptake, m."""
        return self.uptake_radii[0]

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
    system = cell.resolved(1.0)
    made = system.structure
    volume, part = cell.section * phases.grid.size[0].astype(float), made.particles[0]

    def through(values) -> Solution:
        method = for_gradients(dtype=np.float64)
        given = jnp.stack([jnp.zeros(()) if v is None else v for v in values])
        return effective_conductivity(phases, given, 0, None, method)

    ions, electrons = through([role.transport for role in roles]), through([role.conductivity for role in roles])
    reaction = drops(system, jnp.ones(made.shape[0]))
    uptake = uptake_radii(solid(phases, active[0]))
    value = Effective(
        porosity=jnp.sum(made.storage[:n]) / volume,
        active_fraction=jnp.sum(part.storage) / volume,
        specific_area=jnp.sum(part.area) / volume,
        electrolyte_transport=ions.value[0],
        electronic_conductivity=electrons.value[0],
        electrode_transport=_even_transport(cell, reaction.value[1]),
        uptake_radii=uptake.value.astype(float),
    )
    result = Result.successful
    for solution in (ions, electrons, reaction, uptake):
        result = Result.where(solution.result == Result.successful, result, solution.result)
    return Solution(value, result, {})


def _even_transport(cell: HalfCell, fall: Array) -> Array:
    """The relative transport b of a porous electrode, even throughout, in which the mean `fall` of the potential from
    the lithium to what reacts, 1/m for a unit of flux, is that of the separator and L / (3 b A) in the electrode.

    **Source:** Landesfeind et al. 2016, doi 10.1149/2.1141607jes.
    """
    stack = cell.separator
    before = 0.0 if stack is None else stack.thickness / (stack.transport * cell.section)
    return cell.phases.grid.size[0].astype(float) / (3.0 * cell.section * (fall - before))


def porous(cell: HalfCell, found: Effective, empty, closure: Callable = of_diffusion) -> Cell:
    """The half-cell of the porous-electrode model with the properties `found`, and all else as in `cell`.

    **Arguments:** `empty`, stoichiometry of the discharged material, for the capacity that C-rates count by;
    `closure`, what stands for the solid: a function of an [`Electrode`][] and `found` as in [`solver.closures`][].
    """
    if not callable(closure):
        raise ValueError(f"Argument `closure` must be a function from `solver.closures`, but is {closure!r}.")
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
    separator = Separator(stack.thickness, stack.porosity, stack.transport)
    made = library.half_cell(closure(positive, found), cell.electrolyte, cell.lower_cutoff, separator=separator)
    return eqx.tree_at(lambda c: (c.negative.kinetics, c.temperature), made, (cell.lithium, cell.temperature))


class Beside(eqx.Module):
    """A discharge of the porous electrode beside the resolved one at the same current.

    **Arguments:** `charge`, C, shape (n,), the middles of n equal parts up to the earlier of the two ends (at the start
    itself no step has been solved), and there `resolved`, V, and `gap`, V, the voltage of the porous electrode less
    that; `capacity`, relative difference of the charge delivered; `core`, the entries of `charge` in nine tenths of the
    resolved discharge.
    """

    charge: np.ndarray
    resolved: np.ndarray
    gap: np.ndarray
    capacity: float
    core: np.ndarray

    @property
    def voltage(self) -> float:
        """Root mean square of the gap in nine tenths of the discharge, V."""
        return float(np.sqrt(np.mean(self.gap[self.core] ** 2)))

    @property
    def largest(self) -> float:
        """The largest gap there, V."""
        return float(np.max(np.abs(self.gap[self.core])))


def beside(run: ResolvedDischarge, other: Discharge) -> Beside:
    """`other` of the porous electrode beside the resolved `run`; on the host."""
    drawn, current = float(run.capacity), float(run.current)
    delivered = current * float(other.end_time)
    charge = min(drawn, delivered) * (np.arange(_POINTS) + 0.5) / _POINTS
    resolved = np.interp(charge / current, np.asarray(run.time), np.asarray(run.voltage))
    theirs = np.asarray(other.voltage_at(jnp.asarray(charge / current)))
    return Beside(charge, resolved, theirs - resolved, delivered / drawn - 1.0, charge < 0.9 * drawn)


def nearest(
    cell: HalfCell,
    found: Effective,
    empty,
    runs: Sequence[ResolvedDischarge],
    closures: Mapping[str, Callable] = CLOSURES,
    method: Method | None = None,
) -> tuple[str, dict[str, list[Beside]]]:
    """Which closure comes nearest to resolved discharges of `cell`, and all of them beside each; on the host.

    The nearest has the least mean square, over the runs, of the voltage in nine tenths of the discharge. Capacity is
    reported and not weighed: it ends where the voltage does.

    **Arguments:** `found` and `empty`, as in [`porous`][]; `runs`, of `cell`, at any currents; `closures`, by name, as
    in [`solver.closures`][]; `method`, of the porous electrode.

    **Returns:** the name, and [`Beside`][] for every run by the name of each closure.

    **Raises:** `ValueError` where there is nothing to choose from; `SolveError` where a discharge does not end.
    """
    if not runs or not closures:
        raise ValueError(f"Arguments `runs` and `closures` must hold one each, but hold {len(runs)}, {len(closures)}.")
    every = {}
    for name, closure in closures.items():
        other = porous(cell, found, empty, closure)
        solved = [_discharge(other, run.current / cell.section, method) for run in runs]
        ends = [raise_unless_successful(one, f"Discharge of the porous electrode, {name}") for one in solved]
        every[name] = [beside(run, end) for run, end in zip(runs, ends, strict=True)]
    off = {name: sum(one.voltage**2 for one in ones) for name, ones in every.items()}
    return min(off, key=off.get), every


_discharge = eqx.filter_jit(discharge)
