"""A job from its stages to its run file and report, for any chain of stages: repeats, spread, resuming, files."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mesode import process, record
from mesode.job import Job
from mesode.report import write_report
from microstructure import store
from microstructure.packing import Packing, wrapped

# Parts of a run file that `--json` prints beside the figures, and what of them is left to the file.
SHOWN = {
    "economics": ("tables",),
    "losses": ("capacity_C_m2", "open_circuit_V", "voltage_V", "parts_V", "causes", "places"),
}


@dataclasses.dataclass(frozen=True)
class Chain:
    """How one realisation of a job is computed.

    **Arguments:** `stages(seed, prefix)`, the [`mesode.record.Stage`][]s of one realisation, their names beginning with
    `prefix`; `result(state, prefix)`, from the state after them, the groups of a run file: `kpis` and any of
    `structure`, `drying`, `calendering`, `transport`, `discharge`, `electrode`, `economics`, `losses`; `inputs`, files
    whose hashes count;
    `notes`, sentences for the report.
    """

    stages: Callable[[int, str], Sequence[record.Stage]]
    result: Callable[[Mapping, str], dict]
    inputs: Sequence = ()
    notes: Sequence[str] = ()


def execute(job: Job, chain: Chain, options, clock=None) -> dict:
    """Runs every realisation of a job, writes run file and report, and returns what `--json` prints."""
    start = time.perf_counter()
    output = pathlib.Path(job["run.output"])
    seeds = [job["run.seed"] + k for k in range(job["run.realisations"])]
    prefixes = [f"realisation {k}: " for k in range(len(seeds))]
    stages = [s for seed, prefix in zip(seeds, prefixes, strict=True) for s in chain.stages(seed, prefix)]
    fingerprint = fingerprint_of(job, chain.inputs)
    state = record.run_stages(
        stages,
        output,
        fingerprint,
        options.watch,
        resume=options.resume,
        say=lambda message: process.log(message, quiet=options.quiet),
    )
    results = [chain.result(state, prefix) for prefix in prefixes]
    run = assemble(job, results, chain)
    report = write_run(output, run)
    record.finish(output)
    out = {"kpis": run["kpis"], "run_file": output, "report": report}
    for part, hidden in SHOWN.items():
        if part in run:
            out[part] = {k: v for k, v in run[part].items() if k not in hidden}
    if len(results) > 1:
        out["spread"] = run["kpis_spread"]
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": 0.0 if clock is None else clock.seconds}
    return out


def fingerprint_of(job: Job, inputs: Sequence = ()) -> str:
    """What a checkpoint must agree with: the resolved job, the version and the input files, not where it is written."""
    text = "\n".join(line for line in job.text().splitlines() if not line.startswith("output = "))
    versions = record.versions()
    hashes = [record.file_hash(path) for path in inputs]
    return record.identity(text, versions.get("mesode", ""), versions.get("jax", ""), *hashes)


def assemble(job: Job, results: Sequence[dict], chain: Chain) -> dict:
    """The content of a run file: the first realisation in full, the figures of all of them, their mean and spread."""
    kpis = [r["kpis"] for r in results]
    run = {**results[0], "kpis": average(kpis)}
    if len(kpis) > 1:
        run["kpis_spread"] = spread(kpis)
    run["realisations"] = {str(k): {"kpis": values} for k, values in enumerate(kpis)}
    run["job"] = job.text()
    run["provenance"] = record.provenance(job["run.seed"], chain.inputs)
    if chain.notes:
        run["notes"] = list(chain.notes)
    return run


def write_run(output: pathlib.Path, run: Mapping) -> pathlib.Path:
    """Writes the run file, with voxels and particles of the last structure for ParaView, and the report beside it."""
    structure = run.get("structure", {})
    shown = structure.get("calendered") or structure.get("image")
    image = particles = None
    if shown:
        fields = {k.removeprefix("fractions_"): v for k, v in shown.items() if k.startswith("fractions_")}
        image = {"fields": fields, "spacing": shown["spacing_m"]}
        if "positions" in shown:
            folded = wrapped(Packing(shown["positions"], shown["radii"], shown["box"]))
            particles = {"positions": folded.positions, "radii": folded.radii}
    store.write(output, run, image=image, particles=particles)
    report = output.with_suffix(".html")
    write_report(output, report)
    return report


def average(trees: Sequence[Mapping]) -> dict:
    """The mean of each number over the realisations."""
    return _over(trees, lambda values: float(np.mean(values)))


def spread(trees: Sequence[Mapping]) -> dict:
    """The sample standard deviation of each number over the realisations."""

    def deviation(values):
        return float(np.std(values, ddof=1)) if all(map(math.isfinite, values)) else math.nan

    return _over(trees, deviation)


def _over(trees, reduce) -> dict:
    first = trees[0]
    return {
        key: _over([t[key] for t in trees], reduce)
        if isinstance(value, Mapping)
        else reduce([float(t[key]) for t in trees])
        for key, value in first.items()
    }


def print_kpis(out: Mapping) -> None:
    """The figures for the person at the terminal."""
    from mesode.report import KPI_NAMES, flatten

    values, deviations = flatten(out["kpis"]), flatten(out.get("spread", {}))
    for key in [*[k for k in KPI_NAMES if k in values], *[k for k in values if k not in KPI_NAMES]]:
        label, unit = KPI_NAMES.get(key, (key, ""))
        plus = f" ± {deviations[key]:.2g}" if key in deviations else ""
        print(f"{label:42} {values[key]:.5g}{plus} {unit}")
    print(f"{'run file':42} {out['run_file']}")
    print(f"{'report':42} {out['report']}")
