"""Searches for the best design of a problem without randomness, each of them resumed by its own evaluations.

SciPy's methods are deterministic: fed the values that they were fed before, they ask for the same designs again. So the
log of the evaluations is the checkpoint, whatever the method: a resumed search reads them until they end, and goes on
to the same numbers, bit for bit.
"""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from microstructure.checks import require

from .problem import FigureProblem, Impossible

GRADIENT_COST = 2.1  # of an evaluation with derivatives, in evaluations without: measured 1.7 to 2.1
FAILED = 1e3  # the loss of a design that cannot be solved; that of the start is 1 or -1
FEASIBLE = 1e-6  # violation of a bound, as a share of it, that counts as held


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found at a design.

    **Arguments:** `x`, of the unit box; `figures`, by name; `slopes`, of the objective and the held figures in x, shape
    (k, n), or `None` where only values were asked for.
    """

    x: np.ndarray
    figures: dict[str, float]
    slopes: np.ndarray | None


class Log:
    """The evaluations of a search in their order: what to resume from, what it cost, and the best so far.

    **Arguments:** `problem`; `known`, evaluations of an earlier run of the same search; `after`, called with each new
    evaluation, which may stop the search by an exception; `budget`, forward-equivalent solves after which it stops;
    `stop`, of the log before each evaluation, whether the search ends there.
    """

    def __init__(
        self,
        problem: FigureProblem,
        known: Sequence[Evaluation] = (),
        after: Callable[[Evaluation], None] = lambda evaluation: None,
        budget: float = np.inf,
        stop: Callable[["Log"], bool] = lambda log: False,
    ):
        self.problem, self.after, self.budget, self.stop = problem, after, budget, stop
        self.known, self.evaluations = list(known), []

    @property
    def solves(self) -> float:
        """Forward-equivalent solves spent."""
        return sum(1.0 if e.slopes is None else GRADIENT_COST for e in self.evaluations)

    def evaluate(self, x, *, derivatives: bool) -> Evaluation:
        """The evaluation at `x`: the last one again, one of an earlier run, or a new one."""
        x = np.array(x, float)
        last = self.evaluations[-1] if self.evaluations else None
        if last is not None and np.array_equal(last.x, x) and (last.slopes is not None or not derivatives):
            return last
        if self.solves + (GRADIENT_COST if derivatives else 1.0) > self.budget or self.stop(self):
            raise Spent
        position = len(self.evaluations)
        if position < len(self.known):
            found = self.known[position]
            if not np.array_equal(found.x, x) or (found.slopes is None) == derivatives:
                raise ValueError("The evaluations to resume from belong to another search; begin anew.")
            self.evaluations.append(found)
            return found
        found = _evaluated(self.problem, x, derivatives)
        self.evaluations.append(found)
        self.after(found)
        return found

    def score(self, evaluation: Evaluation) -> float:
        """What is maximised, minus infinity where a bound is violated or a figure is not a number."""
        held = violation(self.problem, evaluation.figures) <= FEASIBLE
        value = self.problem.sense * evaluation.figures[self.problem.objective]
        return value if held and np.isfinite(value) else -np.inf

    @property
    def best(self) -> Evaluation:
        """The best evaluation that holds the bounds; where none does, the one that violates them least."""
        if not self.evaluations:
            raise ValueError("Nothing was evaluated.")
        best = max(self.evaluations, key=self.score)
        if np.isfinite(self.score(best)):
            return best
        return min(self.evaluations, key=lambda e: violation(self.problem, e.figures))

    def course(self) -> tuple[np.ndarray, np.ndarray]:
        """Solves spent after each evaluation, and the best score until then."""
        costs = [1.0 if e.slopes is None else GRADIENT_COST for e in self.evaluations]
        return np.cumsum(costs), np.maximum.accumulate([self.score(e) for e in self.evaluations])


class Spent(Exception):
    """The budget of a search is spent, or it was stopped."""


def violation(problem: FigureProblem, figures: dict[str, float]) -> float:
    """The largest violation of the bounds, as a share of each."""
    found = [b.violation(figures[b.figure]) for b in problem.bounds]
    return max((np.inf if np.isnan(v) else v for v in found), default=0.0)


def _evaluated(problem, x, derivatives) -> Evaluation:
    if not derivatives:
        return Evaluation(x, {k: float(v) for k, v in problem.look(jnp.asarray(x)).items()}, None)
    figures, slopes = problem.linearise(jnp.asarray(x))
    return Evaluation(x, {k: float(v) for k, v in figures.items()}, np.asarray(slopes, float))


class Climb(eqx.Module):
    """A search by exact derivatives: SLSQP where figures are held within bounds, L-BFGS-B otherwise.

    **Arguments:** `steps`, iterations at most; `tolerance`, of the objective relative to its `scale`, by default its
    value at the start, which will not do where that is about zero.

    **Source:** Byrd et al. 1995, doi 10.1137/0916069; Kraft 1988, DFVLR-FB 88-28.
    """

    steps: int = eqx.field(static=True, default=100)
    tolerance: float = eqx.field(static=True, default=1e-12)
    scale: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        require("steps", self.steps, 1, 10**6)
        require("tolerance", self.tolerance, 1e-15, 0.1)
        if self.scale is not None:
            require("scale", self.scale, 1e-300)

    def __call__(self, log: Log, start=None) -> Evaluation:
        """The best evaluation of a search from `start`, by default that of the space."""
        problem = log.problem
        x = np.asarray(problem.space.start if start is None else start, float)
        first = log.evaluate(x, derivatives=True)
        _require_useful(problem, first)
        scale = problem.sense / (self.scale or max(abs(first.figures[problem.objective]), 1e-300))

        def at(x):
            return _guarded(log, log.evaluate(np.clip(x, 0.0, 1.0), derivatives=True))

        def loss(x):
            found = at(x)
            if not _whole(problem, found):  # so bad that every line search comes back from there
                return FAILED, np.zeros_like(x)
            return -scale * found.figures[problem.objective], -scale * found.slopes[0]

        options = {"maxiter": self.steps, "ftol": self.tolerance}
        method = "SLSQP" if problem.bounds else "L-BFGS-B"
        if not problem.bounds:
            options |= {"gtol": self.tolerance, "maxcor": 20}
        try:
            optimize.minimize(
                loss, x, jac=True, method=method, bounds=[(0.0, 1.0)] * len(x), options=options,
                constraints=_held(problem, at),
            )  # fmt: skip
        except Spent:
            pass
        return log.best


def _guarded(log: Log, found: Evaluation) -> Evaluation:
    """What a line search sees of a design where a figure or slope is not finite: a level place, worse than all before
    and outside of all bounds, from which it steps back."""
    problem, numbers = log.problem, [found.figures[name] for name in log.problem.wanted]
    if np.all(np.isfinite(numbers)) and np.all(np.isfinite(found.slopes)):
        return found
    known = [problem.sense * e.figures[problem.objective] for e in log.evaluations]
    known = np.array([value for value in known if np.isfinite(value)])
    worse = np.min(known) - max(np.ptp(known), 0.1 * np.max(np.abs(known)))
    figures = {problem.objective: problem.sense * worse}
    for bound in problem.bounds:
        low = float(bound.low)
        figures[bound.figure] = low - bound.scale if np.isfinite(low) else float(bound.high) + bound.scale
    return Evaluation(found.x, found.figures | figures, np.zeros_like(found.slopes))


def _held(problem, at) -> list[dict]:
    """The bounds as SLSQP wants them, each over its scale."""
    rows = []
    for k, bound in enumerate(problem.bounds):
        for side, level in ((1.0, float(bound.low)), (-1.0, float(bound.high))):
            if np.isfinite(level):
                rows.append(
                    {
                        "type": "ineq",
                        "fun": lambda x, b=bound, s=side, v=level: _finite(s * (at(x).figures[b.figure] - v) / b.scale),
                        "jac": lambda x, k=k, b=bound, s=side: s * at(x).slopes[k + 1] / b.scale,
                    }
                )
    return rows


def _whole(problem, found) -> bool:
    """Whether an evaluation has all that a search asks for."""
    values = [found.figures[name] for name in problem.wanted]
    return bool(np.all(np.isfinite(values)) and np.all(np.isfinite(found.slopes)))


def _finite(room: float) -> float:
    """The room to a bound, as far outside as it is large where it is not known."""
    return room if np.isfinite(room) else -1.0


def _require_useful(problem: FigureProblem, first: Evaluation) -> None:
    """A sentence where a search from here has no chance."""
    bad = [name for name in problem.wanted if not np.isfinite(first.figures[name])]
    if bad or not np.all(np.isfinite(first.slopes)):
        named = f"`{'`, `'.join(bad)}`" if bad else "a derivative"
        raise Impossible(f"The search cannot start: {named} is not finite at the start. Move the start.")
    idle = [n for n, column in zip(problem.space.names, first.slopes.T, strict=True) if not np.any(column)]
    if idle:
        raise Impossible(
            f"Neither `{problem.objective}` nor a held figure depends on `{'`, `'.join(idle)}` at the start: every "
            "derivative is zero there. Leave it out, or move the start."
        )


class RandomSearch(eqx.Module):
    """Designs drawn uniformly from the box until the budget of the log is spent.

    **Arguments:** `seed`; `designs`, at most.
    """

    seed: int = eqx.field(static=True, default=0)
    designs: int = eqx.field(static=True, default=10**6)

    def __call__(self, log: Log, start=None) -> Evaluation:
        """The best evaluation, the start among them."""
        generator = np.random.default_rng(self.seed)
        x = np.asarray(log.problem.space.start if start is None else start, float)
        try:
            for _ in range(self.designs):
                log.evaluate(x, derivatives=False)
                x = generator.uniform(size=len(x))
        except Spent:
            pass
        return log.best


class DerivativeFree(eqx.Module):
    """A method of SciPy that asks for values only, bounds on figures by a penalty of their violation.

    **Arguments:** `method`, of `scipy.optimize.minimize` ("Nelder-Mead", "Powell", "COBYQA") or "differential
    evolution"; `seed`, of the latter; `weight` of the penalty, in shares of the objective for a violation of 1.
    """

    method: str = eqx.field(static=True, default="Nelder-Mead")
    seed: int = eqx.field(static=True, default=0)
    weight: float = eqx.field(static=True, default=100.0)

    def __call__(self, log: Log, start=None) -> Evaluation:
        """The best evaluation of a search from `start`; it ends with the budget of the log."""
        problem = log.problem
        x = np.asarray(problem.space.start if start is None else start, float)
        scale: list[float] = []

        def loss(x):
            found = log.evaluate(np.clip(x, 0.0, 1.0), derivatives=False)
            value = problem.sense * found.figures[problem.objective]
            scale.append(max(abs(value), 1e-300) if np.isfinite(value) else 1.0) if not scale else None
            lacking = violation(problem, found.figures)
            return -value / scale[0] + self.weight * lacking if np.isfinite(value + lacking) else 1e6

        limits = [(0.0, 1.0)] * len(x)
        try:
            if self.method == "differential evolution":
                optimize.differential_evolution(loss, limits, x0=x, rng=self.seed, maxiter=10**6, tol=0, polish=False)
            else:
                options = {"Nelder-Mead": {"adaptive": True, "xatol": 1e-12, "fatol": 1e-15}}.get(self.method, {})
                optimize.minimize(
                    loss, x, method=self.method, bounds=limits, options={**options, "maxiter": 10**7, "maxfev": 10**7}
                )
        except Spent:
            pass
        return log.best


def solves_to(log: Log, target: float, share: float = 0.01) -> float:
    """Forward-equivalent solves until the best score was within `share` of `target`, infinity if never.

    **Arguments:** `target`, the best score known, of [`Log.score`][].
    """
    solves, best = log.course()
    reached = np.flatnonzero(best >= target - share * abs(target))
    return float(solves[reached[0]]) if reached.size else np.inf
