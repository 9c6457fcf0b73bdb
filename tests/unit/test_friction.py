"""Friction of a contact: moduli, return mapping, history, kinematics, force and moment with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.particles import contact, friction, wrench
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction

LAW = ContactLaw(yield_pressure=1e20)
R = 5e-6
X, Y, Z = jnp.eye(3)


def rotation(axis, angle):
    """The matrix of a rotation by Rodrigues' formula."""
    axis = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    return jnp.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def gibbs(axis, angle):
    """The rotation vector of an increment, 2 tan(angle / 2) about the axis."""
    return jnp.asarray(2 * np.tan(angle / 2) * np.asarray(axis) / np.linalg.norm(axis))


def grip(mu=0.3):
    hertz = contact.constants(LAW.pair_modulus(), LAW.yield_pressure, R / 2).stiffness
    return friction.grip(friction.pair_shear_modulus(LAW), hertz, R / 2, jnp.asarray(mu))


def pair(slip=(0.0, 0.0, 0.0), before=(1.98 * R, 0.0, 0.0), mu=0.3, largest=0.0):
    """Two equal spheres, overlapping by 1 % of their diameter along axis 0 unless `before` says otherwise."""
    hertz = contact.constants(LAW.pair_modulus(), LAW.yield_pressure, jnp.asarray([R / 2]))
    branch = contact.branch(jnp.asarray([largest]), hertz)
    one = lambda a: jnp.asarray([a])  # noqa: E731
    law = friction.grip(friction.pair_shear_modulus(LAW), hertz.stiffness, jnp.asarray([R / 2]), jnp.asarray(mu))
    return wrench.Pair(branch, law, jnp.zeros(1), jnp.full((1, 2), R), one(before), one(slip))


def still():
    return jnp.zeros((1, 2, 3))


def test_shear_moduli():
    """G* of dem.md A.1: 1 / G* = (2 - nu) / G for each body."""
    shear = 140e9 / 2.6
    assert float(friction.pair_shear_modulus(LAW)) == pytest.approx(1 / (2 * 1.7 / shear), rel=1e-14)
    assert float(friction.plane_shear_modulus(LAW)) == pytest.approx(shear / 1.7, rel=1e-14)


def test_tangential_stiffness_is_8_g_a_on_every_branch():
    law = contact.constants(LAW.pair_modulus(), 3e9, R / 2)
    for largest in (0.0, 4 * float(law.onset)):
        branch = contact.branch(jnp.asarray(largest), law)
        overlap = float(branch.permanent) + 5e-9
        radius = np.sqrt(R / 2 * 5e-9)
        stiff = friction.tangential_stiffness(contact.force(jnp.asarray(overlap), branch), grip())
        assert float(stiff) == pytest.approx(8 * float(friction.pair_shear_modulus(LAW)) * radius, rel=1e-10)


def test_stick_is_elastic_and_slip_is_coulomb():
    law, push = grip(), jnp.asarray(1e-3)
    stiff = float(friction.tangential_stiffness(push, law))
    small = 0.5 * 0.3 * 1e-3 / stiff
    force, kept = friction.limited(small * Y, push, law)
    np.testing.assert_allclose(np.asarray(force), stiff * small * np.asarray(Y), rtol=1e-14)
    np.testing.assert_array_equal(np.asarray(kept), small * np.asarray(Y))
    force, kept = friction.limited(10 * small * (0.6 * Y + 0.8 * Z), push, law)
    np.testing.assert_allclose(np.asarray(force), 3e-4 * np.asarray(0.6 * Y + 0.8 * Z), rtol=1e-13)
    # The slip that is kept gives the force at the limit, so turning back unloads elastically at once.
    again, _ = friction.limited(kept, push, law)
    np.testing.assert_allclose(np.asarray(again), np.asarray(force), rtol=1e-13)
    back, _ = friction.limited(kept - small * (0.6 * Y + 0.8 * Z), push, law)
    np.testing.assert_allclose(np.asarray(back), 0.5 * np.asarray(force), rtol=1e-12)


