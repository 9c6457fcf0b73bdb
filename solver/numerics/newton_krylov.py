"""Roots of a residual whose derivative is not symmetric: Newton's method with a Krylov solver, differentiated at the
root."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .solution import Result, Solution


class NewtonKrylov(eqx.Module):
    """Newton's method with truncated conjugate residuals and a search along each step.

    Where a step does not lower the residual, the next one is taken with a blunter derivative: of the jumps in it
    (sliding against sticking) only a share is kept, down to none, which gives a linear but sure convergence.

    **Arguments:** `tolerance`, largest component of the residual at the end; `reach`, longest change of a component in
    one step; `adjoint`, relative residual of the linear solve of a derivative; `steps`, Newton steps allowed; `inner`,
    Krylov steps allowed in each; `window`, directions that each Krylov step is made orthogonal to.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-12)
    reach: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)
    adjoint: float = eqx.field(static=True, default=1e-10)
    steps: int = eqx.field(static=True, default=100)
    inner: int = eqx.field(static=True, default=200)
    window: int = eqx.field(static=True, default=24)


def conjugate_residuals(operator: Callable, b, *, preconditioner: Callable, rtol, max_steps: int, window: int):
    """Solves A x = b for an `operator` that need not be symmetric, by generalised conjugate residuals (Orthomin).

    Each step makes the residual as small as it can be along the new direction; A times a direction is orthogonal to
    that of the last `window` directions.

    **Arguments:** `operator`, x -> A x on trees like `b`; `preconditioner`, r -> M r; `rtol`, relative residual.

    **Returns:** a `Solution` with x, and `steps` and `residual` (relative, 2-norm) in its stats.

    **Source:** Eisenstat, Elman and Schultz 1983, doi 10.1137/0720023.
    """
    flat, unravel = ravel_pytree(b)
    size = jnp.sqrt(jnp.sum(flat**2))
    limit = rtol * size

    def keep_going(state):
        *_, norm, step, stuck = state
        return (norm > limit) & (step < max_steps) & ~stuck

    def iterate(state):
        x, r, directions, images, _, step, _ = state
        p = ravel_pytree(preconditioner(unravel(r)))[0]
        q = ravel_pytree(operator(unravel(p)))[0]
        for _ in range(2):  # once is not enough after cancellation
            overlap = images @ q
            p, q = p - overlap @ directions, q - overlap @ images
        norm = jnp.sqrt(jnp.sum(q**2))
        safe = jnp.where(norm > 0, norm, 1)
        p, q = p / safe, q / safe
        alpha = jnp.dot(q, r)
        x, r = x + alpha * p, r - alpha * q
        slot = step % window
        left = jnp.sqrt(jnp.sum(r**2))
        stuck = ~(norm > 0) | ~jnp.isfinite(left)
        return x, r, directions.at[slot].set(p), images.at[slot].set(q), left, step + 1, stuck

    empty = jnp.zeros((window, flat.shape[0]), flat.dtype)
    start = (jnp.zeros_like(flat), flat, empty, empty, size, jnp.asarray(0), jnp.asarray(False))
    x, _, _, _, left, steps, _ = lax.while_loop(keep_going, iterate, start)
    done = Result.where(left <= limit, Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(left), done, Result.not_finite)
    residual = jnp.where(size > 0, left / jnp.where(size > 0, size, 1), 0)
    return Solution(unravel(x), result, {"steps": steps, "residual": residual})


def general_solve(operator: Callable, b, *, preconditioner: Callable, rtol, max_steps: int, window: int):
    """[`conjugate_residuals`][], differentiable in `b`; its transpose is solved with the transposes of both maps."""
    options = dict(rtol=rtol, max_steps=max_steps, window=window)
    transposed = jax.linear_transpose(preconditioner, b)

    def solve(matvec, rhs):
        solution = conjugate_residuals(matvec, rhs, preconditioner=preconditioner, **options)
        return solution.value, (solution.result, solution.stats)

    def solve_transposed(vecmat, rhs):
        solution = conjugate_residuals(vecmat, rhs, preconditioner=lambda r: transposed(r)[0], **options)
        return solution.value, (solution.result, solution.stats)

    value, (result, stats) = lax.custom_linear_solve(operator, b, solve, solve_transposed, has_aux=True)
    return Solution(value, result, stats)


def _norm(tree):
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def _largest(tree):
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))


