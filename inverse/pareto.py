"""Fronts of two figures that are both wanted: the best of one at levels of the other, from neighbour to neighbour."""

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from microstructure.checks import require

from .problem import Bound, FigureProblem
from .search import FEASIBLE, Evaluation, Log, violation
from .stops import several


@dataclasses.dataclass(frozen=True)
class Point:
    """A design of a front.

    **Arguments:** `name`, of its search; `best`, its evaluation; `scores`, of the best of each start, minus infinity
    where its search found no design within the bounds: their spread tells how far one start can be trusted; `solves`,
    forward-equivalent, of all of them.
    """

    name: str
    best: Evaluation
    scores: tuple[float, ...]
    solves: float


@dataclasses.dataclass(frozen=True)
class Front:
    """Designs of which none is better than another in both figures.

    **Arguments:** `problem`, whose objective is the first figure; `other` and `other_sense`, the second one; `points`,
    from the best of the first figure to the best of the second; `dominated`, points that others beat.
    """

    problem: FigureProblem
    other: str
    other_sense: float
    points: tuple[Point, ...]
    dominated: tuple[Point, ...]

    @property
    def values(self) -> np.ndarray:
        """Both figures of the points, shape (n, 2)."""
        names = (self.problem.objective, self.other)
        return np.array([[p.best.figures[name] for name in names] for p in self.points]).reshape(-1, 2)

    @property
    def designs(self) -> np.ndarray:
        """The values of the variables of the points, SI, shape (n, number of variables)."""
        return np.array([self.problem.space.values(jnp.asarray(p.best.x)) for p in self.points])

    @property
    def solves(self) -> float:
        """Forward-equivalent solves of the whole front."""
        return sum(p.solves for p in (*self.points, *self.dominated))

    def hypervolume(self, reference: Sequence[float]) -> float:
        """The area between the points and a `reference`, of both figures, that is worse than them."""
        sense = np.array([self.problem.sense, self.other_sense])
        return hypervolume(sense * self.values, sense * np.asarray(reference, float))


def front(
    problem: FigureProblem,
    other: str,
    other_sense: float,
    search: Callable[[Log, np.ndarray | None], Evaluation],
    points: int = 9,
    spacing: Callable = np.linspace,
    starts: Sequence[np.ndarray] = (),
    log: Callable[[str, FigureProblem], Log] = lambda name, problem: Log(problem),
) -> Front:
    """The front of the objective of a problem and an `other` figure, by epsilon-constraint.

    First the best of each alone; then, from the best of the objective on, the best objective with the other held at
    levels between the two ends, each search from the design of the one before. All bounds of the problem hold.

    **Arguments:** `other_sense`, 1 where more of the other is wanted, -1 where less; `search`, of a log from a start;
    `points`, both ends included; `spacing`, of the levels: `numpy.linspace` or `numpy.geomspace`; `starts`, unit-box
    designs from which each point is searched as well: the best is kept; `log`, from the name of a search to its log,
    with what is known of it where the front is resumed.

    **Source:** Haimes, Lasdon and Wismer 1971, doi 10.1109/TSMC.1971.4308298.
    """
    require("points", points, 2, 10**4)
    free = Bound(other)  # no limit, so that the code compiled for it serves every point
    best = _point("first", _with(problem, free), [None, *starts], search, log)
    opposite = FigureProblem(problem.space, problem.figures, other, other_sense, (*problem.bounds, _free(problem)))
    last = _point("last", opposite, [best.best.x, *starts], search, log)
    levels = spacing(best.best.figures[other], last.best.figures[other], points)
    found = [best]
    for k, level in enumerate(levels[1:-1], 1):
        bound = Bound(other, low=level) if other_sense > 0 else Bound(other, high=level)
        near = found[-1].best.x
        found.append(_point(f"level {k}", _with(problem, bound), [near, *starts], search, log))
    found.append(_completed(last, problem, levels[-1], other, other_sense, [found[-1].best.x], search, log))
    score = _scores(problem, other, other_sense, found)
    good = undominated(score)
    order = sorted(np.flatnonzero(good), key=lambda i: -score[i, 0])
    beaten = tuple(found[i] for i in np.flatnonzero(~good))
    return Front(problem, other, other_sense, tuple(found[i] for i in order), beaten)


def _with(problem, bound):
    return dataclasses.replace(problem, bounds=(*problem.bounds, bound))


def _free(problem):
    return Bound(problem.objective)


def _point(name, problem, starts, search, log) -> Point:
    """The best of the searches from all starts."""
    logs = [log(f"{name}, start {i}" if i else name, problem) for i in range(len(starts))]
    found = several(logs, search, starts)
    return Point(name, found.best, found.scores, found.solves)


def _completed(last, problem, level, other, sense, starts, search, log):
    """The end of the front: of the designs with the best other figure, but for a hair, that of the best objective."""
    hair = 10 * FEASIBLE * (abs(level) or 1.0)
    bound = Bound(other, low=level - hair) if sense > 0 else Bound(other, high=level + hair)
    end = _point("end", _with(problem, bound), [last.best.x, *starts], search, log)
    return dataclasses.replace(end, solves=end.solves + last.solves)


def _scores(problem, other, sense, points):
    """Both figures, more being better, shape (n, 2); minus infinity where the bounds of the problem are not held."""
    rows = []
    for point in points:
        figures = point.best.figures
        row = [problem.sense * figures[problem.objective], sense * figures[other]]
        held = violation(problem, figures) <= FEASIBLE and np.all(np.isfinite(row))
        rows.append(row if held else [-np.inf, -np.inf])
    return np.array(rows)


def undominated(scores: np.ndarray) -> np.ndarray:
    """Which rows no other row equals or beats in every column, of equal rows the first; more is better. Shape (n,)."""
    scores = np.asarray(scores, float)
    good = np.all(np.isfinite(scores), axis=1)
    for i, row in enumerate(scores):
        as_good = np.all(scores >= row, axis=1) & good
        better = as_good & (np.any(scores > row, axis=1) | (np.arange(len(scores)) < i))
        good[i] &= not np.any(better)
    return good


def hypervolume(scores: np.ndarray, reference: np.ndarray) -> float:
    """The area that points dominate above a reference point, exactly; more is better in both columns.

    **Arguments:** `scores`, shape (n, 2); `reference`, shape (2,); points that are not above it in both add nothing.

    **Source:** Zitzler and Thiele 1999, doi 10.1109/4235.797969.
    """
    above = np.asarray(scores, float).reshape(-1, 2) - np.asarray(reference, float)
    above = above[np.all(above > 0, axis=1)]
    above = above[np.argsort(-above[:, 0])]
    reached = np.maximum.accumulate(np.concatenate([[0.0], above[:, 1]]))
    return float(np.sum(above[:, 0] * np.diff(reached)))
