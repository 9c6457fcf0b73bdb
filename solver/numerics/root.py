"""Newton's method with the correction supplied by the system."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .solution import Result, Solution


def newton(correct: Callable, x0: Array, *, tolerance: float = 1e-9, max_steps: int = 20) -> Solution:
    """Iterates x <- x + dx until the size of dx says that the next one would be below `tolerance`.

    Convergence is quadratic near the root, so a correction of size s leaves an error of the order of s squared: the
    loop ends after a correction below sqrt(tolerance).

    **Arguments:** `correct`, x -> (x + dx, size), where size is a dimensionless measure of dx; `x0`, the start.

    **Returns:** a `Solution` with x, and `steps` and `size` of the last correction in its stats.
    """
    limit = tolerance**0.5

    def keep_going(state):
        _, size, step = state
        return (size > limit) & (step < max_steps) & jnp.isfinite(size) | (step == 0)

    def iterate(state):
        x, _, step = state
        x, size = correct(x)
        return x, size, step + 1

    x, size, steps = lax.while_loop(keep_going, iterate, (x0, jnp.asarray(jnp.inf, x0.dtype), jnp.asarray(0)))
    result = Result.where(
        size <= limit, Result.successful, Result.where(jnp.isfinite(size), Result.max_steps, Result.not_finite)
    )
    return Solution(x, result, {"steps": steps, "size": size})
