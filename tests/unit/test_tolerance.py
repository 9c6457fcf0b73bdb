"""Elasticities, interactions, shares of the scatter and tolerances, against closed forms and differences."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from inverse.problem import Bound, FigureProblem
from inverse.robust import judge
from inverse.scatter import Deviation, Scatter, corners, normal_points
from inverse.space import Leaf, Logarithmic, Space, Variable
from inverse.tolerance import Spread, allocate, elasticities, gain_by_tolerance, interactions, spreads

PLACES = [Leaf(lambda r, k=k: r[k]) for k in range(3)]
FREE = [
    Variable("a", "m", 1e-5, 1e-4, 4e-5, PLACES[0], Logarithmic()),
    Variable("b", "", 0.1, 0.9, 0.3, PLACES[1]),
    Variable("c", "V", -1.0, 3.0, 2.0, PLACES[2]),
]


def figures(r):
    a, b, c = r
    return {"power": 3.0 * (a / 1e-5) ** 2 * b**-0.5 * c, "sum": a / 1e-5 + 2.0 * b + jnp.sin(c), "none": 0.0 * c}


PROBLEM = FigureProblem(Space((jnp.zeros(()),) * 3, FREE), figures, "power", bounds=[Bound("sum", high=99.0)])
X = PROBLEM.space.start
SCATTER = Scatter(
    [
        Deviation("a", "m", 1e-6, PLACES[0]),
        Deviation("b", "", 0.02, PLACES[1], relative=True),
        Deviation("c", "V", 0.05, PLACES[2]),
    ],
    normal_points(3, 512),
)


def test_elasticities_of_a_power_law_are_its_exponents():
    found = elasticities(PROBLEM, X)
    assert found.figures == ("power", "sum")
    assert np.allclose(found.table[0], [2.0, -0.5, 1.0], rtol=1e-12)
    assert np.allclose(found.table[1], np.array([4.0, 0.6, 2 * np.cos(2.0)]) / (4.6 + np.sin(2.0)), rtol=1e-12)
    assert found.slopes[1, 0] == pytest.approx(1e5) and found.at[0] == pytest.approx(4e-5)
    assert np.all(np.isnan(elasticities(PROBLEM, X, ("none",)).table))
    said = json.loads(json.dumps(elasticities(PROBLEM, X, ("power", "none")).to_json()))
    assert said["power"]["elasticity"]["b"] == pytest.approx(-0.5) and said["none"]["elasticity"]["c"] is None


def test_interactions_of_a_power_law():
    """In logarithms the second derivatives of a^2 b^-1/2 c over it are the products of the exponents."""
    found = interactions(PROBLEM, X, step=1e-3)
    power = np.array([2.0, -0.5, 1.0])
    assert np.allclose(found.table, np.outer(power, power), atol=1e-5) and found.asymmetry < 1e-5
    assert np.allclose(interactions(PROBLEM, X, "sum").table[0, 1:], 0, atol=1e-8)


def test_first_order_spread_is_that_of_many_copies():
    found, other = spreads(PROBLEM, SCATTER, X)
    value = 3 * 16 * 0.3**-0.5 * 2
    assert found.value == pytest.approx(value) and found.figure == "power" and other.figure == "sum"
    assert np.allclose(found.moves, value * np.array([2 * 0.025, -0.5 * 0.02, 0.025]), rtol=1e-12)
    assert np.sum(found.shares) == pytest.approx(1) and found.shares[0] == pytest.approx(0.05**2 / 0.003225)
    copies = judge(PROBLEM, SCATTER, X)
    assert found.deviation == pytest.approx(copies["power deviation"], rel=0.01)


def test_yield_to_first_order_is_that_of_copies():
    found, _ = spreads(PROBLEM, SCATTER, X)
    limit = found.value - 1.3 * found.deviation
    held = FigureProblem(PROBLEM.space, figures, "sum", bounds=[Bound("power", low=limit)])
    assert found.yield_above(limit) == pytest.approx(norm.cdf(1.3))
    assert judge(held, SCATTER, X)["yield"] == pytest.approx(norm.cdf(1.3), abs=0.02)


@pytest.mark.parametrize("sense", [1.0, -1.0])
def test_cheapest_tolerances(sense):
    """The closed form against a search, and its conditions: each tolerance gives the same variance by cost."""
    spread, costs = Spread("f", ("a", "b", "c"), 10.0, np.array([0.5, -0.2, 0.8])), np.array([1.0, 3.0, 2.0])
    limit, z = 10.0 - sense * 1.5, norm.ppf(0.99)
    found = allocate(spread, limit, 0.99, costs, sense)
    made = Spread("f", spread.deviations, 10.0, spread.moves * found.factors)
    assert made.yield_above(limit, sense) == pytest.approx(0.99, rel=1e-12)
    searched = minimize(
        lambda f: np.sum(costs / f), np.full(3, 0.5), bounds=[(1e-3, 10)] * 3, method="SLSQP", options={"ftol": 1e-14},
        constraints={"type": "eq", "fun": lambda f: np.sum((spread.moves * f) ** 2) - (1.5 / z) ** 2},
    )  # fmt: skip
    assert np.allclose(found.factors, searched.x, rtol=1e-4)
    assert found.cost == pytest.approx(np.sum(costs / found.factors) / 6) and found.cost < found.cost_alike
    assert np.ptp(spread.moves**2 * found.factors**3 / costs) < 1e-12
    alike = Spread("f", spread.deviations, 10.0, spread.moves * found.alike)
    assert alike.yield_above(limit, sense) == pytest.approx(0.99)


def test_what_a_percent_of_tolerance_buys():
    spread = Spread("f", ("a", "b"), 3.0, np.array([0.5, 1.2]))
    bought = gain_by_tolerance(spread, 1.5)
    for i in range(2):
        tighter = Spread("f", ("a", "b"), 3.0, spread.moves * (1 - 1e-5 * (np.arange(2) == i)))
        assert bought[i] == pytest.approx((tighter.yield_above(1.5) - spread.yield_above(1.5)) / 1e-5, rel=1e-3)


def test_what_cannot_be_allocated():
    spread = Spread("f", ("a", "b"), 3.0, np.array([0.5, 1.2]))
    with pytest.raises(ValueError, match="wrong side of its limit 4"):
        allocate(spread, 4.0, 0.99)
    with pytest.raises(ValueError, match="`wanted`"):
        allocate(spread, 2.0, 0.3)
    with pytest.raises(ValueError, match="does not depend on `b`"):
        allocate(Spread("f", ("a", "b"), 3.0, np.array([0.5, 0.0])), 2.0, 0.9)
    with pytest.raises(ValueError, match="2 positive numbers"):
        allocate(spread, 2.0, 0.9, [1.0])
    assert corners(3).shape == (9, 3)
