"""Calendering with friction: exact column, balance of forces, limits without friction, what friction is worth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles import contact
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import candidate_pairs
from solver.process import frictional, frictionless, rough
from solver.process.calender import Calendering, calender
from solver.process.film import Stage, film_at_rest
from solver.process.settle import settled_film

COUNT, GAP = 64, 27e-6
METHOD = Calendering(load=4, unload=2, trust=True, tie=1e-9)  # ties so faint that nothing feels them
jitted = eqx.filter_jit(calender)


def run(film, pairs, gap, law=None, binder=None, friction=0.3, method=METHOD):
    """One compilation for every case of the same shape."""
    rule = Friction(friction, friction)
    return jitted(film, pairs, jnp.asarray(gap), law or ContactLaw(), binder or Binder(), method, rule)


@pytest.fixture(scope="module")
def film():
    """64 particles at a fraction of 0.5 in 36 um."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(5), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.5 / 36e-6))
    solution = settled_film(jax.random.key(6), radii, jnp.asarray([36e-6, width, width]))
    assert bool(solution.result == Result.successful)
    return solution.value


@pytest.fixture(scope="module")
def pairs(film):
    return candidate_pairs(film)


@pytest.fixture(scope="module")
def pressed(film, pairs):
    return run(film, pairs, GAP)


def test_every_increment_is_a_balance_and_the_wall_pressure_is_the_virial_stress(pressed):
    """V15, second half: the stress from all contacts and bridges inside is what the plate feels."""
    assert bool(pressed.result == Result.successful)
    assert int(pressed.stats["missed"]) == 0
    pressure = np.asarray(pressed.value.pressure)[1:]
    np.testing.assert_allclose(np.asarray(pressed.value.virial), pressure, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(pressed.value.virial[:4]), pressure[:4], rtol=1e-8)
    assert float(pressure[-1]) == pytest.approx(1e5, rel=1e-6)


@pytest.mark.parametrize("strain", [0.01, 0.05])
def test_simple_cubic_column(strain):
    """V15 with friction: a straight column does not slip, sigma = E eps^1.5 / (3 (1 - nu^2))."""
    radius = 5e-6
    grid = jnp.meshgrid(*3 * [jnp.arange(4.0)], indexing="ij")
    sites = 2 * radius * (jnp.stack(grid, -1).reshape(-1, 3) + 0.5)
    lattice = Packing(sites, jnp.full(COUNT, radius), jnp.full(3, 8 * radius))
    elastic, none = ContactLaw(yield_pressure=1e20), Binder(modulus=0.0, background=0.0)
    value = run(lattice, candidate_pairs(lattice), (1 - strain) * lattice.box[0], elastic, none).value
    expected = 140e9 * strain**1.5 / (3 * (1 - 0.3**2))
    assert float(value.pressure[4]) == pytest.approx(expected, rel=1e-8)
    assert float(value.virial[3]) == pytest.approx(expected, rel=1e-8)
    left = (1e5 * 3 * (1 - 0.3**2) / 140e9) ** (2 / 3)
    assert float(value.thickness[-1] / value.thickness[0]) == pytest.approx(1 - left, rel=1e-8)


def test_friction_raises_the_pressure(film, pairs, pressed):
    smooth = run(film, pairs, GAP, friction=0.0)
    assert bool(smooth.result == Result.successful)
    assert float(pressed.value.pressure[4]) > 1.1 * float(smooth.value.pressure[4])
    rougher = run(film, pairs, GAP, friction=0.6)
    assert float(rougher.value.pressure[4]) > float(pressed.value.pressure[4])


def test_a_plastic_bonded_electrode_springs_back_a_few_percent(pressed):
    """Between 1 and 10 %, with friction as without."""
    assert 0.01 < float(pressed.value.springback) < 0.10


def test_without_friction_the_forces_are_the_slope_of_the_energy(film, pairs):
    """Two routes to the force on every particle and the plate, anywhere: the energy, and the wrenches of contacts."""
    law, unit = ContactLaw(), jnp.mean(film.radii)
    smooth = film_at_rest(film, pairs, law, Binder(background=0.0), unit)
    system = frictional.roughened(smooth, law, Friction(0.0, 0.0), jnp.asarray(0.0))
    past, positions, top = frictional.unmoved(smooth), film.positions / unit, film.box[0] / unit
    branch = contact.branch(0.01 * jnp.arange(float(smooth.conformed.shape[0])) % 0.03, smooth.law)
    stage = Stage(jnp.asarray(False), top, jnp.asarray(1e-3))
    moved = 0.8 * positions + 0.02 * jax.random.normal(jax.random.key(2), positions.shape)
    given = rough.Given(branch, past, positions, top, positions)
    force, moment, plate = jax.jit(rough.residual)((moved, jnp.zeros_like(moved), 0.8 * top), (system, given, stage))
    slope = jax.jit(jax.grad(frictionless.energy))((moved, 0.8 * top), (smooth, branch, past.bridges, stage))
    np.testing.assert_allclose(np.asarray(force), np.asarray(slope[0]), atol=1e-13)
    assert float(plate) == pytest.approx(float(slope[1]), rel=1e-12)
    assert float(jnp.max(jnp.abs(moment))) > 1e-3  # the bridges turn the particles; contacts alone would not


def test_translation_and_permutation_change_nothing(film, pressed):
    """V23."""
    order = np.random.default_rng(0).permutation(COUNT)
    shift = jnp.asarray([0.0, 7e-6, -11e-6])
    moved = Packing((film.positions + shift)[order], film.radii[order], film.box)
    value = run(moved, candidate_pairs(moved), GAP).value
    np.testing.assert_allclose(np.asarray(value.pressure[1:5]), np.asarray(pressed.value.pressure[1:5]), rtol=1e-7)
    back = np.asarray(value.packing.positions - shift)
    np.testing.assert_allclose(back, np.asarray(pressed.value.packing.positions)[order], atol=1e-12)


def test_scaling_lengths_and_moduli(film, pressed):
    """V23: no hidden unit."""
    big = Packing(film.positions * 3, film.radii * 3, film.box * 3)
    law, binder = ContactLaw(280e9, 0.3, 6e9), Binder(modulus=4e9, strength=100e6)
    method = eqx.tree_at(lambda m: m.release, METHOD, jnp.asarray(2e5))
    value = run(big, candidate_pairs(big), 3 * GAP, law, binder, method=method).value
    np.testing.assert_allclose(np.asarray(value.pressure), 2 * np.asarray(pressed.value.pressure), rtol=1e-7)
    np.testing.assert_allclose(np.asarray(value.thickness), 3 * np.asarray(pressed.value.thickness), rtol=1e-9)


def test_trust_measures_are_there(pressed):
    trust = pressed.value.trust
    for name in ("closing", "yielding", "flowing", "sliding"):
        distance = np.asarray(getattr(trust, name))
        assert distance.shape == (6,) and np.all(distance >= 0), name
    assert np.all(np.isfinite(np.asarray(trust.sliding[1:])))
    assert np.all((np.asarray(trust.response) > 0.2) & (np.asarray(trust.response) < 100))
    assert np.all(np.asarray(trust.residual) < 1e-5)


def test_a_gap_above_the_film_changes_nothing(film, pairs):
    solution = run(film, pairs, 60e-6)
    assert bool(solution.result == Result.successful)
    np.testing.assert_array_equal(np.asarray(solution.value.packing.positions), np.asarray(film.positions))
    np.testing.assert_array_equal(np.asarray(solution.value.pressure), 0)
