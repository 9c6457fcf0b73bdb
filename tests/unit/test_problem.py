"""Sensitivities and their judgement, and which recipes can be made at all."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inverse import sensitivity
from inverse.problem import Impossible
from inverse.problems.energy_density import largest_patches, require_possible
from inverse.space import Fraction, Leaf, Space, Variable
from microstructure import sizes
from microstructure.recipe import Recipe


def recipe(**changes):
    values = {
        "size": sizes.LogNormal(3e-6, math.exp(0.3)),
        "composition": [0.96, 0.03, 0.01],
        "densities": [4750.0, 1900.0, 1780.0],
        "areal_loading": 0.14,
        "gap": 44e-6,
    }
    return Recipe(**(values | changes))


GAP = Variable("gap", "m", 1e-6, 1e-4, 44e-6, Leaf(lambda r: r.gap))
CARBON = Variable("carbon", "", 0.0, 0.2, 0.03, Fraction(1))
MEDIAN = Variable("median", "m", 1e-6, 1e-5, 3e-6, Leaf(lambda r: r.size.median))


def figure(r):
    return (r.gap * 1e5) ** 2 + jnp.dot(r.mass_fractions, jnp.asarray([1.0, 5.0, -2.0])) + r.size.median * 1e6


def test_slopes_of_a_known_function():
    value, found = sensitivity.slopes(figure, recipe(), (GAP, CARBON, MEDIAN))
    assert value == pytest.approx(4.4**2 + 0.96 + 0.15 - 0.02 + 3.0, rel=1e-14)
    carbon = 5.0 - (0.96 - 2 * 0.01) / 0.97  # the other two keep their ratio
    np.testing.assert_allclose(found, [2 * 4.4 * 1e5, carbon, 1e6], rtol=1e-12)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_differences_find_the_same(k):
    variable = (GAP, CARBON, MEDIAN)[k]
    _, found = sensitivity.slopes(figure, recipe(), (variable,))
    slope, step = sensitivity.difference(figure, recipe(), variable)
    assert step == pytest.approx(0.01 * float(variable.place.read(recipe())), rel=1e-14)
    assert slope == pytest.approx(float(found[0]), rel=1e-9)


def test_the_step_of_a_large_fraction_leaves_room_for_the_others():
    active = Variable("active", "", 0.5, 0.99, 0.96, Fraction(0))
    assert sensitivity.difference(figure, recipe(composition=[0.996, 0.003, 0.001]), active)[1] == pytest.approx(1e-3)


def test_a_derivative_that_disagrees_is_refused():
    found = sensitivity.judge(1.0, 2.0, value=700.0, step=0.01)
    assert not found.trusted
    assert found.verdict.startswith("Refused: the derivative 1 and the central difference 2 disagree")
    assert sensitivity.judge(1.8, 2.0, 700.0, 0.01).trusted
    assert not sensitivity.judge(np.nan, 2.0, 700.0, 0.01).trusted
    assert not sensitivity.judge(-2.0, 2.0, 700.0, 0.01).trusted


def test_noise_over_the_seeds_is_told_from_bias():
    slope = np.array([1.0, 3.0, 2.0, 6.0])
    found = sensitivity.judge(slope, slope + [3.0, -1.0, 2.0, -2.0], 700.0, 0.01)
    assert found.trusted
    biased = sensitivity.judge(slope, slope + [3.0, 3.1, 2.9, 3.0], 700.0, 0.01)
    assert not biased.trusted
    assert biased.standard_error == pytest.approx(np.std([3.0, 3.1, 2.9, 3.0], ddof=1) / 2)
    assert biased.spread == pytest.approx(np.std(slope, ddof=1))


def test_what_is_below_the_noise_of_the_solvers_is_told():
    found = sensitivity.judge(1e-3, -1e-3, value=700.0, step=0.01)
    assert found.trusted and "noise" in found.verdict


def test_recipes_that_cannot_be_made():
    require_possible(recipe(), 240)
    with pytest.raises(Impossible, match="A gap of 37.0 um cannot be made.*62.6 um thick.*pressed to 37.6 um"):
        require_possible(recipe(gap=37e-6), 240)
    with pytest.raises(Impossible, match="pressed to 44.4 um"):  # 12 % of pores, where the film dries dense
        require_possible(recipe(dried_porosity=0.4, areal_loading=0.175), 400)
    with pytest.raises(Impossible, match="A gap of 64.0 um"):
        require_possible(recipe(gap=64e-6), 240)
    with pytest.raises(Impossible, match="largest particles. Use more"):
        require_possible(recipe(), 100)


def test_patches_fit_every_seed_and_design():
    radius = Variable("median", "m", 2.5e-6, 4e-6, 3e-6, Leaf(lambda r: r.size.median))
    gap = Variable("gap", "m", 38e-6, 60e-6, 44e-6, Leaf(lambda r: r.gap))
    shape, count, reach = (32, 24, 24), 80, 0.5
    halves = largest_patches(Space(recipe(), (radius, gap)), count, shape, reach)
    assert len(halves) == 8

    @jax.jit
    def drawn(key, median, plate):
        made = recipe(size=sizes.LogNormal(median, math.exp(0.3)), gap=plate)
        radii = jnp.sort(sizes.sample(made.size, sizes.unit_draws(key, count)))
        return radii, jnp.stack([plate, *made.box(radii)[1:]])

    for seed, (median, plate) in enumerate([(2.5e-6, 38e-6), (4e-6, 38e-6), (4e-6, 60e-6), (3e-6, 44e-6)]):
        radii, box = map(np.asarray, drawn(jax.random.key(seed), median, plate))
        for half, members in zip(halves, np.array_split(radii, 8), strict=True):
            assert np.all(np.asarray(half) >= np.ceil((members.max() + reach * radii.mean()) * np.asarray(shape) / box))
