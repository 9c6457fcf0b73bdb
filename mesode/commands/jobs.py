"""`mesode check` and `mesode run`: jobs from the file to the figures."""

import json
import math
import pathlib

from mesode import keys, plan
from mesode.job import Job, JobError, read_job
from mesode.process import log
from mesode.resolve_job import is_resolve_job


def job_of(options) -> Job:
    """The job of a command line with its settings applied."""
    settings = list(options.set)
    if options.seed is not None:
        settings.append(f"run.seed={options.seed}")
    if getattr(options, "output", None):
        settings.append(f"run.output={json.dumps(str(options.output))}")
    return with_economics(read_job(options.job, settings))


def with_economics(job: Job) -> Job:
    """A job that holds its prices and factors itself, where it gives any; a `JobError` where they cannot be used."""
    if not (job["economics.path"] or job.economics):
        return job
    from mesode.economics import absorbed  # imports the solver

    return absorbed(job)


def require_output(path) -> pathlib.Path:
    """The output path, if it can be written: a `ValueError` now is better than one after the work."""
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".h5", ".hdf5"):
        raise ValueError(f"Output `{path}` must have the extension `.h5`.")
    if not path.parent.is_dir():
        raise ValueError(f"Folder `{path.parent}` for the output `{path.name}` does not exist.")
    if path.is_dir():
        raise ValueError(f"Output `{path}` is a folder.")
    return path


def particles_of(options, default: str, purpose: str) -> tuple[Job, pathlib.Path]:
    """The job of a command that needs particles for a `purpose`, and its output, `default` where none is given."""
    job = job_of(options)
    if job.has_image:
        raise JobError(
            [f"{job.source}: The structure comes from `image.path`, so there are no particles to {purpose}."]
        )
    return job, require_output(job["run.output"] if "run.output" in job.given else default)


def run(options) -> dict:
    """The main job: recipe or image to the figures of the cell, a run file and a report."""
    from mesode import process

    job = job_of(options)
    require_output(job["run.output"])
    found = _image_plan(job) if job.has_image else plan.require_possible(job)
    warnings = warnings_of(job, found)
    for warning in warnings:
        log(warning, quiet=options.quiet)
    process.configure(options.device)
    clock = process.CompileClock()
    from mesode import chain, runs

    out = runs.execute(job, chain.chain_of(job), options, clock)
    if not options.json:
        runs.print_kpis(out)
    return out


def check(options) -> dict | None:
    """Validates a job and says what it will need."""
    if options.keys:
        print(keys.as_markdown())
        return None
    if options.job is not None and is_resolve_job(options.job):
        from mesode.commands import resolve

        return resolve.check(options)
    job = job_of(options)
    require_output(job["run.output"])
    found = _image_plan(job) if job.has_image else plan.require_possible(job)
    if not options.json:
        print(f"{job.source}: valid")
        for name, value in found.items():
            text = " x ".join(f"{v:.4g}" for v in value) if isinstance(value, list) else f"{value:.5g}"
            print(f"  {name:28} {text}")
    warnings = warnings_of(job, found)
    for warning in warnings:
        log(warning, quiet=options.quiet)
    return {"valid": True, "plan": found, "warnings": warnings}


def warnings_of(job: Job, found) -> list[str]:
    """Sentences about a job that works, but perhaps not as meant."""
    out, across = [], found.get("voxels_per_median_diameter", math.inf)
    if across < 6:
        out.append(
            f"The grid has only {across:.1f} voxels across the median particle; 6 or more are advised (`grid.shape`)."
        )
    idle = plan.without_effect(job) if job.has_image else []
    if idle:
        out.append(f"The structure comes from the image, so these keys have no effect: {', '.join(idle)}.")
    return out


def load_image(job: Job):
    """The image of a job with its voxel edges in m and its three labels checked."""
    from microstructure.images import read_image
    from microstructure.labels import volume_fractions

    image = read_image(job["image.path"], job["image.dataset"] or None)
    found = volume_fractions(image.labels)
    wanted = {name: job[f"image.labels.{name}"] for name in ("pore", "active", "binder")}
    listed = ", ".join(map(str, found))
    errors = [
        f"`image.labels.{name}` = {label} does not occur in `{job['image.path']}`, which holds {listed}."
        for name, label in wanted.items()
        if label not in found
    ]
    unknown = sorted(set(found) - set(wanted.values()))
    if unknown and not errors:  # a misnamed label would be told twice
        errors.append(f"Image `{job['image.path']}` holds the labels {unknown}, which [image.labels] does not name.")
    spacing = (job.si("image.voxel_size_um"),) * 3 if job["image.voxel_size_um"] > 0 else image.spacing
    if spacing is None and not errors:
        errors.append(f"Image `{job['image.path']}` does not say its voxel size; give `image.voxel_size_um`.")
    elif spacing is not None and not all(1e-9 <= s <= 50e-6 for s in spacing):
        errors.append(f"The voxel size of `{job['image.path']}` must lie between 0.001 and 50 um.")
    if errors:
        raise JobError([f"{job.source}: {e}" for e in errors])
    return image, spacing, wanted


def _image_plan(job: Job) -> dict:
    image, spacing, _ = load_image(job)
    found = {
        "shape": list(image.labels.shape),
        "voxel_size_um": [s * 1e6 for s in spacing],
        "thickness_um": image.labels.shape[0] * spacing[0] * 1e6,
        "voxels": image.labels.size,
        "memory_GiB": plan.memory(job, image.labels.size) / 2**30,
    }
    errors = [*plan.material_errors(job), *plan.memory_errors(found["memory_GiB"])]
    if job["run.realisations"] > 1:
        errors.append("`run.realisations` must be 1 with an image, because there is only one structure to repeat.")
    if errors:
        raise JobError([f"{job.source}: {e}" for e in errors])
    return found
