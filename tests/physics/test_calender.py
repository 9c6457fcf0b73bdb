"""Calendering: exact column, two routes to the stress, conservation, invariances, the shape of the curve."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing, solid_fraction
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.neighbours import candidate_pairs
from solver.process.calender import Calendering, calender
from solver.process.settle import settled_film

ELASTIC = ContactLaw(yield_pressure=1e20)
NO_BINDER = Binder(modulus=0.0, background=0.0)
METHOD = Calendering(load=4, unload=2)
jitted = eqx.filter_jit(calender)


def run(film, pairs, gap, law=None, binder=None, method=METHOD):
    """One compilation for every case of the same shape."""
    return jitted(film, pairs, jnp.asarray(gap), law or ContactLaw(), binder or Binder(), method)


@pytest.fixture(scope="module")
def film():
    """125 particles at a fraction of 0.45 in 50 um."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(5), 125))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.45 / 50e-6))
    solution = settled_film(jax.random.key(6), radii, jnp.asarray([50e-6, width, width]))
    assert bool(solution.result == Result.successful)
    return solution.value


@pytest.fixture(scope="module")
def pairs(film):
    return candidate_pairs(film)


@pytest.fixture(scope="module")
def pressed(film, pairs):
    return run(film, pairs, 36e-6)


def column(strain):
    """A simple-cubic lattice of 5 x 5 x 5 spheres that just touch, compressed by `strain`."""
    radius, count = 5e-6, 5
    sites = 2 * radius * (jnp.stack(jnp.meshgrid(*3 * [jnp.arange(5.0)], indexing="ij"), -1).reshape(-1, 3) + 0.5)
    lattice = Packing(sites, jnp.full(125, radius), jnp.full(3, 2 * radius * count))
    solution = run(lattice, candidate_pairs(lattice), (1 - strain) * lattice.box[0], ELASTIC, NO_BINDER)
    return solution.value


@pytest.mark.parametrize("strain", [0.01, 0.05])
def test_simple_cubic_column(strain):
    value = column(strain)
    expected = 140e9 * strain**1.5 / (3 * (1 - 0.3**2))
    assert float(value.pressure[4]) == pytest.approx(expected, rel=1e-9)
    assert float(value.virial[3]) == pytest.approx(expected, rel=1e-9)
    # Elastic: on release the column returns to the strain of the release pressure.
    left = (1e5 * 3 * (1 - 0.3**2) / 140e9) ** (2 / 3)
    assert float(value.thickness[-1] / value.thickness[0]) == pytest.approx(1 - left, rel=1e-9)


def test_every_increment_is_an_equilibrium(pressed):
    assert bool(pressed.result == Result.successful)
    assert int(pressed.stats["missed"]) == 0


def test_wall_pressure_is_the_virial_stress(pressed):
    pressure = np.asarray(pressed.value.pressure)[1:]
    np.testing.assert_allclose(np.asarray(pressed.value.virial), pressure, rtol=1e-8)


def test_curve_is_monotone_and_dissipation_not_negative(pressed):
    value = pressed.value
    assert np.all(np.diff(np.asarray(value.pressure[:5])) > 0) and np.all(np.diff(np.asarray(value.pressure[4:])) < 0)
    assert np.all(np.diff(np.asarray(value.thickness[:5])) < 0) and np.all(np.diff(np.asarray(value.thickness[4:])) > 0)
    assert np.all(np.asarray(value.dissipated) >= 0) and float(value.dissipated[3]) > 0
    assert float(value.thickness[4]) == pytest.approx(36e-6, rel=1e-12)
    assert float(value.pressure[-1]) == pytest.approx(1e5, rel=1e-7)
    assert 0.01 < float(value.springback) < 0.15
    assert float(value.springback) == pytest.approx(float(value.packing.box[0]) / 36e-6 - 1, rel=1e-12)


def test_volume_is_kept(film, pressed):
    after = pressed.value.packing
    assert float(solid_fraction(after) * after.box[0]) == pytest.approx(float(solid_fraction(film) * 50e-6), rel=1e-12)


