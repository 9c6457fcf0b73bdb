"""`mesode resolve`: discharges of a half-cell on the voxels of its electrode."""

import math
import pathlib
import time

from mesode import process, record
from mesode.cli import EXIT_FAILED
from mesode.commands.jobs import require_output
from mesode.keys import as_markdown
from mesode.process import log
from mesode.resolve_job import ResolveJob, read_resolve_job
from mesode.resolve_keys import KEYS, PHASE_KEYS
from mesode.resolve_structure import Block, block_of

BASE_BYTES = 1.5e9  # libraries, compiled code and the compiler
VOXEL_BYTES = 4000.0  # of the solver at its peak; measured on CPU from 32^3 to 56^3: 3750 with 8 rows
ROW_BYTES = 60.0  # of a step that is held, for each voxel
LOOK_BYTES = 40.0  # of the fields at a depth of discharge, for each voxel
WHOLE = 0.05  # of these, what each of several devices holds of the whole; measured at 32^3, 2 and 4: 0.04, 0.02
SHARES = 1.0, 0.3, 0.1  # of the reacting area, nearest to the separator, one of which the salt has to be able to serve


def resolve(options):
    """Reads the job, discharges its structure at each rate, and writes run file and report."""
    if options.keys:
        print(as_markdown((*KEYS, *PHASE_KEYS), "phase"))
        return None
    if options.job is None:
        raise ValueError("`mesode resolve` needs a job file; `examples/resolve.toml` is one to start from.")
    start = time.perf_counter()
    job = read_resolve_job(options.job, _settings(options))
    output = require_output(job["output.file"])
    block = block_of(job)
    _require_slabs(job, block)
    process.require_memory(memory(job, block), *_who(block))
    process.configure(options.device)
    process.require_memory(memory_of_one(job, block), *_who(block), free=process.free_device_memory())
    clock = process.CompileClock()
    from mesode import resolve_run, resolve_summary
    from mesode.resolve_build import setup_of

    setup = setup_of(job, block)
    lost, limits, warnings = _judged(job, setup)
    for warning in warnings:
        log(warning, quiet=options.quiet)
    saves = resolve_run.Saves(output, _fingerprint(job), options.resume)
    if options.resume:
        text = f"resumed after {len(saves.done)} discharges" if saves.found else "no checkpoint found, begins anew"
        log(text, quiet=options.quiet)
    kept = resolve_run.discharges(
        setup, job["cell.c_rates"], job["output.depths_of_discharge"], job["method.chunk"], saves, options.watch,
        lambda line: log(line, quiet=options.quiet),
    )  # fmt: skip
    _require_begun(kept, options.quiet)
    rates = [resolve_summary.rate_of(setup, kept[name]) for name in sorted(kept, key=int)]
    tree = resolve_summary.tree_of(job, setup, block, kept, rates, lost, limits)
    files = _write(output, job, block, kept, tree, warnings)
    record.finish(output)
    out = {
        "rates": rates, "lost_capacity": tree["resolve"]["lost"], "limits": dict(limits), "warnings": warnings, **files,
    }  # fmt: skip
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
    if not options.json:
        resolve_summary.print_rates(out)
    return _ended(resolve_summary.shown(out), kept)


def check(options) -> dict:
    """Validates a job and says what it will need; runs nothing."""
    job = read_resolve_job(options.job, _settings(options))
    require_output(job["output.file"])
    block = block_of(job)
    _require_slabs(job, block)
    found = {
        "shape": list(block.shape),
        "voxel_size_um": [s * 1e6 for s in block.spacing],
        "thickness_um": block.shape[0] * block.spacing[0] * 1e6,
        "separator_layers": _layers(job, block),
        "memory_GiB": memory(job, block) / 2**30,
    }
    process.require_memory(memory(job, block), *_who(block))
    if not options.json:
        print(f"{job.source}: valid")
        for name, value in found.items():
            text = " x ".join(f"{v:.4g}" for v in value) if isinstance(value, list) else f"{value:.5g}"
            print(f"  {name:28} {text}")
    return {"valid": True, "plan": found, "warnings": []}


def _settings(options) -> list[str]:
    settings = list(options.set)
    if getattr(options, "output", None):
        settings.append(f'output.file="{options.output}"')
    return settings


def memory(job: ResolveJob, block: Block) -> float:
    """A prediction of the memory that a job takes, bytes."""
    voxels = math.prod(block.shape) * (1.0 + _layers(job, block) / block.shape[0])
    rows = job["method.chunk"] + 4
    looks = (len(job["output.depths_of_discharge"]) + 2) * len(job["cell.c_rates"])
    return BASE_BYTES + voxels * (VOXEL_BYTES + rows * ROW_BYTES + looks * LOOK_BYTES)


def memory_of_one(job: ResolveJob, block: Block) -> float:
    """The same of each of the devices that share the voxels."""
    count, whole = job["method.devices"], memory(job, block)
    return whole if count == 1 else BASE_BYTES + (whole - BASE_BYTES) * (WHOLE + (1.0 - WHOLE) / count)


