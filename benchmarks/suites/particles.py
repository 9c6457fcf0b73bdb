"""Particles in motion: the force of a dense packing, step after step, beside LAMMPS; calendering with friction.

The packing is that of the reference job: log-normal radii of 2 to 8 um between two plates, E = 10 GPa, nu = 0.3,
friction 0.3, time step 1.5 ns, plate speed 1 m/s.
"""

import pathlib
import tempfile
import time
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import against, aimed, ask_peer, case
from benchmarks.suites import rough_pressing
from microstructure.packing import Packing
from solver.particles import cells
from solver.particles.dynamics import Run, advance, refitted, run, start
from solver.particles.forces import Contact
from solver.particles.normal import Hertz
from solver.particles.observe import observe
from solver.particles.plates import Moving, Plane
from solver.particles.scene import Scene, grains
from solver.particles.tangential import Linear, Mindlin, Restitution

UM, STEP = 1e-6, 1.5e-9
MODULUS, POISSON, DENSITY, FRICTION = 10e9, 0.3, 4700.0, 0.3
TSUJI = 0.43957  # what comes out where LAMMPS' `tsuji` is asked for 0.3
LAWS = {
    "G": Contact(Hertz(), Restitution(TSUJI, share=1.0), Mindlin(FRICTION)),
    "H": Contact(Hertz(), Linear(20e12, hertzian=True), Mindlin(FRICTION)),
    "F": Contact(Hertz(), Restitution(TSUJI, share=1.0), None),
}
RATIO, STRETCH = 1 / 0.3, 1 / 0.5  # processor seconds over LAMMPS'
PRESSURE = 0.01  # relative difference of the two codes after the same steps
SLOTS = 1.5  # over the largest number of neighbours below the skin


def measure(peers: bool = True, count: int = 10000, steps: int = 400) -> Iterator[dict]:
    """Every case of the suite, as rows of plain numbers."""
    packed = pressed(count)
    yield _motion(packed, "G", steps, peers)
    alone = _motion(packed, "F", steps, peers)
    yield alone
    if peers:
        yield _spheres_alone(packed, alone, steps)
    yield _list(packed)
    yield rough_pressing.process()
    yield rough_pressing.engines()


def reference_radii(count: int) -> np.ndarray:
    """Radii of the reference job, um: 4 exp(0.3 xi), those from 2 to 8 kept."""
    generator, kept = np.random.default_rng(12345), np.zeros(0)
    while len(kept) < count:
        radii = 4 * np.exp(0.3 * generator.standard_normal(count))
        kept = np.concatenate([kept, radii[(radii >= 2) & (radii <= 8)]])
    return kept[:count]


