"""Robust design: a problem over copies of each design that are made with scatter, by mean, worst case or yield.

Each form is a [`FigureProblem`][] again, so that the same searches, baselines, logs and checkpoints serve it.
"""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from microstructure.checks import require
from solver.numerics.real import real

from .problem import Bound, FigureProblem
from .scatter import Scatter, each
from .search import FEASIBLE, Evaluation, Log
from .space import Leaf, Space, Variable

FAR = 1e3  # margin to a bound that is not there, in scales


class OverCopies(eqx.Module):
    """Figures of a design over its copies, from those of one copy.

    By name of a figure of the problem: `<name> mean`, `<name> deviation` (standard), `<name> worst` and, between them
    and with a derivative everywhere, `<name> soft worst`, +-`width` s log(mean(exp(-+f / (width s)))) with s the mean
    magnitude; and `yield` and `soft yield`, the share of copies that hold all bounds of the problem, the latter with a
    logistic step of `width` times the scale of each bound in place of a sharp one. Less wide is nearer to the truth and
    harder to descend.

    **Arguments:** `problem`, of one copy; `scatter`; `width`, a share; `lanes`, copies side by side.
    """

    problem: FigureProblem
    scatter: Scatter
    width: Float[Array, ""]
    lanes: int = eqx.field(static=True)
    worse: tuple[tuple[str, float], ...] = eqx.field(static=True)  # of the wanted figures: 1 where less is worse, or -1

    def __init__(self, problem: FigureProblem, scatter: Scatter, width=0.01, lanes: int = 1):
        require("width", width, 1e-6, 1.0)
        require("lanes", lanes, 1, 4096)
        self.problem, self.scatter, self.width, self.lanes = problem, scatter, real(width), lanes
        below = {b.figure: -1.0 if np.isneginf(float(b.low)) else 1.0 for b in problem.bounds}
        self.worse = tuple(sorted((below | {problem.objective: problem.sense}).items()))

    def of_copies(self, design: PyTree) -> dict[str, Float[Array, " K"]]:
        """The wanted figures of the problem at all copies."""
        names = tuple(name for name, _ in self.worse)
        values = each(self.problem.figures, names, self.scatter, design, self.lanes)
        return {name: values[:, i] for i, name in enumerate(names)}

    def __call__(self, design: PyTree) -> dict[str, Array]:
        """All figures of a design."""
        return self.gathered(self.of_copies(design))

    def gathered(self, copies: dict[str, Array]) -> dict[str, Array]:
        """The figures over the copies from those of each."""
        found = {}
        for name, side in self.worse:
            values = copies[name]
            found[f"{name} mean"] = jnp.mean(values)
            found[f"{name} deviation"] = _deviation(values)
            found[f"{name} worst"] = side * jnp.min(side * values)
            found[f"{name} soft worst"] = side * _soft_least(side * values, self.width)
        if self.problem.bounds:
            margins = _margins(self.problem, copies)
            found["yield"] = jnp.mean(jnp.all(margins >= -FEASIBLE, axis=0).astype(margins.dtype))
            found["soft yield"] = jnp.mean(jnp.prod(jax.nn.sigmoid(margins / self.width), axis=0))
        return found


def _deviation(values):
    """The standard deviation, with a zero derivative where all are equal."""
    variance = jnp.mean((values - jnp.mean(values)) ** 2)
    safe = jnp.where(variance > 0, variance, 1.0)
    return jnp.where(variance > 0, jnp.sqrt(safe), 0.0)


def _soft_least(values, width):
    scale = width * jnp.maximum(jnp.mean(jnp.abs(values)), 1e-300)
    return -scale * (jax.nn.logsumexp(-values / scale) - jnp.log(values.shape[0]))


def _margins(problem, copies):
    """How far each copy is inside each side of each bound, over its scale, shape (2 bounds, K), low before high; far
    where there is no bound."""
    rows = []
    for bound in problem.bounds:
        finite = jnp.isfinite(jnp.stack([bound.low, bound.high]))
        low, high = (jnp.where(f, b, 0.0) for f, b in zip(finite, (bound.low, bound.high), strict=True))
        scale = jnp.maximum(jnp.abs(low), jnp.abs(high))
        scale = jnp.where(scale > 0, scale, 1.0)
        values = copies[bound.figure]
        rows += [jnp.where(finite[0], (values - low) / scale, FAR), jnp.where(finite[1], (high - values) / scale, FAR)]
    return jnp.stack(rows)


def mean_form(problem: FigureProblem, scatter: Scatter, *, bounds: Sequence[Bound] = (), lanes: int = 1):
    """The best mean of the objective over the copies, with `bounds` on any figure of [`OverCopies`][]."""
    figures = OverCopies(problem, scatter, lanes=lanes)
    return FigureProblem(problem.space, figures, f"{problem.objective} mean", problem.sense, bounds)


