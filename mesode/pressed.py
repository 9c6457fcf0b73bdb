"""What `mesode calender` says of a pressed film: its course, its inside, its stiffness, in the units of people."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from mesode.build import methods_of, nip_of, recipe_of
from mesode.job import Job
from microstructure.packing import Packing, wrapped
from microstructure.units import GPa, MPa, N_mm, mm, um
from solver.numerics.solution import raise_unless_successful
from solver.process.calender import Calendered, Press
from solver.process.nip import compaction, line_load, line_loads
from solver.process.recovery import recover
from solver.process.stiffness import stiffness
from solver.process.texture import texture

SHARES = (5.0, 25.0, 50.0, 75.0, 95.0)  # percentiles of the stress of particles, by volume
COURSE = ("coordination", "contacts", "fabric", "bridge_fabric", "area", "spot", "yielded", "broken", "film")


def inside(press: Press, carry, before=None) -> tuple[dict, dict]:
    """What the film shows after an increment, and what each particle does: plain dictionaries of arrays."""
    found = texture(press, carry, before)
    particles = {"mean_stress": found.mean_stress, "von_mises": found.von_mises, "coordination": found.touching}
    return {name: getattr(found, name) for name in COURSE}, particles


def results(job: Job, dried: Packing, film: Calendered, saved: Mapping, press: Press, carry) -> tuple[dict, dict]:
    """The figures that are printed, and the groups of the run file with `particles`, the arguments of its view."""
    recipe, method = recipe_of(job), methods_of(job).calendering
    thickness, pressure = np.asarray(film.thickness), np.asarray(film.pressure)
    porosity = 1 - float(np.sum(recipe.solid_thickness)) / thickness
    start, last = inside(press, press.first)[0], inside(press, carry)[1]
    # As the course: from the film at rest on.
    shown = {name: np.concatenate([np.asarray(start[name])[None], rows]) for name, rows in saved["inside"].items()}
    moduli = raise_unless_successful(eqx.filter_jit(stiffness)(press, carry), "The stiffness of the released film")
    loads, fits = _line_loads(job, thickness, pressure, porosity)
    resting = _recovery(job, press, carry)
    figures = {
        **_of_the_film(job, film, porosity, loads),
        **_of_its_inside(shown),
        "through_plane_modulus_GPa": float(moduli.through_plane) / GPa,
        "in_plane_modulus_GPa": float(moduli.in_plane) / GPa,
        **({"springback_after_rest_percent": _grown(film, resting)} if resting else {}),
        **fits,
        "line_load": loads,
        "recovery": resting,
        **_by_increment(shown, method.lowest),
        "stress_of_particles_MPa": {
            "at_gap": _distribution(saved["particles"], dried.radii),
            "released": _distribution(last, dried.radii),
        },
    }
    course = _course(job, film, porosity, loads) | {"inside": shown}
    course |= {"recovery": resting} if resting else {}
    course |= {"compaction": fits["compaction_line_load"]} if fits["compaction_line_load"] else {}
    run = {
        "calendering": course,
        "kpis": {k: v for k, v in figures.items() if isinstance(v, float)},
        "structure": {
            "dried": _arrays(dried),
            "loaded": _arrays(film.loaded) | dict(saved["particles"]),
            "calendered": _arrays(film.packing) | last,
        },
        "particles": _view(film.packing, last),
    }
    return figures, run


def _of_the_film(job: Job, film: Calendered, porosity, loads: Mapping) -> dict:
    """What is seen from outside: course, spring-back, density, the machine's numbers."""
    thickness = np.asarray(film.thickness)
    load = methods_of(job).calendering.load
    return {
        "porosity": porosity.tolist(),
        "pressure_MPa": (np.asarray(film.pressure) / MPa).tolist(),
        "thickness_um": (thickness / um).tolist(),
        "springback_percent": 100 * float(film.springback),
        "coordination_number": float(film.coordination),
        "largest_overlap": float(film.overlap),
        "density_g_cm3": float(recipe_of(job).areal_loading) / float(thickness[-1]) * 1e-3,
        "gap_um": float(film.loaded.box[0]) / um,
        "line_load_N_per_mm": loads["passes_N_per_mm"][0],
        "time_in_nip_ms": 1e3 * float(nip_of(job).duration(thickness[load], thickness[0])),
        "friction": float(job["calendering.friction"]),
    }


def _of_its_inside(shown: Mapping) -> dict:
    """Contacts and bridges after release."""
    return {
        "contact_area_share": float(shown["area"][-1]),
        "mean_contact_area_um2": float(shown["spot"][-1]) / um**2,
        "yielded_bridges": float(shown["yielded"][-1]),
        "broken_bridges": float(shown["broken"][-1]),
    }


