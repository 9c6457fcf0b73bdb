"""Packings in motion: invariances, conservation, stress (reference `dem`, V15, V23, V24), lists, plates, roll."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from solver.particles import cells
from solver.particles.dynamics import advance, begin, run
from solver.particles.forces import Contact
from solver.particles.normal import Hertz, Plastic
from solver.particles.observe import observe
from solver.particles.plates import Moving, Plane, Roll, Servo
from solver.particles.scene import Scene, grains, rayleigh_time
from solver.particles.tangential import Mindlin, Restitution

COUNT, SIDE, HEIGHT = 64, 25e-6, 25e-6
WALLS = (Plane(), Plane(above=True))
SOLID = (10e9, 0.3, 4700.0)
LAW = Contact(Plastic(1e9), Restitution(0.4), Mindlin(0.3, rescaled=True))
CAPACITY = cells.Capacity(1024, 64, 64, (2, 2, 2))


def crowd(seed=0):
    """Spheres of 2 to 4 um that overlap each other here and there, with random velocities and spins."""
    rng = np.random.default_rng(seed)
    radii = rng.uniform(2e-6, 4e-6, COUNT)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (grid + 0.5 + rng.uniform(-0.22, 0.22, (COUNT, 3))) / 4 * [HEIGHT, SIDE, SIDE]
    velocities, spins = rng.normal(size=(COUNT, 3)), rng.normal(size=(COUNT, 3)) / 3e-6
    return Packing(positions, radii, [HEIGHT, SIDE, SIDE]), velocities, spins


def scene_of(packing, *, solid=SOLID, walls=WALLS, skin=1e-6, step=None, law=LAW):
    step = 0.1 * rayleigh_time(2e-6, *SOLID) if step is None else step
    return Scene(grains(packing.radii, *solid), packing.box[1:], step, walls, law, law, skin=skin)


def moved(scene, packing, heights, velocities=None, spins=None, steps=20, capacity=CAPACITY):
    """The state after `steps`."""
    zero = np.zeros((COUNT, 3))
    velocities, spins = (jnp.asarray(zero if v is None else v) for v in (velocities, spins))
    state = _begin(scene, packing, jnp.asarray(heights, float), capacity, velocities, spins)
    return advance(scene, state, jnp.asarray(steps), capacity)


_begin = eqx.filter_jit(begin)


@pytest.fixture(scope="module")
def reference():
    packing, velocities, spins = crowd()
    state = moved(scene_of(packing), packing, [0.0, HEIGHT], velocities, spins)
    assert not bool(state.near.overflow) and int(state.near.count) > 2 * COUNT
    touching = observe(scene_of(packing), state, HEIGHT).coordination
    assert float(touching) > 2 and np.all(np.abs(state.walls.force[0]) > 0)
    return state


def close(found, expected, digits=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=digits * np.max(np.abs(expected)))


def test_v23_translation(reference):
    """V23: sideways by any length, through the periodic sides: the same forces."""
    packing, velocities, spins = crowd()
    shift = jnp.asarray([0.0, 1.7 * SIDE, -0.31 * SIDE])
    other = Packing(packing.positions + shift, packing.radii, packing.box)
    state = moved(scene_of(other), other, [0.0, HEIGHT], velocities, spins)
    close(state.force, reference.force, 1e-9)  # positions lose three digits of the overlap
    close(state.positions - shift[:, None], reference.positions)


def test_v23_quarter_turn(reference):
    """V23: a quarter turn about the thickness turns the forces; spins are axial vectors."""
    packing, velocities, spins = crowd()
    turn = jnp.asarray([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
    other = Packing(packing.positions @ turn.T, packing.radii, packing.box)
    state = moved(scene_of(other), other, [0.0, HEIGHT], velocities @ turn.T, spins @ turn.T)
    close(state.force, turn @ reference.force, 1e-9)
    close(state.spins, turn @ reference.spins, 1e-9)


def test_v23_permutation(reference):
    """V23: the order of the particles does not matter."""
    packing, velocities, spins = crowd()
    order = np.random.default_rng(1).permutation(COUNT)
    other = Packing(packing.positions[order], packing.radii[order], packing.box)
    state = moved(scene_of(other), other, [0.0, HEIGHT], velocities[order], spins[order])
    close(state.force, reference.force[:, order], 1e-10)
    close(state.positions, reference.positions[:, order])


def test_v23_galilean_shift():
    """V23: a common sideways velocity changes no force between particles."""
    packing, velocities, spins = crowd()
    scene = scene_of(packing, walls=())
    boost = jnp.asarray([0.0, 30.0, -20.0])
    one = moved(scene, packing, [], velocities, spins)
    two = moved(scene, packing, [], velocities + boost, spins)
    close(two.force, one.force, 1e-9)
    close(two.velocities - boost[:, None], one.velocities)


def test_v23_units(reference):
    """V23: twice the length, three times the modulus and a matching density: forces scale by their product."""
    packing, velocities, spins = crowd()
    length, stress = 2.0, 3.0
    other = Packing(length * packing.positions, length * packing.radii, length * packing.box)
    # Equal speeds want equal wave speeds, so density grows with the modulus, and time with the length.
    law = Contact(Plastic(1e9 * stress), Restitution(0.4), Mindlin(0.3, rescaled=True))
    solid = (SOLID[0] * stress, SOLID[1], SOLID[2] * stress)
    step = 0.1 * rayleigh_time(2e-6, *SOLID) * length
    scene = scene_of(other, solid=solid, skin=1e-6 * length, step=step, law=law)
    state = moved(scene, other, [0.0, HEIGHT * length], velocities, spins / length)
    close(state.force / (stress * length**2), reference.force, 1e-11)


def test_v23_list_made_at_every_step(reference):
    """V23: a list that is made anew at each step gives what a list with a skin gives; contacts keep their history."""
    packing, velocities, spins = crowd()
    scene = scene_of(packing)
    state = moved(scene, packing, [0.0, HEIGHT], velocities, spins, steps=0)
    for _ in range(20):
        state = advance(scene, state, jnp.asarray(1), CAPACITY)
    close(state.force, reference.force, 1e-11)
    close(state.positions, reference.positions, 1e-14)


def test_v24_conservation():
    """V24: without walls the momentum, and in a cluster the angular momentum with the spins, stay to round-off."""
    packing, velocities, spins = crowd()
    packing = Packing(packing.positions, packing.radii, [HEIGHT, 4 * SIDE, 4 * SIDE])
    scene = scene_of(packing, walls=())
    g = scene.grains

    def momenta(state):
        linear = jnp.sum(g.mass * state.velocities, axis=1)
        orbital = jnp.sum(g.mass * jnp.cross(state.positions, state.velocities, axis=0), axis=1)
        return linear, orbital + jnp.sum(0.4 * g.mass * g.radii**2 * state.spins, axis=1)

    before = moved(scene, packing, [], velocities, spins, steps=0)
    after = moved(scene, packing, [], velocities, spins, steps=200)
    scale = jnp.sum(g.mass * jnp.linalg.norm(before.velocities, axis=0))
    (p0, l0), (p1, l1) = momenta(before), momenta(after)
    assert float(jnp.max(jnp.abs(after.force))) > 0
    np.testing.assert_allclose(p1, p0, atol=1e-12 * float(scale))
    np.testing.assert_allclose(l1, l0, atol=1e-12 * float(scale) * HEIGHT)


def test_v15_simple_cubic_column():
    """V15: stress E eps^1.5 / (3 (1 - nu^2)) of a strained simple-cubic column, and the plates feel the same."""
    radius, strain = 3e-6, 4e-3
    modulus, poisson = SOLID[:2]
    pitch = 2 * radius * (1 - strain)
    grid = np.stack(np.meshgrid(np.arange(4), *[np.arange(4)] * 2, indexing="ij"), axis=-1).reshape(-1, 3)
    # On a rigid plane E* and R* are twice those of a pair: the same force at half the overlap.
    wall = radius * strain
    positions = grid * [pitch, 2 * radius, 2 * radius] + [radius - wall, radius, radius]
    box = [4 * pitch + 2 * (radius - wall) - pitch, 8 * radius, 8 * radius]
    packing = Packing(positions, np.full(64, radius), box)
    scene = scene_of(packing, law=Contact(Hertz(), None, None))
    state = moved(scene, packing, [0.0, box[0]], steps=0)
    seen = observe(scene, state, 4 * pitch - pitch)
    expected = modulus * strain**1.5 / (3 * (1 - poisson**2))
    assert seen.pressure == pytest.approx(np.full(2, expected), rel=1e-9)
    assert seen.stress[0, 0] == pytest.approx(expected, rel=1e-9)
    assert np.max(np.abs(state.force)) < 1e-9 * np.max(np.abs(state.walls.force))
    # Round-off apart, all sideways contacts are those that just touch.
    assert abs(float(seen.stress[1, 1])) < 1e-6 * expected


def test_servo_and_virial():
    """A plate under force control settles at its pressure, and the virial of every force inside equals it.

    The second is the regression for LAMMPS #4219.
    """
    packing, *_ = crowd()
    pressure = 20e6
    walls = (Plane(), Plane(Servo(pressure, gain=3e-8, limit=2.0), above=True))
    scene = scene_of(packing, walls=walls, law=Contact(Hertz(), Restitution(0.2), Mindlin(0.3)))
    scene = eqx.tree_at(lambda s: s.drag, scene, jnp.asarray(1e7))
    state = moved(scene, packing, [0.0, HEIGHT], steps=40000)
    seen = observe(scene, state, state.walls.height[1])
    assert float(seen.kinetic) < 1e-6 * float(seen.elastic)
    assert seen.pressure == pytest.approx(np.full(2, pressure), rel=1e-4)
    # Forces between particles reach from centre to centre, those of the plates from centre to plate.
    total = seen.stress[0, 0] + _wall_virial(scene, state)
    assert float(total) == pytest.approx(float(seen.pressure[1]), rel=1e-4)


def _wall_virial(scene, state):
    """The share of the plates in the virial: each force times its way from the particle's centre to the plate."""
    g, total, heights = scene.grains, 0.0, state.walls.height
    for index, wall in enumerate(scene.walls):
        overlap = wall.touch(heights[index], jnp.asarray(0.0), state.positions, g.radii, 0.0).overlap
        force = 4 / 3 / g.compliance * jnp.sqrt(g.radii) * jnp.maximum(overlap, 0) ** 1.5
        total = total + jnp.sum(force * (g.radii - overlap))
    return total / (jnp.prod(scene.lateral) * (heights[1] - heights[0]))


