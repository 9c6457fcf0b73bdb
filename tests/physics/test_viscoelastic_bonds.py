"""Viscoelastic binder between particles in motion (reference `dem`, V12, V14; the KTH model)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from solver.particles import cells
from solver.particles.bonds import filled, fresh, load, near_pairs
from solver.particles.dynamics import advance, begin, tied
from solver.particles.ends import Ends
from solver.particles.forces import Contact
from solver.particles.observe import observe
from solver.particles.scene import Scene, grains
from solver.particles.stretch import stretched
from solver.particles.viscoelastic import ViscoelasticBinder

RADIUS, PITCH, COUNT = 5e-6, 11e-6, 8
CAPACITY = cells.Capacity(64, 32, 16, (1, 2, 2))
NEXT = (np.arange(COUNT) + 1) % COUNT
_begin = eqx.filter_jit(begin)


def scene_of(positions, lateral, law, image, **options):
    """Spheres, each with binder to the next, the last to the first; all tests share these shapes and so one program."""
    radii = jnp.full(COUNT, RADIUS)
    pairs = (np.arange(COUNT), NEXT, image)
    bonds = None if law is None else filled(positions.T, radii, lateral, pairs, law, radius=0.7)
    body = grains(radii, 10e9, 0.3, **options.pop("body"))
    packing = Packing(positions, radii, jnp.concatenate([jnp.asarray([2e-5]), lateral]))
    return Scene(body, lateral, contact=Contact(), wall_contact=Contact(), bonds=bonds, skin=1e-6, **options), packing


def row(law=None, step=5e-3):
    """Heavy spheres in a row that closes on itself through the periodic side."""
    lateral = jnp.asarray([COUNT * PITCH, 5e-5])
    positions = jnp.asarray([1e-5, 0.0, 2e-5]) + PITCH * jnp.arange(float(COUNT))[:, None] * jnp.asarray(
        [0.0, 1.0, 0.0]
    )
    image = np.stack([1.0 * (NEXT == 0), np.zeros(COUNT)])
    heavy = {"density": 1e5, "mass_scale": 1e12}
    scene, packing = scene_of(positions, lateral, law or ViscoelasticBinder(), image, body=heavy, step=step)
    zero = jnp.zeros((COUNT, 3))
    return scene, _begin(scene, packing, jnp.zeros(0), CAPACITY, zero, zero)


def pulls(scene, state):
    """The forces of the bonds now, (3, B)."""
    return tied(eqx.tree_at(lambda s: s.step, scene, jnp.asarray(0.0)), state)[0]


@pytest.mark.parametrize("step", [5e-3, 2.5e-3])
def test_v12_relaxation_of_a_held_pair(step):
    """V12 in motion: a stretch that is held relaxes as psi u (1 - sum alpha (1 - exp(-t / tau))), at any step."""
    scene, state = row(step=step)
    law, size = scene.bonds.law, scene.bonds.size
    area, thickness = np.pi * (0.7 * RADIUS) ** 2, 0.5 * RADIUS
    stiff = 0.7 / (1.3 * 0.4) * 2e9 * area / thickness
    np.testing.assert_allclose(law.stiffnesses(size)[0], stiff, rtol=1e-12)
    np.testing.assert_allclose(law.stiffnesses(size)[1], 2e9 / 2.6 * area / thickness, rtol=1e-12)
    strain, count = 1e-4, 350
    scene, state = stretched(scene, state, 1 + strain)
    np.testing.assert_allclose(pulls(scene, state)[1], stiff * strain * PITCH, rtol=1e-9)
    # One step of no time lets the bonds see the stretch before they relax.
    seen = advance(eqx.tree_at(lambda s: s.step, scene, jnp.asarray(1e-18)), state, jnp.asarray(1), CAPACITY)
    state = advance(scene, seen, jnp.asarray(count), CAPACITY)
    shares, times = np.asarray(law.relaxation.shares), np.asarray(law.relaxation.times)
    left = 1 - np.sum(shares * (1 - np.exp(-count * step / times)))
    np.testing.assert_allclose(pulls(scene, state)[1], stiff * strain * PITCH * left, rtol=1e-8)
    assert left == pytest.approx(0.7216 if step == 5e-3 else 0.7327, abs=2e-4)  # 1.75 s, 0.87 s
    # A cut across the row meets one bond.
    stress = observe(scene, state, 2e-5).stress[1, 1]
    assert stress == pytest.approx(-stiff * strain * PITCH * left / (5e-5 * 2e-5), rel=1e-8)


def test_plastic_clip():
    """Beyond the yield stress binder carries A s_Y, pulled or pressed, and unloads elastically."""
    law = ViscoelasticBinder(yield_stress=20e6)
    bonds = row(law)[0].bonds
    limit, stiff = 20e6 * np.pi * (0.7 * RADIUS) ** 2, float(law.stiffnesses(bonds.size)[0][0])
    still = jnp.zeros((3, COUNT))

    @jax.jit
    def after(stretch, past):
        relative = jnp.zeros((3, COUNT)).at[1].set(PITCH + stretch)
        force, _, _, now = load(bonds, Ends(relative, still, (still, still)), past, jnp.asarray(0.0))
        return force[1, 0], now

    none, yielding = fresh(bonds), limit / stiff
    assert after(0.9 * yielding, none)[0] == pytest.approx(0.9 * limit, rel=1e-9)
    pulled, then = after(3 * yielding, none)
    assert pulled == pytest.approx(limit, rel=1e-12)
    assert after(2.5 * yielding, then)[0] == pytest.approx(0.5 * limit, rel=1e-9)
    assert after(-3 * yielding, none)[0] == pytest.approx(-limit, rel=1e-12)


def cluster(gap, law, speed=10.0):
    """Spheres at the corners of a cube, surfaces `gap` apart, in random motion; binder along a way round its edges."""
    corners = np.asarray([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 0, 0]])
    positions = jnp.asarray(corners * (2 * RADIUS + gap) + 2e-5)
    body = {"density": 4700.0, "mass_scale": 1.0}
    scene, packing = scene_of(positions, jnp.full(2, 1e-4), law, np.zeros((2, COUNT)), body=body, step=2e-10)
    velocities, spins = np.random.default_rng(0).normal(size=(2, COUNT, 3)) * speed
    return scene, _begin(scene, packing, jnp.zeros(0), CAPACITY, jnp.asarray(velocities), jnp.asarray(spins / RADIUS))


def moved(scene, state, steps=200):
    return advance(scene, state, jnp.asarray(steps), CAPACITY)


def test_v14_broken_or_unbonded_is_none():
    """V14: binder that is broken, or too thin for its gap, leaves motion and contacts as without it, bit for bit."""
    scene, state = cluster(-1e-7, ViscoelasticBinder())
    assert float(jnp.max(jnp.abs(state.force))) > 0 and np.all(np.asarray(state.strain.held) == 1)
    broken = eqx.tree_at(lambda s: s.strain.intact, state, 0 * state.strain.intact)
    bare, begun = cluster(-1e-7, None)
    np.testing.assert_array_equal(begun.force, state.force)
    one, two = moved(scene, broken), moved(bare, begun)
    np.testing.assert_array_equal(one.positions, two.positions)
    np.testing.assert_array_equal(one.spins, two.spins)
    assert np.any(np.asarray(two.force) != np.asarray(state.force))
    assert np.any(np.asarray(moved(scene, state).positions) != np.asarray(two.positions))

    scene, state = cluster(5e-6, ViscoelasticBinder())  # binder of 2.5 um in gaps of 5 um
    one, two = moved(scene, state), moved(*cluster(5e-6, None))
    assert np.all(np.asarray(one.strain.held) == 0)
    np.testing.assert_array_equal(one.positions, two.positions)


def test_momenta_are_kept_and_binder_tears():
    """Binder keeps momentum and angular momentum of a cluster, and what is stretched too far tears for good."""
    scene, before = cluster(1e-6, ViscoelasticBinder(fracture_strain=0.015))
    after = moved(scene, before)
    g = scene.grains

    def momenta(state):
        orbital = jnp.sum(g.mass * jnp.cross(state.positions, state.velocities, axis=0), axis=1)
        inner = jnp.sum(0.4 * g.mass * g.radii**2 * state.spins, axis=1)
        return jnp.sum(g.mass * state.velocities, axis=1), orbital + inner

    scale = float(jnp.sum(g.mass * jnp.linalg.norm(before.velocities, axis=0)))
    (p0, l0), (p1, l1) = momenta(before), momenta(after)
    np.testing.assert_allclose(p1, p0, atol=1e-12 * scale)
    np.testing.assert_allclose(l1, l0, atol=1e-12 * scale * 5e-5)
    intact = np.asarray(after.strain.intact)
    assert 0 < intact.mean() < 1
    assert np.all(np.asarray(after.strain.push)[intact == 0] == 0) and np.any(np.asarray(after.strain.push) != 0)


def test_binder_bonds_when_first_pressed():
    """A pair too far apart carries nothing until its binder is pressed, and tension from then on."""
    positions, radii = jnp.asarray([[0.0, 2 * RADIUS + 4e-6], [0, 0], [0, 0]]), jnp.full(2, RADIUS)
    bonds = filled(positions, radii, [1e-4, 1e-4], ([0], [1], [[0.0], [0.0]]), radius=0.7)
    still = jnp.zeros((3, 1))

    @jax.jit
    def pull(gap, past):
        at = Ends(jnp.asarray([[2 * RADIUS + gap], [0.0], [0.0]]), still, (still, still))
        force, _, _, now = load(bonds, at, past, jnp.asarray(0.0))
        return force[0, 0], now

    free, past = pull(4e-6, fresh(bonds))
    assert free == 0.0 and pull(2.51e-6, past)[0] == 0.0
    stiff = float(bonds.law.stiffnesses(bonds.size)[0][0])
    pressed, past = pull(2.49e-6, past)
    assert pressed == pytest.approx(-stiff * 0.01e-6, rel=1e-9)
    assert pull(2.51e-6, past)[0] == pytest.approx(stiff * 0.01e-6, rel=1e-9)


def test_binder_that_is_not_adhesive_only_pushes():
    """While it is pressed it carries that, without shear; it holds nothing, and bonds once it is adhesive."""
    positions, radii = jnp.asarray([[0.0, 2 * RADIUS + 2.4e-6], [0, 0], [0, 0]]), jnp.full(2, RADIUS)
    wet = ViscoelasticBinder(adhesive=False)
    bonds = filled(positions, radii, [1e-4, 1e-4], ([0], [1], [[0.0], [0.0]]), wet, radius=0.7, dried=False)
    still, sliding = jnp.zeros((3, 1)), jnp.asarray([[0.0], [1e-6], [0.0]])
    stiff = float(wet.stiffnesses(bonds.size)[0][0])

    @jax.jit
    def pull(gap, past, adhesive):
        at = Ends(jnp.asarray([[2 * RADIUS + gap], [0.0], [0.0]]), sliding, (still, still))
        on = eqx.tree_at(lambda b: b.law.adhesive, bonds, adhesive)
        force, _, _, now = load(on, at, past, jnp.asarray(1e-9))
        return force[:, 0], now

    pressed, past = pull(2.4e-6, fresh(bonds), False)
    assert pressed[0] == pytest.approx(-stiff * 0.1e-6, rel=1e-5) and pressed[1] == 0.0 and past.held[0] == 0.0
    assert np.all(np.asarray(pull(2.6e-6, past, False)[0]) == 0.0)
    bonded, past = pull(2.4e-6, past, True)
    assert bonded[0] == pytest.approx(-stiff * 0.1e-6, rel=1e-5) and past.held[0] == 1.0
    assert pull(2.6e-6, past, True)[0][0] == pytest.approx(stiff * 0.1e-6, rel=1e-4)


def test_a_fraction_of_the_near_pairs():
    """Every near pair with fraction 1, a reproducible share of them with less, and none twice."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*3 * [np.arange(6)], indexing="ij"), axis=-1).reshape(-1, 3) + 0.5
    radii = rng.uniform(3e-6, 5e-6, 216)
    positions = 11e-6 * (grid + rng.uniform(-0.1, 0.1, (216, 3)))
    packing = Packing(positions, radii, np.full(3, 66e-6))
    first, second, image = near_pairs(packing)
    period = np.asarray([0.0, 66e-6, 66e-6])
    d = positions[None] - positions[:, None]
    d -= period * np.round(d / np.where(period > 0, period, 1))
    gap = np.linalg.norm(d, axis=2) - radii - radii[:, None]
    expected = np.argwhere(np.triu(gap < 0.25 * (radii + radii[:, None]), 1))
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == set(map(tuple, expected.tolist()))
    some, again, other = (near_pairs(packing, fraction=0.6, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(some[0], again[0])
    assert len(some[0]) != len(other[0]) or np.any(some[1] != other[1])
    assert len(some[0]) == pytest.approx(0.6 * len(first), abs=4 * np.sqrt(0.24 * len(first)))
    assert len(near_pairs(packing, fraction=0.0)[0]) == 0
    # A pair that is drawn is drawn whatever else is near.
    wider = near_pairs(packing, reach=0.8, fraction=0.6, seed=1)
    assert set(zip(*(p.tolist() for p in some[:2]), strict=True)) <= set(
        zip(*(p.tolist() for p in wider[:2]), strict=True)
    )


def test_force_is_differentiable_in_the_binder():
    """The force of a bond over modulus and relaxation times, against central differences."""
    scene, _ = row()
    relative, still = jnp.zeros((3, COUNT)).at[1].set(1.001 * PITCH), jnp.zeros((3, COUNT))

    def force(logs):
        law = ViscoelasticBinder().softened(jnp.exp(logs[0]), jnp.exp(logs[1]))
        bonds = eqx.tree_at(lambda b: b.law, scene.bonds, law)
        past, at = fresh(bonds), Ends(relative, still + 1e-3, (still, still))
        return jnp.sum(load(bonds, at, past, jnp.asarray(2e-3))[0][1:, 0])

    slope = jax.jit(jax.grad(force))(jnp.zeros(2))
    value = jax.jit(force)
    for k, e in enumerate(np.eye(2) * 1e-5):
        assert float(slope[k]) == pytest.approx(float(value(e) - value(-e)) / 2e-5, rel=1e-7)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="`yield_stress`"):
        ViscoelasticBinder(yield_stress=-1.0)
    with pytest.raises(ValueError, match="`fraction`"):
        near_pairs(Packing(np.full((2, 3), 1e-5), np.full(2, 1e-6), np.full(3, 2e-5)), fraction=1.5)
