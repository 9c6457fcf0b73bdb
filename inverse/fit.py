"""Calibration: least squares in a box of bounds by Levenberg and Marquardt, and how well the data know the answer."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import linalg, optimize, stats

from microstructure.checks import require
from solver.numerics.solution import Result, Solution, SolveError

from .problem import Impossible
from .space import Space

RANK = 1e-10  # singular values below this share of the largest count as this share: directions the data do not see


def reverse(function: Callable, x: Float[Array, " n"]) -> tuple[Array, Float[Array, "m n"]]:
    """Value (m,) and Jacobian by reverse mode, a pass for each value. What is compiled is left to `function`."""
    value, pull = jax.vjp(function, x)
    ones = jnp.eye(value.size, dtype=value.dtype).reshape(-1, *value.shape)
    return value, jnp.stack([pull(e)[0] for e in ones])


def forward(function: Callable, x: Float[Array, " n"]) -> tuple[Array, Float[Array, "m n"]]:
    """Value (m,) and Jacobian by forward mode, all variables at once: cheaper where they are few, if every stage of
    `function` has that mode."""
    push = jax.vmap(lambda e: jax.jvp(function, (x,), (e,)), out_axes=(None, -1))
    return push(jnp.eye(x.shape[0], dtype=x.dtype))


class LevenbergMarquardt(eqx.Module):
    """Damped Gauss-Newton steps, projected onto the unit box.

    The step p of the variables that are free to move minimises |r + J p|^2 + damping |D p|^2, D the column norms of J;
    damping follows the ratio of the decrease found to the one predicted.

    **Arguments:** `steps`, linearisations allowed; `damping`, at the start; `tolerance`: it is over when the undamped
    step is shorter than this in the unit box, or would lower the sum of squares by less than this share; `jacobian`,
    from (function, x) to value and Jacobian: [`reverse`][], [`forward`][] or one's own.

    **Source:** Marquardt 1963, doi 10.1137/0111030; damping as Nielsen 1999, IMM-REP-1999-05, Technical University of
    Denmark.
    """

    steps: int = eqx.field(static=True, default=50)
    damping: float = eqx.field(static=True, default=1e-3)
    tolerance: float = eqx.field(static=True, default=1e-10)
    jacobian: Callable = eqx.field(static=True, default=reverse)

    def __check_init__(self):
        require("steps", self.steps, 1, 10**6)
        require("damping", self.damping, 1e-15, 1e6)
        require("tolerance", self.tolerance, 1e-15, 0.1)


class Fitted(eqx.Module):
    """Where a fit ended.

    **Arguments:** `space`; `x`, (n,) of the unit box; `residual`, (m,), and its `jacobian` in x, (m, n), as they are;
    `weights`, (m,), one over the standard deviation of each residual.
    """

    space: Space
    x: Float[Array, " n"] = eqx.field(converter=np.asarray)
    residual: Float[Array, " m"] = eqx.field(converter=np.asarray)
    jacobian: Float[Array, "m n"] = eqx.field(converter=np.asarray)
    weights: Float[Array, " m"] = eqx.field(converter=np.asarray)

    @property
    def values(self) -> dict[str, float]:
        """The variables by name, SI."""
        return dict(zip(self.space.names, map(float, self.space.values(jnp.asarray(self.x))), strict=True))

    @property
    def weighted(self) -> tuple[np.ndarray, np.ndarray]:
        """Residual and Jacobian times the weights."""
        return self.weights * self.residual, self.weights[:, None] * self.jacobian


def fit(residual: Callable, space: Space, weights=1.0, method: LevenbergMarquardt | None = None) -> Solution:
    """Minimises the sum of (weights x residual)^2 over the box of `space`, from its start. Host only.

    A design that cannot be made or has no finite residuals counts as a step that was too long.

    **Arguments:** `residual`, from what `space` makes (a recipe, or any tree of numbers) to model minus data, (m,), any
    units; `weights`, number or (m,), one over the standard deviation of each residual, up to a common factor.

    **Returns:** a `Solution` with [`Fitted`][]; `stagnated` where derivatives and values do not go together well enough
    to get on, as over changes of contacts. `steps` and `objective`, half the sum, are in its stats.

    **Raises:** [`Impossible`][] where the start cannot be evaluated; `ValueError` for bad weights or too few data.
    """
    method = method or LevenbergMarquardt()
    try:
        here = _evaluated(residual, space, np.asarray(space.start), weights, method)
    except (Impossible, SolveError) as error:
        raise Impossible(f"The fit cannot start: {error}") from error
    damping, growth, steps, result = method.damping, 2.0, 1, None
    while result is None:
        if _at_rest(here, method.tolerance):
            result = Result.successful
        elif steps >= method.steps:
            result = Result.max_steps
        elif np.max(np.abs(_step(here, damping))) <= 1e-2 * method.tolerance:
            result = Result.stagnated
        else:
            move, steps = _step(here, damping), steps + 1
            there = _tried(residual, space, here.x + move, weights, method)
            if there is not None and _objective(there) < _objective(here):
                gain = (_objective(here) - _objective(there)) / max(_predicted(here, move), 1e-300)
                damping, growth = max(1e-15, damping * max(1 / 3, 1 - (2 * min(gain, 2) - 1) ** 3)), 2.0
                here = there
            else:
                damping, growth = damping * growth, 2 * growth
    return Solution(here, result, {"steps": np.asarray(steps), "objective": np.asarray(_objective(here))})


def _evaluated(residual, space: Space, x, weights, method) -> Fitted:
    """The residuals and their derivatives at `x`, or a sentence where they are of no use."""
    found, slope = method.jacobian(lambda u: residual(space(u)), jnp.asarray(x))
    found, slope = np.asarray(found, float), np.asarray(slope, float)
    if found.ndim != 1 or found.size < len(x):
        raise ValueError(
            f"Argument `residual` must return a vector of at least {len(x)} numbers, one for each variable, but the "
            f"shape {found.shape} was returned. Give more data, or fewer variables."
        )
    weights = np.asarray(weights, float)
    if weights.shape not in ((), found.shape):
        raise ValueError(
            f"Argument `weights` must be a number or have the shape {found.shape} of the residuals, but "
            f"{weights.shape} was given."
        )
    require("weights", weights, 0.0)
    bad = [name for name, column in zip(space.names, slope.T, strict=True) if not np.all(np.isfinite(column))]
    if not np.all(np.isfinite(found)):
        raise Impossible("The residuals are not finite at this design.")
    if bad:
        raise Impossible(f"The derivative of the residuals in `{'`, `'.join(bad)}` is not finite at this design.")
    return Fitted(space, x, found, slope, np.broadcast_to(weights, found.shape))


def _tried(residual, space: Space, x, weights, method) -> Fitted | None:
    try:
        return _evaluated(residual, space, x, weights, method)
    except (Impossible, SolveError):
        return None


def _objective(at: Fitted) -> float:
    return 0.5 * float(np.sum(at.weighted[0] ** 2))


def _predicted(at: Fitted, move) -> float:
    """By how much the linear model says that `move` lowers the objective."""
    r, jacobian = at.weighted
    return 0.5 * float(np.sum(r**2) - np.sum((r + jacobian @ move) ** 2))


def _step(at: Fitted, damping: float) -> np.ndarray:
    """The damped step within the box, by bounded linear least squares: where one variable meets its bound the others
    make up for it, which a step that is cut off afterwards does not.

    **Source:** Stark and Parker 1995, Computational Statistics 10, 129, as SciPy has it.
    """
    r, jacobian = at.weighted
    norms = np.linalg.norm(jacobian, axis=0)
    scale = np.maximum(norms, RANK * max(float(np.max(norms)), 1e-300))
    rows = np.concatenate([jacobian / scale, np.sqrt(damping) * np.eye(at.x.size)])
    limits = -scale * at.x, scale * (1 - at.x)
    found = optimize.lsq_linear(rows, np.concatenate([-r, np.zeros(at.x.size)]), limits, method="bvls")
    return np.clip(at.x + found.x / scale, 0, 1) - at.x


def _at_rest(at: Fitted, tolerance: float) -> bool:
    move = _step(at, 0.0)
    return np.max(np.abs(move)) <= tolerance or _predicted(at, move) <= tolerance * _objective(at)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What the data know of the variables.

    **Arguments:** by name `values`, `low`, `high`, the confidence interval, SI; `covariance`, (n, n), of the values;
    `information`, (n,) rising, eigenvalues of the Fisher information in the unit box, where 1 is a standard deviation
    as wide as the bounds, and `directions`, (n, n), a column each: the first is the sloppiest; `degrees` of freedom of
    the intervals; `misfit`, weighted residual, root mean square per degree of freedom; `warnings`, sentences.
    """

    values: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    covariance: np.ndarray
    information: np.ndarray
    directions: np.ndarray
    degrees: float
    misfit: float
    warnings: tuple[str, ...]


