"""Which number matters, and how tight must it be: elasticities, interactions, shares of the scatter, tolerances."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from microstructure.checks import require

from .problem import FigureProblem, linearised
from .scatter import Scatter


@dataclasses.dataclass(frozen=True)
class Elasticities:
    """How figures follow variables at a design.

    **Arguments:** `figures` and `variables`, names; `values`, of the figures, shape (k,), and `at`, of the variables,
    SI, shape (n,); `slopes`, of the figures in the variables, SI, shape (k, n).
    """

    figures: tuple[str, ...]
    variables: tuple[str, ...]
    values: np.ndarray
    at: np.ndarray
    slopes: np.ndarray

    @property
    def table(self) -> np.ndarray:
        """Percent of a figure by percent of a variable, shape (k, n); NaN for a figure that is zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            table = self.slopes * self.at / self.values[:, None]
        return np.where(np.isfinite(table), table, np.nan)

    def to_json(self) -> dict:
        """By figure: its value, and its elasticity in each variable, `None` for NaN."""
        rows = [[None if np.isnan(e) else float(e) for e in row] for row in self.table]
        return {
            name: {"value": float(value), "elasticity": dict(zip(self.variables, row, strict=True))}
            for name, value, row in zip(self.figures, self.values, rows, strict=True)
        }


def elasticities(problem: FigureProblem, x, names: tuple[str, ...] | None = None) -> Elasticities:
    """The elasticities of figures at a design from one run of the cell: one sweep back for each figure, side by side.

    **Arguments:** `names`, by default the objective and the held figures of the problem.
    """
    names = tuple(dict.fromkeys(problem.wanted)) if names is None else tuple(names)
    x = jnp.asarray(x, float)
    ordered = tuple(sorted(set(names)))  # as a search has it, so that one compiled function serves both
    found, slopes = linearised(problem.space, problem.figures, ordered, x)
    slopes = slopes[np.asarray([ordered.index(name) for name in names])]
    values = np.array([float(found[name]) for name in names])
    at, slopes = np.asarray(problem.space.values(x)), np.asarray(slopes) / _stretch(problem, x)
    return Elasticities(names, problem.space.names, values, at, slopes)


