"""A job as the values that the solver takes: its recipe and its methods."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mesode import plan, size_plan
from mesode.economics import economics_of
from mesode.job import Job
from mesode.keys import PARTS
from microstructure.blend import Blend, Component, Profile
from microstructure.recipe import Recipe
from microstructure.sizes import ByVolume, Distribution, LogNormal, Mixture, Percentiles, Weibull, moment
from microstructure.units import ZERO_CELSIUS, um
from solver.cell.performance import Densities
from solver.handover import CellDesign, PhaseProperties
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.softening import warmed
from solver.pipeline import Methods
from solver.process.calender import Calendering
from solver.process.nip import Nip
from solver.transport.conduct import Conduction


def distribution_of(job: Job, section: str) -> Distribution:
    """The distribution of radii, by number, that a section of a job describes."""
    kind = job[f"{section}.kind"]
    if kind == "weibull":
        found = Weibull(job.si(f"{section}.scale_radius_um"), float(job[f"{section}.shape"]))
    elif kind == "percentiles":
        radii = 0.5 * um * jnp.asarray([float(d) for d in job[f"{section}.diameters_um"]])
        found = Percentiles(radii, [float(s) for s in job[f"{section}.diameter_shares"]])
    else:
        found = LogNormal(job.si(f"{section}.median_radius_um"), math.exp(job[f"{section}.sigma"]))
    return ByVolume(found) if job[f"{section}.shares_by"] == "volume" else found


def size_of(job: Job) -> Distribution:
    """The distribution of all radii of a job: of two kinds of particles, mixed by their numbers."""
    parts = [(distribution_of(job, section), share) for section, share in size_plan.sections(job)]
    if len(parts) == 1:
        return parts[0][0]
    mean_of = jax.jit(moment, static_argnums=1)
    return Mixture(tuple(part for part, _ in parts), jnp.stack([share / mean_of(part, 3) for part, share in parts]))


def blend_of(job: Job) -> Blend:
    """The particles of a job, each kind with its sizes, its material and its place through the thickness."""
    names = [job["recipe.active_material"], plan.second_material(job)]
    material = [0, int(names[0] != names[1])]
    growth = _profile(job["grading.size"])
    kinds = zip(size_plan.sections(job), names, material, ("amount", "second_amount"), strict=False)
    return Blend(
        tuple(
            Component(
                distribution_of(job, section),
                plan.density(job, name),
                float(share),
                number,
                amount=_profile(job[f"grading.{amount}"]),
                growth=growth,
            )
            for (section, share), name, number, amount in kinds
        )
    )


def _profile(values) -> Profile:
    """A profile through evenly spaced depths; a single number is constant."""
    values = [float(v) for v in values]
    return Profile(values if len(values) > 1 else 2 * values)


def recipe_of(job: Job) -> Recipe:
    """The recipe of a job, in SI units."""
    return Recipe(
        size=size_of(job),
        composition=jnp.asarray([float(job[f"recipe.composition.{part}"]) for part in PARTS]),
        densities=jnp.asarray(
            [plan.active_density(job), *(plan.density(job, job[f"recipe.{part}_material"]) for part in PARTS[1:])]
        ),
        areal_loading=job.si("recipe.areal_loading_mg_cm2"),
        gap=job.si("calendering.gap_um"),
        **{argument: job.si(path) for argument, path in plan.GOALS.items() if job[path] > 0},
        dried_porosity=float(job["recipe.dried_porosity"]),
        solids_content=float(job["recipe.solids_content"]),
        evaporation=job.si("drying.evaporation_flux_g_m2_s"),
        salt=job.si("electrolyte.concentration_mol_m3"),
    )


def methods_of(job: Job, conduction: Conduction | None = None) -> Methods:
    """The methods of a job: the materials of its recipe, what it says about them, and its cell.

    **Arguments:** `conduction`, by default the one for values; a derivative needs
    [`solver.transport.conduct.for_gradients`][].
    """
    active, _, film = (job.material_si(job[f"recipe.{part}_material"]) for part in PARTS)
    return Methods(
        calendering=Calendering(
            load=job["calendering.increments"],
            unload=job["calendering.release_increments"],
            passes=job["calendering.passes"],
        ),
        friction=Friction(job["calendering.friction"], job["calendering.friction"]) if _rough(job) else None,
        nip=nip_of(job),
        contact=ContactLaw(**_given(active, modulus="youngs_modulus_GPa", poisson="poisson_ratio")),
        bonds=_binder(job, film),
        made_of=PhaseProperties(
            **_given(active, active_conductivity="electronic_conductivity_S_m"),
            **_given(
                film,
                binder_conductivity="electronic_conductivity_S_m",
                nanoporosity="nanoporosity",
                nanopore_diffusivity="relative_diffusivity",
            ),
        ),
        conduction=conduction or Conduction(),
        design=CellDesign(
            n_to_p=float(job["cell.n_to_p_ratio"]),
            lower_cutoff=float(job["cell.lower_cutoff_V"]),
            upper_cutoff=float(job["cell.upper_cutoff_V"]),
        ),
        densities=densities_of(job),
        making=economics_of(job).making,
    )


def _binder(job: Job, film: Mapping[str, float]) -> Binder:
    """The binder of a job at the temperature of its rolls."""
    strain = job["calendering.fracture_strain"]
    given = _given(film, modulus="youngs_modulus_GPa", poisson="poisson_ratio")
    binder = Binder(**given, fracture_strain=float(strain) if strain > 0 else None)
    return warmed(binder, job["calendering.roll_temperature_C"] + ZERO_CELSIUS)


def nip_of(job: Job) -> Nip:
    """The rolls of a job."""
    return Nip(job.si("calendering.roll_diameter_mm"), job.si("calendering.web_speed_m_min"))


def _rough(job: Job) -> bool:
    return job["calendering.friction"] > 0


def _given(material: Mapping[str, float], **names: str) -> dict[str, float]:
    """The fields that a material of the job overrides, by the name of the solver's argument."""
    return {argument: material[key] for argument, key in names.items() if key in material}


def densities_of(job: Job) -> Densities:
    """What the stack weighs: the densities of the recipe's materials, carbon and binder as they are mixed."""
    masses = {part: float(job[f"recipe.composition.{part}"]) for part in PARTS}
    rho = {part: plan.density(job, job[f"recipe.{part}_material"]) for part in PARTS}
    inactive = masses["carbon"] + masses["binder"]
    return Densities(
        positive_active=rho["active"],
        inactive=inactive / (masses["carbon"] / rho["carbon"] + masses["binder"] / rho["binder"]),
    )
