"""Contact laws of particles in motion by value: the KTH master curve, linear damping, the inertial number."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.particles.forces import Contact, Kinematics, push
from solver.particles.normal import Hertz, Luding, MasterCurve, Pair, Plastic, Press, ThorntonNing, fresh
from solver.particles.observe import inertial_number
from solver.particles.tangential import Linear, Mindlin

RADIUS = 2.5e-6
NMC_50 = MasterCurve(2.4e9, (69.532, -62.111), (1.71146, 1.84891))


def pair(modulus):
    """Two equal spheres of Young's `modulus`, Pa, of 5 um radius."""
    one = jnp.ones(1)
    return Pair(RADIUS * one, modulus / (2 * (1 - 0.3**2)) * one, 1e9 * one, 3e-12 * one)


def pressed(law, overlaps, modulus):
    """Forces, N, and contact radii, m, along a course of overlaps over R*."""
    memory, found = fresh(law, 1), []
    for h in overlaps:
        press = law.press(jnp.asarray([h * RADIUS]), memory, pair(modulus))
        memory = press.memory
        found.append((float(press.force[0]), float(press.radius[0])))
    return np.asarray(found).T


@pytest.mark.parametrize("h", [1e-3, 0.02, 0.1, 0.25])
def test_master_curve_loads_as_published(h):
    """KTH (reference `dem`, A.4): F = R*^2 s_Y (F1 h^a1 + F2 h^a2) of NMC with 140 GPa and 4.0 GPa, 50 and 2.4 GPa."""
    for law, modulus, f1, a1, f2, a2, s_y in (
        (MasterCurve(), 140e9, 77.460, 1.49545, -66.712, 1.58855, 4e9),
        (NMC_50, 50e9, 69.532, 1.71146, -62.111, 1.84891, 2.4e9),
    ):
        expected = RADIUS**2 * s_y * (f1 * math.pow(h, a1) + f2 * math.pow(h, a2))
        assert pressed(law, [h], modulus)[0, 0] == pytest.approx(expected, rel=1e-12)


def test_master_curve_goes_on_with_its_slope():
    """Beyond h = 0.25 the force is linear, with the slope it has there."""
    at, near, far, farther = pressed(NMC_50, [0.25, 0.2500001, 0.30, 0.40], 50e9)[0]
    assert (near - at) / 1e-7 == pytest.approx((farther - far) / 0.1, rel=1e-5)
    below = pressed(NMC_50, [0.2499999], 50e9)[0, 0]
    assert (at - below) / 1e-7 == pytest.approx((farther - far) / 0.1, rel=1e-5)


def test_master_curve_unloads_on_hertz():
    """F = 4/3 E* sqrt(R*) (d - d_p)^1.5 from the peak down to none at d_p, and up again on the same way."""
    modulus = 50e9 / (2 * (1 - 0.3**2))
    peak = RADIUS**2 * 2.4e9 * (69.532 * 0.1**1.71146 - 62.111 * 0.1**1.84891)
    elastic = ((0.75 * peak / modulus) ** 2 / RADIUS) ** (1 / 3) / RADIUS
    permanent = 0.1 - elastic
    assert 0 < permanent < 0.01  # a curve barely below Hertz
    half = permanent + 0.5 * elastic
    force, radius = pressed(NMC_50, [0.1, half, permanent, 0.5 * permanent, half, 0.1], 50e9)
    assert force[0] == pytest.approx(peak, rel=1e-12)
    assert force[1] == pytest.approx(peak * 0.5**1.5, rel=1e-9)
    np.testing.assert_allclose(force[2:4], 0, atol=1e-9 * peak)
    np.testing.assert_allclose(force[4:], [force[1], peak], rtol=1e-9)
    assert radius[1] == pytest.approx(RADIUS * math.sqrt(0.5 * elastic), rel=1e-9)


