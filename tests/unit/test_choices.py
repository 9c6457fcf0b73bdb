"""Choices around a search: the best is found, what cannot be is left out, what differs is refused; the logit scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.choices import best_choice
from inverse.problem import Bound, FigureProblem, Impossible
from inverse.problems.graded_electrode import graded
from inverse.search import Climb, Log
from inverse.space import Leaf, Logit, Space, Variable


def problem(height: float, bounds=(), objective="value"):
    """height - (a - 0.4)^2 over a share."""
    free = [Variable("a", "", 0.01, 0.99, 0.1, Leaf(lambda d: d), Logit())]
    figures = lambda a: {objective: height - (a - 0.4) ** 2, "a": a}  # noqa: E731
    return FigureProblem(Space(jnp.asarray(0.1), free), figures, objective, bounds=bounds)


def test_the_number_of_layers_is_enumerated():
    """More layers resist less, and no choice changes what the others find."""
    logs = {f"{n} layers": Log(graded(n)) for n in (1, 2, 4)}
    name, found = best_choice(logs, Climb(steps=100, tolerance=1e-12))
    resistances = [found[key].figures["resistance_ohm_cm2"] for key in logs]
    assert name == "4 layers" and resistances == sorted(resistances, reverse=True)
    alone = Climb(steps=100, tolerance=1e-12)(Log(graded(2)))
    assert found["2 layers"].figures == alone.figures


def test_what_cannot_be_is_left_out():
    """The higher problem has no design that holds its bound, and the lower one wins; without it there is none."""
    impossible = problem(2.0, [Bound("a", low=1.5)])
    logs = {"high": Log(impossible), "low": Log(problem(1.0))}
    name, found = best_choice(logs, Climb())
    assert name == "low" and set(found) == {"low"} and found["low"].figures["a"] == pytest.approx(0.4, abs=1e-4)
    with pytest.raises(Impossible, match="None of the choices has a design. high: no design holds the bounds."):
        best_choice({"high": Log(impossible)}, Climb())


def test_objectives_that_differ_are_refused():
    with pytest.raises(ValueError, match="one objective and one sense, but has: other, value"):
        best_choice({"a": Log(problem(1.0)), "b": Log(problem(1.0, objective="other"))}, Climb())


def test_the_logit_scale():
    """There and back, its derivative, its middle, and bounds that it cannot have."""
    scale, low, high = Logit(), jnp.asarray(0.001), jnp.asarray(0.9)
    for u in (0.0, 0.3, 1.0):
        assert float(scale.unit(scale.value(u, low, high), low, high)) == pytest.approx(u, abs=1e-12)
    middle = float(scale.value(0.5, low, high))
    assert middle / (1 - middle) == pytest.approx(np.sqrt(0.001 / 0.999 * 9.0), rel=1e-12)
    slope, h = float(jax.grad(lambda u: scale.value(u, low, high))(0.3)), 1e-6
    ends = [float(scale.value(0.3 + s * h, low, high)) for s in (1.0, -1.0)]
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-8)
    with pytest.raises(ValueError, match="must be bounded inside 0 and 1, but 0 to 0.5 were given"):
        Variable("a", "", 0.0, 0.5, 0.1, Leaf(lambda d: d), Logit())
