"""Backward differentiation formulae on any times: what the past contributes to a step."""

import jax.numpy as jnp
from jaxtyping import Array


def difference_weights(time: Array, past: Array, available: Array) -> tuple[Array, Array]:
    """Backward differentiation on any times: y(t) = sum_m a_m y_m + gamma y'(t).

    **Arguments:** `time`, t; `past`, shape (k,), earlier times, latest first; `available`, how many of them to use, at
    least one.

    **Returns:** gamma, in the unit of time, and a, shape (k,).

    **Source:** derivative of the Lagrange interpolant; Hairer and Wanner 1996, Solving ODE II, section V.1,
    doi 10.1007/978-3-642-05221-7.
    """
    k = past.shape[0]
    used = jnp.arange(k) < available
    gap = time - jnp.where(used, past, time - 1.0)
    rate = jnp.sum(jnp.where(used, 1.0 / gap, 0.0))
    weights = lagrange(time, past, used) / gap
    return 1.0 / rate, jnp.where(used, weights, 0.0) / rate


def lagrange(time, past, used):
    """Weights of the interpolant through the used entries of `past`, at `time`."""
    k = past.shape[0]
    other = used[None, :] & used[:, None] & ~jnp.eye(k, dtype=bool)
    between = jnp.where(other, past[:, None] - past[None, :], 1.0)
    ahead = jnp.where(other, time - past[None, :], 1.0)
    return jnp.where(used, jnp.prod(ahead / between, axis=1), 0.0)


def recent(buffer, count, length):
    """The last `length` entries up to `count`, latest first; entries before the first repeat it."""
    return jnp.stack([buffer[jnp.maximum(count - m, 0)] for m in range(length)])


def weights(time, times, index):
    """gamma, and the weights of earlier states in p, of the step that ends as number `index` at `time`; number 0 is
    the consistent start."""
    started = index > 0
    gamma, share = difference_weights(jnp.where(started, time, times[0] + 1.0), times, jnp.clip(index, 1, len(times)))
    return jnp.where(started, gamma, 0.0), jnp.where(started, share, jnp.zeros_like(share).at[0].set(1.0))


def past(time, times, states, index):
    """p and gamma of the step that ends as number `index` at `time`."""
    gamma, share = weights(time, times, index)
    return jnp.tensordot(share, states, 1), gamma