def _line_search(residual, x, p, norm):
    """The longest of p, p/2, p/4 and p/8 that lowers the residual enough, or the best of them; (x, residual, norm)."""

    def too_long(state):
        _, _, trial, alpha, _ = state
        return ~(trial <= (1 - 0.2 * alpha) * norm) & (alpha > 0.13)

    def halve(state):
        _, _, _, alpha, best = state
        alpha = 0.5 * alpha
        y = jax.tree.map(lambda a, b: a + alpha * b, x, p)
        r = residual(y)
        trial = _norm(r)
        better = ~(trial >= best[2])  # a first trial that is not finite is still one
        return y, r, trial, alpha, jax.tree.map(lambda a, b: jnp.where(better, a, b), (y, r, trial), best)

    first = (x, jax.tree.map(jnp.zeros_like, x), jnp.asarray(jnp.inf))
    y, r, trial, _, best = lax.while_loop(too_long, halve, (*first, jnp.asarray(2.0), first))
    return best


def _search(residual, model, x0, args, method):
    """Newton-Krylov from `x0`; returns x, result and stats."""

    def here(x):
        return residual(x, args)

    def keep_going(state):
        _, _, force, _, _, step, _ = state
        return (force > method.tolerance) & (step < method.steps) & jnp.isfinite(force)

    def iterate(state):
        x, r, force, scale, blunt, step, inner = state
        norm = _norm(r)
        forcing = jnp.clip(0.1 * jnp.sqrt(force / scale), 1e-5, 0.05)
        apply, solve = model(x, args, 1 - blunt)
        options = dict(preconditioner=solve, rtol=forcing, max_steps=method.inner, window=method.window)
        found = conjugate_residuals(apply, jax.tree.map(jnp.negative, r), **options)
        p = jax.tree.map(lambda a: jnp.clip(a, -method.reach, method.reach), found.value)
        y, r_y, trial = _line_search(here, x, p, norm)
        # The bluntest step may climb a little: it crosses where no step descends.
        good = trial < jnp.where(blunt >= 1, 1.5, 0.98) * norm
        x, r = jax.tree.map(lambda a, b: jnp.where(good, a, b), (y, r_y), (x, r))
        softer = jnp.where(blunt > 0.02, 0.25 * blunt, 0)
        blunt = jnp.where(trial < 0.98 * norm, softer, jnp.clip(4 * blunt, 0.1, 1))
        force = _largest(r)
        return x, r, force, jnp.maximum(scale, force), blunt, step + 1, inner + found.stats["steps"]

    r0 = here(x0)
    force0 = _largest(r0)
    start = (x0, r0, force0, jnp.maximum(force0, 1e-300), jnp.asarray(0.0), jnp.asarray(0), jnp.asarray(0))
    x, _, force, _, _, steps, inner = lax.while_loop(keep_going, iterate, start)
    done = Result.where(force <= method.tolerance, Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(force), done, Result.not_finite)
    return x, result, {"steps": steps, "inner": inner, "residual": force}


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _at_root(residual, model, options, x, args):
    return x


@_at_root.defjvp
def _at_root_jvp(residual, model, options, primals, tangents):
    """Implicit function theorem: with g(x, args) = 0, dx = -(dg/dx)^-1 (dg/dargs) dargs. The start carries none."""
    (x, args), (_, d_args) = primals, tangents
    _, rhs = jax.jvp(lambda a: residual(x, a), (args,), (d_args,))
    rtol, max_steps, window = options
    apply, solve = model(x, args, 1.0)
    solved = general_solve(apply, rhs, preconditioner=solve, rtol=rtol, max_steps=max_steps, window=window)
    return x, jax.tree.map(jnp.negative, solved.value)


def balance(residual: Callable, x0, args, method: NewtonKrylov, model: Callable) -> Solution:
    """Finds x with residual(x, args) = 0, differentiable in `args` by the implicit function theorem.

    Forward mode costs one linear solve with the derivative at the root, reverse mode one with its transpose.
    `residual` and `model` must not close over traced values: everything traced goes in `args`. Where the derivative
    jumps (onset of contact, yield, sliding), the gradient is that of the side on which the root lies.

    **Arguments:** `residual`, (x, args) -> tree like x; `x0`, start, a tree of arrays, with no derivative; `model`,
    (x, args, sharpness) -> (apply, solve): the derivative of the residual, exact where `sharpness` is 1 and blunter
    below, and a preconditioner; both linear.

    **Returns:** a `Solution` with x, and `steps`, `inner` and `residual` (largest component) in its stats.

    **Source:** Knoll and Keyes 2004, doi 10.1016/j.jcp.2003.08.010.
    """
    x0, fixed, options = lax.stop_gradient((x0, args, method))
    x, result, stats = lax.stop_gradient(_search(residual, model, x0, fixed, options))
    x = _at_root(residual, model, (method.adjoint, 20 * method.inner, method.window), x, args)
    return Solution(x, result, stats)
