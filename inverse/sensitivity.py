"""What each variable does to the objective, and how far its derivative can be trusted."""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .space import Fraction, Space, Variable

TOLERANCE = 0.25  # the largest relative disagreement with a central difference
NOISE = 1e-6  # of the objective: what solvers and changing contacts may add to a difference


def slopes(function: Callable, recipe, variables: Sequence[Variable]) -> tuple[float, np.ndarray]:
    """Value and derivative in each variable alone, at its value in the recipe, from one reverse pass.

    A mass fraction moves at constant ratio of the other two, whatever else is a variable.

    **Arguments:** `function`, of a recipe.
    """
    value, cotangent = eqx.filter_value_and_grad(function)(recipe)
    found = [_along(cotangent, recipe, variable) for variable in variables]
    return float(value), np.asarray(found)


def _along(cotangent, recipe, variable: Variable) -> float:
    start = variable.place.read(recipe)
    _, tangent = jax.jvp(lambda v: _move(recipe, variable, v), (start,), (jnp.ones_like(start),))
    numbers = eqx.filter(tangent, eqx.is_inexact_array)
    products = jax.tree.map(lambda t, c: jnp.sum(t * c), numbers, eqx.filter(cotangent, eqx.is_inexact_array))
    return float(sum(jax.tree.leaves(products)))


def _move(recipe, variable: Variable, value):
    return Space(recipe, (variable,)).insert(jnp.asarray(value)[None])


def difference(function: Callable, recipe, variable: Variable, relative: float = 0.01) -> tuple[float, float]:
    """The central difference in a variable, and the step it used: `relative` of the value, less near an end.

    **Arguments:** `function`, of a recipe.
    """
    value = float(variable.place.read(recipe))
    step = relative * abs(value)
    if isinstance(variable.place, Fraction):
        step = min(step, 0.25 * (1 - value))
    high, low = (float(function(_move(recipe, variable, value + s))) for s in (step, -step))
    return (high - low) / (2 * step), step


@dataclasses.dataclass(frozen=True)
class Trust:
    """The judgement of a derivative.

    **Arguments:** `slope`, `difference`, means over the seeds; `standard_error`, of their disagreement, and `spread`,
    of the slope over the seeds, both NaN for one seed; `trusted`; `verdict`, a sentence.
    """

    slope: float
    difference: float
    standard_error: float
    spread: float
    trusted: bool
    verdict: str


def judge(slope, difference, value: float, step: float) -> Trust:
    """Whether slopes agree with differences on the mean over the seeds, within a quarter or beyond doubt of noise.

    **Arguments:** `slope`, `difference`, one each per seed; `value`, of the objective; `step`, of the differences.
    """
    slope, difference = np.atleast_1d(slope), np.atleast_1d(difference)
    n, apart = len(slope), float(np.mean(slope) - np.mean(difference))
    error = float(np.std(slope - difference, ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    spread = float(np.std(slope, ddof=1)) if n > 1 else np.nan
    floor = NOISE * abs(value) / step
    mean, found = float(np.mean(slope)), float(np.mean(difference))
    allowed = max(TOLERANCE * abs(found), floor, 2 * error if n > 1 else 0.0)
    finite = bool(np.isfinite(apart))
    trusted = finite and abs(apart) <= allowed
    if not finite:
        verdict = "Refused: the derivative or the difference is not finite."
    elif not trusted:
        verdict = (
            f"Refused: the derivative {mean:.3g} and the central difference {found:.3g} disagree by more than "
            f"{TOLERANCE:.0%}; average over more packing seeds with `run.realisations`."
        )
    elif abs(apart) <= TOLERANCE * abs(found):
        verdict = "Agrees with the central difference."
    elif abs(mean) <= floor or abs(found) <= floor:
        verdict = "Too small to tell from the noise of the solvers."
    else:
        verdict = "Agrees with the central difference within two standard errors over the seeds."
    return Trust(mean, found, error, spread, trusted, verdict)