def test_roll_of_large_radius_is_a_plane():
    """A rigid roll: as a plane where its radius is huge, and it lifts off along the web where it is not."""
    positions = jnp.asarray([[3e-6, 5e-6, 2e-6], [2.5e-6, 9e-6, 8e-6]]).T
    radii = jnp.asarray([2e-6, 2.2e-6])
    height = jnp.asarray(4.6e-6)
    flat = Plane(above=True).touch(height, jnp.asarray(0.0), positions, radii, 0.0)
    roll = Roll(0.5, start=5e-6, travel=0.2, spin=0.4).touch(height, jnp.asarray(0.0), positions, radii, 0.0)
    np.testing.assert_allclose(roll.overlap, flat.overlap, atol=2e-11)
    np.testing.assert_allclose(roll.normal, flat.normal, atol=1e-5)
    np.testing.assert_allclose(roll.velocity[2], 0, atol=1e-9)  # rolls without slip on a web at rest
    small = Roll(20e-6, start=5e-6).touch(height, jnp.asarray(0.0), positions, radii, 0.0)
    axle = jnp.asarray([20e-6 + 4.6e-6, 5e-6])
    distance = jnp.hypot(positions[0] - axle[0], positions[2] - axle[1])
    np.testing.assert_allclose(small.overlap, radii + 20e-6 - distance, atol=1e-18)


