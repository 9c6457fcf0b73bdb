"""Calendering with friction, plasticity and bonds: its cost, that of its gradient, and both engines on one packing."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import aimed, case, compiled_of, repeated
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


def process(count: int = 1000, load: int = 30, unload: int = 4, repeats: int = 2, step: float = 1e-3) -> dict:
    """From 50 % to 30 % porosity and back to no load, value and gradient.

    On letting go some equilibria have a neighbour nanometres away, and the search may find either. The gradient is
    compared with the difference over a `step` of the gap to both sides, beside which such jumps are small.
    """
    packing = film_of(count, 0.5)
    pairs = candidate_pairs(packing, per_particle=32, spare=1.0)
    method = Calendering(load=load, unload=unload)
    rule = Friction(FRICTION, FRICTION)

    def thickness(scale):
        gap = packing.box[0] * 0.5 / 0.7 * scale
        solution = calender(packing, pairs, gap, method=method, friction=rule)
        return solution.value.packing.box[0] * 1e6, solution

    at = jnp.asarray(1.0)
    value, row = compiled_of(jax.jit(thickness), at)
    (_, solution), times = repeated(lambda: value(at), repeats)
    both, gradient_row = compiled_of(jax.jit(jax.value_and_grad(thickness, has_aux=True)), at)
    (_, slope), gradient_times = repeated(lambda: both(at), 1)
    chord = float(value(at + step)[0] - value(at - step)[0]) / (2 * step)
    row |= times | {
        "successful": bool(solution.result == Result.successful),
        "missed": int(solution.stats["missed"]),
        "newton_steps": int(jnp.sum(solution.stats["steps"])),
        "krylov_steps": int(jnp.sum(solution.stats["inner"])),
        "pressure_MPa": float(jnp.max(solution.value.pressure)) / 1e6,
        "springback_percent": 100 * float(solution.value.springback),
        "gradient_s": gradient_times["median_s"],
        "gradient_cpu_s": gradient_times["cpu_s"],
        "gradient_compile_s": gradient_row["compile_s"],
        "gradient_over_value": gradient_times["cpu_s"] / times["cpu_s"],
        "accuracy": {"gradient_error": abs(float(slope) / chord - 1)},
    }
    size = {"particles": count, "pairs": int(pairs.first.shape[0]), "increments": load + unload}
    row = case("particles", f"calendering with friction {count}", size, "float64", **row)
    return aimed(aimed(row, "median_s", SECONDS), "gradient_over_value", RATIO)


def engines(count: int = 100, load: int = 20, unload: int = 4, fraction: float = 0.56, speed: float = 0.3) -> dict:
    """One packing of plastic spheres without binder in both engines, from no contact to 30 % porosity and back."""
    packing = film_of(count, fraction)
    wall, cpu = time.perf_counter(), time.process_time()
    solution = calender(
        packing,
        candidate_pairs(packing, per_particle=32 if count > 128 else 16),
        packing.box[0] * fraction / 0.7,
        binder=NO_BINDER,
        method=Calendering(load=load, unload=unload),
        friction=Friction(FRICTION, FRICTION),
    )
    at_rest, pressure = np.asarray(solution.value.thickness), np.asarray(solution.value.pressure)
    row = {"median_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    moved = pressed_in_motion(packing, at_rest[1 : load + 1], float(pressure[-1]), speed)
    high = pressure[1 : load + 1] > 20e6
    apart = np.abs(moved["pressure"][high] / pressure[1 : load + 1][high] - 1)
    solid = fraction * float(packing.box[0])
    released = np.asarray([1 - solid / at_rest[-1], 1 - solid / moved["released"]])
    row |= {
        "successful": bool(solution.result == Result.successful),
        "missed": int(solution.stats["missed"]),
        "motion_cpu_s": moved["cpu_s"],
        "porosity": (1 - solid / at_rest[1 : load + 1]).tolist(),
        "pressure_MPa": (pressure[1 : load + 1] / 1e6).tolist(),
        "pressure_in_motion_MPa": (moved["pressure"] / 1e6).tolist(),
        "kinetic_over_elastic": float(np.max(moved["kinetic"][high])),
        "inertial_number": moved["inertial"],
        "released_porosity": released.tolist(),
        "pressure_difference": float(np.max(apart)),
        "porosity_difference": float(abs(released[1] - released[0])),
    }
    row = case("particles", f"two engines, one packing of {count}", {"particles": count}, "float64", **row)
    return aimed(aimed(row, "pressure_difference", PRESSURE), "porosity_difference", POROSITY)


def pressed_in_motion(packing, heights, release: float, speed: float) -> dict:
    """The same in motion: the plate goes down at `speed`, m/s, through the `heights`, m, and up to a pressure of
    `release`, Pa, where its height is `released`.

    Beside it the plate's pressures, Pa, kinetic over elastic energy, and the inertial number at 20 MPa.
    """
    law, solid = ContactLaw(), (140e9, 0.3, DENSITY)
    contact = Contact(Plastic(law.yield_pressure), Restitution(0.3), Mindlin(FRICTION))
    step = 0.2 * float(rayleigh_time(jnp.min(packing.radii), *solid))
    mean, area = float(jnp.mean(packing.radii)), float(jnp.prod(packing.box[1:]))

    def scene(velocity):
        walls = (Plane(), Plane(Moving(velocity), above=True))
        body = grains(packing.radii, *solid)
        return Scene(body, packing.box[1:], step, walls, contact, contact, skin=0.3 * mean)

    def gone(now: Run, velocity, steps):
        now = run(scene(velocity), now.state, steps, now.capacity)
        return now, float(now.state.walls.height[1]), float(jnp.abs(now.state.walls.force[0, 1])) / area

    cpu, seen = time.process_time(), []
    now = start(scene(-speed), packing, jnp.asarray([0.0, float(packing.box[0])]))
    for height in heights:
        now, top, pressure = gone(now, -speed, round((float(now.state.walls.height[1]) - height) / (speed * step)))
        energies = observe(scene(-speed), now.state, top)
        seen.append((pressure, float(energies.kinetic / energies.elastic)))
    up = max(1, round(2e-4 * top / (speed * step)))
    while pressure > release:
        before = top, pressure
        now, top, pressure = gone(now, speed, up)
    share = np.log(before[1] / release) / np.log(before[1] / max(pressure, 1e-3 * release))
    pressures, kinetic = (np.asarray(column) for column in zip(*seen, strict=True))
    return {
        "pressure": pressures,
        "kinetic": kinetic,
        "released": before[0] + share * (top - before[0]),
        "inertial": float(inertial_number(speed / heights[-1], 2 * mean, DENSITY, 20e6)),
        "cpu_s": time.process_time() - cpu,
    }