def test_a_gap_above_the_film_changes_nothing(film, pairs):
    solution = run(film, pairs, 60e-6)
    assert bool(solution.result == Result.successful)
    np.testing.assert_array_equal(np.asarray(solution.value.packing.positions), np.asarray(film.positions))
    np.testing.assert_array_equal(np.asarray(solution.value.packing.box), np.asarray(film.box))
    np.testing.assert_array_equal(np.asarray(solution.value.pressure), 0)
    assert float(solution.value.springback) == 0


def test_translation_and_permutation_change_nothing(film, pressed):
    order = np.random.default_rng(0).permutation(125)
    shift = jnp.asarray([0.0, 7e-6, -11e-6])
    moved = Packing((film.positions + shift)[order], film.radii[order], film.box)
    value = run(moved, candidate_pairs(moved), 36e-6).value
    np.testing.assert_allclose(np.asarray(value.pressure[1:5]), np.asarray(pressed.value.pressure[1:5]), rtol=1e-8)
    back = np.asarray(value.packing.positions - shift)
    np.testing.assert_allclose(back, np.asarray(pressed.value.packing.positions)[order], atol=1e-13)


def test_scaling_lengths_and_moduli(film, pressed):
    big = Packing(film.positions * 3, film.radii * 3, film.box * 3)
    law, binder = ContactLaw(280e9, 0.3, 6e9), Binder(modulus=4e9, strength=100e6)
    method = Calendering(release=2e5, load=4, unload=2)
    value = run(big, candidate_pairs(big), 108e-6, law, binder, method).value
    np.testing.assert_allclose(np.asarray(value.pressure), 2 * np.asarray(pressed.value.pressure), rtol=1e-8)
    np.testing.assert_allclose(np.asarray(value.thickness), 3 * np.asarray(pressed.value.thickness), rtol=1e-10)


def test_a_second_pass_finds_the_film_pressed(film, pairs, pressed):
    """History is carried: the first pass is that of a single one, the second yields little and goes to the same gap."""
    method = Calendering(load=4, unload=2, passes=2)
    solution = run(film, pairs, 36e-6, method=method)
    assert bool(solution.result == Result.successful)
    value, once = solution.value, pressed.value
    np.testing.assert_allclose(np.asarray(value.pressure[:7]), np.asarray(once.pressure), rtol=1e-8)
    np.testing.assert_allclose(np.asarray(value.thickness[:7]), np.asarray(once.thickness), rtol=1e-10)
    assert float(value.thickness[method.lowest]) == pytest.approx(36e-6, rel=1e-12)
    assert float(value.loaded.box[0]) == pytest.approx(36e-6, rel=1e-12)
    np.testing.assert_allclose(np.asarray(value.virial), np.asarray(value.pressure[1:]), rtol=1e-8)
    first, second = np.sum(np.asarray(value.dissipated[:6])), np.sum(np.asarray(value.dissipated[6:]))
    assert 0 <= second < 0.1 * first
    assert 0.8 < float(value.pressure[method.lowest] / value.pressure[4]) < 1.02
    assert float(value.thickness[-1]) <= float(once.thickness[-1]) * (1 + 1e-9)


def test_elastic_contacts_spring_back_more(film, pairs, pressed):
    elastic = run(film, pairs, 36e-6, ELASTIC).value
    assert float(elastic.pressure[4]) > 1.2 * float(pressed.value.pressure[4])
    assert float(elastic.springback) > 1.5 * float(pressed.value.springback)
    np.testing.assert_allclose(np.asarray(elastic.dissipated), 0, atol=1e-30)


def test_a_plastic_bonded_electrode_springs_back_a_few_percent(pressed):
    """Between 1 and 10 %, as measured electrodes do; purely elastic models give far more (reference dem, A.3)."""
    assert 0.01 < float(pressed.value.springback) < 0.10


def test_a_list_that_misses_contacts_says_so(film):
    short = candidate_pairs(film, skin=0.02, compression=1.0, bond_reach=0.03)
    solution = run(film, short, 36e-6)
    assert bool(solution.result == Result.over_capacity)


def test_too_small_a_capacity_is_refused(film):
    with pytest.raises(ValueError, match="`per_particle` must be at least"):
        candidate_pairs(film, per_particle=2)
