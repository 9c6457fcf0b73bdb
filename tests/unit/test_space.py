"""Design spaces: round trips, the chain rule, and sentences about bounds."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.space import Affine, Fraction, Leaf, Logarithmic, Space, Variable, with_fractions
from microstructure.recipe import Recipe
from microstructure.sizes import LogNormal

GAP, LOADING = Leaf(lambda r: r.gap), Leaf(lambda r: r.areal_loading)


def recipe():
    return Recipe(
        size=LogNormal(3e-6, math.exp(0.3)),
        composition=[9.6, 0.3, 0.1],
        densities=[4750.0, 1900.0, 1780.0],
        areal_loading=0.14,
        gap=44e-6,
    )


def gap(low=38e-6, high=60e-6, start=44e-6, transform=None):
    return Variable("gap", "m", low, high, start, GAP, transform or Logarithmic())


def space(*more):
    return Space(recipe(), (gap(), Variable("loading", "kg/m2", 0.08, 0.24, 0.14, LOADING), *more))


def carbon(high=0.1):
    return Variable("carbon", "", 0.01, high, 0.03, Fraction(1))


def binder():
    return Variable("binder", "", 0.005, 0.1, 0.01, Fraction(2))


@pytest.mark.parametrize("transform", [Affine(), Logarithmic()])
def test_the_unit_interval_spans_the_bounds(transform):
    variable = gap(transform=transform)
    assert float(variable.value(0.0)) == pytest.approx(38e-6, rel=1e-15)
    assert float(variable.value(1.0)) == pytest.approx(60e-6, rel=1e-15)
    assert float(variable.to_unit(variable.value(0.3))) == pytest.approx(0.3, rel=1e-14)
    middle = 49e-6 if isinstance(transform, Affine) else math.sqrt(38 * 60) * 1e-6
    assert float(variable.value(0.5)) == pytest.approx(middle, rel=1e-14)


def test_the_start_gives_the_recipe_back():
    found = space(carbon(), binder())(space(carbon(), binder()).start)
    np.testing.assert_allclose(found.mass_fractions, recipe().mass_fractions, rtol=1e-14)
    for one, other in zip(jax.tree.leaves(found.size), jax.tree.leaves(recipe().size), strict=True):
        assert one == other
    assert float(found.gap) == pytest.approx(44e-6, rel=1e-14)
    assert float(found.evaporation) == float(recipe().evaporation)


def test_a_vector_to_a_recipe_and_back():
    box = space(carbon(), binder())
    x = jnp.asarray([0.1, 0.9, 0.4, 0.7])
    np.testing.assert_allclose(box.locate(box(x)), x, rtol=1e-12)
    found = box(x).mass_fractions
    assert float(jnp.sum(found)) == pytest.approx(1.0, rel=1e-15)
    np.testing.assert_allclose(found[1:], box.values(x)[2:], rtol=1e-14)


def test_parts_that_are_not_free_keep_their_ratio():
    found = with_fractions(recipe(), [0], [jnp.asarray(0.9)]).mass_fractions
    np.testing.assert_allclose(found, [0.9, 0.075, 0.025], rtol=1e-14)


def test_the_chain_rule_through_the_space():
    box = space(carbon())
    x = jnp.asarray([0.2, 0.4, 0.6])

    def objective(r):
        return r.gap * 1e5 + r.areal_loading**2 + jnp.dot(r.mass_fractions, jnp.asarray([1.0, 5.0, -2.0]))

    through = jax.jit(jax.grad(lambda u: objective(box(u))))(x)
    step = 1e-6
    value = jax.jit(lambda u: objective(box(u)))
    for k, unit in enumerate(step * np.eye(3)):
        numeric = (value(x + unit) - value(x - unit)) / (2 * step)
        assert float(through[k]) == pytest.approx(float(numeric), rel=1e-7)
    # By hand: a fraction more of carbon takes from active and binder, 96 to 1 in mass.
    slope = 0.09 * (5.0 - (96 * 1.0 + 1 * -2.0) / 97)
    assert float(through[2]) == pytest.approx(slope, rel=1e-12)


def test_the_space_works_under_jit():
    box = space(carbon())
    x = jnp.asarray([0.2, 0.4, 0.6])
    one, other = eqx.filter_jit(lambda b, u: b(u))(box, x), box(x)
    np.testing.assert_allclose(one.gap, other.gap, rtol=1e-14)


def test_numbers_have_a_type_of_their_own():
    # Weakly typed ones would compile everything behind the space twice: at the start, and after the first step.
    assert not space(carbon()).start.weak_type
    assert not space().values(jnp.asarray([0.5, 0.5])).weak_type


def test_which_bounds_are_touched():
    assert space().at_bounds([0.0, 0.5]) == {"gap": "low"}
    assert space().at_bounds([0.5, 1.0]) == {"loading": "high"}
    assert space().at_bounds([0.01, 0.99]) == {}


BAD = {
    "must have low < high": lambda: gap(low=60e-6, high=38e-6),
    "`start of gap` must lie between 3.8e-05 and 6e-05 m, but 7e-05 m was given": lambda: gap(start=70e-6),
    "must be finite": lambda: gap(high=math.inf),
    "positive lower bound": lambda: gap(low=0.0),
    "bounded within 0 and 1": lambda: carbon(high=1.2),
    "at least one variable": lambda: Space(recipe(), ()),
    "must differ": lambda: Space(recipe(), (gap(), gap())),
    "At most two of the three": lambda: space(carbon(), binder(), Variable("a", "", 0.5, 0.7, 0.6, Fraction(0))),
    "must sum to less than 1": lambda: space(carbon(), Variable("a", "", 0.5, 0.97, 0.96, Fraction(0))),
}


@pytest.mark.parametrize("sentence", BAD)
def test_bad_spaces_are_named_in_a_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        BAD[sentence]()
