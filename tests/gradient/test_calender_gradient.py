"""Gradients of drying and calendering: identities, central differences at fixed contacts, both modes, CUDA."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.equilibrium import NewtonCG, by_differentiation, equilibrium
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.neighbours import candidate_pairs, relative_positions
from solver.process.calender import Calendering, calender
from solver.process.settle import dry_packing, settled_film

METHOD = Calendering(load=4, unload=2)


@pytest.fixture(scope="module")
def film():
    """100 particles at a fraction of 0.47 in 50 um, and their pairs."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(5), 100))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.47 / 50e-6))
    packing = settled_film(jax.random.key(7), radii, jnp.asarray([50e-6, width, width])).value
    return packing, candidate_pairs(packing)


NAMES = ("gap", "radii", "width", "thickness", "release", "positions", "modulus", "strength", "binder", "yield")
ONES = jnp.ones(len(NAMES))


def outputs(v, packing, pairs):
    """Peak pressure, released thickness, overlap, second moment of depth at the scales `v` of the named variables;
    positions of the dried film move by a micrometre for each unit, at random."""
    gap, size, width, height, release, shifts, modulus, strength, stiffness, hardness = v
    dried = dry_packing(packing, packing.radii * size, packing.box * jnp.stack([height, width, width]), pairs).value
    moved = dried.positions + 1e-6 * (shifts - 1) * jax.random.normal(jax.random.key(2), dried.positions.shape)
    dried, method = Packing(moved, dried.radii, dried.box), Calendering(release=1e5 * release, load=4, unload=2)
    law, binder = ContactLaw(140e9 * modulus, 0.3, 3e9 * hardness), Binder(2e9 * stiffness, strength=50e6 * strength)
    value = calender(dried, pairs, 38e-6 * gap, law, binder, method).value
    after = value.packing
    relative = relative_positions(after.positions, after.box[1:], pairs)
    overlap = after.radii[pairs.first] + after.radii[pairs.second] - jnp.sqrt(jnp.sum(relative**2, axis=1))
    depth = after.positions[:, 0] / after.box[0]
    touching = jnp.sum(jnp.maximum(overlap, 0) ** 2) * 1e12
    return jnp.stack([value.pressure[4] / 1e8, after.box[0] * 1e6, touching, jnp.mean((depth - 0.5) ** 2)])


@pytest.fixture(scope="module")
def derivatives(film):
    packing, pairs = film
    evaluate = jax.jit(lambda v: outputs(v, packing, pairs))
    reverse = jax.jit(lambda v, w: jax.vjp(lambda u: outputs(u, packing, pairs), v)[1](w)[0])
    return evaluate, reverse


WEIGHTS = jnp.asarray([1.0, 0.3, 0.1, 5.0])


def check(evaluate, gradient, at, weights, names, step, tolerance):
    for name in names:
        e = step * jnp.zeros(len(NAMES)).at[NAMES.index(name)].set(1.0)
        difference = float(jnp.sum(weights * (evaluate(at + e) - evaluate(at - e))) / (2 * step))
        assert gradient[NAMES.index(name)] == pytest.approx(difference, rel=tolerance), name


def test_reverse_mode_against_central_differences(derivatives):
    evaluate, reverse = derivatives
    gradient = np.asarray(reverse(ONES, WEIGHTS))
    # What the search leaves, 5e-12 of the sum, is 3e-5 of what a step of 1e-7 changes through release or yield.
    check(evaluate, gradient, ONES, WEIGHTS, NAMES, 1e-5, 2e-6)


def test_pressure_is_homogeneous_in_the_moduli(derivatives):
    """Scaling every modulus and strength at fixed geometry scales the pressure: the sum of P's slopes in them is P."""
    evaluate, reverse = derivatives
    gradient = reverse(ONES, jnp.eye(4)[0])
    assert float(jnp.sum(gradient[6:])) == pytest.approx(float(evaluate(ONES)[0]), rel=1e-8)


def test_elastic_plate_pressure(derivatives):
    """dP/dE = P / E at fixed geometry, dP/dh and dP/ds, of elastic spheres in a weak elastic binder."""
    evaluate, reverse = derivatives
    at = ONES.at[6:].set(jnp.asarray([1.0, 1e10, 0.02, 1e10]))
    gradient = np.asarray(reverse(at, jnp.eye(4)[0]))
    pressure = float(evaluate(at)[0])
    assert gradient[6] + 0.02 * gradient[8] == pytest.approx(pressure, rel=1e-8)
    assert gradient[6] > 0.4 * pressure
    check(evaluate, gradient, at, jnp.eye(4)[0], ("gap", "radii", "width"), 1e-7, 1e-6)


@pytest.mark.slow
def test_forward_mode_is_the_transpose_of_reverse_mode(film, derivatives):
    packing, pairs = film
    direction = jnp.asarray([0.3, -0.5, 0.2, 0.1, 0.3, 0.2, 0.7, -0.4, 0.2, 0.1])
    forward = jax.jit(lambda v: jax.jvp(lambda u: outputs(u, packing, pairs), (v,), (direction,))[1])(ONES)
    reverse = jnp.sum(derivatives[1](ONES, WEIGHTS) * direction)
    assert float(jnp.sum(forward * WEIGHTS)) == pytest.approx(float(reverse), rel=1e-8)


def quartic(x, args):
    a, b = args
    return jnp.sum(0.25 * x**4 + 0.5 * a * x**2 - b * x)


def test_equilibrium_against_its_closed_form():
    a, b = jnp.asarray([1.0, 2.0]), jnp.asarray([0.5, 3.0])
    method = NewtonCG(tolerance=1e-13)

    def solve(a, b):
        return equilibrium(quartic, jnp.zeros(2), (a, b), method, by_differentiation(quartic)).value

    x = solve(a, b)
    np.testing.assert_allclose(np.asarray(x**3 + a * x), np.asarray(b), rtol=1e-12)
    slope = np.diag(np.asarray(jax.jacrev(solve, argnums=1)(a, b)))
    np.testing.assert_allclose(slope, np.asarray(1 / (3 * x**2 + a)), rtol=1e-9)
    slope = np.diag(np.asarray(jax.jacfwd(solve, argnums=0)(a, b)))
    np.testing.assert_allclose(slope, np.asarray(-x / (3 * x**2 + a)), rtol=1e-9)


def test_equilibrium_says_when_it_fails():
    method = NewtonCG(tolerance=1e-13, steps=1)
    start, args = jnp.full((2,), 30.0), (jnp.ones(2), jnp.ones(2))
    solution = equilibrium(quartic, start, args, method, by_differentiation(quartic))
    assert "allowed number of steps" in Result[solution.result]


def test_value_and_gradient_export_for_cuda(film):
    packing, pairs = film

    def thickness(v):
        return jnp.sum(outputs(v, packing, pairs))

    exported = jax.export.export(jax.jit(jax.value_and_grad(thickness)), platforms=["cuda"])(ONES)
    assert exported.platforms == ("cuda",)
    assert "callback" not in exported.mlir_module()


@pytest.mark.slow
def test_gradient_through_filter_transformations(film):
    """Equinox's own gradient of a packing, as the pipeline takes it."""
    packing, pairs = film

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(dried):
        return calender(dried, pairs, jnp.asarray(38e-6), method=METHOD).value.packing.box[0]

    gradient = slope(packing)
    assert gradient.positions.shape == packing.positions.shape
    # Moving the whole film sideways changes nothing.
    np.testing.assert_allclose(np.asarray(jnp.sum(gradient.positions[:, 1:], axis=0)), 0, atol=1e-8)
