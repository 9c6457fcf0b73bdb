"""Mechanical equilibrium: the minimum of an energy, differentiated at the minimum and not through the search."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .linear import linear_solve
from .precise import tree_vdot
from .solution import Result, Solution


class NewtonCG(eqx.Module):
    """Newton's method with truncated conjugate gradients and a line search, free of matrices.

    **Arguments:** `tolerance`, largest component of the force at the end, in the units of the energy; `reach`, longest
    component of one step; `steps`, Newton steps allowed; `inner`, conjugate-gradient steps allowed in each; `adjoint`,
    relative residual of the linear solve of a derivative.

    **Source:** Nocedal and Wright 2006, Numerical Optimization, algorithm 7.1, doi 10.1007/978-0-387-40065-5.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-12)
    reach: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    adjoint: float = eqx.field(static=True, default=1e-10)
    steps: int = eqx.field(static=True, default=60)
    inner: int = eqx.field(static=True, default=400)


def _largest(tree):
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))


def _add(x, alpha, p):
    return jax.tree.map(lambda a, b: a + alpha * b, x, p)


def _direction(hessian, precondition, gradient, forcing, limit):
    """An inexact Newton direction: stops at the relative residual `forcing`, or where the curvature is not positive."""
    r = jax.tree.map(jnp.negative, gradient)
    z = precondition(r)
    zero = jax.tree.map(jnp.zeros_like, r)
    rz = tree_vdot(r, z)

    def keep_going(state):
        _, _, _, rz_now, step, bent = state
        return (rz_now > forcing**2 * rz) & (step < limit) & ~bent

    def iterate(state):
        x, r, p, rz, step, _ = state
        q = hessian(p)
        curvature = tree_vdot(p, q)
        bent = ~(curvature > 0)
        alpha = jnp.where(bent, jnp.where(step == 0, 1.0, 0.0), rz / jnp.where(bent, 1, curvature))
        x, r = _add(x, alpha, p), _add(r, -alpha, q)
        z = precondition(r)
        rz_new = tree_vdot(r, z)
        return x, r, _add(z, rz_new / jnp.where(rz > 0, rz, 1), p), rz_new, step + 1, bent

    x, _, _, _, steps, bent = lax.while_loop(keep_going, iterate, (zero, r, z, rz, jnp.asarray(0), jnp.asarray(False)))
    return x, steps, bent


def _line_search(energy, x, p, value, slope):
    """The first of the halvings of 1 that lowers the energy enough, or 0 when none of 20 does."""
    # Near the minimum the decrease drowns in round-off; there the full Newton step is right.
    slack = 1e-13 * jnp.abs(value)

    def too_long(state):
        alpha, trial = state
        return ~(trial <= value + 1e-4 * alpha * slope + slack) & (alpha > 1e-6)

    def halve(state):
        alpha = 0.5 * state[0]
        return alpha, energy(_add(x, alpha, p))

    alpha, _ = lax.while_loop(too_long, halve, (jnp.asarray(2.0), jnp.asarray(jnp.inf)))
    return jnp.where(alpha > 1e-6, alpha, 0.0)


def _search(energy, model, x0, args, method):
    """Newton-CG from `x0`; returns x, result and stats."""

    def here(x):
        return energy(x, args)

    def keep_going(state):
        _, force, _, step, _, stuck = state
        return (force > method.tolerance) & (step <= method.steps) & ~stuck

    def iterate(state):
        x, _, scale, step, inner, _ = state
        value, g = jax.value_and_grad(here)(x)
        force = _largest(g)
        scale = jnp.maximum(scale, force)
        # Superlinear at the end, cheap at the start; no step at all once there.
        forcing = jnp.clip(0.1 * jnp.sqrt(force / jnp.maximum(scale, 1e-300)), 1e-5, 0.05)
        limit = jnp.where(force > method.tolerance, method.inner, 0)

        def attempt(state):
            _, used, bent, tries = state
            p, more, bent = _direction(*model(x, args, bent), g, forcing, limit)
            return p, used + more, bent, tries + 1

        # Far away the Hessian may be indefinite: there the surrogate's direction descends, and further than a stump.
        first = (jax.tree.map(jnp.zeros_like, x), 0, False, 0)
        p, used, _, _ = lax.while_loop(
            lambda s: (s[3] == 0) | (s[2] & (s[3] < 2)), attempt, jax.tree.map(jnp.asarray, first)
        )
        p = _add(jax.tree.map(jnp.zeros_like, p), jnp.minimum(1.0, method.reach / jnp.maximum(_largest(p), 1e-300)), p)
        alpha = _line_search(here, x, p, value, tree_vdot(g, p))
        return _add(x, alpha, p), force, scale, step + 1, inner + used, alpha == 0

    start = (x0, jnp.asarray(jnp.inf), jnp.asarray(0.0), jnp.asarray(0), jnp.asarray(0), jnp.asarray(False))
    x, force, _, steps, inner, stuck = lax.while_loop(keep_going, iterate, start)
    # Round-off can stop the search a few digits early; that is still an equilibrium.
    done = force <= method.tolerance * jnp.where(stuck, 100, 1)
    failed = Result.where(stuck, Result.stagnated, Result.max_steps)
    result = Result.where(jnp.isfinite(force), Result.where(done, Result.successful, failed), Result.not_finite)
    return x, result, {"steps": steps - 1, "inner": inner, "residual": force}


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _at_minimum(energy, model, options, x, args):
    return x


