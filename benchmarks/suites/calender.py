"""How fast and how true: settling, drying and calendering, value and gradient. Plain functions that return numbers."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from microstructure.packing import Packing
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.neighbours import candidate_pairs
from solver.process.calender import Calendering, calender
from solver.process.drying import Drying, WetFilm, dry_film
from solver.process.settle import dry_packing, settled_film


def _seconds(function, repeats=3):
    """(value, median seconds, spread in seconds) of a compiled function."""
    times, value = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        value = jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return value, float(np.median(times)), float(max(times) - min(times))


def _film(count, fraction=0.47, thickness=70e-6, seed=0):
    radii = sample(LogNormal(5e-6), unit_draws(jax.random.key(seed), count))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / fraction / thickness))
    return settled_film(jax.random.key(seed + 1), radii, jnp.asarray([thickness, width, width]))


def settling(count: int = 400) -> dict:
    """Seconds to settle `count` spheres at a fraction of 0.47, the largest overlap left."""
    _film(count)
    solution, seconds, spread = _seconds(lambda: _film(count))
    overlap = float(solution.stats["overlap"])
    return {"particles": count, "seconds": seconds, "spread_s": spread, "largest_overlap": overlap}


def calendering(count: int = 400, gap: float = 52e-6) -> dict:
    """Compile and run seconds of drying plus calendering, and of value and gradient, and the gradient's error."""
    packing = _film(count).value
    pairs = candidate_pairs(packing)

    def thickness(v):
        box = packing.box * jnp.stack([jnp.ones(()), v[2], v[2]])
        dried = dry_packing(packing, packing.radii * v[1], box, pairs)
        solution = calender(dried.value, pairs, gap * v[0])
        return solution.value.packing.box[0] * 1e6, solution

    at = jnp.ones(3)
    start = time.perf_counter()
    value = jax.jit(thickness).lower(at).compile()
    compiled = time.perf_counter() - start
    start = time.perf_counter()
    both = jax.jit(jax.value_and_grad(thickness, has_aux=True)).lower(at).compile()
    compiled_gradient = time.perf_counter() - start
    (_, solution), seconds, spread = _seconds(lambda: value(at))
    (_, gradient), gradient_seconds, _ = _seconds(lambda: both(at))
    step = 1e-6 * jnp.eye(3)[0]
    difference = float((value(at + step)[0] - value(at - step)[0]) / 2e-6)
    return {
        "particles": count,
        "compile_s": compiled,
        "compile_gradient_s": compiled_gradient,
        "seconds": seconds,
        "spread_s": spread,
        "gradient_seconds": gradient_seconds,
        "gradient_over_value": gradient_seconds / seconds,
        "gradient_error": abs(float(gradient[0]) / difference - 1),
        "successful": bool(solution.result == Result.successful),
        "newton_steps": int(jnp.sum(solution.stats["steps"])),
        "cg_steps": int(jnp.sum(solution.stats["inner"])),
        "springback_percent": 100 * float(solution.value.springback),
        "frictionless_pressure_MPa": float(jnp.max(solution.value.pressure)) / 1e6,
    }


def column() -> dict:
    """The simple-cubic column against its exact stress, E eps^1.5 / (3 (1 - nu^2))."""
    radius, count, strain = 5e-6, 5, 0.03
    sites = 2 * radius * (jnp.stack(jnp.meshgrid(*3 * [jnp.arange(5.0)], indexing="ij"), -1).reshape(-1, 3) + 0.5)
    lattice = Packing(sites, jnp.full(count**3, radius), jnp.full(3, 2 * radius * count))
    law, binder = ContactLaw(yield_pressure=1e20), Binder(modulus=0.0, background=0.0)
    method = Calendering(load=2, unload=1)
    solution = jax.jit(calender)(lattice, candidate_pairs(lattice), (1 - strain) * lattice.box[0], law, binder, method)
    exact = 140e9 * strain**1.5 / (3 * (1 - 0.3**2))
    return {"stress_MPa": exact / 1e6, "relative_error": abs(float(solution.value.pressure[2]) / exact - 1)}


def drying() -> dict:
    """The binder profile at Peclet number 1 against the reference table (surface 1.7980), and its seconds."""
    film = WetFilm(1e-4, 0.5e-4, 0.3)
    run = jax.jit(lambda evaporation: dry_film(film, Drying(evaporation)).value.surface())
    at = jnp.asarray(1e-6 * 1028.0)
    run(at)
    surface, seconds, spread = _seconds(lambda: run(at))
    return {
        "seconds": seconds,
        "spread_s": spread,
        "surface": float(surface),
        "error": abs(float(surface) / 1.7980 - 1),
    }
