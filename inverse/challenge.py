"""A named question of the gallery: a problem, what is known of its answer, and what to compare a design with."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .problem import FigureProblem, Impossible
from .search import Climb, Evaluation, Log

WITHIN = (0.1, 0.9)  # of the unit box, where starts are drawn


class Known(eqx.Module):
    """An answer from theory or from the literature.

    **Arguments:** `values`, by the names of variables (SI) or figures; `tolerance`, relative, within which a search
    should meet them; `source`, where they are from.
    """

    values: Mapping[str, float] = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    source: str = eqx.field(static=True)


class Variant(eqx.Module):
    """The same question at another condition: `at`, its value along the axis that the challenge names; `problem`."""

    at: float = eqx.field(static=True)
    problem: FigureProblem


class Challenge(eqx.Module):
    """A question that a designer asks, with all that belongs to an honest answer.

    **Arguments:** `name`; `question`, one sentence; `problem`; `known`, its answer where there is one; `literature`, a
    sentence on what is published, where that is no number to be met; `uniform`, the same figures over a space of
    designs that do not change through the thickness; `finer`, the figures of the same space on a finer mesh with
    tighter tolerances; `along`, the name of what the `variants` differ in, with its unit; `at`, where the problem
    itself lies there; `shown`, names of figures to draw along it; `climb`, how to search, and from how many `starts`,
    of which all but the first are drawn at random; `others`, methods without derivatives to compare it with;
    `more_random`, solves of the random search over its own; `hold`, whether
    all searches hold what is drawn at the start, because a design drawn anew scatters by more than a design is off.
    """

    name: str = eqx.field(static=True)
    question: str = eqx.field(static=True)
    problem: FigureProblem
    known: Known | None = None
    literature: str = eqx.field(static=True, default="")
    uniform: FigureProblem | None = None
    finer: FigureProblem | None = None
    along: str = eqx.field(static=True, default="")
    at: float = eqx.field(static=True, default=math.nan)
    variants: tuple[Variant, ...] = ()
    shown: tuple[str, ...] = eqx.field(static=True, default=())
    starts: int = eqx.field(static=True, default=1)
    climb: Climb = eqx.field(default_factory=Climb)
    others: tuple[str, ...] = eqx.field(
        static=True, default=("Nelder-Mead", "Powell", "COBYQA", "differential evolution")
    )
    more_random: float = eqx.field(static=True, default=1.0)
    hold: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.finer is not None and self.finer.space.names != self.problem.space.names:
            raise ValueError(f"The finer problem of `{self.name}` must have the variables of the problem.")

    def search(self, log: Log, seed: int = 0) -> Evaluation:
        """The best evaluation of climbs from all starts, in one log; a start from where nothing can be said is left."""
        draw = np.random.default_rng(seed)
        for k in range(self.starts):
            x = None if k == 0 else draw.uniform(*WITHIN, size=len(log.problem.space.names))
            try:
                self.climb(log, x)
            except Impossible:
                if k == 0:
                    raise
        return log.best


def values_of(problem: FigureProblem, x) -> dict[str, float]:
    """The variables at `x` of the unit box by name, SI."""
    return {n: float(v) for n, v in zip(problem.space.names, problem.space.values(jnp.asarray(x)), strict=True)}


def errors(known: Known, problem: FigureProblem, x, figures: Mapping[str, float]) -> dict[str, float]:
    """How far a design is from the known answer, by name, relative."""
    found = {**values_of(problem, x), **figures}
    return {name: abs(found[name] / value - 1.0) for name, value in known.values.items()}


def met(known: Known, deviations: Mapping[str, float]) -> bool:
    """Whether a design meets the known answer."""
    return all(math.isfinite(d) and d <= known.tolerance for d in deviations.values())
