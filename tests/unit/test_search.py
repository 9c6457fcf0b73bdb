"""Searches: known optima, bounds that are held, resuming, budgets, and starts that are of no use."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.problem import Bound, FigureProblem, Impossible
from inverse.search import GRADIENT_COST, Climb, DerivativeFree, Log, RandomSearch, solves_to
from inverse.space import Leaf, Space, Variable

N = 4
FREE = [Variable(f"x{k}", "m", -2.0, 3.0, 0.3 * k, Leaf(lambda r, k=k: r[k])) for k in range(N)]
SPACE = Space(tuple(jnp.zeros(N)), FREE)


def figures(x):
    """A bowl with its bottom at 1, 2, 3, 4 of which the last is out of reach, and a sum to hold."""
    x = jnp.stack(x)
    return {"height": jnp.sum((x - jnp.arange(1.0, N + 1)) ** 2) + 2.0, "sum": jnp.sum(x), "first": x[0]}


PROBLEM = FigureProblem(SPACE, figures, "height", sense=-1.0)
HELD = FigureProblem(SPACE, figures, "height", -1.0, [Bound("sum", high=4.0), Bound("first", low=0.5)])


def values(problem, found):
    return np.asarray(problem.space.values(jnp.asarray(found.x)))


def test_climb_to_a_known_optimum_at_a_bound():
    log = Log(PROBLEM)
    assert np.allclose(values(PROBLEM, Climb()(log)), [1, 2, 3, 3], atol=1e-7)
    assert log.solves == pytest.approx(GRADIENT_COST * len(log.evaluations))


def test_climb_holds_figures():
    """With the sum held at 4 and the first at 0.5 or more: the others are moved by the same distance, (9 - 3.5) / 3."""
    found = Climb()(Log(HELD))
    assert np.allclose(values(HELD, found), [0.5, *(np.array([2, 3, 4]) - 5.5 / 3)], atol=1e-6)
    assert found.figures["sum"] <= 4 * (1 + 1e-6)


@pytest.mark.parametrize("problem", [PROBLEM, HELD], ids=["free", "held"])
@pytest.mark.parametrize(
    "method", [Climb(), DerivativeFree(), DerivativeFree("differential evolution"), RandomSearch()]
)
def test_a_resumed_search_is_the_same_bit_for_bit(method, problem):
    whole = Log(problem, budget=60)
    method(whole)
    for cut in (0, 1, 7, len(whole.evaluations)):
        again = Log(problem, known=whole.evaluations[:cut], budget=60)
        method(again)
        assert len(again.evaluations) == len(whole.evaluations)
        for a, b in zip(whole.evaluations, again.evaluations, strict=True):
            assert np.array_equal(a.x, b.x) and a.figures == b.figures


def test_a_log_of_another_search_is_refused():
    whole = Log(PROBLEM, budget=30)
    RandomSearch(seed=1)(whole)
    with pytest.raises(ValueError, match="belong to another search"):
        RandomSearch(seed=2)(Log(PROBLEM, known=whole.evaluations, budget=40))


def test_budget_and_solves_to_a_share_of_the_optimum():
    log = Log(PROBLEM, budget=100)
    RandomSearch()(log)
    assert log.solves == 100 and len(log.evaluations) == 100
    best = Log(PROBLEM)
    score = best.score(Climb()(best))
    assert solves_to(best, score) < 30 and solves_to(log, score) == np.inf
    nelder = Log(PROBLEM, budget=1000)
    DerivativeFree()(nelder)
    assert 30 < solves_to(nelder, score) < 1000


def test_what_a_search_cannot_use():
    with pytest.raises(Impossible, match="depends on `x1`"):
        Climb()(Log(eqx.tree_at(lambda p: p.figures, PROBLEM, lambda x: {"height": x[0] + x[2] + x[3]})))
    with pytest.raises(Impossible, match="`height` is not finite"):
        Climb()(Log(eqx.tree_at(lambda p: p.figures, PROBLEM, lambda x: {"height": jnp.log(-1.0 - x[0])})))
    with pytest.raises(ValueError, match="low < high"):
        Bound("sum", 3.0, 2.0)
