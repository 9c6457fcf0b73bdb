"""Settling, drying and calendering: seconds, value and gradient, and two exact results."""

import jax
import jax.numpy as jnp

from benchmarks.harness import case, repeated, timed
from microstructure.packing import Packing
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.neighbours import candidate_pairs
from solver.process.calender import Calendering, calender
from solver.process.drying import Drying, WetFilm, dry_film
from solver.process.settle import dry_packing, settled_film

PARTICLES = 400
GAP = 52e-6  # m, of a film of 70 um


def measure(peers: bool = True, repeats: int = 3) -> list[dict]:
    """Every case of the suite, as rows of plain numbers. There is no peer that differentiates a calendering."""
    value, gradient = _calendering(PARTICLES, repeats)
    return [_settling(PARTICLES, repeats), value, gradient, _column(repeats), _drying(repeats)]


def _film(count, fraction=0.47, thickness=70e-6, seed=0):
    radii = sample(LogNormal(5e-6), unit_draws(jax.random.key(seed), count))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / fraction / thickness))
    return settled_film(jax.random.key(seed + 1), radii, jnp.asarray([thickness, width, width]))


def _settling(count, repeats):
    """A film of `count` spheres at a solid fraction of 0.47."""
    solution, row = repeated(lambda: _film(count), repeats)
    row |= {"accuracy": {"largest_overlap": float(solution.stats["overlap"])}}
    return case("calender", f"settling {count} particles", {"particles": count}, "float64", **row)


def _calendering(count, repeats):
    """Drying and calendering, the value alone and with its gradient, and the error of that against differences."""
    packing = _film(count).value
    pairs = candidate_pairs(packing)

    def thickness(v):
        box = packing.box * jnp.stack([jnp.ones(()), v[2], v[2]])
        dried = dry_packing(packing, packing.radii * v[1], box, pairs)
        solution = calender(dried.value, pairs, GAP * v[0])
        return solution.value.packing.box[0] * 1e6, solution

    at, step, size = jnp.ones(3), 1e-6 * jnp.eye(3)[0], {"particles": count, "pairs": int(pairs.first.shape[0])}
    value = jax.jit(thickness)
    (_, solution), row = timed(value, (at,), repeats)
    row |= {
        "successful": bool(solution.result == Result.successful),
        "newton_steps": int(jnp.sum(solution.stats["steps"])),
        "cg_steps": int(jnp.sum(solution.stats["inner"])),
        "springback_percent": 100 * float(solution.value.springback),
        "frictionless_pressure_MPa": float(jnp.max(solution.value.pressure)) / 1e6,
    }
    (_, gradient), both = timed(jax.jit(jax.value_and_grad(thickness, has_aux=True)), (at,), repeats)
    difference = float((value(at + step)[0] - value(at - step)[0]) / 2e-6)
    both |= {"over_value": both["cpu_s"] / row["cpu_s"]}
    both |= {"accuracy": {"gradient_error": abs(float(gradient[0]) / difference - 1)}}
    return (
        case("calender", f"calendering {count} particles", size, "float64", **row),
        case("calender", f"calendering and gradient {count}", size, "float64", **both),
    )


def _column(repeats):
    """The simple-cubic column against its exact stress, E eps^1.5 / (3 (1 - nu^2))."""
    radius, count, strain = 5e-6, 5, 0.03
    sites = 2 * radius * (jnp.stack(jnp.meshgrid(*3 * [jnp.arange(5.0)], indexing="ij"), -1).reshape(-1, 3) + 0.5)
    lattice = Packing(sites, jnp.full(count**3, radius), jnp.full(3, 2 * radius * count))
    law, binder = ContactLaw(yield_pressure=1e20), Binder(modulus=0.0, background=0.0)
    pairs, method = candidate_pairs(lattice), Calendering(load=2, unload=1)

    def pressed(gap):
        return calender(lattice, pairs, gap, law, binder, method).value.pressure[2]

    stress, row = timed(jax.jit(pressed), ((1 - strain) * lattice.box[0],), repeats)
    exact = 140e9 * strain**1.5 / (3 * (1 - 0.3**2))
    row |= {"accuracy": {"stress_error": abs(float(stress) / exact - 1)}}
    return case("calender", "simple-cubic column", {"particles": count**3}, "float64", **row)


def _drying(repeats):
    """The binder at the surface at Peclet number 1 against the reference table, 1.7980."""
    film = WetFilm(1e-4, 0.5e-4, 0.3)
    run = jax.jit(lambda evaporation: dry_film(film, Drying(evaporation)).value.surface())
    surface, row = timed(run, (jnp.asarray(1e-6 * 1028.0),), repeats)
    row |= {"accuracy": {"surface_error": abs(float(surface) / 1.7980 - 1)}}
    return case("calender", "binder in a drying film", {"cells": Drying().cells}, "float64", **row)
