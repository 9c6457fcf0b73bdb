"""One linear solve: preconditioned conjugate gradients, differentiated at the solution, not through the iterations."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .precise import tree_vdot
from .solution import Result, Solution


def _axpy(alpha, x, y):
    return jax.tree.map(lambda a, b: alpha.astype(a.dtype) * a + b, x, y)


def _sub(x, y):
    return jax.tree.map(lambda a, b: a - b, x, y)


class EnergyStop(eqx.Module):
    """Stops when the energy of the solution is known well enough, long before the residual is small.

    Each step lowers the energy x^T A x - 2 b^T x by alpha r^T M r, so the drop over the last `delay` steps bounds, and
    in practice far exceeds, the error that is left.

    **Arguments:** `rtol`, of `energy`; `energy`, the energy at the initial guess; `delay`, in steps (static).

    **Source:** Hestenes and Stiefel 1952, doi 10.6028/jres.049.044; Strakos and Tichy 2002, ETNA 13, 56-80.
    """

    rtol: Array = eqx.field(converter=jnp.asarray)
    energy: Array = eqx.field(converter=jnp.asarray)
    delay: int = eqx.field(static=True, default=2)


def conjugate_gradients(
    operator: Callable,
    b,
    *,
    preconditioner: Callable | None = None,
    x0=None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    max_steps: int = 500,
    energy_stop: EnergyStop | None = None,
) -> Solution:
    """Solves A x = b for a symmetric positive (semi-)definite `operator`.

    The system may be singular as long as it is consistent. The residual is measured in the norm of the preconditioner,
    r^T M r, relative to that of b.

    **Arguments:** `operator`, x -> A x on trees like `b`; `preconditioner`, r -> M r, symmetric positive; `rtol`,
    relative residual; `atol`, absolute floor in the same norm; `energy_stop`, a second, earlier criterion.

    **Returns:** a `Solution` with x, and `steps`, `residual` (relative) and `energy_drop` (of the last steps) in its
    stats.

    **Source:** Hestenes and Stiefel 1952, doi 10.6028/jres.049.044.
    """
    precondition = preconditioner or (lambda r: r)
    zeros = jax.tree.map(jnp.zeros_like, b)
    norm0 = None if x0 is None else jnp.sqrt(jnp.abs(tree_vdot(b, precondition(b))))
    delay = 1 if energy_stop is None else energy_stop.delay

    def limit(norm):
        return jnp.maximum(rtol * norm, atol)

    def settled(drops, energy, step):
        if energy_stop is None:
            return jnp.asarray(False)
        return (step >= delay) & (jnp.sum(drops) <= energy_stop.rtol * jnp.abs(energy))

    def keep_going(state):
        _, _, _, rz, step, drops, energy, norm = state
        unfinished = (jnp.sqrt(jnp.abs(rz)) > limit(norm)) & ~settled(drops, energy, step)
        return (step < 0) | (unfinished & (step < max_steps) & jnp.isfinite(rz))

    def iterate(state):
        x, r, p, rz, step, drops, energy, norm = state
        q = operator(p)
        pq = tree_vdot(p, q)
        alpha = jnp.where(pq > 0, rz / jnp.where(pq > 0, pq, 1), 0)
        x, r = _axpy(alpha, p, x), _axpy(-alpha, q, r)
        z = precondition(r)
        rz_new = tree_vdot(r, z)
        beta = jnp.where(rz > 0, rz_new / jnp.where(rz > 0, rz, 1), 0)
        drop = alpha * rz
        drops = jnp.concatenate([drops[1:], drop[None]])
        if norm0 is None:  # started from zero, the first residual is b
            norm = jnp.where(step < 0, jnp.sqrt(jnp.abs(rz_new)), norm)
        return x, r, _axpy(beta, p, z), rz_new, step + 1, drops, energy - drop, norm

    # Step -1, with no direction yet, finds the first one: so the preconditioner is compiled once, not three times.
    r0 = b if x0 is None else _sub(b, operator(x0))
    rz0 = jnp.zeros_like(tree_vdot(b, b))
    energy0 = jnp.zeros_like(rz0) if energy_stop is None else energy_stop.energy.astype(rz0.dtype)
    norm = jnp.zeros_like(rz0) if norm0 is None else norm0
    start = (zeros if x0 is None else x0, r0, zeros, rz0, jnp.asarray(-1), jnp.zeros(delay, rz0.dtype), energy0, norm)
    x, _, _, rz, steps, drops, energy, norm_b = lax.while_loop(keep_going, iterate, start)
    norm_r = jnp.sqrt(jnp.abs(rz))
    done = (norm_r <= limit(norm_b)) | settled(drops, energy, steps)
    result = Result.where(jnp.isfinite(rz), Result.where(done, Result.successful, Result.max_steps), Result.not_finite)
    residual = jnp.where(norm_b > 0, norm_r / jnp.where(norm_b > 0, norm_b, 1), 0)
    return Solution(x, result, {"steps": steps, "residual": residual, "energy_drop": jnp.sum(drops)})


def linear_solve(operator: Callable, b, *, preconditioner=None, rtol=1e-6, atol=0.0, max_steps=500) -> Solution:
    """[`conjugate_gradients`][], differentiable to any order in `b` and in whatever `operator` closes over.

    A derivative costs one more solve with the same operator and preconditioner; the preconditioner itself carries none.
    """
    options = dict(preconditioner=preconditioner, rtol=rtol, atol=atol, max_steps=max_steps)

    def solve(matvec, rhs):
        solution = conjugate_gradients(matvec, rhs, **options)
        return solution.value, (solution.result, solution.stats)

    value, (result, stats) = lax.custom_linear_solve(operator, b, solve, symmetric=True, has_aux=True)
    return Solution(value, result, stats)
