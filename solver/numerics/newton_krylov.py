"""Roots of a residual whose derivative is not symmetric: Newton's method with a Krylov solver, differentiated at the
root."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from .solution import Result, Solution


class NewtonKrylov(eqx.Module):
    """Newton's method with truncated conjugate residuals and a search along each step.

    Derivatives that jump (sliding, yield) make full Newton steps cycle far from the root. The first step is taken with
    a blunt derivative: the secant of what jumps, without what may make it indefinite. Blunt steps converge slowly and
    surely, sharp ones quadratically at the end; in between a mixture is taken, sharper after each step that could be
    taken whole and blunter after one that had to be cut.

    **Arguments:** `tolerance`, largest component of the residual at the end; `reach`, longest change of a component in
    one step; `adjoint`, relative residual of the linear solve of a derivative; `steps`, Newton steps allowed; `inner`,
    Krylov steps allowed in each; `window`, directions that each Krylov step is made orthogonal to.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-12)
    reach: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)
    adjoint: float = eqx.field(static=True, default=1e-10)
    steps: Int[Array, ""] = eqx.field(converter=jnp.asarray, default=100)
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


def _dot(a, b):
    return sum(jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _largest(tree):
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))


def _line_search(residual, x, p, r0, blunt):
    """The longest of p, p/2, ... p/16 that lowers the residual or, where `blunt`, its work along the step.

    **Returns:** (x, residual, share of p, found).

    **Source:** Matthies and Strang 1979, doi 10.1002/nme.1620141104: at the end of a step the out-of-balance force does
    less work along it than at the start, or turns against it by at most 0.8 of that.
    """
    norm, work = _norm(r0), _dot(p, r0)

    def too_long(state):
        *_, alpha, found = state
        return ~found & (alpha > 0.07)

    def halve(state):
        alpha = 0.5 * state[2]
        y = jax.tree.map(lambda a, b: a + alpha * b, x, p)
        r = residual(y)
        left = _dot(p, r) / jnp.where(work == 0, 1, work)
        return y, r, alpha, (_norm(r) <= (1 - 0.05 * alpha) * norm) | (blunt & (left > -0.8) & (left < 1))

    return lax.while_loop(too_long, halve, (x, r0, jnp.asarray(2.0), jnp.asarray(False)))


def _blunted(bluntness, alpha, found):
    """The share of the blunt derivative in the next step, after a share `alpha` of the step was taken, or none."""
    lower = jnp.where(alpha == 1, 0.3, jnp.where(alpha == 0.5, 0.7, 1.5))
    grown = jnp.where(found, lower * jnp.maximum(bluntness, jnp.where(alpha < 0.5, 5e-3, 0)), 4 * bluntness + 0.08)
    return jnp.where(grown < 2e-3, 0.0, jnp.minimum(grown, 1.0))


def _search(residual, model, x0, args, method):
    """Newton-Krylov from `x0`; returns x, result and stats."""

    def here(x):
        return residual(x, args)

    def keep_going(state):
        _, _, force, _, _, step, _ = state
        return (force > method.tolerance) & (step < method.steps) & jnp.isfinite(force)

    def iterate(state):
        x, r, force, scale, bluntness, step, inner = state
        forcing = jnp.clip(0.1 * jnp.sqrt(force / scale), 1e-3, 0.03)
        apply, solve = model(x, args, 1 - bluntness)
        options = dict(preconditioner=solve, rtol=forcing, max_steps=method.inner, window=method.window)
        solved = conjugate_residuals(apply, jax.tree.map(jnp.negative, r), **options)
        p = jax.tree.map(lambda a: jnp.clip(a, -method.reach, method.reach), solved.value)
        blunt = bluntness == 1
        y, r_y, alpha, found = _line_search(here, x, p, r, blunt)
        # A blunt step is taken in any case; where another fails, a blunter one follows.
        x, r = jax.tree.map(lambda a, b: jnp.where(found | blunt, a, b), (y, r_y), (x, r))
        force = _largest(r)
        bluntness = _blunted(bluntness, alpha, found)
        return x, r, force, jnp.maximum(scale, force), bluntness, step + 1, inner + solved.stats["steps"]

    r0 = here(x0)
    force0 = _largest(r0)
    zero = jnp.asarray(0)
    start = (x0, r0, force0, jnp.maximum(force0, 1e-300), jnp.asarray(1.0), zero, zero)
    x, _, force, *_, steps, inner = lax.while_loop(keep_going, iterate, start)
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
    x = _at_root(residual, model, options, x, args)  # so that a derivative of this derivative sees x move
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
    (x, args, sharpness) -> (apply, solve): the derivative of the residual, exact where `sharpness` is 1 and blunt where
    it is 0, and a preconditioner; both linear.

    **Returns:** a `Solution` with x, and `steps`, `inner` and `residual` (largest component) in its stats.

    **Source:** Knoll and Keyes 2004, doi 10.1016/j.jcp.2003.08.010.
    """
    found = search(residual, x0, args, method, model)
    return Solution(at_root(residual, found.value, args, method, model), found.result, found.stats)


def search(residual: Callable, x0, args, method: NewtonKrylov, model: Callable) -> Solution:
    """[`balance`][] without any derivative."""
    return Solution(*lax.stop_gradient(_search(residual, model, *lax.stop_gradient((x0, args, method)))))


def at_root(residual: Callable, x, args, method: NewtonKrylov, model: Callable):
    """`x`, a root of residual(x, args) that was found before, with the derivative of [`balance`][] in `args`."""
    options = (method.adjoint, 20 * method.inner, method.window)
    return _at_root(residual, model, options, lax.stop_gradient(x), args)
