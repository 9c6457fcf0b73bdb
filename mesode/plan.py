"""What a job will need, before it runs: sizes of the box, resolution, memory; and what cannot work at all."""

import math
from collections.abc import Mapping

from mesode import size_plan
from mesode.job import Job, JobError
from mesode.keys import EFFECT, PARTS, RECIPE_KEYS, RECIPE_SECTIONS
from mesode.process import free_memory

DENSITIES = {  # kg/m3, assumed: usual values in particle models of NMC electrodes
    "NMC811": 4750.0,
    "carbon black": 1900.0,
    "PVDF": 1780.0,
}
LOWEST_POROSITY = 0.12  # below it the spheres overlap more than contact laws are made for
GOALS = {"line_load": "calendering.line_load_N_mm", "plate_pressure": "calendering.plate_pressure_MPa"}  # of a recipe
BYTES_PER_VOXEL = 700.0  # of the chain: fractions, apertures and float32 fields of three solves
BYTES_PER_PARTICLE = 40e3  # pair lists, Hessian products and load steps
BASE_BYTES = 0.6e9  # libraries and compiled code


def density(job: Job, name: str) -> float:
    """The density of a material of the job, kg/m3; a `JobError` if nobody gave it."""
    given = job.materials.get(name, {}).get("density_kg_m3", DENSITIES.get(name))
    if given is None:
        known = ", ".join([*DENSITIES, *job.materials])
        raise JobError(
            [f"Material `{name}` is not known; known are {known}. Add [material.{name}] with `density_kg_m3`."]
        )
    return float(given)


def active_density(job: Job) -> float:
    """Of all the active material of a recipe, kg/m3, which may be of two kinds."""
    second = job["recipe.second.volume_share"]
    first = density(job, job["recipe.active_material"])
    return (1 - second) * first + second * density(job, second_material(job)) if second else first


def second_material(job: Job) -> str:
    """The name of the material of the second kind of particles."""
    return job["recipe.second.active_material"] or job["recipe.active_material"]


def volume_fractions(job: Job) -> dict[str, float]:
    """Volume fractions of the dry solid: active, carbon, binder; and `density`, kg/m3, of the solid."""
    densities = {part: density(job, job[f"recipe.{part}_material"]) for part in PARTS} | {"active": active_density(job)}
    volumes = {part: job[f"recipe.composition.{part}"] / densities[part] for part in PARTS}
    total = math.fsum(volumes.values())
    return {part: v / total for part, v in volumes.items()} | {"density": 1.0 / total}


def plan(job: Job) -> dict:
    """Sizes, resolution and memory of a recipe job, in the units of the names."""
    solid = volume_fractions(job)
    thickness = job.si("recipe.areal_loading_mg_cm2") / solid["density"]
    gap, median = job.si("calendering.gap_um"), size_plan.median_radius(job)
    side = math.sqrt(job["grid.particles"] * size_plan.mean_volume(job) / (thickness * solid["active"]))
    largest = size_plan.largest_radius(job)
    nx, ny, nz = job["grid.shape"]
    voxels = [gap / nx, side / ny, side / nz]
    return {
        "solid_thickness_um": thickness * 1e6,
        "dried_thickness_um": thickness / (1 - job["recipe.dried_porosity"]) * 1e6,
        "porosity_at_gap": 1 - thickness / gap,
        "lateral_size_um": side * 1e6,
        "largest_diameter_um": 2e6 * largest,
        "voxel_size_um": [v * 1e6 for v in voxels],
        "voxels_per_median_diameter": 2 * median / max(voxels),
        "voxels": nx * ny * nz,
        "memory_GiB": memory(job) / 2**30,
        "stages": job["run.realisations"],
    }


def material_errors(job: Job) -> list[str]:
    """A sentence for each key of a material that the recipe uses and that has no effect in its role."""
    errors = []
    for name, fields in job.materials.items():
        roles = [part for part in PARTS if job[f"recipe.{part}_material"] == name]
        if job["recipe.second.volume_share"] and second_material(job) == name and "active" not in roles:
            roles.append("active")
        allowed = {key for role in roles for key in EFFECT[role]}
        errors += [
            f"`{key}` of [material.{name}] has no effect on the {' and '.join(roles)} material of a recipe; it takes "
            f"{', '.join(sorted(allowed))}."
            for key in fields
            if roles and key not in allowed
        ]
    return errors


def without_effect(job: Job) -> list[str]:
    """The keys that were given and that an image leaves without effect."""
    return sorted(p for p in job.given if p in RECIPE_KEYS or p.rsplit(".", 1)[0] in RECIPE_SECTIONS)


