"""`mesode fit`: parameters of a cell from measured discharges, and what the data know of them."""

import pathlib
from collections.abc import Mapping

import numpy as np

from mesode import process, record
from mesode.commands.jobs import require_output
from mesode.fit_job import FitJob, read_fit_job
from mesode.process import Stop


def fit(options) -> dict:
    """Fits the free parameters of a job, judges them, and predicts the curves that were left out."""
    job = read_fit_job(options.job)
    output = require_output(options.output or job.output)
    process.configure(options.device)
    from mesode.fit_run import calibration_of, cell_of, summary
    from microstructure import store

    cell, nominal = cell_of(job)
    calibration, curves = calibration_of(job, cell)
    fingerprint = _fingerprint(job)
    solution, solves = _fitted(job, calibration, output, fingerprint, options)
    found = summary(job, calibration, curves, solution.value, cell, nominal)
    found |= {"solves": solves, "evaluations": int(solution.stats["steps"])}
    found["warnings"] = _ended(solution) + found["warnings"]
    provenance = record.provenance(0, [options.job, *job.files])
    store.write(output, {**_stored(found), "job": job.text, "provenance": provenance})
    report = output.with_suffix(".html")
    from mesode.report import write_report

    write_report(output, report)
    record.finish(output)
    out = _shown(found) | {"run_file": output, "report": report}
    if not options.json:
        _print(out)
    return out


def _fingerprint(job: FitJob) -> str:
    """What a checkpoint must agree with: the job, its files and the versions."""
    versions = record.versions()
    hashes = [record.file_hash(path) for path in job.files]
    cell = [record.file_hash(job.cell)] if pathlib.Path(job.cell).is_file() else []
    return record.identity(job.text, versions.get("mesode", ""), versions.get("jax", ""), "fit", *hashes, *cell)


def _fitted(job: FitJob, calibration, output: pathlib.Path, fingerprint: str, options):
    """The fit, its evaluations saved one by one; and what it cost in forward-equivalent solves."""
    from inverse.calibrate import COST, calibrate
    from inverse.replay import Replay, linearisations
    from microstructure import store

    path, known = record.checkpoint_path(output), []
    if options.resume and path.is_file():
        data = store.read(path)
        if data.get("fingerprint") != fingerprint:
            raise ValueError(
                f"Checkpoint `{path}` belongs to another job or version; run without --resume, or with the same job."
            )
        known = linearisations(data["evaluations"])
    if options.resume:
        text = f"resumed after {len(known)} evaluations" if known else "no checkpoint found, so the fit begins anew"
        process.log(text, quiet=options.quiet)

    def after(replay: Replay) -> None:
        store.write(path, {"fingerprint": fingerprint, "evaluations": replay.stacked()})
        residual = calibration.weights * replay.evaluations[-1].residual
        objective = 0.5 * float(np.sum(residual**2))
        process.log(f"evaluation {len(replay.evaluations)}: objective {objective:.6g}", quiet=options.quiet)
        if options.watch.reason:
            raise Stop(f"Stopped by {options.watch.reason}; the state is saved, go on with --resume.")

    if options.watch.reason:
        raise Stop(f"Stopped by {options.watch.reason} before the first evaluation; go on with --resume.")
    replay = Replay(calibration.linearise, known, after)
    solution = calibrate(calibration, int(job.method["steps"]), job.method["tolerance"], replay)
    return solution, COST * len(replay.evaluations) * len(calibration.curves)


def _ended(solution) -> list[str]:
    from solver.numerics.solution import Result

    return [] if bool(solution.result == Result.successful) else [f"The fit: {Result[solution.result]}"]


def _stored(found: Mapping) -> dict:
    """What goes into the run file: lists of tables as columns."""
    rows = found["next"]
    table = {key: [row[key] for row in rows] for key in ("measurement", "volume", "largest")} if rows else {}
    kept = {**found, "next": table}
    return {"fit": {k: v for k, v in kept.items() if not (isinstance(v, list | dict) and not v)}}


def _shown(found: Mapping) -> dict:
    """What `--json` prints: without runs and readings."""
    hidden = ("before_run", "after_run", "measured")
    curves = {name: {k: v for k, v in curve.items() if k not in hidden} for name, curve in found["curves"].items()}
    metrics = {
        k: found[k] for k in ("intervals", "verdicts", "start_values", "degrees_of_freedom", "misfit", "warnings")
    }
    metrics |= {"curves": curves, "next": found["next"], "correlation_of_residuals": found["correlation_of_residuals"]}
    return {
        **{k: found[k] for k in ("variables", "objective", "start")},
        "metrics": metrics,
        "solves": found["solves"],
        "evaluations": found["evaluations"],
    }


def _print(out: Mapping) -> None:
    metrics = out["metrics"]
    for key, value in out["variables"].items():
        low, high = metrics["intervals"][key]
        first = metrics["start_values"][key]
        print(f"{key:40}{first:10.4g} -> {value:10.4g}   {low:10.4g} to {high:<10.4g} {metrics['verdicts'][key]}")
    solves = f"{out['solves']:.0f} forward-equivalent solves"
    print(f"{'objective':40}{out['start']:10.4g} -> {out['objective']:10.4g}   {solves}")
    for name, curve in metrics["curves"].items():
        was, now = curve["before"], curve["after"]
        text = f"{name} ({curve['use']})"
        print(
            f"{text:40}{was['voltage_rms_mV']:7.1f} mV -> {now['voltage_rms_mV']:7.1f} mV rms, end time "
            f"{was['end_time_error_percent']:+.2f} % -> {now['end_time_error_percent']:+.2f} %"
        )
        if "end_time_interval_s" in curve:
            low, high = curve["end_time_interval_s"]
            print(
                f"{'':40}end expected between {low:.0f} s and {high:.0f} s, measured {now['measured_end_time_s']:.0f} s"
            )
    for row in metrics["next"][:3]:
        print(f"next: {row['measurement']:54} intervals to {100 * row['volume']:.0f} % on average")
    for warning in metrics["warnings"]:
        print(warning)
    print(f"{'run file':40}{out['run_file']}")
    print(f"{'report':40}{out['report']}")
