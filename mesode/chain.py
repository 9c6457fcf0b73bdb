"""The stages of `mesode run`: what `solver.pipeline` computes, cut where a run is saved, plain arrays in between."""

import dataclasses
import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesode import economics
from mesode.build import methods_of, recipe_of
from mesode.commands.jobs import load_image
from mesode.job import Job
from mesode.record import Stage
from mesode.runs import Chain
from microstructure import binder, measure, voxel
from microstructure.grid import Grid
from microstructure.packing import Packing
from microstructure.units import Ah, Wh, cm, hour, litre, mAh, mg, minute, um
from solver import pipeline
from solver.cell import operation, performance
from solver.cell.breakdown import Breakdown, breakdown
from solver.cell.cell import Cell, open_circuit_voltage, theoretical_capacity
from solver.cell.library import chen_negative
from solver.cell.losses import CAUSES, PLACES
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
PULSE_C_RATE, PULSE_STATE, PULSE_DURATION = 1.0, 0.5, 10.0  # 1/h, state of charge, s
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
            lambda state, p: _image_result(job, state[p + "image"], state[p + "cell"]),
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
        lambda state, p: _recipe_result(job, *(state[p + name] for name in names[1:])),
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
    """Discharges at every rate, the figures of the cell, its cost and carbon, and the losses at the highest rate."""
    cell, methods = cell_of(job, found["electrode"]), pipeline.made_by(recipe_of(job), methods_of(job))
    curves, rates = {}, sorted({*map(float, job["run.c_rates"]), 2.0})
    for rate in rates:
        drawn, mean, _ = _drawn(cell, rate, methods)
        run = raise_unless_successful(drawn, f"The discharge at {rate:g}C")
        curves[f"{rate:g}"] = _curve(run)
    slow = curves[f"{rates[0]:g}"]
    for curve in curves.values():
        curve["capacity_retention"] = curve["capacity_Ah_m2"] / slow["capacity_Ah_m2"]
    tables = economics.economics_of(job)
    spent = economics.figures(cell, slow["energy_Wh_m2"] * Wh, _with(tables, methods), methods.densities)
    totals = {name: spent.pop(name) for name in ("cost_USD_kWh", "carbon_kg_CO2e_kWh")}
    kpis = _kpis(found, cell, methods, curves) | totals | _operation(job, cell, methods)
    losses = {"c_rate": rates[-1], **_losses(run, mean)}
    return {"discharge": curves, "kpis": kpis, "economics": {"c_rate": rates[0], **spent}, "losses": losses}


@eqx.filter_jit
def _draw(cell: Cell, c_rate, state_of_charge, duration, method):
    """A discharge from rest, its mean losses and the voltage before it: one compiled march for rates and pulse."""
    one = theoretical_capacity(cell.positive) / hour
    longest = jnp.where(jnp.isfinite(duration), duration, 1.5 * hour / c_rate)
    found = breakdown(cell, c_rate * one, method, state_of_charge=state_of_charge, duration=longest)
    return found, found.value.mean_losses, open_circuit_voltage(cell, state_of_charge)


def _drawn(cell: Cell, c_rate: float, methods: pipeline.Methods, state_of_charge=1.0, duration=math.inf):
    return _draw(cell, *(jnp.asarray(float(x)) for x in (c_rate, state_of_charge, duration)), methods.cell)


def _used(run: Breakdown) -> int:
    """How many entries of a record stand for steps: it repeats its last one up to its fixed length."""
    return int(np.count_nonzero(np.diff(run.time) > 0)) + 1


def _curve(run: Breakdown) -> dict:
    used = _used(run)
    return {
        "time_s": np.asarray(run.time)[:used],
        "voltage_V": np.asarray(run.voltage)[:used],
        "current_A_m2": float(run.current_density),
        "capacity_Ah_m2": float(run.capacity) / Ah,
        "energy_Wh_m2": float(run.energy) / Wh,
        "average_voltage_V": float(run.energy / run.capacity) if run.capacity > 0 else float(run.voltage[0]),
    }


def _losses(run: Breakdown, mean) -> dict:
    """Where the voltage of a discharge goes, along it and on average."""
    used, found = _used(run), run.course.losses
    mean = 1e3 * np.asarray(mean)
    by_cause = {c: dict(zip(PLACES, map(float, row), strict=True)) for c, row in zip(CAUSES, mean, strict=True)}
    along = {"open_circuit_V": found.open_circuit, "voltage_V": found.voltage, "parts_V": found.parts}
    return {
        "mean_mV": by_cause,
        "total_mean_mV": float(mean.sum()),
        "capacity_C_m2": np.asarray(run.course.capacity)[:used],
        **{name: np.asarray(values)[:used] for name, values in along.items()},
    }