def _require_slabs(job: ResolveJob, block: Block) -> None:
    """A `ValueError` where the block cannot be cut for the devices of the job."""
    count, (_, ny, nz) = job["method.devices"], block.shape
    if ny % count and nz % count:
        good = [k for k in range(1, max(ny, nz) + 1) if not ny % k or not nz % k]
        raise ValueError(
            f"{job.source}: Argument `method.devices` must divide a side of the block across its thickness, {ny} and "
            f"{nz} voxels, but {count} was given; use one of {', '.join(map(str, good))}, or crop the block with "
            "`image.crop`."
        )


def _layers(job: ResolveJob, block: Block) -> int:
    """The layers of the separator, as `separator_on` makes them."""
    most, widths = 2.4 * min(block.spacing[1:]), [block.spacing[0]]
    while sum(widths) < job.si("separator.thickness_um"):
        widths.append(max(min(1.3 * widths[-1], most), widths[0]))
    return len(widths)


def _who(block: Block) -> tuple[str, str]:
    what = f"The resolved discharge of {' x '.join(map(str, block.shape))} voxels"
    return what, "crop the structure with `image.crop`, coarsen it, or use a larger machine"


def _judged(job: ResolveJob, setup):
    """Lost capacity, limits of the salt, and sentences about what works, but perhaps not as meant; `ValueError` where
    the salt cannot carry a current."""
    from solver.electrochemistry.lost_capacity import lost_capacity
    from solver.electrochemistry.resolved_course import course
    from solver.electrochemistry.salt_limit import salt_limit

    system = course(setup.cell, setup.capacity / 3600.0, setup.capacity, devices=setup.devices).system
    lost = lost_capacity(setup.cell, system, setup.ends)
    unit = setup.capacity / 3600.0
    whole, *parts = (salt_limit(setup.cell, system, share) / unit for share in SHARES)
    some = max(whole, *parts)
    warnings = []
    for rate in job["cell.c_rates"]:
        density = rate * unit / setup.section
        if rate > some:
            raise ValueError(
                f"{job.source}: `cell.c_rates` = {rate:g} draws {density:.4g} A/m2, but through separator and pores "
                f"the salt can carry at most {some * unit / setup.section:.4g} A/m2 ({some:.3g}C); lower the rate, "
                "raise `electrolyte.concentration_mol_m3`, or use a thinner electrode or separator."
            )
        if rate > whole:
            warnings.append(
                f"At {rate:g}C the salt will run out deep in the electrode: evenly it carries up to {whole:.3g}C."
            )
    if lost.total > 0.05:
        warnings.append(
            f"{100 * lost.total:.1f} % of the capacity can never be drawn: it has no electrons or no pores."
        )
    if lost.dead_pores > 0.05:
        warnings.append(
            f"{100 * lost.dead_pores:.1f} % of the electrolyte in the electrode has no path to the separator; where "
            'the block is narrower than a few particles, a wider one or `cell.sides` = "periodic" may have one.'
        )
    return lost, {"whole_electrode_C_rate": whole, "any_C_rate": some}, warnings


def _require_begun(kept, quiet: bool) -> None:
    """A `ValueError` where every discharge is past its cut-off as soon as the current flows; a word where one is."""
    past = [f"{k['c_rate']:g}C" for k in kept.values() if k["stop"] == "already_past_cut_off"]
    if past:
        text = (
            f"The cell is past `cell.lower_cutoff_V` as soon as it is drawn at {', '.join(past)}; lower the rate or it."
        )
        if len(past) == len(kept):
            raise ValueError(text)
        log(text, quiet=quiet)


def _fingerprint(job: ResolveJob) -> str:
    """What a checkpoint must agree with: the job but for its output, the versions and the files."""
    text = "\n".join(line for line in job.text().splitlines() if not line.startswith("file = "))
    versions = record.versions()
    hashes = [record.file_hash(path) for path in job.files]
    return record.identity("resolve", text, versions.get("mesode", ""), versions.get("jax", ""), *hashes)


def _write(output: pathlib.Path, job: ResolveJob, block: Block, kept, tree: dict, warnings: list[str]) -> dict:
    """The run file, whose view shows the first discharge, a view of each further one, and the report."""
    from mesode.report import write_report
    from mesode.resolve_summary import series_of
    from microstructure import store

    run = {"command": "resolve", **tree, "job": job.text(), "provenance": record.provenance(0, job.files)}
    if warnings:
        run["notes"] = warnings
    structure = tree["structure"]["image"]
    views = {name: series_of(block, kept[name]["looks"], structure) for name in sorted(kept, key=int)}
    first, *further = views.items()
    store.write(output, run, series=first[1])
    files = {"run_file": output, "report": output.with_suffix(".html"), "views": []}
    for name, series in further:
        path = output.with_name(f"{output.stem}_{kept[name]['c_rate']:g}C.vtkhdf")
        store.write(path, {}, series=series)
        files["views"].append(path)
    write_report(output, files["report"])
    return files


def _ended(out: dict, kept):
    """The result, with the exit code of a failure where a discharge did not get to its end."""
    failed = [k for k in kept.values() if k["stop"] == "not_converged"]
    for one in failed:
        log(
            f"mesode resolve: The discharge at {one['c_rate']:g}C stopped before its end: {one['why']} Raise "
            "`method.max_steps` or `cell.lower_cutoff_V`, or loosen `method.tolerance`."
        )
    return (out, EXIT_FAILED) if failed else out
