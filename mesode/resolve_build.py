"""A job of `mesode resolve` as the solver's objects."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesode.resolve_job import ResolveJob
from mesode.resolve_structure import Block
from microstructure import segment, voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.conductors import separator_on
from solver.electrochemistry.half_cell import HalfCell, half_cell
from solver.electrochemistry.resolved_run import ResolvedMethod
from solver.electrochemistry.roles import Role, active, carbon_binder, inert, pores
from solver.numerics.march import March

# By name, the electrode of a set and whether it is charged when full of lithium, as a negative is.
_SETS = {
    "Chen2020 NMC811": (library.chen_positive, False),
    "Chen2020 graphite-SiOx": (library.chen_negative, True),
    "Marquis2019 LCO": (lambda: library.marquis2019().positive, False),
    "Marquis2019 graphite": (lambda: library.marquis2019().negative, True),
    "Xu2019 NMC532": (lambda: library.xu2019().positive, False),
}
_ELECTROLYTES = {
    "Nyman2008": library.nyman_electrolyte,
    "Capiglia1999": library.capiglia_electrolyte,
    "Valoen2005": library.valoen_electrolyte,
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that a discharge needs.

    **Arguments:** `cell`; `ends`, for each active phase the stoichiometry of a state of charge of zero; `capacity`, C,
    of all active material between start and end, what a C-rate refers to; `owners`, for each active phase the number of
    the particle of each voxel of the electrode, from 0; `method`; `devices`, that share the voxels, if there are
    several.
    """

    cell: HalfCell
    ends: tuple[float, ...]
    capacity: float
    owners: tuple[np.ndarray, ...]
    method: ResolvedMethod
    devices: tuple | None = None

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the active phases, in the order of the phases."""
        return tuple(n for n in self.cell.phases.names if self.cell.roles[n].material is not None)

    @property
    def section(self) -> float:
        """m2."""
        return float(self.cell.section)

    @property
    def electrode(self) -> int:
        """Slices of the electrode."""
        return self.cell.phases.grid.shape[0]


def phases_of(job: ResolveJob, block: Block) -> voxel.Phases:
    """The phases of a block, in double precision."""
    grid = Grid(block.shape, jnp.asarray(block.spacing, jnp.float64))
    if block.labels is not None:
        names = {fields["label"]: name for name, fields in job.phases.items()}
        return voxel.from_labels(block.labels, grid, names, dtype=jnp.float64)
    shares = np.stack(list(block.fractions.values()))
    return voxel.from_grey(np.clip(shares / shares.sum(0), 0, 1), grid, tuple(block.fractions), dtype=jnp.float64)


def role_of(fields) -> tuple[Role, float | None]:
    """The role of a phase by its keys and, where it is active, the stoichiometry of a state of charge of zero."""
    if fields["role"] == "pore":
        return pores(), None
    if fields["role"] == "inert":
        return inert(), None
    if fields["role"] == "binder":
        given = {"conductivity": "conductivity_S_m", "porosity": "porosity", "transport": "transport"}
        return carbon_binder(**{name: fields[key] for name, key in given.items() if key in fields}), None
    make, negative = _SETS[fields.get("material", next(iter(_SETS)))]
    electrode = make()
    ends = float(electrode.stoichiometry_full), float(electrode.stoichiometry_empty)
    start, end = ends[::-1] if negative else ends
    start, end = fields.get("stoichiometry_start", start), fields.get("stoichiometry_end", end)
    if not start < end:
        raise ValueError(
            f"`stoichiometry_start` = {start:g} must be below `stoichiometry_end` = {end:g}: a discharge against "
            "lithium fills the material."
        )
    material = electrode.material
    if "diffusivity_m2_s" in fields:
        material = eqx.tree_at(lambda m: m.diffusivity, material, jnp.asarray(fields["diffusivity_m2_s"]))
    conductivity = fields.get("conductivity_S_m", float(electrode.electronic_conductivity))
    return active(material, start, conductivity), end


def setup_of(job: ResolveJob, block: Block) -> Setup:
    """The [`Setup`][] of a job. `ValueError` where the structure cannot be discharged, or there are fewer devices."""
    devices = _devices(job)
    phases = phases_of(job, block)
    made = {name: role_of(fields) for name, fields in job.phases.items()}
    stack = separator_on(
        block.spacing, job.si("separator.thickness_um"), job["separator.porosity"], job["separator.transport"]
    )
    cell = half_cell(
        phases,
        {name: role for name, (role, _) in made.items()},
        _ELECTROLYTES[job["electrolyte.name"]](job["electrolyte.concentration_mol_m3"]),
        library.xu_lithium().kinetics,
        stack,
        temperature=job["cell.temperature_K"],
        lower_cutoff=job["cell.lower_cutoff_V"],
        contact_resistance=job.si("cell.contact_resistance_ohm_cm2"),
        periodic=job["cell.sides"] == "periodic",
    )
    names = [name for name in phases.names if made[name][0].material is not None]
    ends = tuple(float(made[name][1]) for name in names)
    owners = tuple(
        segment.owners(segment.particles(block.mask(job, name), block.spacing, job["method.neck"])) for name in names
    )
    march = March(tolerance=job["method.tolerance"], first_step=1e-5, max_steps=job["method.max_steps"])
    return Setup(cell, ends, _capacity(cell, names, ends), owners, ResolvedMethod(march=march), devices)


def _devices(job: ResolveJob) -> tuple | None:
    """The devices that share the voxels, `None` for the default one."""
    count, found = job["method.devices"], jax.devices()
    if count > len(found):
        raise ValueError(
            f"{job.source}: Argument `method.devices` must lie between 1 and {len(found)}, the number of "
            f"{found[0].platform} devices here, but {count} was given; ask for fewer or use a larger machine."
        )
    return tuple(found[:count]) if count > 1 else None


def _capacity(cell: HalfCell, names, ends) -> float:
    from microstructure.units import faraday

    volume, total = float(np.prod(np.asarray(cell.phases.grid.spacing, float))), 0.0
    for name, end in zip(names, ends, strict=True):
        role, share = cell.roles[name], np.sum(np.asarray(cell.phases.fractions[cell.phases.index(name)], float))
        room = float(role.material.maximum_concentration) * (end - float(role.stoichiometry))
        total += faraday * volume * float(share) * room
    return total
