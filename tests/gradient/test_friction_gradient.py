"""Gradients of calendering with plasticity, bonds and friction through load and unload, against central differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing, solid_fraction
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.newton_krylov import NewtonKrylov
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import candidate_pairs
from solver.process.calender import Calendering, calender
from solver.process.frictional import Incremental
from solver.process.settle import settled_film

COUNT = 64
NAMES = ("radii", "one radius", "modulus", "yield", "binder", "strength", "friction", "wall friction", "gap", "release")
STEP = 1e-7


@pytest.fixture(scope="module")
def film():
    """64 particles at a fraction of 0.5 in 36 um, as in the physics of the same."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(5), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.5 / 36e-6))
    packing = settled_film(jax.random.key(6), radii, jnp.asarray([36e-6, width, width])).value
    return packing, candidate_pairs(packing)


def design(v, packing, steps=40):
    """Film, gap, law, binder, method and friction at the scales `v` of the named variables; `steps` of each search."""
    size, one, modulus, hardness, stiffness, strength, rough, wall, gap, release = v
    radii = packing.radii * size * jnp.ones(COUNT).at[7].set(one)
    law, binder = ContactLaw(140e9 * modulus, 0.3, 3e9 * hardness), Binder(2e9 * stiffness, strength=50e6 * strength)
    # What is left of the forces moves what only ties hold, so little must be left for differences of 1e-7.
    searched = Incremental(NewtonKrylov(tolerance=1e-14, steps=jnp.asarray(steps)))
    method = Calendering(release=2e7 * release, load=4, unload=2, trust=True, rough=searched)
    film = Packing(packing.positions, radii, packing.box)
    return film, 27e-6 * gap, law, binder, method, Friction(0.3 * rough, 0.3 * wall)


def numbers(value):
    """Porosity and thickness after release, pressure at the gap, positions of all particles weighed at random."""
    weights = jax.random.normal(jax.random.key(1), (COUNT, 3))
    depths = jnp.sum(weights * value.packing.positions) * 1e6
    porosity = 1 - solid_fraction(value.packing)
    return jnp.stack([porosity, value.packing.box[0] * 1e5, value.pressure[4] / 1e8, depths / 10])


jitted = eqx.filter_jit(calender)


def evaluate(v, packing, pairs, steps=40):
    """The same compiled function as in the physics of calendering with friction."""
    film, gap, *rest = design(v, packing, steps)
    solution = jitted(film, pairs, gap, *rest)
    return np.asarray(numbers(solution.value)), solution


@pytest.fixture(scope="module")
def evaluated(film):
    """Values at the point and at a step to both sides of every variable."""
    return {0: evaluate(jnp.ones(10), *film)} | {
        (i, sign): evaluate(jnp.ones(10).at[i].add(sign * STEP), *film) for i in range(10) for sign in (-1, 1)
    }


@pytest.fixture(scope="module")
def reverse(film):
    """Of the weighed numbers by the ten variables, compiled once."""
    packing, pairs = film

    def pressed(v, steps):
        film, gap, *rest = design(v, packing, steps)
        return numbers(calender(film, pairs, gap, *rest).value)

    return jax.jit(lambda w, steps: jax.vjp(lambda v: pressed(v, steps), jnp.ones(10))[1](w)[0])


@pytest.fixture(scope="module")
def jacobian(reverse):
    """(4, 10), by reverse mode."""
    return np.stack([np.asarray(reverse(w, jnp.asarray(40))) for w in jnp.eye(4)])


def test_the_contact_network_is_the_same_on_both_sides(evaluated):
    """No contact opens, closes, yields or begins to slide within the steps of the differences: each distance to a
    change moves by less than itself."""
    middle = evaluated[0][1]
    assert bool(middle.result == Result.successful)
    for key in set(evaluated) - {0}:
        beside = evaluated[key][1]
        assert bool(beside.result == Result.successful)
        for name in ("closing", "yielding", "flowing", "sliding"):
            at = np.asarray(getattr(middle.value.trust, name))
            moved = np.abs(np.asarray(getattr(beside.value.trust, name)) - at)
            assert np.all((moved < 0.5 * at) | np.isinf(at)), (name, key)


@pytest.mark.parametrize("name", NAMES)
def test_reverse_mode_against_central_differences(evaluated, jacobian, name):
    """V22 with friction: every class of parameter through a full load and unload."""
    i = NAMES.index(name)
    difference = np.asarray(evaluated[i, 1][0] - evaluated[i, -1][0]) / (2 * STEP)
    np.testing.assert_allclose(jacobian[:, i], difference, rtol=1e-4, atol=1e-5 * np.abs(difference).max())


def test_gradient_through_the_steps_of_an_increment(film, evaluated, reverse):
    """Where a search fails the increment is made in shorter steps; the derivative goes through each of them."""
    few = jnp.asarray(10)
    middle, solution = evaluate(jnp.ones(10), *film, few)
    assert bool(solution.result == Result.successful)
    assert int(jnp.max(solution.stats["steps"])) > 10  # more than one search may take
    np.testing.assert_allclose(middle[:3], evaluated[0][0][:3], rtol=0.02)
    i = NAMES.index("gap")
    up, down = (evaluate(jnp.ones(10).at[i].add(sign * STEP), *film, few)[0] for sign in (1, -1))
    weights = jnp.asarray([1.0, 1.0, 1.0, 0.0])
    difference = float(np.asarray(weights) @ (up - down)) / (2 * STEP)
    assert float(reverse(weights, few)[i]) == pytest.approx(difference, rel=1e-4)


def test_pressure_is_homogeneous_in_the_moduli(evaluated, jacobian):
    """Scaling every modulus, strength and the release pressure at fixed geometry scales the pressure."""
    assert float(np.sum(jacobian[2, 2:6])) == pytest.approx(float(evaluated[0][0][2]), rel=1e-7)
    # At fixed shape nothing else moves: thickness is homogeneous of degree 0 in all of them.
    total = np.sum(jacobian[1, 2:6]) + jacobian[1, 9]
    assert float(total) == pytest.approx(0, abs=1e-7 * np.abs(jacobian[1]).max())


def test_value_and_gradient_export_for_cuda(film):
    packing, pairs = film

    def thickness(v):
        film, gap, *rest = design(v, packing)
        return calender(film, pairs, gap, *rest).value.packing.box[0]

    exported = jax.export.export(jax.jit(jax.value_and_grad(thickness)), platforms=["cuda"])(jnp.ones(10))
    assert exported.platforms == ("cuda",)
    assert "callback" not in exported.mlir_module()
