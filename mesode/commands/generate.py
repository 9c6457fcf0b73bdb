"""`mesode generate`: the particles of a recipe, packed as the dried film holds them."""

import math
import sys
import time

from mesode import plan, process
from mesode.commands.jobs import particles_of
from mesode.job import JobError
from mesode.process import log


def generate(options) -> dict:
    """Packs the active material of a recipe into the dried film and writes a packing file that ParaView opens."""
    start = time.perf_counter()
    job, output = particles_of(options, "mesode_packing.h5", "pack")
    plan.require_packing(job)
    process.configure(options.device)
    clock = process.CompileClock()
    log(f"packing {job['grid.particles']} particles", quiet=options.quiet)
    particles, stats = _pack(job, _Progress(options.quiet))
    figures = _figures(job, particles, stats)
    _write(output, job, particles, figures)
    out = figures | {"run_file": output}
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
    if not options.json:
        _print(out)
    return out


class _Progress:
    """One line that is written over while particles part, on a terminal only."""

    def __init__(self, quiet: bool):
        self.shown = not quiet and sys.stderr.isatty()

    def __call__(self, steps: int, overlap: float) -> None:
        if self.shown:
            print(f"\r  {steps} steps, largest force {overlap:.1e} ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.shown:
            print(file=sys.stderr)


def _pack(job, progress):
    import jax

    from mesode.build import blend_of
    from solver.numerics.solution import Result
    from solver.process.pack import Target, packed_film

    loading = job.si("recipe.areal_loading_mg_cm2")
    thickness = loading / plan.volume_fractions(job)["density"] / (1 - job["recipe.dried_porosity"])
    target = Target(thickness=thickness, areal_loading=loading * job["recipe.composition.active"])
    key = jax.random.key(job["run.seed"])
    film = packed_film(key, blend_of(job), job["grid.particles"], target, progress=progress)
    progress.close()
    if not bool(film.result == Result.successful):
        raise JobError(
            [
                f"{job.source}: {float(film.stats['fraction']):.3f} of the dried film would be active material, and so "
                "much does not fit without overlap; raise `recipe.dried_porosity` or widen the sizes."
            ]
        )
    return film.value, film.stats


def _figures(job, particles, stats) -> dict:
    """What was made, in the units of the names."""
    import numpy as np

    from microstructure.sizes import volume_percentiles
    from microstructure.units import mg_cm2
    from solver.process.pack import contacts

    packing = particles.packing
    gap = 0.1 * float(packing.radii.mean())  # two coatings of 5 %, which keep the surfaces apart
    near, _, _ = contacts(packing, gap)
    volume, material = np.asarray(packing.radii) ** 3, np.asarray(particles.material)
    height, side, _ = (float(edge) for edge in packing.box)
    d10, d50, d90 = (1e6 * float(d) for d in volume_percentiles(packing.radii))
    names = list(dict.fromkeys([job["recipe.active_material"], plan.second_material(job)]))
    solid = plan.volume_fractions(job)
    fraction = float(stats["fraction"])
    return {
        "porosity": 1 - fraction / solid["active"],
        "active_fraction": fraction,
        "thickness_um": 1e6 * height,
        "areal_loading_mg_cm2": float(stats["areal_loading"]) / mg_cm2 / job["recipe.composition.active"],
        "lateral_size_um": 1e6 * side,
        "particles": len(volume),
        "largest_overlap": float(stats["overlap"]),
        "coordination_number": 2 * len(near) / len(volume),
        "coordination_gap_um": 1e6 * gap,
        "diameters_um": {"D10": d10, "D50": d50, "D90": d90},
        "materials": [
            {
                "name": name,
                "particles": int(np.sum(material == k)),
                "volume_share": float(np.sum(volume[material == k]) / np.sum(volume)),
            }
            for k, name in enumerate(names[: int(material.max()) + 1])
        ],
    }


def _write(output, job, particles, figures) -> None:
    import numpy as np

    from mesode import record
    from microstructure import store
    from microstructure.packing import wrapped

    packing, names = wrapped(particles.packing), [m["name"] for m in figures["materials"]]
    arrays = {"positions": packing.positions, "radii": packing.radii, "material": particles.material}
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    packed = arrays | {"box": np.asarray(packing.box), "densities_kg_m3": np.asarray(particles.densities)}
    kpis = {k: v for k, v in figures.items() if k != "materials"}
    run = {
        "command": "generate",
        "kpis": kpis,
        "structure": {"packed": packed | {"materials": names}},
        "job": job.text(),
        "provenance": record.provenance(job["run.seed"]),
    }
    store.write(output, run, particles=arrays)


def _print(out) -> None:
    units = {"um": "um", "cm2": "mg/cm2"}
    for name, value in out.items():
        if isinstance(value, int | float) and math.isfinite(value) and not name.endswith("seconds"):
            unit = next((u for suffix, u in units.items() if name.endswith(suffix)), "")
            print(f"{name:24} {value:.6g} {unit}")
    print(f"{'packing file':24} {out['run_file']}")
