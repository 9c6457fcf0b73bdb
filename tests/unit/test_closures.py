"""Classes of spheres with the moments of an uptake, and the electrodes that are made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.cell import theoretical_capacity
from solver.cell.library import chen_positive
from solver.closures import size_classes
from solver.handover import diffusing, sized

SIZE = 5e-6  # m


def radii_of(shares, radii):
    """The uptake radii of spheres of these `shares` of the volume, of the orders 1 to 3."""
    return jnp.stack([jnp.sum(shares * radii ** (2 * j)) ** (0.5 / j) for j in (1, 2, 3)])


def kept(classes, found):
    """How many of the uptake radii `found` the classes have, from the first on."""
    own = np.asarray(radii_of(classes.shares, classes.radii))
    return int(np.cumprod(np.abs(own / np.asarray(found) - 1) < 1e-9).sum())


@pytest.mark.parametrize(
    "shares, radii", [((0.3, 0.7), (3.0, 6.0)), ((0.9, 0.1), (1.0, 9.0)), ((0.5, 0.5), (5.0, 5.4))]
)
def test_two_sizes_are_found_again(shares, radii):
    shares, radii = jnp.asarray(shares), SIZE * jnp.asarray(radii)
    classes = size_classes(radii_of(shares, radii))
    assert int(classes.kept) == 3 and classes.reason == ""
    assert np.asarray(classes.radii) == pytest.approx(np.asarray(radii), rel=1e-9)
    assert np.asarray(classes.shares) == pytest.approx(np.asarray(shares), rel=1e-9)


@pytest.mark.parametrize("orders", [(1.0, 1.0, 1.0), (1.0, 0.84**0.25, 0.68 ** (1 / 6)), (1.0, 0.5, 3.0)])
def test_what_is_no_more_spread_than_one_sphere_is_one_sphere(orders):
    """A sphere, a slab, and nonsense: both classes within 0.5 % of the diffusion radius, with its moment."""
    found = SIZE * jnp.asarray(orders)
    classes = size_classes(found)
    assert int(classes.kept) == 1 and "no more spread" in classes.reason
    assert kept(classes, found) == 1
    assert float(jnp.sum(classes.shares * (classes.radii / SIZE - 1.0) ** 2)) < 0.51e-2**2


@pytest.mark.parametrize("orders", [(1.0, 1.2, 1.2), (1.0, 1.1, 2.5), (1.0, 3.0, 4.0), (1.0, 3.0, 3.0)])
def test_out_of_reach_of_the_third_moment_two_are_kept(orders):
    """Too small or too rare a class, whatever the spread: sizes and shares stay in range."""
    found = SIZE * jnp.asarray(orders)
    classes = size_classes(found)
    assert int(classes.kept) == 2 and "keep two" in classes.reason
    assert kept(classes, found) == 2
    assert float(classes.radii[0]) > 0.0999 * SIZE
    assert float(jnp.sum(classes.shares)) == pytest.approx(1.0, rel=1e-12)


def test_derivative_of_the_classes():
    found = radii_of(jnp.asarray([0.6, 0.4]), SIZE * jnp.asarray([0.8, 1.3]))

    @jax.jit
    def numbers(scale):
        classes = size_classes(found * scale)
        return jnp.concatenate([classes.radii / SIZE, classes.shares])

    at, step = jnp.ones(3), 1e-6
    slopes = jax.jacrev(numbers)(at)
    differences = [(numbers(at + e) - numbers(at - e)) / (2 * step) for e in step * jnp.eye(3)]
    assert np.asarray(slopes) == pytest.approx(np.stack(differences, -1), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("orders", [(1.0, 1.0, 1.0), (1.0, 0.9, 0.8), (1.0, 3.0, 3.0)])
def test_derivative_is_finite_where_fewer_moments_are_kept(orders):
    slopes = jax.jacrev(lambda r: size_classes(r).radii)(SIZE * jnp.asarray(orders))
    assert np.all(np.isfinite(slopes))


def test_classes_keep_lithium_and_exchange_current():
    given = chen_positive()
    made = sized(given, (0.66, 0.34), (5.3e-6, 7.2e-6))
    assert float(theoretical_capacity(made)) == pytest.approx(float(theoretical_capacity(given)), rel=1e-12)
    for share, kind in zip((0.66, 0.34), made.classes, strict=True):
        assert float(kind.active_fraction) == pytest.approx(share * float(given.active_fraction))
        assert float(kind.specific_area * kind.particle_radius / 3) == pytest.approx(float(kind.active_fraction))
    current = sum(float(kind.specific_area * kind.material.kinetics.rate) for kind in made.classes)
    assert current == pytest.approx(float(given.specific_area * given.material.kinetics.rate), rel=1e-12)


def test_bad_input_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"`radii` must hold at least 3 uptake radii, but has the shape \(2,\)"):
        size_classes(jnp.full(2, SIZE))
    with pytest.raises(ValueError, match="`radii` must lie between 1e-10 and 0.01 m, but -5e-06 m was given"):
        size_classes(-SIZE * jnp.ones(3))
    with pytest.raises(ValueError, match="`electrode` must have one class of particles, but has 2"):
        diffusing(sized(chen_positive(), (0.5, 0.5), (4e-6, 6e-6)), 5e-6)
