"""`mesode gradient` and `mesode design`: what each variable of a recipe does, and a better recipe."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

from mesode import plan, process, record, runs
from mesode.commands.jobs import require_output, warnings_of, with_economics
from mesode.job import Job, JobError, parse_job, read_job
from mesode.keys import BY_PATH, VARIABLES
from mesode.record import Stage

# What both commands do without a job file: examples/design.toml, with the built-in recipe of `mesode run`.
BUILT_IN = """
grid.shape = [40, 32, 32]
grid.particles = 400
[design.variables]
"calendering.gap_um" = [38.0, 62.0]
"recipe.areal_loading_mg_cm2" = [8.0, 18.0]
"recipe.size.median_radius_um" = [2.5, 4.0]
"electrolyte.concentration_mol_m3" = [600.0, 2000.0]
"""


def _offered(job) -> list[str]:
    """The variables that the job has: a median radius only where its sizes are log-normal, a gap where it decides."""
    without = () if job["recipe.size.kind"] == "log-normal" else ("recipe.size.median_radius_um",)
    without += ("calendering.gap_um",) if any(job[path] > 0 for path in plan.GOALS.values()) else ()
    return [path for path in VARIABLES if path not in without]


def gradient(options) -> dict:
    """Value and gradient of the objective at the recipe of the job, each with how far it can be trusted."""
    job, output = _job(options, "mesode_gradient.h5")
    process.configure(options.device)
    from mesode import design_job as chain

    variables = chain.variables(job, job["gradient.variables"] or _offered(job))
    problem = chain.gradient_problem(job)
    stages = chain.gradient_stages(job, problem, variables)
    state = _run(stages, job, output, options, "gradient")
    found = chain.judged(job, state, variables)
    if getattr(options, "output", None):
        from microstructure import store

        content = {k: found[k] for k in ("objective", "value", "gradient", "trust")}
        store.write(output, {**content, "job": job.text(), "provenance": record.provenance(job["run.seed"])})
        found["run_file"] = output
    record.finish(output)
    if not options.json:
        _print_gradient(found)
    return found


def design(options) -> dict:
    """Follows the gradient from the recipe of the job, and judges start and result on unseen packing seeds."""
    if options.problem:
        from mesode.commands.gallery import gallery

        return gallery(options)
    job, output = _job(options, "mesode_design.h5")
    if not job.variables:
        raise JobError(
            [f"{job.source}: A design needs [design.variables] with their bounds, as in examples/design.toml."]
        )
    process.configure(options.device)
    from mesode import design_job as chain
    from microstructure import store

    problem = chain.design_problem(job)
    stages = chain.design_stages(job, problem, lambda text: process.log(text, quiet=options.quiet))
    state = _run(stages, job, output, options, "design")
    found = chain.designed(job, problem, state)
    content = {k: v for k, v in found.items() if k != "bounds" or v}
    store.write(output, {**content, "job": job.text(), "provenance": record.provenance(job["run.seed"])})
    record.finish(output)
    out = {k: v for k, v in found.items() if k != "history"} | {"run_file": output}
    if not options.json:
        _print_design(out)
    return out


def _job(options, output: str) -> tuple[Job, pathlib.Path]:
    """The job of the command line, possible and with an output that can be written."""
    settings = list(options.set)
    if options.seed is not None:
        settings.append(f"run.seed={options.seed}")
    if options.output:
        settings.append(f"run.output={json.dumps(str(options.output))}")
    if options.job is None:
        job = parse_job(BUILT_IN, "built-in example", settings)
    else:
        job = read_job(options.job, settings)
    job = with_economics(job)
    if "run.output" not in job.given:
        job = dataclasses.replace(job, values={**job.values, "run.output": output})
    if job.has_image:
        raise JobError([f"{job.source}: An image has no recipe to vary; remove [image] for a gradient or a design."])
    path = require_output(job["run.output"])
    for warning in warnings_of(job, plan.require_possible(job)):
        process.log(warning, quiet=options.quiet)
    return job, path


def _run(stages: list[Stage], job: Job, output: pathlib.Path, options, command: str) -> dict:
    fingerprint = record.identity(runs.fingerprint_of(job), command)
    say = lambda message: process.log(message, quiet=options.quiet)  # noqa: E731
    return record.run_stages(stages, output, fingerprint, options.watch, resume=options.resume, say=say)


def _print_gradient(found: Mapping) -> None:
    print(f"{found['objective']} = {found['value']:.6g}")
    for path, trust in found["trust"].items():
        number = f"{found['gradient'][path]:12.5g}" if path in found["gradient"] else f"{'-':>12}"
        unit = BY_PATH[path].unit
        print(f"{path:36}{number} {'per ' + unit if unit else '':12} {trust['verdict']}")


def _print_design(found: Mapping) -> None:
    metrics = found["metrics"]
    for path, value in found["variables"].items():
        held = f"   held by its {found['bounds'][path]} bound" if path in found["bounds"] else ""
        print(f"{path:36}{metrics['start'][path]:10.4g} -> {value:10.4g} {BY_PATH[path].unit}{held}")
    name, error = metrics["objective_name"], metrics["gain_standard_error_percent"]
    print(f"{name:36}{found['start']:10.4g} -> {found['objective']:10.4g}")
    print(f"{'gain on unseen seeds':36}{metrics['gain_percent']:10.2f} % ± {error:.2f} % (standard error)")
    for figure, held in metrics.get("constraints", {}).items():
        bounds = f"{held['low']:g} to {held['high']:g}"
        print(f"{figure:36}{held['start']:10.4g} -> {held['best']:10.4g} held within {bounds}")
    if failed := metrics["failed_seeds"]["best"]:
        print(f"The result cannot be made or solved on {failed} of {metrics['unseen_seeds']} unseen packing seeds.")
    if "random_search" in metrics:
        times = found["solves"]["random_search"] / found["solves"]["in_values"]
        label = "random search at as many solves" if times < 1.5 else f"random search at {times:.0f} times the solves"
        print(f"{label:36}{metrics['random_search']['gain_percent']:10.2f} %")
    if "on_the_grid_of_the_descent" in metrics:
        print(f"{'refined grid over that of the descent':36}{metrics['refined_over_coarse_percent']:9.2f} %")
    print(f"{'run file':36}{found['run_file']}")
