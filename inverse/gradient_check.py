"""A check of a problem's derivatives before they are trusted: along one direction, against central differences."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .search import Log

STEPS = (1e-2, 1e-3, 1e-4)  # of the unit box
# Relative differences up to which a derivative holds, or holds roughly: that of a march is at its own time steps, which
# a difference does not hold, and so differs by as much as the march errs.
AGREES, DOUBTFUL = 1e-3, 5e-2
ROOM = 0.02  # from the bounds, so that every step stays in the box


@dataclasses.dataclass(frozen=True)
class Checked:
    """One figure: `slope` along the direction, `differences` and their relative `errors` by step, and the `verdict`.

    An error is relative to the slope, or to a tenth of the gradient's length where the direction happens to be level.
    """

    slope: float
    differences: np.ndarray
    errors: np.ndarray
    trusted: bool
    verdict: str


def gradient_check(log: Log, start=None, steps: Sequence[float] = STEPS, seed: int = 0) -> dict[str, Checked]:
    """What a search uses, the objective and the held figures, along a random direction at its start.

    **Arguments:** `log`, of the problem, into which the evaluations go; `steps`, three or so; `seed`, of the direction.
    """
    problem = log.problem
    x = np.clip(np.asarray(problem.space.start if start is None else start, float), ROOM, 1.0 - ROOM)
    direction = np.random.default_rng(seed).normal(size=x.size)
    direction /= np.linalg.norm(direction)
    at = log.evaluate(x, derivatives=True)
    ends = [[log.evaluate(x + s * h * direction, derivatives=False) for s in (1.0, -1.0)] for h in steps]
    found = {}
    for name, gradient in zip(problem.wanted, at.slopes, strict=True):
        differences = [(a.figures[name] - b.figures[name]) / (2.0 * h) for (a, b), h in zip(ends, steps, strict=True)]
        found[name] = judged(gradient, direction, np.asarray(differences), steps)
    return found


def judged(gradient, direction, differences, steps) -> Checked:
    """The verdict on one figure: that of the step that agrees best, since large steps bend and small ones drown."""
    slope = float(gradient @ direction)
    scale = max(abs(slope), 0.1 * float(np.linalg.norm(gradient)), 1e-300)
    errors = np.abs(np.asarray(differences) - slope) / scale
    if not np.all(np.isfinite(errors)):
        return Checked(slope, differences, errors, False, "Refused: a value or a derivative is not finite.")
    best = int(np.argmin(errors))
    said = f"to {100 * errors[best]:.2g} % at steps of {steps[best]:g} of the box"
    if errors[best] <= AGREES:
        return Checked(slope, differences, errors, True, f"holds {said}")
    if errors[best] <= DOUBTFUL:
        return Checked(slope, differences, errors, True, f"holds roughly, {said}")
    return Checked(slope, differences, errors, False, f"Refused: derivative and difference agree only {said}.")