def estimate(fitted: Fitted, covariance=None, degrees: float | None = None, confidence: float = 0.95) -> Estimate:
    """The covariance of the variables from the Gauss-Newton Hessian, and intervals of Student's t.

    Without `covariance` residuals are independent and the weights known up to a factor, which the residuals tell:
    C = s^2 (J^T W J)^-1, s^2 = r^T W r / (m - n), with m - n degrees of freedom, W the squared weights. With it C = G
    covariance G^T, G = (J^T W J)^-1 J^T W, which holds for any weights and any correlation of the residuals. Intervals
    are symmetric in the unit box: a logarithmic variable has one by a factor.

    **Arguments:** `fitted`; `covariance`, (m, m), of the residuals: noise, and errors of the model that its points have
    in common, such as the scatter from packing to packing; `degrees`, of the data it was found from, if few;
    `confidence`, of each interval.

    **Source:** Seber and Wild 1989, Nonlinear Regression, doi 10.1002/0471725315, sections 2.1 and 5.1; sloppiness as
    Gutenkunst et al. 2007, doi 10.1371/journal.pcbi.0030189.
    """
    require("confidence", confidence, 0.01, 1 - 1e-9)
    jacobian = fitted.weighted[1]
    spread, misfit, degrees = _spread_of_data(fitted, covariance, degrees)
    _, singular, rows = linalg.svd(jacobian, full_matrices=False)
    if singular[0] <= 0:
        raise ValueError("The residuals depend on none of the variables, so the data say nothing about them.")
    seen = np.maximum(singular, RANK * singular[0])
    gain = rows.T @ np.diag(seen**-2) @ rows @ (jacobian.T * fitted.weights)
    unit = gain @ spread @ gain.T
    if singular[-1] < seen[-1]:  # a direction that the data do not see at all has no gain either
        unit = unit + misfit**2 * rows.T @ np.diag(np.where(singular < seen, seen**-2, 0)) @ rows
    squared, directions = linalg.eigh(unit)
    quantile = float(stats.t.ppf(0.5 + 0.5 * confidence, degrees))
    half, space = quantile * np.sqrt(np.diag(unit)), fitted.space
    # Each value depends on its own coordinate alone, so one push gives all slopes.
    slopes = jax.jvp(space.values, (jnp.asarray(fitted.x),), (jnp.ones_like(fitted.x),))[1]
    ends = [space.values(jnp.asarray(fitted.x + sign * half)) for sign in (-1, 1)]
    low, high = (dict(zip(space.names, map(float, end), strict=True)) for end in ends)
    return Estimate(
        fitted.values,
        low,
        high,
        unit * np.outer(slopes, slopes),
        1 / np.maximum(squared[::-1], 1e-300),
        directions[:, ::-1],
        degrees,
        misfit,
        _warnings(fitted, quantile * np.sqrt(squared[::-1]), directions[:, ::-1]),
    )