def _stretch(problem, x) -> np.ndarray:
    """Derivatives of the variables, SI, in the unit box, shape (n,)."""
    _, along = jax.jvp(problem.space.values, (x,), (jnp.ones_like(x),))
    return np.asarray(along)


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Second derivatives of a figure in the logarithms of the variables, over the figure: by how many percent of it two
    percentages together do more than the sum of each alone.

    **Arguments:** `figure`; `variables`; `table`, shape (n, n), symmetric; `asymmetry`, of what was found, as a share
    of its largest entry: how far it can be trusted.
    """

    figure: str
    variables: tuple[str, ...]
    table: np.ndarray
    asymmetry: float


def interactions(problem: FigureProblem, x, name: str | None = None, step: float = 0.01) -> Interactions:
    """The interactions of the variables in a figure, by central differences of exact gradients: 2 n gradients.

    Marches have reverse mode only, so that there is no product of the Hessian with a vector without differences. What
    limits them is that the steps in time of two runs differ; `asymmetry` shows it.

    **Arguments:** `name`, by default the objective; `step`, as a share of each variable.
    """
    require("step", step, 1e-8, 0.3)
    name = problem.objective if name is None else name
    x = jnp.asarray(x, float)
    names = (name, *(other for other in dict.fromkeys(problem.wanted) if other != name))
    here = elasticities(problem, x, names)
    rows = []
    for i in range(len(here.variables)):
        up, down = (_logarithmic_slopes(problem, here.at, i, sign * step, names) for sign in (1.0, -1.0))
        rows.append((up - down) / (np.log1p(step) - np.log1p(-step)))
    table = np.array(rows) / here.values[0]
    largest = max(float(np.max(np.abs(table))), 1e-300)
    return Interactions(name, here.variables, 0.5 * (table + table.T), float(np.max(np.abs(table - table.T))) / largest)


def _logarithmic_slopes(problem, at, i, share, names):
    """Derivatives of the first figure in the logarithms of the variables where the i-th is larger by a share."""
    moved = at * (1.0 + share * (np.arange(len(at)) == i))
    place = jnp.stack([v.to_unit(value) for v, value in zip(problem.space.variables, moved, strict=True)])
    found = elasticities(problem, place, names)
    return found.slopes[0] * found.at


@dataclasses.dataclass(frozen=True)
class Spread:
    """How scatter moves a figure, to first order.

    **Arguments:** `figure`; `deviations`, names; `value`, of the figure; `moves`, what one standard deviation of each
    moves the figure by, shape (d,).
    """

    figure: str
    deviations: tuple[str, ...]
    value: float
    moves: np.ndarray

    @property
    def deviation(self) -> float:
        """The standard deviation of the figure."""
        return float(np.sqrt(np.sum(self.moves**2)))

    @property
    def shares(self) -> np.ndarray:
        """The share of each in the variance of the figure, shape (d,)."""
        return self.moves**2 / max(float(np.sum(self.moves**2)), 1e-300)

    def yield_above(self, limit: float, sense: float = 1.0) -> float:
        """The share of cells whose figure is above a limit (below, for a `sense` of -1), to first order."""
        return float(norm.cdf(sense * (self.value - limit) / max(self.deviation, 1e-300)))


def spreads(problem: FigureProblem, scatter: Scatter, x, names: tuple[str, ...] | None = None) -> tuple[Spread, ...]:
    """The [`Spread`][] of figures at a design, from one run; the points of the scatter do not matter.

    **Arguments:** `scatter`, its sizes standard deviations; `names`, by default those that the problem wants.
    """
    names = tuple(dict.fromkeys(problem.wanted)) if names is None else tuple(names)
    values, moves = _moves(problem.space, problem.figures, names, scatter, jnp.asarray(x, float))
    return tuple(
        Spread(name, scatter.names, float(value), np.asarray(row))
        for name, value, row in zip(names, values, moves, strict=True)
    )


@eqx.filter_jit
def _moves(space, figures, names, scatter, x):
    """Figures, shape (k,), and their derivatives in the points, shape (k, d), at no deviation."""
    design = space(x)

    def stacked(point):
        found = figures(scatter.copy(design, point))
        return jnp.stack([found[name] for name in names])

    values, pull = jax.vjp(stacked, jnp.zeros(len(scatter.names), x.dtype))
    return values, jax.vmap(pull)(jnp.eye(len(names), dtype=x.dtype))[0]


@dataclasses.dataclass(frozen=True)
class Allocation:
    """Tolerances for a yield.

    **Arguments:** `yield_`, wanted; `factors`, by which each standard deviation is to be multiplied, shape (d,);
    `cost`, of them, and `cost_alike`, of one factor for all that gives the same yield, `alike`, in units of what the
    given deviations cost.
    """

    yield_: float
    factors: np.ndarray
    cost: float
    alike: float
    cost_alike: float


def allocate(spread: Spread, limit: float, wanted: float, costs=None, sense: float = 1.0) -> Allocation:
    """The cheapest tolerances with which a share `wanted` of cells has the figure above a limit, to first order.

    A factor f_i on a deviation that moves the figure by m_i costs a_i / f_i. The least sum a_i / f_i at a given
    variance sum (m_i f_i)^2 = s^2 has, by Lagrange, f_i = k (a_i / m_i^2)^(1/3) with k set by s = (value - limit) /
    z, z the normal quantile of the yield: what moves the figure more or costs less is made tighter.

    **Arguments:** `costs`, a_i, of the given deviations, by default all alike; only their ratios matter; `sense`, -1
    where the figure is to be below the limit.
    """
    require("wanted", wanted, 0.5 + 1e-9, 1 - 1e-12, hint="Below one half, move the design instead.")
    room = sense * (spread.value - limit)
    if room <= 0:
        raise ValueError(
            f"`{spread.figure}` is {spread.value:.6g}, on the wrong side of its limit {limit:.6g} without any scatter. "
            "Move the design first."
        )
    if not np.all(spread.moves):
        still = [n for n, m in zip(spread.deviations, spread.moves, strict=True) if m == 0]
        raise ValueError(
            f"`{spread.figure}` does not depend on `{'`, `'.join(still)}`: no tolerance helps. Leave it out."
        )
    costs = np.ones(len(spread.moves)) if costs is None else np.asarray(costs, float)
    if costs.shape != spread.moves.shape or not np.all(costs > 0):
        raise ValueError(f"Argument `costs` must hold {len(spread.moves)} positive numbers, but {costs} was given.")
    aim = room / norm.ppf(wanted)
    shape = np.cbrt(costs / spread.moves**2)
    factors = shape * aim / np.sqrt(np.sum((spread.moves * shape) ** 2))
    alike = aim / spread.deviation
    return Allocation(wanted, factors, float(np.sum(costs / factors) / np.sum(costs)), float(alike), float(1.0 / alike))


def gain_by_tolerance(spread: Spread, limit: float, sense: float = 1.0) -> np.ndarray:
    """By how much the yield rises for each deviation made one percent tighter, in percent points, shape (d,):
    phi(z) z times the share in the variance, with z = (value - limit) / deviation."""
    z = sense * (spread.value - limit) / spread.deviation
    return norm.pdf(z) * z * spread.shares
