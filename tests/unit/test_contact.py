"""The contact law: Hertz limit, slopes, energy, unloading, dissipation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.particles import contact
from solver.particles.contact import ContactLaw

E, NU, R = 140e9, 0.3, 2.5e-6
LAW = ContactLaw()
HERTZ = contact.constants(LAW.pair_modulus(), LAW.yield_pressure, jnp.asarray(R))
OVERLAPS = jnp.linspace(-0.01, 0.3, 60) * R


def test_large_yield_pressure_is_hertz_exactly():
    law = ContactLaw(yield_pressure=1e20)
    constants = contact.constants(law.pair_modulus(), law.yield_pressure, jnp.asarray(R))
    modulus = E / (2 * (1 - NU**2))
    expected = 4 / 3 * modulus * np.sqrt(R) * np.maximum(np.asarray(OVERLAPS), 0) ** 1.5
    for largest in (0.0, 0.2 * R):
        force = contact.force(OVERLAPS, contact.branch(jnp.asarray(largest), constants))
        np.testing.assert_allclose(np.asarray(force), expected, rtol=1e-12)


def test_yields_when_the_pressure_in_the_centre_is_the_yield_pressure():
    force = contact.loading_force(HERTZ.onset, HERTZ)
    area = np.pi * R * float(HERTZ.onset)
    assert 1.5 * float(force) / area == pytest.approx(3e9, rel=1e-12)
    below, above = (
        contact.stiffness(HERTZ.onset * f, contact.branch(jnp.zeros(()), HERTZ)) for f in (1 - 1e-9, 1 + 1e-9)
    )
    assert float(below) == pytest.approx(float(above), rel=1e-8)
    assert float(above) == pytest.approx(np.pi * 3e9 * R, rel=1e-12)


@pytest.mark.parametrize("largest", [0.0, 0.002, 0.05])
def test_force_and_stiffness_are_the_derivatives_of_the_energy(largest):
    now = contact.branch(jnp.asarray(largest * R), HERTZ)
    force = jax.vmap(jax.grad(lambda d: contact.energy(d, now)))(OVERLAPS)
    np.testing.assert_allclose(np.asarray(force), np.asarray(contact.force(OVERLAPS, now)), rtol=1e-12, atol=1e-18)
    slope = jax.vmap(jax.grad(lambda d: contact.force(d, now)))(OVERLAPS)
    np.testing.assert_allclose(np.asarray(slope), np.asarray(contact.stiffness(OVERLAPS, now)), rtol=1e-12, atol=1e-12)
    assert np.all(np.asarray(contact.energy(OVERLAPS, now)) >= 0)
    assert np.all(np.diff(np.asarray(contact.force(OVERLAPS, now))) >= 0)


def test_unloading_is_hertz_shifted_by_the_permanent_overlap():
    largest = jnp.asarray(0.05 * R)
    now = contact.branch(largest, HERTZ)
    peak = contact.loading_force(largest, HERTZ)
    modulus = E / (2 * (1 - NU**2))
    permanent = float(largest) - ((3 * float(peak) / (4 * modulus)) ** 2 / R) ** (1 / 3)
    assert float(contact.permanent_overlap(largest, HERTZ)) == pytest.approx(permanent, rel=1e-12)
    d = jnp.linspace(permanent, float(largest) * (1 - 1e-12), 20)
    expected = 4 / 3 * modulus * np.sqrt(R) * np.maximum(np.asarray(d) - permanent, 0) ** 1.5
    np.testing.assert_allclose(np.asarray(contact.force(d, now)), expected, rtol=1e-9)
    assert float(contact.force(jnp.asarray(permanent * 0.99), now)) == 0
    assert float(contact.force(largest, now)) == pytest.approx(float(peak), rel=1e-12)


def test_reloading_returns_to_the_loading_curve():
    now = contact.branch(jnp.asarray(0.05 * R), HERTZ)
    d = jnp.linspace(0.05, 0.1, 9) * R
    np.testing.assert_allclose(
        np.asarray(contact.force(d, now)), np.asarray(contact.loading_force(d, HERTZ)), rtol=1e-12
    )


def test_dissipation_is_the_work_of_a_closed_cycle():
    path = jnp.linspace(0, 0.05 * R, 200001)
    loading = jnp.trapezoid(contact.loading_force(path, HERTZ), path)
    unloading = jnp.trapezoid(contact.force(path, contact.branch(jnp.asarray(0.05 * R), HERTZ)), path)
    lost = contact.dissipation(jnp.zeros(()), jnp.asarray(0.05 * R), HERTZ)
    assert float(lost) == pytest.approx(float(loading - unloading), rel=1e-6)
    assert float(contact.dissipation(jnp.zeros(()), 0.9 * HERTZ.onset, HERTZ)) == 0
    steps = jnp.linspace(0, 0.1 * R, 30)
    assert np.all(np.asarray(contact.dissipation(steps[:-1], steps[1:], HERTZ)) >= 0)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`poisson` must lie between 0 and 0.5"):
        ContactLaw(poisson=0.7)
