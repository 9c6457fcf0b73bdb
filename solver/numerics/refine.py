"""Iterative refinement: a linear system solved to the digits of its residual by a rougher solver, again and again."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .solution import Result, Solution


def refined(operator: Callable, b: Array, correction: Callable, *, rtol, max_steps: int = 20) -> Solution:
    """Solves A x = b from x = 0 by corrections for what is left of b, in the precision of `b`.

    **Arguments:** `operator`, x -> A x; `b`, shape (n,); `correction`, r -> about A^-1 r, in any precision inside;
    `rtol`, 2-norm of the residual at which to stop, relative to b. A rough correction may fail where the one after it
    does not; where two in a row do not halve the least residual so far, its x is returned.

    **Returns:** a `Solution` with x, and `steps` and `residual` (relative) in its stats.

    **Source:** Moler 1967, doi 10.1145/321386.321394.
    """
    size = jnp.linalg.norm(b)

    def going(state):
        _, _, _, norm, step, idle = state
        return (norm > rtol * size) & (step < max_steps) & (idle < 2)

    def correct(state):
        x, r, best, norm, step, idle = state
        x = x + correction(r)
        r = b - operator(x)
        left = jnp.linalg.norm(r)
        idle = jnp.where(left < 0.5 * norm, 0, idle + 1)
        return x, r, jnp.where(left < norm, x, best), jnp.minimum(left, norm), step + 1, idle

    none = jnp.zeros_like(b)
    start = (none, b, none, size, jnp.asarray(0), jnp.where(jnp.isfinite(size), 0, 2))
    _, _, x, norm, steps, _ = lax.while_loop(going, correct, start)
    done = Result.where(norm <= rtol * size, Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(norm), done, Result.not_finite)
    return Solution(x, result, {"steps": steps, "residual": norm / jnp.where(size > 0, size, 1.0)})
