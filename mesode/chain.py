"""The stages of `mesode run`: what `solver.pipeline` computes, cut where a run is saved, plain arrays in between."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesode.build import methods_of, recipe_of
from mesode.commands.jobs import load_image
from mesode.job import Job
from mesode.record import Stage
from mesode.runs import Chain
from microstructure import binder, measure, voxel
from microstructure.grid import Grid
from microstructure.packing import Packing
from microstructure.units import Ah, Wh, cm, litre, mAh, mg, um
from solver import pipeline
from solver.cell import performance
from solver.cell.cell import Cell, theoretical_capacity
from solver.handover import Properties
from solver.numerics.solution import raise_unless_successful
from solver.process.drying import BinderProfile
from solver.transport import effective
from solver.transport.fields import local_fields
from solver.transport.network import phase_network

RECIPE_NOTE = (
    "Pressure is frictionless: friction between particles is worth a factor of about 3.5, so read the shape of the "
    "porosity-pressure curve and not its level."
)
# How the run file names what the structure hands to the cell.
ELECTRODE_KEYS = {
    "thickness_m": "thickness",
    "porosity": "porosity",
    "active_fraction": "active_fraction",
    "binder_fraction": "binder_fraction",
    "specific_area_per_m": "specific_area",
    "electrolyte_transport": "electrolyte_transport",
    "electronic_conductivity_S_m": "electronic_conductivity",
}


def chain_of(job: Job) -> Chain:
    """The chain of a job: from its image if it has one, from its recipe otherwise."""
    if job.has_image:
        return Chain(
            lambda seed, p: [
                Stage(p + "image", lambda state: image_stage(job)),
                Stage(p + "cell", lambda state: cell_stage(job, state[p + "image"])),
            ],
            lambda state, p: _image_result(state[p + "image"], state[p + "cell"]),
            inputs=[job["image.path"]],
        )
    names = ("packing", "drying and calendering", "structure and transport", "cell")
    return Chain(
        lambda seed, p: [
            Stage(p + names[0], lambda state: packing_stage(job, seed)),
            Stage(p + names[1], lambda state: film_stage(job, state[p + names[0]])),
            Stage(p + names[2], lambda state: voxel_stage(job, state[p + names[0]], state[p + names[1]])),
            Stage(p + names[3], lambda state: cell_stage(job, state[p + names[2]])),
        ],
        lambda state, p: _recipe_result(*(state[p + name] for name in names[1:])),
        notes=[] if job["calendering.friction"] > 0 else [RECIPE_NOTE],
    )


def packing_stage(job: Job, seed: int) -> dict:
    """The settled particles of the recipe."""
    reference = pipeline.prepare(
        recipe_of(job), jax.random.key(seed), job["grid.particles"], tuple(job["grid.shape"]), methods_of(job)
    )
    return {"draws": reference.draws, **_arrays(reference.settled)}


def reference_of(job: Job, packed: Mapping) -> pipeline.Reference:
    """The reference of a run from what the packing stage has saved."""
    draws, shape = jnp.asarray(packed["draws"]), tuple(job["grid.shape"])
    return pipeline.reference(recipe_of(job), draws, _packing(packed), shape, methods_of(job))


def _arrays(packing: Packing) -> dict:
    return {"positions": packing.positions, "radii": packing.radii, "box": packing.box}


def _packing(stage: Mapping) -> Packing:
    return Packing(stage["positions"], stage["radii"], stage["box"])


def film_stage(job: Job, packed: Mapping) -> dict:
    """The binder profile after drying, and the film compressed to the gap and released."""
    recipe, reference, methods = recipe_of(job), reference_of(job, packed), methods_of(job)
    film = pipeline.finish(recipe, reference.settled, reference, methods)
    pressed, solid = film.pressed, float(np.sum(recipe.solid_thickness))
    return {
        "dried": _arrays(film.dried),
        "calendered": _arrays(pressed.packing),
        "drying": {"depth": film.content.depth, "binder": film.content.mass},
        "calendering": {
            "thickness_m": pressed.thickness,
            "pressure_Pa": pressed.pressure,
            "porosity": 1 - solid / np.asarray(pressed.thickness),
            "friction": float(job["calendering.friction"]),
            "increments": job["calendering.increments"],
            "release_increments": job["calendering.release_increments"],
            "springback": pressed.springback,
            "coordination_number": pressed.coordination,
        },
    }


def voxel_stage(job: Job, packed: Mapping, film: Mapping) -> dict:
    """Both structures on the grid, and the effective properties of the calendered one."""
    recipe, reference, methods = recipe_of(job), reference_of(job, packed), methods_of(job)
    content, structures = BinderProfile(film["drying"]["depth"], film["drying"]["binder"]), {}
    for name in ("dried", "calendered"):
        phases = pipeline.fill(recipe, _packing(film[name]), content, reference, methods)
        structures[name] = _fractions(phases)
    return {"structure": structures, **_effective(phases, methods)}


def image_stage(job: Job) -> dict:
    """The structure of an image and its effective properties."""
    image, spacing, labels = load_image(job)
    grid = Grid(image.labels.shape, jnp.asarray(spacing))
    phases = voxel.from_labels(image.labels, grid, {labels[n]: n for n in binder.NAMES})
    return {"structure": {"image": _fractions(phases)}, **_effective(phases, methods_of(job))}


def _fractions(phases: voxel.Phases) -> dict:
    fractions = np.asarray(phases.fractions, np.float32)
    parts = {f"fractions_{name}": fractions[phases.index(name)] for name in phases.names}
    return parts | {"spacing_m": phases.grid.spacing}


def _effective(phases: voxel.Phases, methods: pipeline.Methods) -> dict:
    """What the structure hands to the cell, and for people the transport in the plane and a slice of the field."""
    connected = pipeline.masks(phases)
    for carrier, mask in (("electrolyte", connected.electrolyte), ("electrons", connected.electrons)):
        if not np.any(mask):
            raise ValueError(
                f"The structure has no path for {carrier} through the thickness (tortuosity infinite), so a cell "
                "cannot be made of it."
            )
    (diffusivity, field), (conductivity, _) = pipeline.through(phases, connected, methods)
    found = pipeline.describe(phases, methods.made_of, diffusivity, conductivity)
    relative = {"x": float(diffusivity), **{name: _in_plane(phases, name, methods) for name in "yz"}}
    middle = field.shape[2] // 2
    liquid = (np.asarray(phases.fractions[phases.index("active")]) < 0.5) & np.asarray(connected.electrolyte)
    network = phase_network(phases, methods.made_of.for_electrolyte(phases), 0, connected.electrolyte)
    flux = local_fields(network, field, 0).flux
    shown, flowing = (np.where(liquid, np.asarray(f), np.nan)[:, :, middle] for f in (field, flux))
    electrode = {key: float(getattr(found, name)) for key, name in ELECTRODE_KEYS.items()}
    maps = {"potential": shown.astype(np.float32), "flux": flowing.astype(np.float32)}
    return {"electrode": electrode, "relative_diffusivity": relative, **maps}


def _in_plane(phases: voxel.Phases, name: str, methods: pipeline.Methods) -> float:
    axis, members = "xyz".index(name), tuple(phases.index(n) for n in ("binder", "pore"))
    mask = measure.percolating(phases, members, axis)
    if not mask.any():
        return 0.0
    solution = effective.effective_conductivity(
        phases, methods.made_of.for_electrolyte(phases), axis, jnp.asarray(mask), methods.conduction
    )
    return float(raise_unless_successful(solution, f"Transport along {name}")[0])


def cell_of(job: Job, electrode: Mapping) -> Cell:
    """The full cell around the electrode of a run file."""
    found = Properties(**{name: jnp.asarray(electrode[key], float) for key, name in ELECTRODE_KEYS.items()})
    return pipeline.assemble(found, recipe_of(job), methods_of(job))


def cell_stage(job: Job, found: Mapping) -> dict:
    """Discharges at every rate, and the figures of the cell."""
    cell, methods = cell_of(job, found["electrode"]), methods_of(job)
    curves = {}
    for rate in sorted({*map(float, job["run.c_rates"]), 2.0}):
        solution = pipeline.discharge(cell, jnp.asarray(rate), methods)
        curves[f"{rate:g}"] = _curve(raise_unless_successful(solution, f"The discharge at {rate:g}C"))
    return {"discharge": curves, "kpis": _kpis(found, cell, methods, curves)}


def _curve(run) -> dict:
    run = jax.tree.map(np.asarray, run)
    used = int(np.count_nonzero(np.diff(run.time) > 0)) + 1  # the record repeats its last entry up to its fixed length
    return {
        "time_s": run.time[:used],
        "voltage_V": run.voltage[:used],
        "current_A_m2": float(run.current_density),
        "capacity_Ah_m2": float(run.capacity) / Ah,
        "energy_Wh_m2": float(run.energy) / Wh,
        "average_voltage_V": float(run.energy / run.capacity) if run.capacity > 0 else float(run.voltage[0]),
    }


@eqx.filter_jit
def _per_area(cell: Cell, densities: performance.Densities):
    """Capacity, coating mass, stack mass and stack thickness, all per area."""
    stack = performance.stack(cell, densities)
    coating = performance.coating_mass(cell.positive, densities.positive_active, densities.inactive)
    return theoretical_capacity(cell.positive), coating, stack.mass, stack.thickness


def _kpis(found: Mapping, cell: Cell, methods: pipeline.Methods, curves: Mapping) -> dict:
    """The figures of the run. Energy and voltage are those of the slowest rate; so is what 2C is compared with."""
    slow, fast, electrode = curves[min(curves, key=float)], curves["2"], found["electrode"]
    capacity, coating, mass, thickness = map(float, _per_area(cell, methods.densities))
    active = electrode["active_fraction"] * electrode["thickness_m"] * float(methods.densities.positive_active)
    relative = found["relative_diffusivity"]
    return {
        "areal_capacity_mAh_cm2": capacity / mAh * cm**2,
        "specific_capacity_mAh_g": capacity / active / mAh * 1e-3,
        "porosity": electrode["porosity"],
        "thickness_um": electrode["thickness_m"] / um,
        "areal_loading_mg_cm2": coating / mg * cm**2,
        "tortuosity_factor": {n: electrode["porosity"] / k if k > 0 else math.inf for n, k in relative.items()},
        "specific_surface_area_per_m": electrode["specific_area_per_m"],
        "effective_electronic_conductivity_S_m": electrode["electronic_conductivity_S_m"],
        "energy_Wh_kg": slow["energy_Wh_m2"] / mass,
        "energy_Wh_L": slow["energy_Wh_m2"] / thickness * litre,
        "energy_2C_Wh_L": fast["energy_Wh_m2"] / thickness * litre,
        "average_voltage_V": slow["average_voltage_V"],
        "capacity_retention_2C": fast["capacity_Ah_m2"] / slow["capacity_Ah_m2"],
    }


def _recipe_result(film, found, cell) -> dict:
    structure = {n: {**film[n], **found["structure"][n]} for n in ("dried", "calendered")}
    parts = {k: film[k] for k in ("drying", "calendering")}
    return {**_common(found, cell, structure["calendered"]["spacing_m"]), **parts, "structure": structure}


def _image_result(found, cell) -> dict:
    return {**_common(found, cell, found["structure"]["image"]["spacing_m"]), "structure": found["structure"]}


def _common(found, cell, spacing) -> dict:
    return {
        "kpis": cell["kpis"],
        "discharge": cell["discharge"],
        "electrode": {**found["electrode"], "relative_diffusivity": found["relative_diffusivity"]},
        "transport": {"potential": found["potential"], "flux": found["flux"], "spacing_m": spacing},
    }