def goal_errors(job: Job) -> list[str]:
    """A sentence for each reason why the line load or pressure that a job asks for cannot be."""
    given, errors = [path for path in GOALS.values() if job[path] > 0], []
    if len(given) > 1:
        errors.append(f"`{given[0]}` and `{given[1]}` must not both be given; set one of them to 0.")
    if given and not job["calendering.friction"] > 0:
        errors.append(
            f"`{given[0]}` needs friction, because without it the pressure of the film is about 3.5 times too low; set "
            "`calendering.friction` (0.3 is usual), or leave it out and press to `calendering.gap_um`."
        )
    if given and "calendering.gap_um" in job.variables:
        errors.append(f"`calendering.gap_um` is no free variable where `{given[0]}` is given; leave out one of them.")
    asked = {*job.variables, *job["gradient.variables"]}
    errors += [
        f"`{path}` is a variable but not given; set it to where the design starts."
        for path in GOALS.values()
        if path in asked and not job[path] > 0
    ]
    return errors


def memory(job: Job, voxels: int | None = None) -> float:
    """A rough prediction of the memory that a job takes, bytes."""
    voxels = math.prod(job["grid.shape"]) if voxels is None else voxels
    return BASE_BYTES + BYTES_PER_VOXEL * voxels + BYTES_PER_PARTICLE * job["grid.particles"]


def require_possible(job: Job, found: Mapping | None = None) -> dict:
    """The plan of a job that can work; a `JobError` with every reason why it cannot."""
    found = plan(job) if found is None else found
    errors, solid = [], found["solid_thickness_um"]
    gap, dried = job["calendering.gap_um"], found["dried_thickness_um"]
    low = solid / (1 - LOWEST_POROSITY)
    if not low <= gap < dried:
        errors.append(
            f"`calendering.gap_um` = {gap:g} would give a porosity of {1 - solid / gap:.3f}, which this packing cannot "
            f"reach: the solid alone is {solid:.1f} um thick and the dried film {dried:.1f} um, so choose a gap "
            f"between {low:.1f} and {dried:.1f} um."
        )
    for path, bounds in job.variables.items():
        if path == "calendering.gap_um" and not (low <= bounds[0] and bounds[1] < dried):
            errors.append(
                f"The bounds {bounds[0]:g} to {bounds[1]:g} um of `calendering.gap_um` must lie between {low:.1f} and "
                f"{dried:.1f} um at the loading of the job."
            )
    largest, side = found["largest_diameter_um"], found["lateral_size_um"]
    if gap < largest and not errors:
        errors.append(
            f"`calendering.gap_um` = {gap:g} is less than the largest particle ({largest:.3g} um across); choose a "
            "wider gap, or a smaller `recipe.size.median_radius_um` or `recipe.size.sigma`."
        )
    if side < 2.1 * largest and not errors:
        errors.append(
            f"The piece of electrode would be {side:.3g} um wide, too narrow for particles of up to {largest:.3g} um "
            f"across, which need {2.1 * largest:.3g} um; use more `grid.particles`, or a smaller "
            "`recipe.size.median_radius_um`, `recipe.size.sigma` or `recipe.areal_loading_mg_cm2`."
        )
    if job["recipe.second.volume_share"] and second_material(job) != job["recipe.active_material"]:
        errors.append(
            "A second active material can be packed (`mesode generate`), but a cell is computed with one only; leave "
            "out `recipe.second.active_material`."
        )
    graded = sorted(path for path in job.given if path.startswith("grading.") and len(set(job[path])) > 1)
    if graded:
        errors.append(f"A graded film can be packed only (`mesode generate`); leave out {', '.join(graded)}.")
    errors += [*goal_errors(job), *material_errors(job), *memory_errors(found["memory_GiB"])]
    if errors:
        raise JobError([f"{job.source}: {e}" for e in errors])
    return dict(found)


def require_packing(job: Job) -> dict:
    """The plan of a packing that can be made; a `JobError` with every reason why it cannot."""
    found, errors = plan(job), []
    needed = {"dried film": found["dried_thickness_um"], "piece of electrode": found["lateral_size_um"]}
    for (what, size), factor, word in zip(needed.items(), (1.0, 2.1), ("thick", "wide"), strict=True):
        if size < factor * found["largest_diameter_um"]:
            errors.append(
                f"The {what} would be {size:.3g} um {word}, too little for particles of up to "
                f"{found['largest_diameter_um']:.3g} um across; use smaller or more particles (`recipe.size`, "
                "`grid.particles`) or a higher `recipe.areal_loading_mg_cm2`."
            )
    needed = (BASE_BYTES + 4e3 * job["grid.particles"]) / 2**30
    errors += [*material_errors(job), *memory_errors(needed)]
    if errors:
        raise JobError([f"{job.source}: {e}" for e in errors])
    return {key: found[key] for key in ("dried_thickness_um", "lateral_size_um", "largest_diameter_um")}


def memory_errors(needed_gib: float) -> list[str]:
    """The sentence for a job that is larger than the memory, or nothing."""
    free = free_memory()
    if free is None or needed_gib <= 0.9 * free / 2**30:
        return []
    return [
        f"The job needs about {needed_gib:.3g} GiB, but only {free / 2**30:.3g} GiB of memory are free; use a smaller "
        "`grid.shape`, fewer `grid.particles` or a larger machine."
    ]
