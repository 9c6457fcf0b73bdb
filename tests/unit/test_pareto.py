"""Fronts whose points and hyper-volumes are known: Schaffer's problem, a concave front, and one with a bound."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from inverse.pareto import front, hypervolume, undominated
from inverse.problem import Bound, FigureProblem
from inverse.search import Climb, Log, RandomSearch
from inverse.space import Leaf, Space, Variable

FREE = [Variable(f"x{k}", "m", -3.0, 4.0, 1.5 - k, Leaf(lambda r, k=k: r[k])) for k in range(2)]
SPACE = Space((jnp.zeros(()), jnp.zeros(())), FREE)


def schaffer(r):
    """Schaffer 1985: f = x^2 against g = (x - 2)^2, with a second variable that is best at zero."""
    x, y = r
    return {"f": x**2 + y**2, "g": (x - 2.0) ** 2 + y**2, "x": x}


def bent(r):
    """On the circle of radius 1 both are wanted large: a concave trade, which weighted sums find, and epsilon too."""
    x, y = r
    return {"f": jnp.sin(x) - y**2, "g": jnp.cos(x) - y**2}


PROBLEM = FigureProblem(SPACE, schaffer, "f", -1.0)
BENT = FigureProblem(SPACE, bent, "f", bounds=[])
CLIMB = Climb(steps=60, scale=1.0)


def of_schaffer(n):
    """The hyper-volume above (4, 4) of n points with g evenly from 4 to 0, on sqrt(f) + sqrt(g) = 2."""
    g = np.linspace(4.0, 0.0, n)
    f = (2.0 - np.sqrt(g)) ** 2
    return float(np.sum((4.0 - f[1:]) * (g[:-1] - g[1:])))


def test_hypervolume_of_known_sets():
    assert hypervolume([[1.0, 1.0]], [0.0, 0.0]) == 1.0
    assert hypervolume([[3, 1], [2, 2], [1, 3], [1, 1]], [0, 0]) == 6.0
    assert hypervolume([[3, 1], [2, 2], [1, 3], [9, -1]], [0, 0]) == 6.0
    assert hypervolume(np.zeros((0, 2)), [0.0, 0.0]) == 0.0
    angle = np.linspace(0, np.pi / 2, 100_001)
    assert hypervolume(np.stack([np.cos(angle), np.sin(angle)], 1), [0, 0]) == pytest.approx(np.pi / 4, abs=2e-5)


def test_which_are_dominated():
    rows = [[3, 1], [2, 2], [2, 1], [3, 1], [-np.inf, -np.inf], [np.nan, 9]]
    assert undominated(np.array(rows, float)).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("points", [5, 9])
def test_front_of_schaffer(points):
    found = front(PROBLEM, "g", -1.0, CLIMB, points)
    f, g = found.values.T
    assert len(found.points) == points and not found.dominated
    assert np.allclose(np.sqrt(f) + np.sqrt(np.maximum(g, 0)), 2.0, atol=5e-3)
    assert np.allclose(g[1:-1], np.linspace(4.0, 0.0, points)[1:-1], atol=1e-5)
    assert found.hypervolume([4.0, 4.0]) == pytest.approx(of_schaffer(points), rel=1e-4)
    x, y = found.designs.T
    assert np.all(np.diff(x) > 0) and np.allclose(y, 0, atol=1e-3)


def test_hypervolume_comes_to_its_limit():
    """The area under sqrt(f) + sqrt(g) = 2 up to f = g = 4 is 16/6, so that 16 - 8/3 lies above it; a front of n points
    lacks steps, half of which are right at 1/n."""
    limit = 16.0 - 8.0 / 3.0
    lacking = [limit - of_schaffer(n) for n in (5, 9, 17, 33, 10**6 + 1)]
    assert np.all(np.diff(lacking) < 0) and lacking[-1] < 1e-4
    assert limit - front(PROBLEM, "g", -1.0, CLIMB, 17).hypervolume([4, 4]) == pytest.approx(lacking[2], abs=2e-3)


def test_front_with_more_wanted_of_both_and_a_bound():
    """f = sin x and g = cos x: on the unit circle; a bound on f cuts the front there."""
    found = front(BENT, "g", 1.0, CLIMB, 5)
    assert np.allclose(np.sum(found.values**2, axis=1), 1.0, atol=1e-5)
    assert found.values[0] == pytest.approx([1, 0], abs=1e-5) and found.values[-1] == pytest.approx([0, 1], abs=2e-2)
    cut = front(dataclasses.replace(BENT, bounds=(Bound("f", 0.5, 2.0),)), "g", 1.0, CLIMB, 4)
    assert cut.values[-1] == pytest.approx([0.5, np.sqrt(0.75)], abs=1e-4)


def test_a_front_is_resumed_bit_for_bit():
    kept = {}

    def fresh(name, problem):
        kept[name] = Log(problem)
        return kept[name]

    whole = front(PROBLEM, "g", -1.0, CLIMB, 4, log=fresh)
    names = list(kept)
    assert names == ["first", "last", "level 1", "level 2", "end", "end, start 1"]
    known = {name: kept[name].evaluations[: 3 if name == "level 2" else None] for name in names[:4]}
    asked = []

    def resumed(name, problem):
        return Log(problem, known.get(name, ()), after=lambda e: asked.append(name))

    again = front(PROBLEM, "g", -1.0, CLIMB, 4, log=resumed)
    assert all(np.array_equal(a.best.x, b.best.x) for a, b in zip(whole.points, again.points, strict=True))
    assert set(asked) == {"level 2", "end", "end, start 1"}


def test_more_starts_keep_the_best_and_tell_the_spread():
    """A ripple traps a search from one side; of several starts the best is kept."""

    def trapped(r):
        return schaffer(r) | {"f": r[0] ** 2 + r[1] ** 2 + 4 * jnp.sin(4 * r[0]) ** 2}

    ripple = FigureProblem(SPACE, trapped, "f", -1.0)
    one = front(ripple, "g", -1.0, CLIMB, 3)
    starts = [np.asarray(SPACE.locate((jnp.asarray(a), jnp.asarray(0.1)))) for a in (0.1, 0.8, 1.6)]
    many = front(ripple, "g", -1.0, CLIMB, 3, starts=starts)
    middle = many.points[1] if len(many.points) > 2 else many.points[0]
    assert len(middle.scores) == 4 and np.ptp(middle.scores) > 0.1
    assert many.hypervolume([9, 9]) >= one.hypervolume([9, 9])
    assert middle.best.figures["f"] == pytest.approx(-max(middle.scores))


def test_the_front_of_a_poor_search_has_no_dominated_points():
    def draws(log, start=None):
        return RandomSearch(seed=3, designs=40)(log, start)

    found = front(PROBLEM, "g", -1.0, draws, 6)
    f, g = found.values.T
    assert np.all(np.diff(f) > 0) and np.all(np.diff(g) < 0)
    assert len(found.points) + len(found.dominated) == 6
    assert found.solves == 40 * 8