def _spread_of_data(fitted: Fitted, covariance, degrees) -> tuple[np.ndarray, float, float]:
    """Covariance of the residuals, misfit and degrees of freedom."""
    m, n = fitted.jacobian.shape
    squares = float(np.sum(fitted.weighted[0] ** 2))
    misfit = np.sqrt(squares / max(m - n, 1))
    if covariance is None:
        if m <= n or np.any(fitted.weights <= 0):
            raise ValueError(
                f"Without `covariance` there must be more data than variables, all with positive weights, but {m} data "
                f"and {n} variables were given. Give the covariance of the data, or more data."
            )
        return misfit**2 * np.diag(fitted.weights**-2.0), misfit, float(m - n)
    covariance = np.asarray(covariance, float)
    if covariance.shape != (m, m):
        raise ValueError(
            f"Argument `covariance` must have the shape {(m, m)}, but {covariance.shape} was given: one row and column "
            "for each residual."
        )
    require("covariance", covariance)
    if not np.allclose(covariance, covariance.T) or linalg.eigvalsh(covariance)[0] < -1e-9 * np.trace(covariance):
        raise ValueError("Argument `covariance` must be symmetric without negative eigenvalues, but it is not.")
    degrees = np.inf if degrees is None else float(degrees)
    if not degrees > 0:
        raise ValueError(f"Argument `degrees` must be positive, but {degrees:g} was given.")
    return covariance, misfit, degrees


def _warnings(fitted: Fitted, half, directions) -> tuple[str, ...]:
    """Sentences about variables at a bound and combinations that the data do not determine."""
    names = fitted.space.names
    said = [
        f"`{name}` ended at its {side} bound, where its interval does not hold: widen the bounds, or fix it."
        for name, side in fitted.space.at_bounds(fitted.x).items()
    ]
    for width, direction in zip(half, directions.T, strict=True):
        if not 2 * width < 1:
            largest = direction * np.sign(direction[np.argmax(np.abs(direction))])
            shares = " ".join(f"{c:+.2f} {k}" for c, k in zip(largest, names, strict=True) if abs(c) > 0.05)
            said.append(
                f"The data do not determine the combination {shares} of the unit box: its interval is wider than the "
                "bounds. Add data that see it, or fix one of its variables."
            )
    return tuple(said)