def reference_start(count: int) -> tuple[Packing, float]:
    """The dilute start of the reference job, spheres on a jittered lattice in random order, and the plate's height."""
    radii, width = reference_radii(count), 250 * np.sqrt(count / 1e4)
    generator = np.random.default_rng(12345)
    side = int(width / 16.2)
    pitch = np.asarray([16.2, width / side, width / side])
    layers = int(np.ceil(count / side**2))
    sites = np.stack(np.meshgrid(np.arange(layers), np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    sites = generator.permutation(sites.reshape(-1, 3)[:count])
    positions = (sites + 0.5) * pitch + (generator.random((count, 3)) - 0.5) * (pitch - 2 * radii[:, None])
    height = positions[:, 0].max() + 9
    return Packing(positions * UM, radii * UM, np.asarray([height, width, width]) * UM), height * UM


def scene_of(packing: Packing, law: Contact, velocity: float, skin: float, rigid: bool = False) -> Scene:
    """The reference job with its plate moving at `velocity`, m/s; its walls of the particles' material, as LAMMPS'
    `granular` has them, or `rigid`."""
    body = grains(packing.radii, MODULUS, POISSON, DENSITY)
    same = {} if rigid else {"compliance": body.compliance[0], "shear": body.shear[0]}
    walls = (Plane(**same), Plane(Moving(velocity), above=True, **same))
    return Scene(body, packing.box[1:], STEP, walls, law, law, skin=skin)


def pressed(count: int, porosity: float = 0.355) -> Run:
    """The spheres of the reference job at a porosity at which they carry load, at rest: squeezed, parted, relaxed."""
    packing, height = reference_start(count)
    solid = float(4 / 3 * np.pi * np.sum(np.asarray(packing.radii) ** 3))
    goal = solid / float(np.prod(packing.box[1:])) / (1 - porosity)
    flat = Packing(packing.positions * jnp.asarray([goal / height, 1, 1]), packing.radii, packing.box)
    # Overlaps of squeezed spheres are large at first: a heavy drag parts them without a bang.
    scene = eqx.tree_at(lambda s: s.drag, scene_of(flat, LAWS["F"], 0.0, 2 * UM), jnp.asarray(2e8))
    now = start(scene, flat, jnp.asarray([0.0, goal]))
    for drag, stretch in ((2e8, 1500), (2e7, 1500), (2e6, 1500)):
        scene = eqx.tree_at(lambda s: s.drag, scene, jnp.asarray(drag))  # noqa: B023
        now = run(scene, now.state, stretch, now.capacity)
    return now


def _motion(packed: Run, law: str, steps: int, peers: bool) -> dict:
    """Steps of a dense packing under the plate, list rebuilds included; the same for LAMMPS."""
    count = packed.state.positions.shape[1]
    packing, height = _packing(packed), float(packed.state.walls.height[1])
    scene = scene_of(packing, LAWS[law], -1.0, 0.6 * UM)
    now = start(scene, packing, packed.state.walls.height)
    compiled, row = _compiled(scene, now)
    spent = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        after = jax.block_until_ready(compiled(scene, now.state, jnp.asarray(steps)))
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (float(np.median(s)) for s in zip(*spent, strict=True))
    seen = observe(scene, after, after.walls.height[1])
    row |= {"median_s": wall, "cpu_s": cpu, "particle_steps_per_cpu_s": count * steps / cpu}
    row |= {"overflow": bool(after.near.overflow), "pressure_MPa": float(seen.stress[0, 0]) / 1e6}
    row |= {"contacts": float(seen.coordination)}
    friction = FRICTION if LAWS[law].friction is not None else 0.0
    name = f"{'Hertz-Mindlin, history' if friction else 'Hertz, no friction'}, {count}"
    row = case("particles", name, {"particles": count, "steps": steps}, "float64", **row)
    if not peers:
        return row
    answer = _lammps(packing, height, steps, friction)
    row = against(row, answer, RATIO if friction else None)
    if "peer_not_run" in row:
        return row
    there = answer["accuracy"]
    row["pressure_difference"] = abs(row["pressure_MPa"] / there["pressure_MPa"] - 1)
    row["stretch_met"] = row["ratio"] <= STRETCH
    return aimed(row, "pressure_difference", PRESSURE)


def _compiled(scene, now: Run):
    wall, cpu = time.perf_counter(), time.process_time()
    jitted = eqx.filter_jit(lambda scene, state, steps: advance(scene, state, steps, now.capacity))
    compiled = jitted.lower(scene, now.state, jnp.asarray(1)).compile()
    return compiled, {"compile_s": time.perf_counter() - wall, "compile_cpu_s": time.process_time() - cpu}


def _packing(packed: Run) -> Packing:
    """The particles of a run, folded back into the period, their contacts forgotten."""
    count = packed.state.positions.shape[1]
    reference, _ = reference_start(count)
    period = reference.box[1:, None]
    lateral = packed.state.positions[1:]
    positions = jnp.concatenate([packed.state.positions[:1], lateral - period * jnp.floor(lateral / period)])
    return Packing(positions.T, reference.radii, reference.box)


def _lammps(packing: Packing, height: float, steps: int, friction: float) -> dict:
    """What LAMMPS makes of the same packing, its history empty too."""
    job = {"friction": friction, "restitution": 0.3, "plate_speed": -1.0, "skin": 1.0}
    return _asked("lammps", packing, height, steps, **job)


def _asked(peer: str, packing: Packing, height: float, steps: int, **job) -> dict:
    """What a peer makes of the packing between its plates, the thickness last."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "packing.npz"
        positions = np.asarray(packing.positions)[:, [1, 2, 0]] / UM
        sizes = {"width": float(packing.box[1]) / UM, "height": height / UM}
        np.savez(path, positions=positions, radii=np.asarray(packing.radii) / UM, **sizes)
        job |= {"modulus": MODULUS / 1e3, "poisson": POISSON, "density": DENSITY / 1e3, "step": STEP * 1e6}
        return ask_peer(peer, {"packing": str(path), "steps": steps, **job})


def _spheres_alone(packed: Run, row: dict, steps: int) -> dict:
    """The row without friction beside jax-md, which has no plates, no damping and no friction: 50 steps without a new
    list, scaled to as many as here."""
    packing, height = _packing(packed), float(packed.state.walls.height[1])
    free = eqx.tree_at(lambda c: c.damping, LAWS["F"], None)
    scene = scene_of(packing, free, 0.0, 0.6 * UM)
    seen = observe(scene, start(scene, packing, packed.state.walls.height).state, packed.state.walls.height[1])
    answer = _asked("jaxmd", packing, height, 50)
    if answer.get("cpu_s") is not None:
        answer |= {key: answer[key] * steps / 50 for key in ("cpu_s", "median_s")}
    kept = {key: row[key] for key in ("median_s", "cpu_s", "particle_steps_per_cpu_s")}
    kept |= {"pair_pressure_MPa": float(seen.stress[0, 0]) / 1e6}
    size = {"particles": len(packing.radii), "steps": steps}
    row = against(case("particles", f"Hertz, beside jax-md, {size['particles']}", size, "float64", **kept), answer)
    if "peer_not_run" in row:
        return row
    row["pressure_difference"] = abs(row["pair_pressure_MPa"] / answer["accuracy"]["pair_pressure_MPa"] - 1)
    return aimed(row, "pressure_difference", PRESSURE)


def _list(packed: Run) -> dict:
    """Slots of the neighbour list over what a 4:1 range of sizes needs."""
    packing = _packing(packed)
    scene = scene_of(packing, LAWS["G"], 0.0, 0.6 * UM)
    now = refitted(scene, start(scene, packing, packed.state.walls.height))
    degree = int(now.state.near.degree)
    wall, cpu = time.perf_counter(), time.process_time()
    jitted = eqx.filter_jit(lambda x: cells.build(x, scene.grains.radii, _box(scene), scene.skin, now.capacity))
    jax.block_until_ready(jitted(now.state.positions).count)
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(jitted(now.state.positions).count)
    row = {"median_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "slots": now.capacity.slots}
    limit = 8 * np.ceil(SLOTS * degree / 8)
    row |= {"neighbours": degree, "pairs": int(now.state.near.count), "pairs_room": now.capacity.pairs}
    row = case("particles", "neighbour list, sizes 4:1", {"particles": len(packing.radii)}, "float64", **row)
    return aimed(row, "slots", float(limit))


def _box(scene: Scene):
    return jnp.concatenate([jnp.ones(1), scene.lateral])