def _with(tables: economics.Economics, methods: pipeline.Methods) -> economics.Economics:
    return dataclasses.replace(tables, making=methods.making)


def _operation(job: Job, cell: Cell, methods: pipeline.Methods) -> dict:
    """The resistance of a pulse, and where the job asks for a charge its time, efficiency and plating margin."""
    drawn, _, rested = _drawn(cell, PULSE_C_RATE, methods, PULSE_STATE, PULSE_DURATION)
    pulse = raise_unless_successful(drawn, "The pulse")
    voltages, currents = [float(rested), float(pulse.voltage[-1])], [0.0, float(pulse.current_density)]
    lasted = abs(float(pulse.time[-1]) / PULSE_DURATION - 1) < 1e-6
    resistance = float(operation.pulse_resistance(np.asarray(voltages), np.asarray(currents)))
    found, rate = (
        {"pulse_resistance_ohm_cm2": resistance / cm**2 if lasted else math.nan},
        float(job["cell.charge_c_rate"]),
    )
    if rate > 0:
        trip = raise_unless_successful(_round_trip(cell, jnp.asarray(rate), methods.cell), f"The charge at {rate:g}C")
        found["charging_time_10_80_min"] = float(trip.charging_time) / minute
        found["energy_efficiency"] = float(trip.efficiency)
        found["plating_margin_mV"] = 1e3 * float(trip.plating_margin)
    return found


@eqx.filter_jit
def _round_trip(cell: Cell, c_rate, method):
    current = c_rate * theoretical_capacity(cell.positive) / hour
    return operation.round_trip(cell, current, current, method)


@eqx.filter_jit
def _per_area(cell: Cell, densities: performance.Densities, casing: performance.Casing):
    """Capacity, coating mass, stack mass and stack thickness, all per area, with casing; and the N/P ratio."""
    stack = performance.stack(cell, densities, casing)
    coating = performance.coating_mass(cell.positive, densities.positive_active, densities.inactive)
    ratio = performance.n_to_p_ratio(cell, chen_negative().stoichiometry_full)
    return theoretical_capacity(cell.positive), coating, stack.mass, stack.thickness, ratio


def _kpis(found: Mapping, cell: Cell, methods: pipeline.Methods, curves: Mapping) -> dict:
    """The figures of the run. Energy and voltage are those of the slowest rate; so is what 2C is compared with."""
    slow, fast, electrode = curves[min(curves, key=float)], curves["2"], found["electrode"]
    per_area = _per_area(cell, methods.densities, methods.making.casing)
    capacity, coating, mass, thickness, ratio = map(float, per_area)
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
        "capacity_retention_2C": fast["capacity_retention"],
        "n_to_p_ratio": ratio,
    }


def _recipe_result(job, film, found, cell) -> dict:
    structure = {n: {**film[n], **found["structure"][n]} for n in ("dried", "calendered")}
    parts = {k: film[k] for k in ("drying", "calendering")}
    return {**_common(job, found, cell, structure["calendered"]["spacing_m"]), **parts, "structure": structure}


def _slurry(job: Job) -> dict[str, float]:
    """What the recipe of a job says of the positive slurry."""
    carbon, binder = (job[f"recipe.composition.{part}"] for part in ("carbon", "binder"))
    return {"carbon_share": carbon / (carbon + binder), "solids_content": job["recipe.solids_content"]}


def _image_result(job, found, cell) -> dict:
    return {**_common(job, found, cell, found["structure"]["image"]["spacing_m"]), "structure": found["structure"]}


def _common(job, found, cell, spacing) -> dict:
    return {
        "kpis": cell["kpis"],
        "discharge": cell["discharge"],
        "economics": {**cell["economics"], "tables": economics.listed(economics.economics_of(job), _slurry(job))},
        "losses": cell["losses"] | {"causes": list(CAUSES), "places": list(PLACES)},
        "electrode": {**found["electrode"], "relative_diffusivity": found["relative_diffusivity"]},
        "transport": {"potential": found["potential"], "flux": found["flux"], "spacing_m": spacing},
    }
