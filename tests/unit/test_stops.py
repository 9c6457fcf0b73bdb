"""Stops of searches, guards against numbers that are none, several starts, and bounds that cannot be held."""

import jax.numpy as jnp
import numpy as np
import pytest

from inverse.problem import Bound, FigureProblem, Impossible
from inverse.search import Climb, Evaluation, Log, RandomSearch
from inverse.space import Leaf, Space, Variable
from inverse.stops import Hopeless, Plateau, require_held, several, spread_starts

SPACE = Space((jnp.zeros(()),), [Variable("x", "m", -2.0, 4.0, -1.0, Leaf(lambda r: r[0]))])


def figures(r):
    """A root that ends at 2, and its best there; waves."""
    (x,) = r
    return {"root": 2.0 - jnp.sqrt(2.0 - x) - 0.05 * x**2, "waves": jnp.sin(4 * x) + 0.1 * x, "x": x}


ROOT = FigureProblem(SPACE, figures, "root")


def value(x):
    return float(SPACE.values(jnp.asarray(x))[0])


@pytest.mark.parametrize("bounds", [(), (Bound("x", high=5.0),), (Bound("root", low=-2.0),)])
def test_a_climb_steps_back_from_what_is_not_a_number(bounds):
    """Beyond x = 2 the root is none; the best lies before it, where 1 / (2 sqrt(2 - x)) = x / 10: at a step's reach."""
    rising = FigureProblem(SPACE, lambda r: figures(r) | {"root": 3.0 * r[0] - r[0] ** 2 + jnp.log(2.0 - r[0])}, "root")
    held = FigureProblem(SPACE, rising.figures, "root", 1.0, bounds)
    log = Log(held)
    found = Climb()(log, np.asarray(SPACE.start))
    best = np.roots([2.0, -7.0, 5.0])  # 3 - 2 x = 1 / (2 - x)
    assert value(found.x) == pytest.approx(min(best), abs=1e-5)
    assert np.isfinite(log.score(found))


def test_a_climb_that_leaps_over_the_edge_comes_back():
    """From the far left a first step lands where the figure is none: it is logged, not believed."""
    edge = FigureProblem(SPACE, lambda r: {"f": 50.0 * r[0] + 10.0 * jnp.log(2.0 - r[0])}, "f")
    log = Log(edge)
    found = Climb()(log)
    assert any(np.isnan(e.figures["f"]) or np.isinf(e.figures["f"]) for e in log.evaluations)
    assert value(found.x) == pytest.approx(1.8, abs=1e-4)
    again = Log(edge, known=log.evaluations[:2])
    assert np.array_equal(Climb()(again).x, found.x)


def test_a_plateau_ends_a_search_and_a_resumed_one_at_the_same_place():
    whole = Log(ROOT, stop=Plateau(gain=0.01, patience=30))
    RandomSearch(designs=2000)(whole)
    assert 31 < len(whole.evaluations) < 2000
    _, best = whole.course()
    assert best[-1] - best[-31] <= 0.01 * abs(best[-31])
    again = Log(ROOT, known=whole.evaluations[:9], stop=Plateau(gain=0.01, patience=30))
    RandomSearch(designs=2000)(again)
    assert len(again.evaluations) == len(whole.evaluations)


def test_bounds_that_contradict_each_other():
    held = FigureProblem(SPACE, figures, "root", 1.0, [Bound("x", low=1.5), Bound("waves", low=3.0)])
    log = Log(held, stop=Hopeless(patience=25))
    found = RandomSearch(designs=5000)(log)
    assert len(log.evaluations) < 1000
    with pytest.raises(Impossible, match=r"`waves` is .* to be between 3 and inf"):
        require_held(held, found)
    require_held(ROOT, found)
    with pytest.raises(Impossible, match="`x` is nan"):
        require_held(held, Evaluation(found.x, {"x": np.nan, "waves": 4.0}, None))


def test_several_starts():
    waves = FigureProblem(SPACE, figures, "waves")
    starts = spread_starts(waves, 6)
    assert (
        len(starts) == 6 and np.array_equal(starts[0], SPACE.start) and all(np.all((0 <= s) & (s <= 1)) for s in starts)
    )
    logs = [Log(waves) for _ in starts]
    found = several(logs, Climb(), starts)
    top = (np.arccos(-0.025) + 4 * np.pi) / 4  # of the highest wave within the bounds
    assert value(found.best.x) == pytest.approx(top, abs=1e-5)
    assert max(found.scores) == pytest.approx(np.sin(4 * top) + 0.1 * top) and np.ptp(found.scores) > 0.1
    assert found.solves == sum(log.solves for log in logs)
    beyond = FigureProblem(SPACE, lambda r: {"f": jnp.sqrt(1.0 - r[0]) * r[0]}, "f")
    poor = [np.array([0.9]), np.array([0.2])]
    found = several([Log(beyond), Log(beyond)], Climb(), poor)
    assert found.scores[0] == -np.inf and value(found.best.x) == pytest.approx(2 / 3, abs=1e-5)
    with pytest.raises(Impossible, match="`f` is not finite"):
        several([Log(beyond)], Climb(), poor[:1])
    with pytest.raises(ValueError, match="alike in number"):
        several(logs, Climb(), starts[:2])
