"""Chebyshev-Jacobi smoothing and the step of a V-cycle around it, for any operator with a known diagonal."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array

TOP = 2.0  # no eigenvalue of a network scaled by its diagonal is larger: for many steps, which would blow it up
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


def unfoldable(n: int, b: Array) -> Array:
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

    return lax.fori_loop(0, unfoldable(len(rows), b), body, (x, step))[0]


def iterate(operator: Callable, precondition: Callable, rows: np.ndarray, b: Array) -> Array:
    """Chebyshev steps from zero, as many as [`weights`][] `rows`; `precondition` is compiled once."""
    return _steps(operator, precondition, rows, jnp.zeros_like(b), jnp.zeros_like(b), b)


def relax(operator: Callable, scaled: Callable, rows: np.ndarray, b: Array) -> Array:
    """Chebyshev-Jacobi steps from zero, as many as [`weights`][] `rows`."""
    step = jnp.asarray(rows[0, 1], b.dtype) * scaled(b)
    return _steps(operator, scaled, rows[1:], step, step, b)


def corrected(operator: Callable, scaled: Callable, b: Array, rows: np.ndarray, correction: Callable) -> Array:
    """A field from a zero guess: smoothed, corrected, smoothed again; symmetric if `correction` is.

    Smoothing and correction are steps of one loop, so that the operator is compiled once for each level, not three
    times; the residual is written out at each step, which the smoothing alone would not need.

    **Arguments:** `operator`, x -> A x; `scaled`, a residual over the diagonal of A; `b`; `rows`, [`weights`][] of the
    smoothing steps before and, again, after; `correction`, from a residual.

    **Source:** Adams et al. 2003, doi 10.1016/S0021-9991(03)00194-3, for polynomial smoothing.
    """
    before = len(rows) - 1  # steps of the loop before the correction: the first is taken from a zero guess
    table = jnp.asarray(np.concatenate([rows[1:], [(0, 0)], rows]), b.dtype)
    first = jnp.asarray(rows[0, 1], b.dtype) * scaled(b)

    def body(k, state):
        x, step = state

        def smoothed(residual):  # the first of `rows` gives the last step, which is the correction, no weight
            return table[k, 0] * step + table[k, 1] * scaled(residual)

        step = lax.cond(k == before, correction, smoothed, b - operator(x))
        return x + step, step

    return lax.fori_loop(0, unfoldable(len(table), b), body, (first, first))[0]
