"""The stages of `mesode run`: a job to the objects of the solver, one stage after the other, arrays in between."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesode import plan
from mesode.commands.jobs import load_image
from mesode.job import Job
from mesode.record import Stage
from mesode.runs import Chain
from microstructure import binder as carbon_binder
from microstructure import measure, rasterise, sizes, voxel
from microstructure.grid import Grid, box_grid
from microstructure.packing import Packing
from microstructure.units import Ah, Wh, cm, litre, mAh, mg, um
from solver.cell import library, performance, protocol
from solver.cell.cell import Cell, Electrode, balanced_negative, theoretical_capacity
from solver.numerics.solution import raise_unless_successful
from solver.particles.neighbours import candidate_pairs
from solver.process import calender, drying, settle
from solver.transport import effective
from solver.transport.conduct import Conduction

# Assumed, each for want of a measurement on the electrode at hand; [material] in a job overrides them.
NANOPOROSITY = 0.47  # of the carbon-binder, Zielke et al. 2015, doi 10.1002/aenm.201401612
NANOPORE_DIFFUSIVITY = 0.2  # effective over free diffusivity of the electrolyte in the nanopores, assumed
CONDUCTIVITY = {"active": 0.01, "binder": 100.0}  # S/m of NMC and carbon-binder, assumed
PHASES = carbon_binder.NAMES
SOLVENT_DENSITY = 1028.0  # kg/m3, NMP at 298 K
RECIPE_NOTE = (
    "Pressure is frictionless: friction between particles is worth a factor of about 3.5, so read the shape of the "
    "porosity-pressure curve and not its level."
)


def chain_of(job: Job) -> Chain:
    """The chain of a job: from its image if it has one, from its recipe otherwise."""
    if job.has_image:
        return Chain(
            lambda seed, p: [
                Stage(p + "image", lambda state: image_stage(job)),
                Stage(p + "cell", lambda state: cell_stage(job, state[p + "image"])),
            ],
            lambda state, p: _image_result(job, state[p + "image"], state[p + "cell"]),
            inputs=[job["image.path"]],
        )
    return Chain(
        lambda seed, p: [
            Stage(p + "packing", lambda state: packing_stage(job, seed)),
            Stage(p + "drying and calendering", lambda state: film_stage(job, state[p + "packing"])),
            Stage(p + "structure and transport", lambda state: voxel_stage(job, state[p + "drying and calendering"])),
            Stage(p + "cell", lambda state: cell_stage(job, state[p + "structure and transport"])),
        ],
        lambda state, p: _recipe_result(
            job,
            state[p + "packing"],
            state[p + "drying and calendering"],
            state[p + "structure and transport"],
            state[p + "cell"],
        ),
        notes=[RECIPE_NOTE],
    )


def packing_stage(job: Job, seed: int) -> dict:
    """Radii drawn from the distribution and packed into the dried film."""
    found = plan.plan(job)
    draw, place = jax.random.split(jax.random.key(seed))
    size = sizes.LogNormal(job.si("recipe.size.median_radius_um"), math.exp(job["recipe.size.sigma"]))
    radii = sizes.sample(size, sizes.unit_draws(draw, job["grid.particles"]))
    active = found["solid_thickness_um"] * um * plan.volume_fractions(job)["active"]
    side = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / active))
    box = jnp.asarray([found["dried_thickness_um"] * um, side, side])
    packing = raise_unless_successful(settle.settled_film(place, radii, box), "The packing of the dried film")
    return {"positions": packing.positions, "radii": packing.radii, "box": packing.box}


def film_stage(job: Job, packed: Mapping) -> dict:
    """The binder profile after drying, and the film compressed to the gap and released."""
    names = ("active", "carbon", "binder")
    film = drying.wet_film(
        job.si("recipe.areal_loading_mg_cm2"),
        jnp.asarray([job[f"recipe.composition.{n}"] for n in names]),
        jnp.asarray([plan.density(job, job[f"recipe.{n}_material"]) for n in names]),
        jnp.asarray([0.0, 0.0, 1.0]),
        job["recipe.solids_content"],
        SOLVENT_DENSITY,
        job["recipe.dried_porosity"],
    )
    flux = drying.Drying(evaporation=job.si("drying.evaporation_flux_g_m2_s"), solvent_density=SOLVENT_DENSITY)
    profile = raise_unless_successful(eqx.filter_jit(drying.dry_film)(film, flux), "Drying")
    packing = Packing(packed["positions"], packed["radii"], packed["box"])
    pairs = candidate_pairs(packing, skin=0.7, per_particle=24)  # at the default skin single contacts are missed
    gap = jnp.asarray(job.si("calendering.gap_um"))
    pressed = raise_unless_successful(eqx.filter_jit(calender.calender)(packing, pairs, gap), "Calendering")
    solid = plan.plan(job)["solid_thickness_um"] * um
    return {
        "dried": dict(packed),
        "calendered": {
            "positions": pressed.packing.positions,
            "radii": pressed.packing.radii,
            "box": pressed.packing.box,
        },
        "drying": {"depth": profile.depth, "binder": profile.mass},
        "calendering": {
            "thickness_m": pressed.thickness,
            "pressure_Pa": pressed.pressure,
            "porosity": 1 - solid / pressed.thickness,
            "springback": pressed.springback,
            "coordination_number": pressed.coordination,
        },
    }


def voxel_stage(job: Job, film: Mapping) -> dict:
    """Both structures on the grid, and the effective properties of the calendered one."""
    profile = drying.BinderProfile(film["drying"]["depth"], film["drying"]["binder"])
    shape, radii = tuple(job["grid.shape"]), film["dried"]["radii"]
    finest = np.minimum(film["dried"]["box"], film["calendered"]["box"]) / np.asarray(shape)
    band = float(carbon_binder.Coating().reach * np.mean(radii))
    patches = rasterise.patches(radii, finest, band)  # one for both structures, so that they share compiled code
    structures = {}
    for name in ("dried", "calendered"):
        stage = film[name]
        packing = Packing(stage["positions"], stage["radii"], stage["box"])
        phases = _rasterise(job, packing, profile, patches)
        structures[name] = _fractions(phases)
    return {"structure": structures, **_effective(job, phases)}


def _rasterise(job: Job, packing: Packing, profile, patches) -> voxel.Phases:
    grid = box_grid(tuple(job["grid.shape"]), packing.box)
    solid = plan.volume_fractions(job)
    thickness = plan.plan(job)["solid_thickness_um"] * um / packing.box[0]
    content = profile.at(jnp.linspace(0.0, 1.0, grid.shape[0] + 1))
    film = (solid["carbon"] + solid["binder"]) / (1 - nanoporosity(job)) * thickness
    return _fill(packing, grid, patches, content, solid["active"] * thickness, film, carbon_binder.Coating())


@eqx.filter_jit
def _fill(packing, grid, patches, content, active, film, coating):
    mean = jnp.mean(packing.radii)
    spheres = rasterise.union(
        packing.positions,
        packing.radii,
        grid,
        patches,
        sharp=coating.sharpness * jnp.max(grid.spacing),
        blunt=coating.width * mean,
        band=coating.reach * mean,
    )
    return carbon_binder.coat(spheres, grid, content, active, film, coating, mean)


def nanoporosity(job: Job) -> float:
    """The porosity of the carbon-binder: of the binder material of the job, if it says so."""
    return job.materials.get(job["recipe.binder_material"], {}).get("nanoporosity", NANOPOROSITY)


def _fractions(phases: voxel.Phases) -> dict:
    parts = {f"fractions_{n}": np.asarray(phases.fractions[phases.index(n)], np.float32) for n in PHASES}
    return parts | {"spacing_m": phases.grid.spacing}


def _effective(job: Job, phases: voxel.Phases) -> dict:
    """What the structure hands to the cell: see the table in `docs/architecture.md`."""
    share = dict(zip(phases.names, np.asarray(measure.volume_fractions(phases), dtype=float), strict=True))
    area = dict(zip(phases.names, np.asarray(measure.specific_surface_area(phases), dtype=float), strict=True))
    active, film = (job.materials.get(job[f"recipe.{n}_material"], {}) for n in ("active", "binder"))
    nanopores = film.get("relative_diffusivity", NANOPORE_DIFFUSIVITY)
    electrolyte = {"active": 0.0, "binder": nanopores, "pore": 1.0}
    electrons = {
        "active": active.get("electronic_conductivity_S_m", CONDUCTIVITY["active"]),
        "binder": film.get("electronic_conductivity_S_m", CONDUCTIVITY["binder"]),
        "pore": 0.0,
    }
    porosity = share["pore"] + nanoporosity(job) * share["binder"]
    relative, potential = {}, None
    for axis, name in enumerate("xyz"):
        relative[name], field = _conductivity(phases, electrolyte, axis)
        potential = field if axis == 0 else potential
    return {
        "thickness_m": float(phases.grid.size[0]),
        "porosity": porosity,
        "active_fraction": share["active"],
        "binder_fraction": share["binder"],
        "specific_area_per_m": area["active"],
        "relative_diffusivity": relative,
        "electronic_conductivity_S_m": _conductivity(phases, electrons, 0)[0],
        "potential": _shown(potential, phases),
    }


def _conductivity(phases: voxel.Phases, by_name: Mapping, axis: int):
    values = jnp.asarray([by_name[n] for n in phases.names])
    members = tuple(i for i, n in enumerate(phases.names) if by_name[n] > 0)
    mask = measure.percolating(phases, members, axis)
    if not mask.any():
        return 0.0, None
    # The network first and then its solution: networks of one shape share compiled code, whatever axis they are of.
    largest = float(jnp.max(values))
    network = eqx.filter_jit(effective.phase_network)(phases, values / largest, axis, jnp.asarray(mask))
    solution = effective.conduct_network(network, Conduction())
    conductivity, field = raise_unless_successful(solution, f"Transport along {'xyz'[axis]}")
    return float(conductivity) * largest, np.where(mask, np.asarray(field), np.nan) if axis == 0 else None


def _shown(field, phases):
    """The middle slice of the potential in the electrolyte, where there is some."""
    if field is None:
        return None
    liquid = np.asarray(1 - phases.fractions[phases.index("active")]) > 0.5
    middle = field.shape[2] // 2
    return np.where(liquid, field, np.nan)[:, :, middle].astype(np.float32)


def cell_stage(job: Job, found: Mapping) -> dict:
    """Discharges at every rate, and the figures of the cell."""
    cell = cell_of(job, found)
    full = theoretical_capacity(cell.positive)
    rates = sorted({*map(float, job["run.c_rates"]), 2.0})
    run = eqx.filter_jit(protocol.discharge)
    curves = {}
    for rate in rates:
        done = raise_unless_successful(run(cell, rate * full / 3600.0), f"The discharge at {rate:g}C")
        used = int(np.count_nonzero(np.diff(np.asarray(done.time)) > 0)) + 1
        curves[f"{rate:g}"] = {
            "time_s": done.time[:used],
            "voltage_V": done.voltage[:used],
            "current_A_m2": done.current_density,
            "capacity_Ah_m2": done.capacity / Ah,
            "energy_Wh_m2": done.energy / Wh,
            "average_voltage_V": done.average_voltage,
        }
    return {"discharge": curves, "kpis": _kpis(job, found, cell, curves)}


def cell_of(job: Job, found: Mapping) -> Cell:
    """The full cell around an electrode: its numbers from the structure, everything else of Chen 2020."""
    if min(found["relative_diffusivity"]["x"], found["electronic_conductivity_S_m"]) <= 0:
        which = "electrolyte" if found["relative_diffusivity"]["x"] <= 0 else "electrons"
        raise ValueError(
            f"The structure has no path for {which} through the thickness (tortuosity infinite), so a cell cannot be "
            "made of it."
        )
    chen = library.chen_positive()
    fraction, area = found["active_fraction"], found["specific_area_per_m"]
    positive = Electrode(
        thickness=found["thickness_m"],
        porosity=found["porosity"],
        active_fraction=fraction,
        specific_area=area,
        particle_radius=3 * fraction / area,  # so that lithium balances
        electrolyte_transport=found["relative_diffusivity"]["x"],
        electronic_conductivity=found["electronic_conductivity_S_m"],
        material=chen.material,
        stoichiometry_full=chen.stoichiometry_full,
        stoichiometry_empty=chen.stoichiometry_empty,
    )
    return Cell(
        negative=balanced_negative(library.chen_negative(), positive, job["cell.n_to_p_ratio"]),
        separator=library.chen_separator(),
        positive=positive,
        electrolyte=library.nyman_electrolyte(job.si("electrolyte.concentration_mol_m3")),
        lower_cutoff=job["cell.lower_cutoff_V"],
        upper_cutoff=job["cell.upper_cutoff_V"],
    )


def _kpis(job: Job, found: Mapping, cell: Cell, curves: Mapping) -> dict:
    slow, fast = curves[min(curves, key=float)], curves["2"]
    stack = performance.stack(cell, performance.Densities(positive_active=_active_density(job)))
    loading = found["thickness_m"] * _coating_density(job, found)
    tortuosity = {n: found["porosity"] / k if k > 0 else math.inf for n, k in found["relative_diffusivity"].items()}
    volume = float(stack.thickness) / litre  # litres per m2
    return {
        "areal_capacity_mAh_cm2": float(theoretical_capacity(cell.positive)) / mAh * cm**2,
        "porosity": found["porosity"],
        "thickness_um": found["thickness_m"] / um,
        "areal_loading_mg_cm2": loading / mg * cm**2,
        "tortuosity_factor": tortuosity,
        "specific_surface_area_per_m": found["specific_area_per_m"],
        "effective_electronic_conductivity_S_m": found["electronic_conductivity_S_m"],
        "energy_Wh_kg": float(slow["energy_Wh_m2"]) / float(stack.mass),
        "energy_Wh_L": float(slow["energy_Wh_m2"]) / volume,
        "energy_2C_Wh_L": float(fast["energy_Wh_m2"]) / volume,
        "average_voltage_V": float(slow["average_voltage_V"]),
        "capacity_retention_2C": float(fast["capacity_Ah_m2"]) / float(slow["capacity_Ah_m2"]),
    }


def _active_density(job: Job) -> float:
    return plan.density(job, job["recipe.active_material"])


def _coating_density(job: Job, found: Mapping) -> float:
    """Dry mass per volume of the coating, kg/m3, from what the voxels hold."""
    carbon, binder = (job[f"recipe.composition.{n}"] for n in ("carbon", "binder"))
    volume = sum(
        job[f"recipe.composition.{n}"] / plan.density(job, job[f"recipe.{n}_material"]) for n in ("carbon", "binder")
    )
    inactive = found["binder_fraction"] * (1 - nanoporosity(job)) * (carbon + binder) / volume
    return found["active_fraction"] * _active_density(job) + inactive


def image_stage(job: Job) -> dict:
    """The structure of an image and its effective properties."""
    image, spacing, labels = load_image(job)
    grid = Grid(image.labels.shape, jnp.asarray(spacing))
    phases = voxel.from_labels(image.labels, grid, {labels[n]: n for n in PHASES})
    return {"structure": {"image": _fractions(phases)}, **_effective(job, phases)}


def _recipe_result(job, packed, film, found, cell) -> dict:
    structure = {n: {**film[n], **found["structure"][n]} for n in ("dried", "calendered")}
    parts = {k: film[k] for k in ("drying", "calendering")}
    return {**_common(found, cell, structure["calendered"]["spacing_m"]), **parts, "structure": structure}


def _image_result(job, found, cell) -> dict:
    return {**_common(found, cell, found["structure"]["image"]["spacing_m"]), "structure": found["structure"]}


def _common(found, cell, spacing) -> dict:
    out = {"kpis": cell["kpis"], "discharge": cell["discharge"]}
    out["electrode"] = {k: v for k, v in found.items() if k not in ("structure", "potential")}
    if "potential" in found:
        out["transport"] = {"potential": found["potential"], "spacing_m": spacing}
    return out