def _by_increment(shown: Mapping, lowest: int) -> dict:
    """The course of contacts and bridges, and fabric and stress where they are asked about most."""
    return {
        "coordination": shown["coordination"].tolist(),
        "yielded": shown["yielded"].tolist(),
        "fabric": {
            "bridges_dried": np.diagonal(shown["bridge_fabric"][0]).tolist(),
            "at_gap": np.diagonal(shown["fabric"][lowest]).tolist(),
            "released": np.diagonal(shown["fabric"][-1]).tolist(),
        },
        "stress_of_film_at_gap_MPa": (np.asarray(shown["film"][lowest]) / MPa).tolist(),
    }


def _course(job: Job, film: Calendered, porosity, loads: Mapping) -> dict:
    """The course of the process in SI units, for the run file."""
    method = methods_of(job).calendering
    return {
        "thickness_m": np.asarray(film.thickness),
        "pressure_Pa": np.asarray(film.pressure),
        "virial_Pa": np.concatenate([[0.0], np.asarray(film.virial)]),
        "porosity": porosity,
        "friction": float(job["calendering.friction"]),
        "increments": method.load,
        "release_increments": method.unload,
        "line_load_N_m": np.asarray(loads["loading_N_per_mm"]) * N_mm,
        "nip_position_m": np.asarray(loads["position_mm"]) * mm,
    }


def _recovery(job: Job, press: Press, carry) -> dict | None:
    """The thickness over the time after release, or nothing where no rest is asked for."""
    rest = job["calendering.rest_s"]
    if not rest > 0:
        return None
    times = np.geomspace(min(0.1, rest / 10), rest, 13)
    found = raise_unless_successful(eqx.filter_jit(recover)(press, carry, jnp.asarray(times)), "The film at rest")
    return {"time_s": np.asarray(found.time).tolist(), "thickness_um": (np.asarray(found.thickness) / um).tolist()}


def _grown(film: Calendered, resting: Mapping) -> float:
    return 100 * (resting["thickness_um"][-1] * um / float(film.loaded.box[0]) - 1)


def _line_loads(job: Job, thickness, pressure, porosity) -> tuple[dict, dict]:
    """Line loads of each pass, the first one's course through the nip, and the exponential laws of its loading."""
    method, nip = methods_of(job).calendering, nip_of(job)
    load, step = method.load, method.load + method.unload
    course = jnp.asarray(thickness), jnp.asarray(pressure)
    passes = [
        float(line_load(nip, *(a[k * step : (k + 1) * step + 1] for a in course), load)) / N_mm
        for k in range(method.passes)
    ]
    on_the_way = np.asarray(line_loads(nip, *(a[: step + 1] for a in course), load)) / N_mm
    law = _fit(pressure[: load + 1] / MPa, porosity[: load + 1], "resistance_MPa")
    law_of_load = _fit(on_the_way, porosity[: load + 1], "resistance_N_per_mm")
    # Through the nip of the first pass: where each point of the course is, and when.
    away = np.asarray(nip.length(thickness[load], jnp.asarray(thickness[: step + 1])))
    away = np.where(np.arange(step + 1) < load, -away, away)
    found = {
        "passes_N_per_mm": passes,
        "loading_N_per_mm": on_the_way.tolist(),
        "position_mm": (away / mm).tolist(),
        "time_ms": (1e3 * away / float(nip.speed)).tolist(),
    }
    return found, {"compaction": law, "compaction_line_load": law_of_load}


def _fit(load, porosity, name: str) -> dict | None:
    """The exponential law of a loading curve, or nothing where the film was not pressed."""
    try:
        law = compaction(load, porosity)
    except ValueError:
        return None
    return {"least": law.least, "first": law.first, name: law.resistance, "error": law.error}


def _distribution(particles: Mapping, radii) -> dict:
    """Mean and percentiles by volume of the stress of particles, MPa."""
    volume = np.asarray(radii) ** 3
    out = {}
    for name in ("mean_stress", "von_mises"):
        stress = np.asarray(particles[name]) / MPa
        order = np.argsort(stress)
        below = (np.cumsum(volume[order]) - 0.5 * volume[order]) / np.sum(volume)
        out[name] = {"mean": float(np.sum(volume * stress) / np.sum(volume)), "largest": float(stress[order[-1]])}
        out[name] |= {f"p{p:g}": float(np.interp(p / 100, below, stress[order])) for p in SHARES}
    return out


def _arrays(packing: Packing) -> dict:
    return {"positions": packing.positions, "radii": packing.radii, "box": packing.box}


def _view(packing: Packing, particles: Mapping) -> dict:
    """The released particles as a run file shows them to ParaView."""
    folded = wrapped(packing)
    fields = {
        "mean_stress_Pa": particles["mean_stress"],
        "von_mises_Pa": particles["von_mises"],
        "contacts": particles["coordination"],
    }
    arrays = {"positions": folded.positions, "radii": folded.radii}
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    return arrays | {"fields": {name: np.asarray(value, float) for name, value in fields.items()}}
