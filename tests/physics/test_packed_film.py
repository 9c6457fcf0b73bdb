"""Films of many particles: exact loading and thickness, materials where their profiles say, sentences for the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.blend import Blend, Component, Profile, component_counts, layers, volume_shares
from microstructure.packing import Packing, coordination_number, largest_overlap, solid_fraction
from microstructure.particles import Particles, areal_loading
from microstructure.sizes import LogNormal, Weibull
from solver.numerics.solution import Result, SolveError, raise_unless_successful
from solver.particles.neighbours import candidate_pairs
from solver.process.pack import Packer, Target, contacts, film_box, packed_film, worst_overlap
from solver.process.settle import dry_packing

# Fines towards the collector, coarse particles towards the separator, another material in the lower of two layers.
BLEND = Blend(
    (
        Component(LogNormal(2.5e-6, 1.2), 4700.0, 0.3, 0, amount=Profile([2.0, 0.0])),
        Component(LogNormal(4e-6, 1.3), 4700.0, 0.5, 0, amount=Profile([0.5, 1.5])),
        Component(Weibull(3.5e-6, 4.0), 2250.0, 0.2, 1, amount=layers([1.0, 0.2])),
    )
)
THICKNESS, LOADING, COUNT = 60e-6, 0.12, 1200


def _plain(fraction, thickness=THICKNESS, size=None, growth=None, **more):
    """A film of one component, always asked for by fraction and loading, so that all share their compiled code."""
    blend = Blend((Component(size or LogNormal(4e-6), growth=growth or Profile()),))
    target = Target(areal_loading=4750 * fraction * thickness, solid_fraction=fraction)
    return packed_film(jax.random.key(0), blend, COUNT, target, **more)


@pytest.fixture(scope="module")
def film():
    return packed_film(jax.random.key(2), BLEND, COUNT, Target(thickness=THICKNESS, areal_loading=LOADING))


def test_the_film_is_as_it_was_asked_for(film):
    """Thickness, areal loading and solid fraction to round-off, without any overlap."""
    assert bool(film.result == Result.successful)
    particles, packing = film.value, film.value.packing
    assert packing.radii.shape == (COUNT,)
    assert float(packing.box[0]) == THICKNESS and float(packing.box[1]) == float(packing.box[2])
    assert float(areal_loading(particles)) == pytest.approx(LOADING, rel=1e-14)
    fraction = LOADING / (THICKNESS * (0.8 * 4700 + 0.2 * 2250))
    assert float(solid_fraction(packing)) == pytest.approx(fraction, rel=1e-13)
    assert float(largest_overlap(packing)) == 0 == float(film.stats["overlap"])
    volume = np.asarray(packing.radii) ** 3
    assert np.sum(volume[np.asarray(particles.material) == 1]) / np.sum(volume) == pytest.approx(0.2, rel=1e-13)
    # Whole numbers of particles have moved the radii of a component by less than a hundredth.
    np.testing.assert_allclose(np.asarray(film.stats["draws"].correction), 1, atol=0.01)


def _volume_below(packing, chosen, height):
    """Of the chosen spheres, cut exactly at a height."""
    r, x = np.asarray(packing.radii)[chosen], np.asarray(packing.positions[:, 0])[chosen]
    t = np.clip(height - x, -r, r)
    return np.sum(np.pi * (t * r**2 - t**3 / 3 + 2 * r**3 / 3))


def test_every_component_lies_where_its_profile_says(film):
    """Volume of each component below a quarter, half and three quarters of the film, against its profile."""
    packing, start = film.value.packing, 0
    exact = ((0.4375, 0.75, 0.9375), (0.15625, 0.375, 0.65625), (0.5 / 1.2, 1 / 1.2, 1.1 / 1.2))
    for count, shares in zip(film.stats["draws"].counts, exact, strict=True):
        chosen, start = slice(start, start + count), start + count
        below = [_volume_below(packing, chosen, THICKNESS * at) for at in (0.25, 0.5, 0.75)]
        # Particles of up to a fifth of the thickness round a profile over that length, a step most of all.
        np.testing.assert_allclose(np.asarray(below) / _volume_below(packing, chosen, 1.0), shares, atol=0.07)


def test_a_dense_film():
    film = _plain(0.6)
    assert bool(film.result == Result.successful)
    assert float(film.value.packing.box[0]) == pytest.approx(THICKNESS, rel=1e-14)
    assert float(film.stats["fraction"]) == pytest.approx(0.6, rel=1e-13)
    assert float(film.stats["areal_loading"]) == pytest.approx(4750 * 0.6 * THICKNESS, rel=1e-13)
    assert worst_overlap(film.value.packing) == 0


def test_sizes_grow_through_the_thickness():
    """A growth of 1 at the collector and 2 at the separator, of spheres that are equal otherwise."""
    film = _plain(0.45, size=LogNormal(3e-6, 1.0), growth=Profile([1.0, 2.0]))
    r, depth = np.asarray(film.value.packing.radii), np.asarray(film.value.packing.positions[:, 0]) / THICKNESS
    # Where a sphere is placed is shifted from where its size was read by a few per cent of the thickness.
    np.testing.assert_allclose(r, 3e-6 * (1 + depth), rtol=0.15)
    assert abs(np.mean(r / (3e-6 * (1 + depth))) - 1) < 0.02


def test_contacts_against_all_pairs(film):
    packing, gap = film.value.packing, 0.4e-6
    i, j, overlap = contacts(packing, gap)
    assert 2 * len(i) / COUNT == pytest.approx(float(coordination_number(packing, gap)), rel=1e-12)
    assert np.all(overlap > -gap)


def test_radii_and_box_are_smooth_in_the_blend_and_the_target(film):
    """Every parameter of sizes, profiles, densities and target at once, along a random direction."""
    draws = film.stats["draws"]
    whole = (BLEND, Target(thickness=THICKNESS, areal_loading=LOADING))
    leaves, structure = jax.tree.flatten(whole)
    rng = np.random.default_rng(0)
    direction = [leaf * jnp.asarray(rng.uniform(0.2, 1, np.shape(leaf))) for leaf in leaves]
    # Depths of a profile are held: its ends stay at 0 and 1.
    fixed = {id(c.amount.depths) for c in BLEND.components} | {id(c.growth.depths) for c in BLEND.components}
    direction = [jnp.zeros_like(x) if id(x) in fixed else d for x, d in zip(leaves, direction, strict=True)]

    @jax.jit
    def sizes(t):
        moved = [x + t * d for x, d in zip(leaves, direction, strict=True)]
        blend, target = jax.tree.unflatten(structure, moved)
        return jnp.concatenate(film_box(blend, draws, target)) * 1e6

    tangent = jax.jvp(sizes, (jnp.zeros(()),), (jnp.ones(()),))[1]
    difference = (sizes(jnp.asarray(1e-6)) - sizes(jnp.asarray(-1e-6))) / 2e-6
    np.testing.assert_allclose(np.asarray(tangent), np.asarray(difference), rtol=1e-6, atol=1e-6)


def test_more_particles_are_shared_by_number():
    counts = component_counts(BLEND, 5000)
    assert sum(counts) == 5000
    assert volume_shares([1.0, 1.0], [4000.0, 1000.0]) == pytest.approx((0.2, 0.8))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Target(thickness=6e-5), "Exactly two of .* but thickness was given"),
        (lambda: Target(6e-5, 0.1, 0.5), "Exactly two"),
        (lambda: Target(thickness=6e-5, solid_fraction=1.2), "`solid_fraction` must lie between 0.01 and 0.9"),
        (lambda: Profile([1.0]), "lists of one length, at least 2"),
        (lambda: Profile([1.0, 1.0], [0.0, 0.5]), "from 0 at the collector to 1"),
        (lambda: Blend(()), "at least one component"),
        (lambda: component_counts(BLEND, 10), "`particles` must be at least"),
        (lambda: _plain(0.4, thickness=9e-6), "must be at least .* um thick"),
        (lambda: _plain(0.4, thickness=5e-3), "must be at least .* um wide"),
    ],
)
def test_bad_input_is_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_too_dense_a_film_is_a_sentence():
    film = _plain(0.72, method=Packer(steps=2000))
    with pytest.raises(SolveError, match="above random close packing"):
        raise_unless_successful(film, "packing")


def test_particles_with_wrong_materials():
    packing = Packing(jnp.full((2, 3), 1e-6), jnp.full((2,), 1e-7), jnp.full((3,), 1e-5))
    with pytest.raises(ValueError, match="one whole number for each of the 2 particles"):
        Particles(packing, [0.5, 1.0])
    with pytest.raises(ValueError, match="`material` must lie between 0 and 0"):
        Particles(packing, [0, 1], [4750.0])
    with pytest.raises(ValueError, match="needs `densities`"):
        areal_loading(Particles(packing))


@pytest.mark.slow
def test_mean_and_width_carry_derivatives_to_every_position():
    """The packed film is the reference of `dry_packing`: positions move with median and spread, as differences say."""
    blend = Blend((Component(LogNormal(4e-6, 1.2)),))
    target = Target(thickness=40e-6, areal_loading=4750 * 0.45 * 40e-6)
    film = packed_film(jax.random.key(1), blend, 150, target)
    packed, draws = film.value.packing, film.stats["draws"]
    pairs = candidate_pairs(packed)

    @jax.jit
    def positions(median, spread):
        moved = Blend((Component(LogNormal(median * 1e-6, spread)),))
        return dry_packing(packed, *film_box(moved, draws, target), pairs).value.positions * 1e6

    at, direction = (jnp.asarray(4.0), jnp.asarray(1.2)), (jnp.asarray(1.0), jnp.asarray(0.2))
    np.testing.assert_allclose(np.asarray(positions(*at)), 1e6 * np.asarray(packed.positions), atol=1e-9)
    tangent = jax.jit(lambda: jax.jvp(positions, at, direction)[1])()
    h = 1e-5
    high, low = (positions(*(a + s * h * d for a, d in zip(at, direction, strict=True))) for s in (1, -1))
    np.testing.assert_allclose(np.asarray(tangent), np.asarray((high - low) / (2 * h)), rtol=1e-4, atol=1e-4)
    assert float(jnp.max(jnp.abs(tangent))) > 1
