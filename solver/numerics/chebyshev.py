"""Chebyshev-Jacobi smoothing and the step of a V-cycle around it, for any operator with a known diagonal."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array

HIGH = 1.9  # above the largest eigenvalues that matter of a network scaled by its diagonal, which are below 2


def weights(degree: int, low: float = HIGH / 4, high: float = HIGH) -> np.ndarray:
    """Weights (of the last step, of the scaled residual) of the Chebyshev iteration on eigenvalues in [low, high]."""
    theta, delta = (high + low) / 2, (high - low) / 2
    sigma = theta / delta
    rho, rows = 1 / sigma, [(0.0, 1 / theta)]
    for _ in range(degree - 1):
        rho_next = 1 / (2 * sigma - rho)
        rows.append((rho_next * rho, 2 * rho_next / delta))
        rho = rho_next
    return np.asarray(rows)


@custom_vmap
def _zero(x: Array) -> Array:
    """Zero, but XLA does not know."""
    return (jnp.isnan(x) & jnp.isinf(x)).astype(jnp.int32)


@_zero.def_vmap
def _zero_of_batch(_size, _batched, x: Array):
    zero = jnp.any(jnp.isnan(x) & jnp.isinf(x)).astype(jnp.int32)
    return zero, False  # one trip count for the batch, or each step is a select


def _unfoldable(n: int, b: Array) -> Array:
    """`n` as a number that XLA cannot know: a loop of known short length is unrolled, and stencils then fuse and are
    computed again for every reader, at up to a hundred times the cost (measured on XLA CPU)."""
    return n + _zero(b[(0,) * b.ndim])


def _steps(operator: Callable, precondition: Callable, rows: np.ndarray, x: Array, step: Array, b: Array) -> Array:
    """One Chebyshev step for each of `rows`, from `x` and the last step taken."""
    table = jnp.asarray(rows, b.dtype)

    def body(k, state):
        x, step = state
        step = table[k, 0] * step + table[k, 1] * precondition(b - operator(x))
        return x + step, step

    return lax.fori_loop(0, _unfoldable(len(rows), b), body, (x, step))[0]


def iterate(operator: Callable, precondition: Callable, rows: np.ndarray, b: Array) -> Array:
    """Chebyshev steps from zero, as many as [`weights`][] `rows`; `precondition` is compiled once."""
    return _steps(operator, precondition, rows, jnp.zeros_like(b), jnp.zeros_like(b), b)


def relax(operator: Callable, scaled: Callable, rows: np.ndarray, b: Array) -> Array:
    """Chebyshev-Jacobi steps from zero, as many as [`weights`][] `rows`."""
    step = jnp.asarray(rows[0, 1], b.dtype) * scaled(b)
    return _steps(operator, scaled, rows[1:], step, step, b)


def corrected(operator: Callable, scaled: Callable, b: Array, degree: int, correction: Callable) -> Array:
    """A field from a zero guess: smoothed, corrected, smoothed again; symmetric if `correction` is.

    **Arguments:** `operator`, x -> A x; `scaled`, a residual over the diagonal of A; `b`; `degree`, smoothing steps
    before and after; `correction`, from a residual.

    **Source:** Adams et al. 2003, doi 10.1016/S0021-9991(03)00194-3, for polynomial smoothing.
    """
    rows = weights(degree)
    x = relax(operator, scaled, rows, b)
    # The residual is computed once however many readers it has: the loop starts from x, so that nothing in it is
    # invariant and moved out of it, at the cost of one more field.
    residual = lax.fori_loop(0, _unfoldable(1, b), lambda _, y: b - operator(y), x)
    x = x + correction(residual)
    return _steps(operator, scaled, rows, x, x, b)  # the first of `rows` gives the last step no weight
