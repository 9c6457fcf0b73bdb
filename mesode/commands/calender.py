"""`mesode calender`: the film of a recipe pressed increment by increment, saved after each, to a file of its own."""

import time

from mesode import plan, process, record, runs
from mesode.commands.jobs import particles_of
from mesode.process import log


def calender(options) -> dict:
    """Packs the dried film of a recipe, presses it to its gap, line load or pressure, lets go, and writes particles,
    curves and a report."""
    start = time.perf_counter()
    job, output = particles_of(options, "mesode_calendered.h5", "press")
    plan.require_possible(job)
    process.configure(options.device)
    clock = process.CompileClock()
    from mesode import pressing
    from mesode.report import write_report

    stages = pressing.stages(job)
    say = lambda message: log(message, quiet=options.quiet)  # noqa: E731
    fingerprint = record.identity("calender", runs.fingerprint_of(job))
    state = record.run_stages(stages, output, fingerprint, options.watch, resume=options.resume, say=say)
    figures = pressing.write(output, job, state)
    record.finish(output)
    report = output.with_suffix(".html")
    write_report(output, report)
    out = figures | {"run_file": output, "report": report}
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
    if not options.json:
        _print(out)
    return out


SHOWN = (
    "springback_percent",
    "density_g_cm3",
    "coordination_number",
    "contact_area_share",
    "yielded_bridges",
    "broken_bridges",
    "gap_um",
    "line_load_N_per_mm",
    "time_in_nip_ms",
    "through_plane_modulus_GPa",
    "in_plane_modulus_GPa",
    "friction",
)


def _print(out) -> None:
    print(f"{'thickness um':>14} {'porosity':>10} {'pressure MPa':>14} {'contacts':>10} {'yielded':>10}")
    columns = ("thickness_um", "porosity", "pressure_MPa", "coordination", "yielded")
    for row in zip(*(out[name] for name in columns), strict=True):
        print(f"{row[0]:14.3f} {row[1]:10.4f} {row[2]:14.3f} {row[3]:10.2f} {row[4]:10.3f}")
    for name in SHOWN:
        print(f"{name:26} {out[name]:.5g}")
    for state, found in out["stress_of_particles_MPa"].items():
        spread = ", ".join(f"{name} {value:.4g}" for name, value in found["von_mises"].items())
        print(f"{'von Mises stress, MPa':26} {state.replace('_', ' ')}: {spread}")
    for state, found in out["fabric"].items():
        print(f"{'fabric tensor, diagonal':26} {state.replace('_', ' ')}: {', '.join(f'{v:.4f}' for v in found)}")
    laws = (("compaction", "p", "resistance_MPa", "MPa"), ("compaction_line_load", "q", "resistance_N_per_mm", "N/mm"))
    for name, letter, resistance, unit in laws:
        fit = out[name]
        if fit is not None:
            law = (
                f"{fit['least']:.4f} + {fit['first'] - fit['least']:.4f} exp(-{letter} / {fit[resistance]:.4g} {unit})"
            )
            print(f"{'porosity':26} {law}, rms {fit['error']:.1e}")
    if out["recovery"] is not None:
        print(f"{'springback_after_rest_percent':26} {out['springback_after_rest_percent']:.5g}")
    if not out["friction"] > 0:
        print("Without friction all pressures, loads and stresses are about 3.5 times too low.")
    print(f"{'file':26} {out['run_file']}")
    print(f"{'report':26} {out['report']}")