def test_an_open_contact_forgets_and_no_friction_is_no_force():
    for push, mu in ((0.0, 0.3), (1e-3, 0.0)):
        force, kept = friction.limited(1e-8 * Y, jnp.asarray(push), grip(mu))
        np.testing.assert_array_equal(np.asarray(force), 0)
        np.testing.assert_array_equal(np.asarray(kept), 0)


def test_work_in_a_closed_cycle_is_never_negative():
    """Slip to and fro under constant load dissipates."""
    law, push, kept, work, at = grip(), jnp.asarray(1e-3), jnp.zeros(3), 0.0, 0.0
    reach = 4 * 0.3e-3 / float(friction.tangential_stiffness(push, law))
    for target in (*np.linspace(0, 1, 9), *np.linspace(1, -1, 17), *np.linspace(-1, 0, 9)):
        force, kept = friction.limited(kept + (target - at) * reach * Y, push, law)
        work, at = work + float(force[1]) * (target - at) * reach, target
    assert work > 0.3e-3 * reach


def test_turning_the_frame_turns_the_slip_and_keeps_its_length():
    turn = rotation([0.2, 1.0, -0.5], 0.7)
    after, vector = turn @ X, jnp.asarray([0.0, 0.3, -0.4])
    carried = friction.turned(vector, X, after)
    assert float(jnp.sum(carried * after)) == pytest.approx(0, abs=1e-15)
    assert float(jnp.sum(carried**2)) == pytest.approx(0.25, rel=1e-14)
    np.testing.assert_array_equal(np.asarray(friction.turned(vector, X, X)), np.asarray(vector))


@pytest.mark.parametrize("axis", [[0.0, 0.0, 1.0], [0.3, -1.0, 0.4]])
def test_rigid_rotation_makes_no_slip(axis):
    """Objectivity (V23): two spheres that turn as one rigid body, by 40 degrees in one increment, do not slip."""
    turn, given = rotation(axis, 0.7), pair()
    turns = jnp.broadcast_to(R * gibbs(axis, 0.7), (1, 2, 3))
    _, _, slip, _ = wrench.pair_slip(given.before @ turn.T, turns, given)
    np.testing.assert_allclose(np.asarray(slip), 0, atol=1e-15 * R)


def test_rolling_makes_no_slip_and_spin_against_each_other_does():
    """Equal spheres that turn oppositely roll (V8: no tangential force); turning alike about z they rub."""
    given = pair()
    roll = R * 0.01 * jnp.stack([Z, -Z])[None]
    force, moments = wrench.pair_wrench(given.before, roll, given)
    np.testing.assert_allclose(np.asarray(force[:, 1:]), 0, atol=1e-20)
    np.testing.assert_allclose(np.asarray(moments), 0, atol=1e-20)
    rub = R * 1e-4 * jnp.stack([Z, Z])[None]
    force, moments = wrench.pair_wrench(given.before, rub, given)
    stiff = 8 * float(friction.pair_shear_modulus(LAW)) * np.sqrt(R / 2 * 0.02 * R)
    # The first surface moves by 1e-4 times its arm along y, the second the other way: the first is held back by k times
    # both. Returned is minus the force on the first particle, and minus the moment on each over its radius.
    assert float(force[0, 1]) == pytest.approx(2 * 0.99 * R * 1e-4 * stiff, rel=1e-12)
    np.testing.assert_allclose(np.asarray(moments[0, 0]), np.asarray(moments[0, 1]), rtol=1e-14)
    assert float(moments[0, 0, 2]) == pytest.approx(0.99 * float(force[0, 1]), rel=1e-12)