def test_overflow_is_data_and_is_mended(reference):
    """A list that does not fit says so, and `run` does the stretch again with more room, from the same state."""
    packing, velocities, spins = crowd()
    scene = scene_of(packing)
    state = moved(scene, packing, [0.0, HEIGHT], velocities, spins, steps=0)
    small = dataclasses.replace(CAPACITY, pairs=64, slots=8)
    after = run(scene, state, 20, small)
    assert after.capacity.pairs > 64 and after.capacity.slots > 8
    assert not bool(after.state.near.overflow)
    close(after.state.positions, reference.positions, 1e-14)


def test_list_holds_exactly_the_near_pairs():
    """Against every pair of all nine images, in a box so small that cells wrap onto themselves."""
    packing, *_ = crowd(3)
    skin = 1.5e-6
    near = eqx.filter_jit(cells.build)(packing.positions.T, packing.radii, packing.box, skin, CAPACITY)
    listed = np.asarray(near.listed)
    found = set(zip(*(np.asarray(a)[listed].tolist() for a in (near.first, near.second, *near.image)), strict=True))
    assert len(found) == int(near.count) == listed.sum()
    x, r = np.asarray(packing.positions), np.asarray(packing.radii)
    expected = set()
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            d = x[None] + np.asarray([0, a * SIDE, b * SIDE]) - x[:, None]
            close_by = np.linalg.norm(d, axis=2) < r[:, None] + r[None] + skin
            expected |= {(i, j, float(a), float(b)) for i, j in zip(*np.nonzero(close_by), strict=True) if i < j}
    assert found == expected
    # Every particle finds each of its pairs once.
    slots, pairs = np.asarray(near.slots), CAPACITY.pairs
    for n in range(COUNT):
        mine = sorted(slots[:, n][slots[:, n] < 2 * pairs] % pairs)
        assert mine == sorted(np.flatnonzero(listed & ((near.first == n) | (near.second == n))))


def test_a_moving_plate_moves():
    """A plate at constant speed is where it should be."""
    packing, *_ = crowd()
    walls = (Plane(), Plane(Moving(-1.0), above=True))
    scene = scene_of(packing, walls=walls)
    state = moved(scene, packing, [0.0, HEIGHT], steps=50)
    assert state.walls.height[1] == pytest.approx(HEIGHT - 50 * float(scene.step), rel=1e-12)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="`friction`"):
        Mindlin(-1.0)
    with pytest.raises(ValueError, match="`coefficient`"):
        Restitution(1.5)
    with pytest.raises(ValueError, match="`box` must be at least"):
        cells.capacity_for(np.ones((3, 2)), np.full(2, 1e-5), np.full(3, 1e-6), 1e-7)


def test_exports_for_cuda():
    """A stretch of motion lowers for CUDA without host callbacks."""
    packing, velocities, spins = crowd()
    scene = scene_of(packing)
    state = begin(scene, packing, [0.0, HEIGHT], CAPACITY, velocities, spins)
    leaves, tree = jax.tree.flatten((scene, state))
    arrays = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in leaves]
    function = jax.jit(lambda *a: jax.tree.leaves(advance(*jax.tree.unflatten(tree, a), 10, CAPACITY)))
    text = jax.export.export(function, platforms=["cuda"])(*arrays).mlir_module()
    assert "callback" not in text