@_at_minimum.defjvp
def _at_minimum_jvp(energy, model, options, primals, tangents):
    """Implicit function theorem: with g = dE/dx = 0, dx = -H^-1 (dg/dargs) dargs. The search start carries none."""
    (x, args), (_, d_args) = primals, tangents
    x = _at_minimum(energy, model, options, x, args)  # so that a derivative of this derivative sees x move
    slope_of = jax.grad(energy)
    _, rhs = jax.jvp(lambda a: slope_of(x, a), (args,), (d_args,))
    rtol, limit = options
    hessian, precondition = model(x, args, jnp.asarray(False))
    solved = linear_solve(hessian, rhs, preconditioner=precondition, rtol=rtol, max_steps=limit)
    return x, jax.tree.map(jnp.negative, solved.value)


def by_differentiation(energy: Callable) -> Callable:
    """A `model` for [`equilibrium`][] from the energy alone, without preconditioner: right, and slower than one
    by hand."""

    def model(x, args, positive):
        _, hessian = jax.linearize(jax.grad(lambda y: energy(y, args)), x)
        return (lambda p: jax.tree.map(lambda h, v: jnp.where(positive, v, h), hessian(p), p)), (lambda r: r)

    return model


def equilibrium(energy: Callable, x0, args, method: NewtonCG, model: Callable) -> Solution:
    """Minimises energy(x, args) over x, differentiable in `args` by the implicit function theorem.

    Forward and reverse mode cost one linear solve with the Hessian at the minimum. `energy` and `model` must not
    close over traced values: everything traced goes in `args`. Where the Hessian jumps (onset of contact or yield),
    the derivative is that of the side on which the minimum lies.

    **Arguments:** `energy`, (x, args) -> number, bounded below; `x0`, start, a tree of arrays, with no derivative;
    `model`, (x, args, positive) -> (apply, solve): the exact Hessian of the energy, or, where the boolean `positive`
    holds, a positive surrogate of it; and a symmetric positive preconditioner. See [`by_differentiation`][].

    **Returns:** a `Solution` with x, and `steps`, `inner` and `residual` (largest force component) in its stats.
    """
    x0, fixed, options = lax.stop_gradient((x0, args, method))
    x, result, stats = lax.stop_gradient(_search(energy, model, x0, fixed, options))
    x = _at_minimum(energy, model, (method.adjoint, 10 * method.inner), x, args)
    return Solution(x, result, stats)


def relax(energy: Callable, x0, args, *, time_step=0.1, tolerance=1e-10, steps=2000) -> Solution:
    """Minimises energy(x, args) by the fast inertial relaxation engine, from far away and without any derivative.

    **Arguments:** `time_step`, first step, in units where a particle has unit mass; `tolerance`, largest force
    component.

    **Source:** Bitzek et al. 2006, doi 10.1103/PhysRevLett.97.170201.
    """
    slope_of = jax.grad(energy)

    def keep_going(state):
        *_, force, step = state
        return (force > tolerance) & (step < steps)

    def iterate(state):
        x, v, f, dt, alpha, uphill, _, step = state
        power = tree_vdot(f, v)
        speed, strength = jnp.sqrt(tree_vdot(v, v)), jnp.sqrt(tree_vdot(f, f))
        mix = alpha * speed / jnp.maximum(strength, 1e-300)
        down = power > 0
        v = jax.tree.map(lambda a, b: jnp.where(down, (1 - alpha) * a + mix * b, 0), v, f)
        patient = down & (uphill > 5)
        dt = jnp.where(down, jnp.where(patient, jnp.minimum(1.1 * dt, 10 * time_step), dt), 0.5 * dt)
        alpha = jnp.where(down, jnp.where(patient, 0.99 * alpha, alpha), 0.1)
        v = _add(v, dt, f)
        x = _add(x, dt, v)
        f = jax.tree.map(jnp.negative, slope_of(x, args))
        return x, v, f, dt, alpha, jnp.where(down, uphill + 1, 0), _largest(f), step + 1

    f0 = jax.tree.map(jnp.negative, slope_of(x0, args))
    rest = jax.tree.map(jnp.zeros_like, x0)
    start = (x0, rest, f0, jnp.asarray(time_step), jnp.asarray(0.1), jnp.asarray(0), _largest(f0), jnp.asarray(0))
    x, *_, force, used = lax.while_loop(keep_going, iterate, start)
    result = Result.where(force <= tolerance, Result.successful, Result.max_steps)
    return Solution(x, result, {"steps": used, "residual": force})
