"""When a search ends before its method does, several starts of one, and what is to be said of bounds not held."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import numpy as np
from scipy.stats import qmc

from microstructure.checks import require

from .problem import FigureProblem, Impossible
from .search import FEASIBLE, Evaluation, Log, violation


class Plateau(eqx.Module):
    """Ends a search when the best score has gained less than a share of its magnitude over the last evaluations.

    **Arguments:** `gain`, a share; `patience`, evaluations. It asks the log alone, so that a resumed search ends where
    the whole one did. Before the bounds are held for the first time it waits.
    """

    gain: float = eqx.field(static=True, default=1e-4)
    patience: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        require("gain", self.gain, 0.0, 1.0)
        require("patience", self.patience, 1, 10**6)

    def __call__(self, log: Log) -> bool:
        """Whether to end."""
        if len(log.evaluations) <= self.patience:
            return False
        _, best = log.course()
        before = best[-1 - self.patience]
        return bool(np.isfinite(before) and best[-1] - before <= self.gain * abs(before))


class Hopeless(eqx.Module):
    """Ends a search when no design held the bounds and the least violation has not fallen by a share over the last
    evaluations: the bounds may contradict each other.

    **Arguments:** `gain`, a share of the violation; `patience`, evaluations.
    """

    gain: float = eqx.field(static=True, default=0.01)
    patience: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        require("gain", self.gain, 0.0, 1.0)
        require("patience", self.patience, 1, 10**6)

    def __call__(self, log: Log) -> bool:
        """Whether to end."""
        if len(log.evaluations) <= self.patience:
            return False
        least = np.minimum.accumulate([violation(log.problem, e.figures) for e in log.evaluations])
        before = least[-1 - self.patience]
        return bool(least[-1] > FEASIBLE and np.isfinite(before) and before - least[-1] <= self.gain * before)


@dataclasses.dataclass(frozen=True)
class Several:
    """Searches from several starts: `best`, and the `scores` of the best of each, minus infinity where it found none
    that holds the bounds; `solves`, forward-equivalent, of all."""

    best: Evaluation
    scores: tuple[float, ...]
    solves: float


def several(logs: Sequence[Log], search, starts: Sequence[np.ndarray | None]) -> Several:
    """A search from each start, each with a log of its own; the best is kept.

    Each may as well run as a task of its own: with its log known, nothing is computed again here.

    **Raises:** [`Impossible`][] where no start can be searched from; one alone scores minus infinity.
    """
    if not logs or len(logs) != len(starts):
        raise ValueError(
            f"Arguments `logs` and `starts` must be alike in number, but {len(logs)} and {len(starts)} are."
        )
    said = [_tried(log, search, start) for log, start in zip(logs, starts, strict=True)]
    if None not in said:
        raise said[0]
    scores = tuple(float(log.score(log.best)) for log in logs)
    if np.any(np.isfinite(scores)):
        chosen = logs[int(np.argmax(scores))]
    else:
        chosen = min(logs, key=lambda log: violation(log.problem, log.best.figures))
    return Several(chosen.best, scores, sum(log.solves for log in logs))


def _tried(log, search, start) -> Impossible | None:
    try:
        search(log, start)
    except Impossible as error:
        return error
    return None


def spread_starts(problem: FigureProblem, count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` designs of the unit box: the start of the space, and points of a scrambled Sobol sequence."""
    require("count", count, 1, 10**4)
    points = qmc.Sobol(len(problem.space.names), rng=seed).random(1 << max(count - 1, 1).bit_length())
    return [np.asarray(problem.space.start, float), *points[: count - 1]]


def require_held(problem: FigureProblem, found: Evaluation) -> None:
    """A sentence where what a search found does not hold the bounds.

    **Raises:** [`Impossible`][], with the bound that is violated most and by how much.
    """
    lacks = {b.figure: b.violation(found.figures[b.figure]) for b in problem.bounds}
    worst = max(lacks, key=lambda name: np.inf if np.isnan(lacks[name]) else lacks[name], default=None)
    if worst is not None and not lacks[worst] <= FEASIBLE:
        bound = next(b for b in problem.bounds if b.figure == worst)
        raise Impossible(
            f"No design was found that holds the bounds: at the nearest `{worst}` is {found.figures[worst]:.6g}, to be "
            f"between {float(bound.low):.6g} and {float(bound.high):.6g}. Widen the bounds or the space."
        )