def test_master_curve_above_hertz_is_gone_back_on():
    """The curve of 140 GPa is above Hertz's up to h = 0.07: no negative permanent overlap, no force beyond contact."""
    force, _ = pressed(MasterCurve(), [0.03, 0.01, 0.0, -0.001, 0.01], 140e9)
    once = pressed(MasterCurve(), [0.01], 140e9)[0, 0]
    assert force[1] == pytest.approx(once, rel=1e-12) and force[4] == pytest.approx(once, rel=1e-12)
    assert force[2] == 0.0 and force[3] == 0.0
    deep, _ = pressed(MasterCurve(), [0.2, 0.1], 140e9)
    assert 0 < deep[1] < pressed(MasterCurve(), [0.1], 140e9)[0, 0]


def test_what_laws_remember_of_a_contact_that_never_was():
    assert fresh(Hertz(), 3) is None
    for law in (Plastic(), ThorntonNing(), MasterCurve(), Luding(1.0, 2.0)):
        np.testing.assert_array_equal(fresh(law, 3), np.zeros(3))
    with pytest.raises(ValueError, match="`yield_stress` must lie between"):
        MasterCurve(yield_stress=1.0)


def test_linear_damping_viscosities():
    """eta_n = rate m*, half of it along the surface; times the contact radius where `hertzian` (LAMMPS)."""
    press = Press(jnp.zeros(1), jnp.asarray([2e-7]), None)
    normal, across = Linear(5e6).viscosities(press, pair(50e9))
    assert float(normal[0]) == pytest.approx(5e6 * 3e-12, rel=1e-12) and float(across[0]) == pytest.approx(7.5e-6)
    normal, across = Linear(2e13, hertzian=True).viscosities(press, pair(50e9))
    assert float(normal[0]) == pytest.approx(2e13 * 3e-12 * 2e-7, rel=1e-12)
    assert float(across[0]) == pytest.approx(0.5 * float(normal[0]), rel=1e-12)


@pytest.mark.parametrize("damping_ratio", [0.05, 0.3])
def test_linear_damping_restitution(damping_ratio):
    """On a linear spring k the coefficient of restitution is exp(-pi z / sqrt(1 - z^2)), z = rate / 2 sqrt(m* / k)."""
    stiffness, mass = 1e4, 3e-12
    omega = math.sqrt(stiffness / mass)
    law = Contact(Luding(stiffness, stiffness), Linear(2 * damping_ratio * omega), Mindlin(0.3))
    step, still = 1e-3 / omega, jnp.zeros((3, 1))

    def on(carry, _):
        place, speed, memory = carry  # overlap, approach
        at = Kinematics(place[None], jnp.asarray([[1.0], [0.0], [0.0]]), still.at[0].set(speed))
        felt, memory = push(law, at, memory, pair(50e9), step)
        speed = speed + step * felt.force[0, 0] / mass
        return (place + step * speed, speed, memory), speed

    start = (jnp.asarray(1e-15), jnp.asarray(1.0), law.fresh(1))
    speeds = jax.jit(lambda: jax.lax.scan(on, start, None, length=4000)[1])()
    expected = math.exp(-math.pi * damping_ratio / math.sqrt(1 - damping_ratio**2))
    assert -float(speeds[-1]) == pytest.approx(expected, rel=2e-3)


def test_inertial_number():
    """I = rate d sqrt(rho / P): 0.18 m/s on a film of 100 um of 8 um particles at 1 MPa is just quasi-static, 1e-3."""
    assert float(inertial_number(0.18 / 100e-6, 8e-6, 4650.0, 1e6)) == pytest.approx(9.82e-4, rel=1e-3)
    one = inertial_number(10.0, 8e-6, 4650.0, 1e6)
    # Ten thousand times the mass is a hundred times the rate.
    assert float(inertial_number(10.0, 8e-6, 4650e4, 1e6)) == pytest.approx(
        float(inertial_number(1e3, 8e-6, 4650.0, 1e6))
    )
    assert float(inertial_number(10.0, 8e-6, 4650.0, 4e6)) == pytest.approx(float(one) / 2, rel=1e-12)
