"""Generalised minimal residuals with a preconditioner that may change from step to step, for systems that are not
symmetric."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .solution import Result, Solution


def flexible_gmres(
    operator: Callable, b: Array, *, preconditioner: Callable, rtol, atol=0.0, max_steps: int = 60, restart: int = 20
) -> Solution:
    """Solves A x = b from x = 0; the residual shrinks at every step, and each step costs one of either map.

    Started anew after `restart` steps from a residual computed afresh, so that a preconditioner in single precision
    limits no digits. Vectors that are not yet made are not read.

    **Arguments:** `operator`, x -> A x; `b`, of any shape; `preconditioner`, r -> M r, in any precision inside; `rtol`,
    `atol`, the 2-norm of the residual at which to stop, relative to b and absolute; `restart`, static: 2 `restart`
    vectors are held.

    **Returns:** a `Solution` with x, and `steps` and `residual` (relative) in its stats.

    **Source:** Saad 1993, doi 10.1137/0914028.
    """
    size = jnp.linalg.norm(b)
    limit = jnp.maximum(rtol * size, atol)

    def going(state):
        _, _, norm, steps, stuck = state
        return (norm > limit) & (steps < max_steps) & ~stuck

    def cycle(state):
        x, r, norm, steps, _ = state
        step, taken = _cycle(operator, preconditioner, r, norm, limit, restart)
        x = x + step
        r = b - operator(x)
        left = jnp.linalg.norm(r)
        return x, r, left, steps + taken, ~(left < 0.9 * norm)

    start = (jnp.zeros_like(b), b, size, jnp.asarray(0), ~jnp.isfinite(size))
    x, _, norm, steps, _ = lax.while_loop(going, cycle, start)
    done = Result.where(norm <= limit, Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(norm), done, Result.not_finite)
    return Solution(x, result, {"steps": steps, "residual": norm / jnp.where(size > 0, size, 1.0)})


def _cycle(operator, preconditioner, r, norm, limit, restart):
    """The correction of at most `restart` steps from the residual `r` of size `norm`, and how many were taken."""
    n, dtype = r.shape, r.dtype
    # Rows of `upper` are the columns of the triangular factor; `turns` are the Givens rotations that made it.
    start = (
        jnp.zeros((restart + 1, *n), dtype).at[0].set(r / norm),
        jnp.zeros((restart, *n), dtype),
        jnp.zeros((restart, restart + 1), dtype),
        jnp.zeros((restart, 2), dtype),
        jnp.zeros(restart + 1, dtype).at[0].set(norm),
        jnp.asarray(0),
        norm,
    )

    def going(state):
        *_, k, left = state
        return (k < restart) & (left > limit)

    def step(state):
        basis, images, upper, turns, rhs, k, _ = state
        z = preconditioner(basis[k]).astype(dtype)
        q = operator(z)

        def orthogonal(i, carry):
            q, column = carry
            overlap = jnp.vdot(basis[i], q)
            return q - overlap * basis[i], column.at[i].set(overlap)

        q, column = lax.fori_loop(0, k + 1, orthogonal, (q, jnp.zeros(restart + 1, dtype)))
        length = jnp.linalg.norm(q)
        column = column.at[k + 1].set(length)

        def turned(i, column):
            c, s = turns[i, 0], turns[i, 1]
            a, b = column[i], column[i + 1]
            return column.at[i].set(c * a + s * b).at[i + 1].set(c * b - s * a)

        column = lax.fori_loop(0, k, turned, column)
        radius = jnp.sqrt(column[k] ** 2 + column[k + 1] ** 2)
        safe = jnp.where(radius > 0, radius, 1.0)
        turn = jnp.stack([column[k], column[k + 1]]) / safe
        column = column.at[k].set(radius).at[k + 1].set(0.0)
        rhs = rhs.at[k + 1].set(-turn[1] * rhs[k]).at[k].set(turn[0] * rhs[k])
        basis = lax.dynamic_update_index_in_dim(basis, q / jnp.where(length > 0, length, 1.0), k + 1, 0)
        images = lax.dynamic_update_index_in_dim(images, z, k, 0)
        return basis, images, upper.at[k].set(column), turns.at[k].set(turn), rhs, k + 1, jnp.abs(rhs[k + 1])

    _, images, upper, _, rhs, k, _ = lax.while_loop(going, step, start)

    def back(i, weights):
        row = k - 1 - i
        lack = rhs[row] - jnp.vdot(upper[:, row], weights)
        pivot = upper[row, row]
        return weights.at[row].set(jnp.where(pivot > 0, lack / jnp.where(pivot > 0, pivot, 1.0), 0.0))

    weights = lax.fori_loop(0, k, back, jnp.zeros(restart, dtype))
    return lax.fori_loop(0, k, lambda i, x: x + weights[i] * images[i], jnp.zeros_like(r)), k
