"""Binder bonds of particles in motion (reference `dem`, V13, V14)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from solver.particles import cells
from solver.particles.beam import Beam
from solver.particles.bonds import Bonds, fresh, glued, load
from solver.particles.dynamics import advance, begin
from solver.particles.ends import Ends
from solver.particles.forces import Contact
from solver.particles.normal import Hertz
from solver.particles.scene import Scene, grains

RADIUS, PITCH, BONDS = 1e-6, 4e-6, 5  # the spheres of a chain do not touch
LATERAL = (1e-3, 1e-3)
LAW = Beam(2e9, 0.3, tensile_strength=jnp.inf, shear_strength=jnp.inf)
NONE = Contact(Hertz(), None, None)
CAPACITY = cells.Capacity(64, 32, 8, (2, 3, 3))


def chain(law=LAW):
    """Spheres along the thickness, glued one to the next."""
    places = jnp.arange(BONDS + 1.0) * PITCH
    positions = jnp.stack([places, 0 * places + 5e-4, 0 * places + 5e-4])
    radii = jnp.full(BONDS + 1, RADIUS)
    first = np.arange(BONDS)
    bonds = glued(positions, radii, LATERAL, (first, first + 1, np.zeros((2, BONDS))), law, radius=0.5)
    return Packing(positions.T, radii, [1e-4, *LATERAL]), bonds


def at_rest(forces):
    """Displacements and rotations (6, B) of the chain, its first sphere held, under loads (6,) on its last.

    The forces of the bonds are linear in small motions of one unit of time, so Newton's method needs one step.
    """
    packing, bonds = chain()
    positions = packing.positions.T

    def residual(motion):
        moved = jnp.concatenate([jnp.zeros((6, 1)), motion.reshape(6, BONDS)], axis=1)
        shift, turn = moved[:3], moved[3:]
        one, two = bonds.first, bonds.second
        relative = (positions + shift)[:, two] - (positions + shift)[:, one]
        at = Ends(relative, shift[:, one] - shift[:, two], (turn[:, one], turn[:, two]))
        pull, here, there, _ = load(bonds, at, fresh(bonds), 1.0)
        total = jnp.zeros((6, BONDS + 1)).at[:, one].add(jnp.concatenate([pull, here]))
        total = total.at[:, two].add(jnp.concatenate([-pull, there]))
        return total[:, 1:].at[:, -1].add(jnp.asarray(forces)).reshape(-1)

    zero = jnp.zeros(6 * BONDS)
    value, matrix = jax.jit(lambda m: (residual(m), jax.jacfwd(residual)(m)))(zero)
    return np.linalg.solve(matrix, -value).reshape(6, BONDS), bonds


def test_v13_cantilever():
    """V13: tip deflection F L^3 / (3 E I) (1 - 1 / (4 n^2)) + F L / (G A), stretch F L / (E A), torsion T L / (G J)."""
    force, torque = 1e-9, 1e-15
    motion, bonds = at_rest([force, force, 0, torque, 0, 0])
    r, length = float(bonds.size.radius[0]), BONDS * PITCH
    area, inertia = np.pi * r**2, np.pi * r**4 / 4
    modulus, shear = 2e9, 2e9 / 2.6
    bend = force * length**3 / (3 * modulus * inertia) * (1 - 1 / (4 * BONDS**2)) + force * length / (shear * area)
    assert motion[1, -1] == pytest.approx(bend, rel=1e-6)
    assert motion[0, -1] == pytest.approx(force * length / (modulus * area), rel=1e-6)
    assert motion[3, -1] == pytest.approx(torque * length / (shear * 2 * inertia), rel=1e-6)


def test_bonds_in_motion():
    """A bonded pair swings along its axis with 2 pi sqrt(m / 2 k), and a chain that is bent, sheared and twisted at
    random keeps its momentum and angular momentum."""
    packing, bonds = chain()
    body = grains(packing.radii, 10e9, 0.3, 4700.0)
    stiffness = 2e9 * np.pi * float(bonds.size.radius[0]) ** 2 / PITCH
    step = 0.02 * np.sqrt(float(body.mass[0]) / stiffness)
    scene = Scene(body, LATERAL, step, (), NONE, NONE, bonds, skin=1e-6)
    velocities, spins = np.random.default_rng(0).normal(size=(2, BONDS + 1, 3))

    def momenta(state):
        orbital = jnp.sum(body.mass * jnp.cross(state.positions, state.velocities, axis=0), axis=1)
        inner = jnp.sum(0.4 * body.mass * body.radii**2 * state.spins, axis=1)
        return jnp.sum(body.mass * state.velocities, axis=1), orbital + inner

    before = eqx.filter_jit(begin)(scene, packing, jnp.zeros(0), CAPACITY, 0.1 * velocities, 0.1 * spins / RADIUS)
    after = advance(scene, before, jnp.asarray(500), CAPACITY)
    assert np.all(np.asarray(after.strain.intact) == 1) and float(jnp.max(jnp.abs(after.strain.twist))) > 1e-3
    scale = float(jnp.sum(body.mass)) * 0.1
    for one, two in zip(momenta(before), momenta(after), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-12 * scale * (1 if one is momenta(before)[0] else 1e-3))

    # Only the outermost bond: the others are broken, so two spheres swing against each other.
    alone = eqx.tree_at(lambda s: s.strain.intact, before, jnp.zeros(BONDS).at[0].set(1.0))
    push = jnp.zeros((3, BONDS + 1)).at[0, 0].set(-1e-3).at[0, 1].set(1e-3)
    alone = eqx.tree_at(lambda s: (s.velocities, s.spins, s.force), alone, (push, 0 * push, 0 * push))
    period = 2 * np.pi * np.sqrt(float(body.mass[0]) / (2 * stiffness))
    quarter = advance(scene, alone, jnp.asarray(round(period / 4 / step)), CAPACITY)
    whole = advance(scene, alone, jnp.asarray(round(period / step)), CAPACITY)
    assert abs(float(quarter.velocities[0, 0])) < 2e-2 * 1e-3
    assert float(whole.velocities[0, 0]) == pytest.approx(-1e-3, rel=1e-3)


def strained(stretch=0.0, bend=0.0, twist=0.0, law=None):
    """One bond, stretched, bent and twisted at once: its forces and whether it holds."""
    _, bonds = chain(law or Beam(2e9, 0.3, tensile_strength=40e6, shear_strength=30e6))
    bonds = jax.tree.map(lambda a: a[..., :1] if a.ndim and a.shape[-1] == BONDS else a, bonds)
    relative = jnp.asarray([[PITCH * (1 + stretch)], [0.0], [0.0]])
    spins = jnp.asarray([[twist], [bend], [0.0]])
    velocity = -jnp.asarray([[0.0], [0.0], [0.0]])
    # Equal and opposite turns bend without shear.
    return bonds, load(bonds, Ends(relative, velocity, (0.5 * spins, -0.5 * spins)), fresh(bonds), 1.0)


@pytest.mark.parametrize("share, holds", [(0.999, 1.0), (1.001, 0.0)])
def test_v14_breakage(share, holds):
    """V14: pure tension breaks at s_c A, pure bending at s_c I / r, pure torsion at t_c J / r."""
    modulus, shear, r = 2e9, 2e9 / 2.6, 0.5 * RADIUS
    _, (force, *_, strain) = strained(stretch=share * 40e6 / modulus)
    assert strain.intact[0] == holds
    if holds:
        assert jnp.linalg.norm(force) == pytest.approx(share * 40e6 * np.pi * r**2, rel=1e-9)
    _, (_, moment, _, strain) = strained(bend=share * 40e6 * PITCH / (modulus * r))
    assert strain.intact[0] == holds
    if holds:
        assert jnp.linalg.norm(moment) == pytest.approx(share * 40e6 * np.pi * r**3 / 4, rel=1e-9)
    _, (_, moment, _, strain) = strained(twist=share * 30e6 * PITCH / (shear * r))
    assert strain.intact[0] == holds
    if holds:
        assert jnp.linalg.norm(moment) == pytest.approx(share * 30e6 * np.pi * r**3 / 2, rel=1e-9)


def test_v14_a_broken_bond_is_none():
    """V14, Kratos #8778: after breaking, motion is that of unbonded particles bit for bit, contacts included."""
    packing, bonds = chain(Beam(2e9, 0.3, tensile_strength=1.0, shear_strength=1.0))
    packing = Packing(packing.positions * jnp.asarray([0.49, 1, 1]), packing.radii, packing.box)
    velocities = jnp.asarray(np.random.default_rng(0).normal(size=(BONDS + 1, 3)))
    body = grains(packing.radii, 10e9, 0.3, 4700.0)

    def after(bonds):
        scene = Scene(body, LATERAL, 1e-10, (), Contact(), Contact(), bonds, skin=1e-6)
        state = eqx.filter_jit(begin)(scene, packing, jnp.zeros(0), CAPACITY, velocities, velocities * 0)
        return advance(scene, state, jnp.asarray(50), CAPACITY)

    broken = eqx.tree_at(lambda b: b.law.tensile_strength, bonds, jnp.asarray(-jnp.inf))
    with_bonds, without = after(broken), after(None)
    assert np.all(np.asarray(with_bonds.strain.intact) == 0)
    assert float(jnp.max(jnp.abs(without.force))) > 0
    np.testing.assert_array_equal(with_bonds.positions, without.positions)
    np.testing.assert_array_equal(with_bonds.force, without.force)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="`modulus`"):
        Beam(modulus=-1.0)
    assert isinstance(chain()[1], Bonds)
