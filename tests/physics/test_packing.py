"""Settled packings and dried films: no overlap, exact volume, the fractions of real electrodes, no bias, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.generate import scatter
from microstructure.packing import (
    Packing,
    coordination_number,
    largest_overlap,
    minimum_image,
    solid_fraction,
    wrapped,
)
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result, SolveError, raise_unless_successful
from solver.particles.neighbours import candidate_pairs, missed_contacts, relative_positions
from solver.process.settle import dry_packing, settle, settled_film

COUNT, THICKNESS = 300, 60e-6
dry = jax.jit(dry_packing)


def film(seed, fraction):
    radii = sample(LogNormal(5e-6), unit_draws(jax.random.key(seed), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / fraction / THICKNESS))
    return settled_film(jax.random.key(seed + 100), radii, jnp.asarray([THICKNESS, width, width]))


@pytest.fixture(scope="module")
def films():
    return {fraction: film(3, fraction) for fraction in (0.35, 0.41, 0.49, 0.55)}


@pytest.mark.parametrize("fraction", [0.35, 0.41, 0.49, 0.55])
def test_fractions_of_dried_electrodes_are_reached_without_overlap(films, fraction):
    solution = films[fraction]
    assert bool(solution.result == Result.successful)
    packing = solution.value
    assert float(largest_overlap(packing)) == 0
    assert float(solid_fraction(packing)) == pytest.approx(fraction, rel=1e-12)
    # The coating keeps surfaces apart: none touch, and the touching at a twentieth of a radius is that of a suspension.
    assert float(coordination_number(packing)) == 0
    assert float(coordination_number(packing, 2.5e-6)) > 2.5


def test_too_dense_a_film_is_a_sentence():
    with pytest.raises(SolveError, match="above random close packing"):
        raise_unless_successful(film(0, 0.72), "settling")


def test_no_orientation_bias_of_near_pairs(films):
    packing = films[0.49].value
    pairs = candidate_pairs(packing, compression=1.0, skin=0.15)
    listed = np.asarray(pairs.listed) > 0
    n = np.asarray(relative_positions(packing.positions, packing.box[1:], pairs))[listed]
    second = np.mean((n / np.linalg.norm(n, axis=1)[:, None]) ** 2, axis=0)
    # About 1000 directions: standard error of the mean of cos^2 is 0.3 / sqrt(1000); the two planes add some.
    np.testing.assert_allclose(second, 1 / 3, atol=0.04)


def test_pair_list_against_all_pairs(films):
    packing = films[0.49].value
    grown = Packing(packing.positions + jnp.asarray([0.0, 3e-4, -2e-4]), packing.radii * 1.1, packing.box)
    pairs = candidate_pairs(Packing(grown.positions, packing.radii, packing.box), compression=1.0, skin=0.15)
    assert int(missed_contacts(grown, pairs)) == 0
    assert float(coordination_number(grown)) > 3


def test_minimum_image_and_wrapping():
    box = jnp.asarray([1.0, 2.0, 3.0])
    d = minimum_image(jnp.asarray([[0.9, 1.2, -1.6], [-0.9, -0.2, 0.0]]), box)
    np.testing.assert_allclose(np.asarray(d), [[0.9, -0.8, 1.4], [-0.9, -0.2, 0.0]], atol=1e-15)
    inside = wrapped(Packing(jnp.asarray([[0.5, -0.5, 3.5]]), jnp.asarray([0.1]), box))
    np.testing.assert_allclose(np.asarray(inside.positions), [[0.5, 1.5, 0.5]])


def test_the_reference_film_is_its_own_dried_film(films):
    packing = films[0.49].value
    dried = dry(packing, packing.radii, packing.box, candidate_pairs(packing))
    assert bool(dried.result == Result.successful)
    np.testing.assert_allclose(np.asarray(dried.value.positions), np.asarray(packing.positions), atol=1e-15)


@pytest.mark.parametrize("scale", [[1.05, 1.05**1.5, 1.0], [1.0, 0.975, 1.05], [1.04, 1.0, 1.0]])
def test_other_recipes_dry_without_overlap(films, scale):
    packing = films[0.49].value
    size, width, height = scale
    pairs = candidate_pairs(packing)
    box = packing.box * jnp.asarray([height, width, width])
    dried = dry(packing, packing.radii * size, box, pairs)
    assert bool(dried.result == Result.successful)
    assert float(largest_overlap(dried.value)) < 0.01
    affine = packing.positions * box / packing.box
    assert float(jnp.max(jnp.abs(dried.value.positions - affine))) < 0.5e-6


def test_a_film_thinner_than_its_particles_is_refused():
    radii = jnp.full(20, 5e-6)
    with pytest.raises(ValueError, match="must be thicker than the largest particle"):
        scatter(jax.random.key(0), radii, jnp.asarray([9e-6, 1e-4, 1e-4]))
    guess = scatter(jax.random.key(0), radii, jnp.asarray([50e-6, 1e-4, 1e-4]))
    with pytest.raises(ValueError, match="`thickness` must be at least 1e-05 m"):
        settle(guess, 9e-6)


def test_too_narrow_a_box_is_refused():
    guess = scatter(jax.random.key(0), jnp.full(20, 5e-6), jnp.asarray([50e-6, 2e-5, 2e-5]))
    with pytest.raises(ValueError, match="Use more or smaller particles"):
        settle(guess, 40e-6)
