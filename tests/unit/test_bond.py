"""Binder bridges: stiffness, yield force, energy, flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.particles import bond
from solver.particles.bond import Binder

R = 5e-6
AREA = np.pi * (0.7 * R) ** 2
X = jnp.asarray([[1.0, 0.0, 0.0]])


def bridge(**fields):
    return bond.bridges(Binder(**fields), jnp.asarray([R]), jnp.ones(1), X)


def force(u, past, constants):
    return jax.grad(lambda v: jnp.sum(bond.energy(v, past, constants)))(u)


def test_elastic_stiffness_along_and_across():
    constants = bridge()
    pull = force(jnp.asarray([[1e-12, 2e-12, 0.0]]), bond.fresh(constants), constants)
    along, across = 2e9 * AREA / (0.5 * R), 2e9 / 2.6 * AREA / (0.5 * R)
    np.testing.assert_allclose(np.asarray(pull), [[along * 1e-12, across * 2e-12, 0]], rtol=1e-12)


def test_perfectly_plastic_bridge_carries_its_strength():
    constants = bridge(hardening=0.0)
    for direction in ([0.3, 0.0, 0.0], [-0.3, 0.0, 0.0], [0.0, 0.18, 0.24]):
        u = jnp.asarray([direction]) * R
        pull = force(u, bond.fresh(constants), constants)
        np.testing.assert_allclose(np.asarray(pull), 50e6 * AREA * np.asarray(u) / np.linalg.norm(u), rtol=1e-12)


def test_hardening_raises_the_yield_force_and_leaves_no_back_stress():
    constants = bridge(hardening=0.1)
    u = jnp.asarray([[0.3 * R, 0.0, 0.0]])
    after = bond.flow(u, bond.fresh(constants), constants)
    stiff, limit = float(constants.along[0]), 50e6 * AREA
    peak = limit + 0.1 * stiff * (0.3 * R - limit / stiff)
    assert float(after.along[0]) == pytest.approx(peak, rel=1e-12)
    assert float(bond.forces(u, after, constants)[0, 0]) == pytest.approx(peak, rel=1e-12)
    # Unloading is elastic down to no force, at the plastic elongation.
    assert float(after.plastic[0, 0]) == pytest.approx(0.3 * R - peak / stiff, rel=1e-12)
    np.testing.assert_allclose(np.asarray(force(after.plastic, after, constants)), 0, atol=1e-12)


def test_one_step_and_many_steps_agree_under_monotonic_load():
    constants = bridge(hardening=0.1)
    many = bond.fresh(constants)
    for share in np.linspace(0.1, 1, 10):
        many = bond.flow(jnp.asarray([[0.2, 0.1, -0.1]]) * R * share, many, constants)
    once = bond.flow(jnp.asarray([[0.2, 0.1, -0.1]]) * R, bond.fresh(constants), constants)
    for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(once), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12)


def test_gradient_of_the_energy_is_the_force_after_flow():
    constants = bridge(hardening=0.1)
    past = bond.flow(jnp.asarray([[0.02, 0.01, 0.03]]) * R, bond.fresh(constants), constants)
    for u in ([0.021, 0.01, 0.03], [-0.2, 0.1, 0.0], [0.0, 0.0, 0.0]):
        u = jnp.asarray([u]) * R
        expected = bond.forces(u, bond.flow(u, past, constants), constants)
        np.testing.assert_allclose(np.asarray(force(u, past, constants)), np.asarray(expected), rtol=1e-10, atol=1e-12)
        assert float(bond.energy(u, past, constants)[0]) >= 0


def test_stiffness_is_the_hessian_of_the_energy():
    constants = bridge(hardening=0.1)
    past = bond.flow(jnp.asarray([[0.02, 0.01, 0.03]]) * R, bond.fresh(constants), constants)
    hessian = jax.jit(jax.hessian(lambda v: jnp.sum(bond.energy(v, past, constants))))
    for u in ([0.021, 0.01, 0.03], [0.2, 0.1, 0.05], [-0.2, 0.01, 0.03]):
        u = jnp.asarray([u]) * R
        exact = np.asarray(hessian(u)[0, :, 0, :])
        scale = float(constants.along[0])
        np.testing.assert_allclose(np.asarray(bond.stiffness(u, past, constants)[0]), exact, atol=1e-12 * scale)
        assert np.linalg.eigvalsh(exact).min() > 0.03 * scale


def test_no_weight_no_force_and_no_nan():
    constants = bond.bridges(Binder(), jnp.asarray([R]), jnp.zeros(1), X)
    pull = force(jnp.asarray([[0.1 * R, 0.0, 0.0]]), bond.fresh(constants), constants)
    np.testing.assert_array_equal(np.asarray(pull), 0)


@pytest.mark.parametrize("field, limit", [("fracture_strain", 0.05), ("fracture_stress", 40e6)])
@pytest.mark.parametrize("direction", [[1.0, 0.0, 0.0], [0.0, 0.6, 0.8], [-1.0, 0.0, 0.0]])
def test_a_bridge_breaks_at_its_limit_but_not_when_pushed(field, limit, direction):
    constants = bridge(**{field: limit}, strength=1e9)
    stiff = 2e9 if direction[0] else 2e9 / 2.6  # stress over strain, along or across
    at = limit if field == "fracture_strain" else limit / stiff
    for share, pulled_apart in ((0.999, 1.0), (1.001, 0.0)):
        u = share * at * 0.5 * R * jnp.asarray([direction])
        after = bond.flow(u, bond.fresh(constants), constants)
        holds = bond.broken(u, after, constants).intact
        assert float(holds[0]) == (1.0 if direction[0] < 0 else pulled_apart)


def test_a_broken_bridge_is_as_a_pair_without_binder():
    """After yielding together: energy, force and stiffness are those of the weight that a bare pair has."""
    weights, bare = jnp.asarray([1.0, 1e-3, 1.0, 0.0]), jnp.asarray([1e-3, 1e-3, 0.0, 0.0])
    radii, directions = jnp.full(4, R), jnp.tile(X, (4, 1))
    constants = bond.bridges(Binder(fracture_strain=0.1), radii, weights, directions, bare=bare)
    first, second = (
        jnp.tile(jnp.asarray([[0.2, 0.03, 0.1]]) * R, (4, 1)),
        jnp.tile(jnp.asarray([[0.3, -0.1, 0]]) * R, (4, 1)),
    )
    past = bond.flow(first, bond.fresh(constants), constants)
    past = bond.broken(first, past, constants)
    np.testing.assert_array_equal(np.asarray(past.intact), [0, 1, 0, 1])
    for u in (1.01 * first, second):
        after = bond.flow(u, past, constants)
        found = (bond.energy(u, past, constants), bond.forces(u, after, constants), bond.stiffness(u, past, constants))
        for value in found:
            np.testing.assert_allclose(np.asarray(value[0]), np.asarray(value[1]), rtol=1e-12)
            np.testing.assert_array_equal(np.asarray(value[2]), 0)
            np.testing.assert_array_equal(np.asarray(value[3]), 0)
        assert np.all(np.asarray(found[0][:2]) > 0)
        np.testing.assert_array_equal(np.asarray(after.intact), np.asarray(past.intact))


def test_without_a_limit_nothing_is_remembered_of_breaking():
    constants = bridge()
    assert bond.fresh(constants).intact is None
    assert bond.broken(X, bond.fresh(constants), constants).intact is None
    with pytest.raises(ValueError, match="`fracture_strain`"):
        Binder(fracture_strain=-0.1)
