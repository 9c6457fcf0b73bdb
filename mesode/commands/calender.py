"""`mesode calender`: the film of a recipe pressed increment by increment, saved after each, to a file of its own."""

import time

from mesode import plan, process, record, runs
from mesode.commands.jobs import particles_of
from mesode.process import log


def calender(options) -> dict:
    """Packs the dried film of a recipe, presses it to the gap, lets go, and writes particles, curves and figures."""
    start = time.perf_counter()
    job, output = particles_of(options, "mesode_calendered.h5", "press")
    plan.require_possible(job)
    process.configure(options.device)
    clock = process.CompileClock()
    from mesode import pressing

    stages = pressing.stages(job)
    say = lambda message: log(message, quiet=options.quiet)  # noqa: E731
    fingerprint = record.identity("calender", runs.fingerprint_of(job))
    state = record.run_stages(stages, output, fingerprint, options.watch, resume=options.resume, say=say)
    figures = pressing.write(output, job, state)
    record.finish(output)
    out = figures | {"run_file": output}
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
    if not options.json:
        _print(out)
    return out


def _print(out) -> None:
    print(f"{'thickness um':>14} {'porosity':>10} {'pressure MPa':>14}")
    for row in zip(out["thickness_um"], out["porosity"], out["pressure_MPa"], strict=True):
        print(f"{row[0]:14.3f} {row[1]:10.4f} {row[2]:14.3f}")
    for name in ("springback_percent", "coordination_number", "line_load_N_per_mm", "friction"):
        print(f"{name:24} {out[name]:.5g}")
    fit = out["compaction"]
    if fit is not None:
        law = f"{fit['least']:.4f} + {fit['first'] - fit['least']:.4f} exp(-p / {fit['resistance_MPa']:.4g} MPa)"
        print(f"{'porosity':24} {law}, rms {fit['error']:.1e}")
    print(f"{'file':24} {out['run_file']}")
