"""Iterative refinement: a linear system solved to the digits of its residual by a rougher solver, again and again."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .solution import Result, Solution


def refined(operator: Callable, b: Array, correction: Callable, *, rtol, max_steps: int = 20) -> Solution:
    """Solves A x = b from x = 0 by corrections for what is left of b, in the precision of `b`.

    **Arguments:** `operator`, x -> A x; `b`, shape (n,); `correction`, r -> about A^-1 r, in any precision inside;
    `rtol`, 2-norm of the residual at which to stop, relative to b: where it no longer falls by half, x is returned too.

    **Returns:** a `Solution` with x, and `steps` and `residual` (relative) in its stats.

    **Source:** Moler 1967, doi 10.1145/321386.321394.
    """
    size = jnp.linalg.norm(b)

    def going(state):
        _, _, norm, step, stuck = state
        return (norm > rtol * size) & (step < max_steps) & ~stuck

    def correct(state):
        x, r, norm, step, _ = state
        y = x + correction(r)
        s = b - operator(y)
        left = jnp.linalg.norm(s)
        better = left < norm
        x, r = jnp.where(better, y, x), jnp.where(better, s, r)
        return x, r, jnp.where(better, left, norm), step + 1, ~(left < 0.5 * norm)

    start = (jnp.zeros_like(b), b, size, jnp.asarray(0), ~jnp.isfinite(size))
    x, _, norm, steps, _ = lax.while_loop(going, correct, start)
    done = Result.where(norm <= rtol * size, Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(norm), done, Result.not_finite)
    return Solution(x, result, {"steps": steps, "residual": norm / jnp.where(size > 0, size, 1.0)})