def test_force_and_moment_conserve_angular_momentum():
    """V24: with arms that meet at the contact, the moments about any point add to none."""
    given = pair(slip=(0.0, 3e-10, -1e-10), before=(1.95 * R, 0.3 * R, 0.0))
    relative = jnp.asarray([[1.94 * R, 0.34 * R, 0.05 * R]])
    turns = R * jnp.asarray([[[0.01, -0.02, 0.03], [0.02, 0.01, -0.01]]])
    force, moments = wrench.pair_wrench(relative, turns, given)
    about = jnp.cross(relative[0], force[0]) * -1 + R * (moments[0, 0] + moments[0, 1])
    np.testing.assert_allclose(np.asarray(about), 0, atol=1e-14 * R * float(jnp.abs(force).max()))


def test_slip_before_a_contact_closes_does_not_count():
    given = pair(before=(2.01 * R, 0.0, 0.0))
    relative = jnp.asarray([[1.98 * R, 0.002 * R, 0.0]])
    _, _, slip, _ = wrench.pair_slip(relative, still(), given)
    closed = wrench.pair_slip(relative, still(), pair())[2]
    assert float(slip[0, 1] / closed[0, 1]) == pytest.approx(2 / 3, rel=1e-2)


def test_plane_against_the_law():
    """A sphere pushed along a plane: 8 G* a times the slide of its contact point, against the motion."""
    hertz = contact.constants(LAW.plane_modulus(), LAW.yield_pressure, jnp.asarray([R]))
    law = friction.grip(friction.plane_shear_modulus(LAW), hertz.stiffness, jnp.asarray([R]), jnp.asarray(0.3))
    before, overlap = jnp.asarray([[0.99 * R, 0.0, 0.0]]), jnp.asarray([0.01 * R])
    branch, none = contact.branch(jnp.zeros(1), hertz), jnp.zeros((1, 3))
    given = wrench.Plane(branch, law, jnp.zeros(1), jnp.asarray([R]), before, overlap, none, jnp.asarray(-1.0))
    moved = before + 1e-5 * R * Y
    force, moment = wrench.plane_wrench(moved, none, overlap, given)
    stiff = 8 * float(friction.plane_shear_modulus(LAW)) * np.sqrt(0.01) * R
    assert float(force[0, 1]) == pytest.approx(stiff * 1e-5 * R, rel=1e-12)
    # Rolling without slip: the turn that moves the contact point back.
    arm = 1 - 0.005
    rolling = 1e-5 * R / arm * Z[None]
    force, moment = wrench.plane_wrench(moved, rolling, overlap, given)
    np.testing.assert_allclose(np.asarray(force[0, 1:]), 0, atol=1e-12 * stiff * R)
    np.testing.assert_allclose(np.asarray(moment), 0, atol=1e-12 * stiff * R)


@pytest.mark.parametrize("slip", [1e-11, 3e-9])
def test_blocks_are_the_derivative(slip):
    """Sticking and sliding, against central differences of force and moments."""
    given = pair(slip=(0.0, slip, 0.0))
    turn = lambda c: c[:, 3:].reshape(-1, 2, 3)  # noqa: E731

    def both(columns):
        force, moments = wrench.pair_wrench(columns[:, :3], turn(columns), given)
        return jnp.concatenate([force, moments.reshape(-1, 6)], axis=1)

    at = jnp.concatenate([given.before + 1e-3 * R * Z, 1e-4 * R * jnp.arange(6.0)[None]], axis=1)
    exact = np.asarray(jax.jit(lambda c: wrench.blocks(both, c))(at))[0]
    step, scale = 1e-6 * R, np.abs(exact).max()
    for i in range(9):
        e = step * jnp.eye(9)[i]
        difference = np.asarray((both(at + e) - both(at - e))[0]) / (2 * step)
        np.testing.assert_allclose(exact[:, i], difference, atol=2e-5 * scale)


def test_friction_out_of_range_is_refused():
    with pytest.raises(ValueError, match="Argument `coefficient` must lie between 0 and 10, but -0.1 was given"):
        Friction(-0.1)
