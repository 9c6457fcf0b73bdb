"""The fast inertial relaxation engine for forces given as a function, from far away and without any derivative."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .solution import Result, Solution


class Motion(eqx.Module):
    """How the search moves, so that it can go on: `velocity`, time `step`, share of `mixing`, and steps `downhill`."""

    velocity: Array
    step: Float[Array, ""]
    mixing: Float[Array, ""]
    downhill: Int[Array, ""]


def at_rest(x0: Array, largest_step=0.5) -> Motion:
    """The [`Motion`][] with which a search begins."""
    return Motion(
        jnp.zeros_like(x0), jnp.asarray(0.2 * largest_step), jnp.asarray(0.25, x0.dtype), jnp.zeros((), jnp.int32)
    )


def fire(
    force,
    x0: Array,
    args,
    *,
    largest_step=0.5,
    tolerance=1e-10,
    steps=2000,
    reach=jnp.inf,
    motion: Motion | None = None,
) -> Solution:
    """Follows force(x, args), minus the gradient of an energy, downhill with inertia until it vanishes.

    Semi-implicit Euler steps of unit masses; where the power turns negative the velocity is dropped and half a step is
    taken back.

    **Arguments:** `force`, (x, args) -> array like x; `x0`, start; `largest_step`, the longest step in time, at most
    2 over the square root of the largest stiffness; `tolerance`, largest component of the force at the end; `steps`,
    allowed; `reach`, how far a component of x may move before the search stops, as where a list of neighbours ends;
    `motion`, of a search that goes on. Tolerance, steps and reach may be traced.

    **Returns:** a `Solution` with x; `steps`, `residual` and `motion` in its stats.

    **Source:** Guenole et al. 2020, doi 10.1016/j.commatsci.2020.109584, a revision of Bitzek et al. 2006, doi
    10.1103/PhysRevLett.97.170201.
    """
    motion = at_rest(x0, largest_step) if motion is None else motion

    def keep_going(state):
        x, _, _, residual, step = state
        return (residual > tolerance) & (step < steps) & (jnp.max(jnp.abs(x - x0)) <= reach)

    def iterate(state):
        x, m, f, _, step = state
        down = jnp.sum(f * m.velocity) > 0
        patient = down & (m.downhill > 20)
        x = jnp.where(down, x, x - 0.5 * m.step * m.velocity)
        shorter = jnp.maximum(0.5 * m.step, 0.02 * largest_step)
        dt = jnp.where(patient, jnp.minimum(1.1 * m.step, largest_step), jnp.where(down, m.step, shorter))
        mixing = jnp.where(patient, 0.99 * m.mixing, jnp.where(down, m.mixing, 0.25))
        v = jnp.where(down, m.velocity, 0) + dt * f
        speed, strength = jnp.sqrt(jnp.sum(v * v)), jnp.sqrt(jnp.sum(f * f))
        v = (1 - mixing) * v + mixing * speed / jnp.maximum(strength, 1e-300) * f
        x = x + dt * v
        f = force(x, args)
        now = Motion(v, dt, mixing, jnp.where(down, m.downhill + 1, 0))
        return x, now, f, jnp.max(jnp.abs(f)), step + 1

    f0 = force(x0, args)
    start = (x0, motion, f0, jnp.max(jnp.abs(f0)), jnp.zeros((), jnp.int32))
    x, motion, _, residual, used = lax.while_loop(keep_going, iterate, start)
    converged = Result.where(residual <= tolerance, Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(residual), converged, Result.not_finite)
    return Solution(x, result, {"steps": used, "residual": residual, "motion": motion})