def soft_worst_form(problem: FigureProblem, scatter: Scatter, width=0.01, *, bounds: Sequence[Bound] = (), lanes=1):
    """The best of a smooth worst case, which falls to the worst case with `width`; [`in_turn`][] narrows it."""
    figures = OverCopies(problem, scatter, width, lanes)
    return FigureProblem(problem.space, figures, f"{problem.objective} soft worst", problem.sense, bounds)


def yield_form(problem: FigureProblem, scatter: Scatter, width=0.01, *, bounds: Sequence[Bound] = (), lanes: int = 1):
    """The largest share of copies that hold the bounds of `problem`, with a smooth step that [`in_turn`][] narrows."""
    if not problem.bounds:
        raise ValueError("A yield needs a specification, but the problem has no bounds. Give it at least one.")
    return FigureProblem(problem.space, OverCopies(problem, scatter, width, lanes), "soft yield", 1.0, bounds)


class Levelled(eqx.Module):
    """A design, and a level of the objective that all of its copies are to reach."""

    design: PyTree
    level: Float[Array, ""] = eqx.field(converter=real)


class Margins(eqx.Module):
    """The figures of [`OverCopies`][], the `level`, and by how much each copy is better than it, as shares of `span`,
    and inside each bound of the problem, as shares of its scale: `level margin 3`, `bound 0 margin 3`."""

    copies: OverCopies
    span: Float[Array, ""] = eqx.field(converter=real)

    def __call__(self, levelled: Levelled) -> dict[str, Array]:
        """All figures of a levelled design."""
        problem = self.copies.problem
        values = self.copies.of_copies(levelled.design)
        better = problem.sense * (values[problem.objective] - levelled.level) / self.span
        found = self.copies.gathered(values) | {"level": levelled.level} | _named("level", better)
        for i, row in enumerate(_margins(problem, values) if problem.bounds else ()):
            found |= _named(f"bound {i}", row)
        return found


def _named(what, values):
    return {f"{what} margin {k}": value for k, value in enumerate(values)}


def worst_form(problem: FigureProblem, scatter: Scatter, low, high, *, bounds: Sequence[Bound] = (), lanes: int = 1):
    """The best worst case, exactly: the best level that every copy reaches, a variable beside the others, while every
    copy holds the bounds of `problem`. It is smooth, as the worst of the copies is not.

    **Arguments:** `low` and `high`, between which that level is sought, in the unit of the objective; the search begins
    at the worse of them; `bounds`, further ones on figures of [`OverCopies`][].

    **Returns:** a problem whose space has one more variable, the last; [`design_of`][] takes it off.
    """
    level = Variable("level", "", low, high, low if problem.sense > 0 else high, Leaf(_level))
    free = [dataclasses.replace(v, place=_inside(v.place)) for v in problem.space.variables]
    space = Space(Levelled(problem.space.base, level.start), (*free, level))
    copies = range(scatter.points.shape[0])
    held = [Bound(f"level margin {k}", low=0.0) for k in copies]
    sides = [float(side) for bound in problem.bounds for side in (bound.low, bound.high)]
    rows = [i for i, side in enumerate(sides) if np.isfinite(side)]
    held += [Bound(f"bound {i} margin {k}", low=0.0) for i in rows for k in copies]
    figures = Margins(OverCopies(problem, scatter, lanes=lanes), level.high - level.low)
    return FigureProblem(space, figures, "level", problem.sense, (*held, *bounds))


def _level(levelled):
    return levelled.level


def _inside(place):
    if not isinstance(place, Leaf):
        raise ValueError("The exact worst case needs variables that are leaves; a mass fraction was given.")
    return Leaf(_InDesign(place.where))


@dataclasses.dataclass(frozen=True)
class _InDesign:
    """A leaf of the design of a [`Levelled`][] one; equal where the leaf is, so that code is compiled once."""

    where: Callable

    def __call__(self, levelled):
        return self.where(levelled.design)


def design_of(x) -> np.ndarray:
    """The unit-box vector of the problem from that of its [`worst_form`][]."""
    return np.asarray(x)[:-1]


def in_turn(logs: Sequence[Log], search, start=None) -> Evaluation:
    """Continuation: a search of each log's problem from the best of the one before it, and the last one's best.

    **Arguments:** `logs`, of problems over one space, for example of falling `width`; resumed where they know
    evaluations; `start`, of the first.
    """
    if not logs:
        raise ValueError("Argument `logs` must hold at least one log, but none was given.")
    for log in logs:
        best = search(log, start)
        start = best.x
    return best


def judge(problem: FigureProblem, scatter: Scatter, x, lanes: int = 1) -> dict[str, float]:
    """The figures of [`OverCopies`][] at a design, the `yield` and its own values among them, as numbers.

    **Arguments:** `problem`, perhaps on a finer mesh; `scatter`, with draws that were not optimised over.
    """
    found = _judged(OverCopies(problem, scatter, lanes=lanes), jnp.asarray(x))
    return {name: float(value) for name, value in found.items()}


@eqx.filter_jit
def _judged(copies: OverCopies, x):
    return copies(copies.problem.space(x)) | copies.problem.figures(copies.problem.space(x))
