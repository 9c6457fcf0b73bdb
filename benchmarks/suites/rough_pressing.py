"""Calendering with friction, plasticity and bonds: what it costs with its gradient, and the two engines beside each other."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import aimed, case, repeated, timed
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.dynamics import Run, run, start
from solver.particles.forces import Contact
from solver.particles.friction import Friction
from solver.particles.neighbours import candidate_pairs
from solver.particles.normal import Plastic
from solver.particles.observe import inertial_number, observe
from solver.particles.plates import Moving, Plane
from solver.particles.scene import Scene, grains, rayleigh_time
from solver.particles.tangential import Mindlin, Restitution
from solver.process.calender import Calendering, calender
from solver.process.settle import settled_film

FRICTION, DENSITY = 0.3, 4650.0
SECONDS, RATIO = 60.0, 3.0  # of the whole process on two cores, warm; processor seconds with its gradient over without
PRESSURE, POROSITY = 0.10, 0.005  # difference of the engines: of the pressure above 20 MPa; of the released porosity
NO_BINDER = Binder(modulus=0.0, background=0.0)


def film_of(count: int, fraction: float, seed: int = 5):
    """Settled spheres, log-normal about 4.7 um, in a film that grows in all directions with their number."""
    radii = sample(LogNormal(4.7e-6, 1.35), unit_draws(jax.random.key(seed), count))
    thickness = 52e-6 * (count / 100) ** (1 / 3)
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / fraction / thickness))
    return settled_film(jax.random.key(seed + 1), radii, jnp.asarray([thickness, width, width])).value


def process(count: int = 1000, load: int = 30, unload: int = 4, repeats: int = 3) -> dict:
    """From 50 % to 30 % porosity and back to no load, value and gradient."""
    packing = film_of(count, 0.5)
    pairs = candidate_pairs(packing, per_particle=32, spare=1.0)
    method, rule = Calendering(load=load, unload=unload), Friction(FRICTION, FRICTION)

    def thickness(scale):
        gap = packing.box[0] * 0.5 / 0.7 * scale
        solution = calender(packing, pairs, gap, method=method, friction=rule)
        return solution.value.packing.box[0] * 1e6, solution

    at, step = jnp.asarray(1.0), 1e-7
    value = jax.jit(thickness).lower(at).compile()
    (_, solution), row = timed(jax.jit(thickness), (at,), repeats)
    (_, slope), both = timed(jax.jit(jax.value_and_grad(thickness, has_aux=True)), (at,), 1)
    difference = float((value(at + step)[0] - value(at - step)[0]) / (2 * step))
    row |= {
        "successful": bool(solution.result == Result.successful),
        "missed": int(solution.stats["missed"]),
        "newton_steps": int(jnp.sum(solution.stats["steps"])),
        "krylov_steps": int(jnp.sum(solution.stats["inner"])),
        "pressure_MPa": float(jnp.max(solution.value.pressure)) / 1e6,
        "springback_percent": 100 * float(solution.value.springback),
        "gradient_s": both["median_s"],
        "gradient_cpu_s": both["cpu_s"],
        "gradient_compile_s": both["compile_s"],
        "gradient_over_value": both["cpu_s"] / row["cpu_s"],
        "accuracy": {"gradient_error": abs(float(slope) / difference - 1)},
    }
    size = {"particles": count, "pairs": int(pairs.first.shape[0]), "increments": load + unload}
    row = case("particles", f"calendering with friction {count}", size, "float64", **row)
    return aimed(aimed(row, "median_s", SECONDS), "gradient_over_value", RATIO)
