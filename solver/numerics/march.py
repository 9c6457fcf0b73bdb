"""Time marching of differential-algebraic systems up to an event, with a discrete adjoint by record and replay."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .solution import Result, Solution


class System(eqx.Module):
    """A system y' = f(y, w), 0 = g(y, w), in the form that an implicit step needs.

    A step of any backward differentiation formula reads y = p + gamma y', with p a sum over the past. `w` are the
    unknowns that Newton's method works on; y follows from them.
    """

    @abc.abstractmethod
    def residual(self, w: Array, past: Array, gamma: Array) -> Array:
        """The equations of a step, zero at its solution; gamma = 0 asks for the consistent start at y = past."""

    @abc.abstractmethod
    def solve(self, w: Array, past: Array, gamma: Array) -> Solution:
        """A root of `residual` from the guess `w`."""

    @abc.abstractmethod
    def solve_transposed(self, w: Array, past: Array, gamma: Array, cotangent: Array) -> Array:
        """J^-T times `cotangent`, with J the derivative of `residual` in w."""

    @abc.abstractmethod
    def state(self, w: Array, past: Array, gamma: Array) -> Array:
        """y after the step."""

    @abc.abstractmethod
    def observe(self, w: Array) -> Array:
        """The scalar whose passage through a level ends the march."""

    @abc.abstractmethod
    def distance(self, w: Array, other: Array) -> Array:
        """A dimensionless size of the difference of two solutions, for the choice of the step."""


class March(eqx.Module):
    """How to march: variable steps, backward differentiation formulae up to `order`, error held near `tolerance`.

    **Arguments:** `tolerance`, local error a step in the units of [`System.distance`][]; `order`, 1, 2 or 3;
    `max_steps`, length of the record; `first_step`, as a share of the horizon; `growth`, largest ratio of two steps;
    `schedule`, times to step to, shape (max_steps + 1,), instead of choosing them: a replay of an earlier record.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=2e-4)
    first_step: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-6)
    growth: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=2.0)
    schedule: Float[Array, " n"] | None = None
    order: int = eqx.field(static=True, default=2)
    max_steps: int = eqx.field(static=True, default=250)


class Record(eqx.Module):
    """The march step by step; entries after `steps` repeat the last one.

    **Arguments:** `time`, shape (n + 1,); `observed`, shape (n + 1,); `state` and `unknowns` at the end; `steps`;
    `reached`, whether it ended at the event.
    """

    time: Array
    observed: Array
    state: Array
    unknowns: Array
    steps: Array
    reached: Array


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
    weights = _lagrange(time, past, used) / gap
    return 1.0 / rate, jnp.where(used, weights, 0.0) / rate


def _lagrange(time, past, used):
    """Weights of the interpolant through the used entries of `past`, at `time`."""
    k = past.shape[0]
    other = used[None, :] & used[:, None] & ~jnp.eye(k, dtype=bool)
    between = jnp.where(other, past[:, None] - past[None, :], 1.0)
    ahead = jnp.where(other, time - past[None, :], 1.0)
    return jnp.where(used, jnp.prod(ahead / between, axis=1), 0.0)


class _Walk(eqx.Module):
    """What the forward loop carries: the record, the newest entries, and the bracket of the event."""

    times: Array
    states: Array
    unknowns: Array
    observed: Array
    count: Array
    trials: Array
    newton: Array
    step: Array
    low: Array
    low_gap: Array
    high: Array
    high_gap: Array
    bracketed: Array
    finished: Array
    reached: Array
    failed: Array


def march(system: System, start: Array, guess: Array, level: Array, sign: Array, horizon: Array, method: March):
    """Marches `system` from `start` until sign (observe - level) falls to zero, or to the time `horizon`.

    The last step ends on the event to rounding: its length is the root of the observed value. Derivatives are those
    of the discrete march at its recorded step times, the last one implicit through the event; they cost one transposed
    linear solve a step, whatever the number of parameters. Reverse mode only.

    **Arguments:** `start`, y at t = 0; `guess`, for w there; `level`, `sign`, the event; `horizon`, s.

    **Returns:** a `Solution` with a [`Record`][]; stats `trials` and `newton`, the numbers of attempted steps and of
    Newton corrections.
    """
    return _march((system, start, level), guess, sign, horizon, method)


@eqx.filter_custom_vjp
def _march(inputs, guess, sign, horizon, method):
    return _finish(_walk(inputs, guess, sign, horizon, method))


def _finish(walk):
    record = Record(
        jnp.where(jnp.arange(walk.times.shape[0]) <= walk.count, walk.times, walk.times[walk.count]),
        jnp.where(jnp.arange(walk.times.shape[0]) <= walk.count, walk.observed, walk.observed[walk.count]),
        walk.states[walk.count],
        walk.unknowns[walk.count],
        walk.count,
        walk.reached,
    )
    result = Result.where(
        walk.finished,
        Result.successful,
        Result.where(walk.failed, Result.stagnated, Result.max_steps),
    )
    return Solution(record, result, {"trials": walk.trials, "newton": walk.newton, "steps": walk.count})


def _recent(buffer, count, length):
    """The last `length` entries up to `count`, latest first; entries before the first repeat it."""
    return jnp.stack([buffer[jnp.maximum(count - m, 0)] for m in range(length)])


def _walk(inputs, guess, sign, horizon, method):
    system, start, level = inputs
    zero = jnp.zeros_like(horizon)
    first = system.solve(guess, start, zero)
    observed = system.observe(first.value)
    healthy = (first.result == Result.successful) & jnp.isfinite(observed)
    past = sign * (observed - level) <= 0

    def buffer(x):
        return jnp.zeros((method.max_steps + 1, *jnp.shape(x)), horizon.dtype).at[0].set(x)

    false = jnp.asarray(False)
    walk = _Walk(
        times=buffer(zero), states=buffer(start), unknowns=buffer(first.value), observed=buffer(observed),
        count=jnp.asarray(0), trials=jnp.asarray(0), newton=first.stats["steps"], step=method.first_step * horizon,
        low=zero, low_gap=sign * (observed - level), high=zero, high_gap=zero, bracketed=false,
        finished=healthy & past, reached=healthy & past, failed=~healthy,
    )  # fmt: skip
    limit = 4 * method.max_steps

    def keep_going(walk):
        return ~walk.finished & ~walk.failed & (walk.count < method.max_steps) & (walk.trials < limit)

    return lax.while_loop(keep_going, lambda walk: _attempt(walk, inputs, sign, horizon, method), walk)


def _attempt(walk, inputs, sign, horizon, method):
    """One trial step: reject it, use it to close in on the event, or accept it."""
    system, _, level = inputs
    now = walk.times[walk.count]
    remaining = horizon - now
    replay = method.schedule is not None
    wish = jnp.where(walk.bracketed, walk.step, method.schedule[walk.count + 1] - now) if replay else walk.step
    last = wish >= remaining * (1 - 1e-9)
    time = jnp.where(last, horizon, now + wish)
    step = time - now
    k = method.order
    times = _recent(walk.times, walk.count, k + 1)
    available = jnp.minimum(walk.count + 1, k)
    gamma, weights = difference_weights(time, times[:k], available)
    past = weights @ _recent(walk.states, walk.count, k)
    ahead = _lagrange(time, times, jnp.arange(k + 1) < jnp.minimum(walk.count + 1, k + 1))
    predicted = ahead @ _recent(walk.unknowns, walk.count, k + 1)
    nearest = walk.unknowns[walk.count]
    guess = jnp.where(walk.count > 1, predicted, nearest)
    solution = system.solve(guess, past, gamma)
    w = solution.value
    observed = system.observe(w)
    gap = sign * (observed - level)
    solved = (solution.result == Result.successful) & jnp.isfinite(gap)

    span = jnp.where(walk.count > k, time - times[k], 3 * step)
    error = jnp.where(walk.count > 0, system.distance(w, predicted) * step / span, 0.0)
    ratio = jnp.where(solved, error / method.tolerance, 1e3)
    rejected = ~solved | ((ratio > 6.0) & ~walk.bracketed & (not replay))
    crossing = solved & ~rejected & (gap < 0)
    landed = solved & ~rejected & (jnp.abs(gap) <= 1e-11 * jnp.maximum(jnp.abs(level), 1.0))
    tight = walk.bracketed & ((walk.high - walk.low) <= 1e-13 * (now + walk.high))
    landed = landed | (tight & solved)
    accepted = landed | (solved & ~rejected & ~crossing & ~walk.bracketed)

    factor = jnp.clip(0.9 * jnp.maximum(ratio, 1e-6) ** (-1.0 / (k + 1)), 0.25, method.growth)
    closing = _close_in(walk, step, gap, crossing, solved)
    following = jnp.where(closing.bracketed & ~accepted, closing.step, step * jnp.where(solved, factor, 0.25))
    y = system.state(w, past, gamma)
    index = jnp.where(accepted, walk.count + 1, walk.count)

    def write(buffer, x):
        return buffer.at[index].set(jnp.where(accepted, x, buffer[index]))

    finished = accepted & (landed | last)
    start_again = accepted & ~finished
    return _Walk(
        times=write(walk.times, time), states=write(walk.states, y), unknowns=write(walk.unknowns, w),
        observed=write(walk.observed, observed), count=index, trials=walk.trials + 1,
        newton=walk.newton + solution.stats["steps"], step=following,
        low=jnp.where(start_again, 0.0, closing.low), low_gap=jnp.where(start_again, gap, closing.low_gap),
        high=closing.high, high_gap=closing.high_gap, bracketed=closing.bracketed & ~start_again,
        finished=finished, reached=accepted & landed,
        failed=~accepted & (following < 1e-12 * horizon) & ~closing.bracketed,
    )  # fmt: skip


def _close_in(walk, step, gap, crossing, solved):
    """The bracket of the event after a trial, and the next length to try: regula falsi, halved where it creeps.

    **Source:** Illinois rule, Dowell and Jarratt 1971, doi 10.1007/BF01934364.
    """
    inside = walk.bracketed & solved
    beyond = inside & (gap < 0)
    before = inside & (gap >= 0)
    opened = crossing & ~walk.bracketed
    high = jnp.where(opened | beyond | (walk.bracketed & ~solved), step, walk.high)
    high_gap = jnp.where(opened | beyond, gap, walk.high_gap)
    low = jnp.where(before, step, walk.low)
    low_gap = jnp.where(before, gap, walk.low_gap)
    # An end that has not moved counts half, so that the secant crosses over to its side.
    low_gap = jnp.where(beyond, 0.5 * low_gap, low_gap)
    high_gap = jnp.where(before, 0.5 * high_gap, high_gap)
    total = low_gap - high_gap
    share = jnp.where(total > 0, low_gap / jnp.where(total > 0, total, 1.0), 0.5)
    share = jnp.clip(share, 1e-6, 1 - 1e-6)
    return _Bracket(low, low_gap, high, high_gap, walk.bracketed | opened, low + share * (high - low))


class _Bracket(eqx.Module):
    low: Array
    low_gap: Array
    high: Array
    high_gap: Array
    bracketed: Array
    step: Array


@_march.def_fwd
def _march_forward(perturbed, inputs, guess, sign, horizon, method):
    walk = _walk(inputs, guess, sign, horizon, method)
    return _finish(walk), walk


@_march.def_bwd
def _march_backward(walk, cotangents, perturbed, inputs, guess, sign, horizon, method):
    system, start, _ = inputs
    params, static = eqx.partition((system,), eqx.is_inexact_array)
    record = cotangents.value
    k = method.order
    given = _filled(record, walk)
    padded = jnp.arange(walk.times.shape[0]) >= walk.count
    last_observed = jnp.sum(jnp.where(padded, given.observed, 0.0))
    end_time = jnp.sum(jnp.where(padded, given.time, 0.0))

    def step_map(params, time, states, w, index):
        (system,) = eqx.combine(params, static)
        times = _recent(walk.times, index - 1, k)
        gamma, weights = difference_weights(time, times, jnp.clip(index, 1, k))
        gamma = jnp.where(index == 0, 0.0, gamma)
        past = jnp.where(index == 0, states[0], weights @ states)
        return system.residual(w, past, gamma), system.state(w, past, gamma), system.observe(w), (past, gamma)

    def pull(carry):
        index, bars, params_bar, level_bar = carry
        is_last = index == walk.count
        event = is_last & walk.reached & (index > 0)
        w, time = walk.unknowns[index], walk.times[index]
        states = _recent(walk.states, jnp.maximum(index - 1, 0), k)
        arguments = (params, time, states, w)
        values, pullback = jax.vjp(lambda *a: step_map(*a, index), *arguments)
        residual, y, observed, (past, gamma) = jax.tree.map(lax.stop_gradient, values)
        none = (jnp.zeros_like(past), jnp.zeros_like(gamma))
        v_bar = jnp.where(is_last, last_observed, given.observed[index])
        outer = pullback((jnp.zeros_like(residual), bars[0], v_bar, none))
        w_bar = outer[3] + jnp.where(is_last, given.unknowns, 0.0)
        multiplier = system.solve_transposed(w, past, gamma, w_bar)
        inner = pullback((-multiplier, jnp.zeros_like(y), jnp.zeros_like(v_bar), none))

        def through_event(_):
            # The end time answers to observe = level: dt = -(dV/dp) / (dV/dt) at fixed time, both by the adjoint.
            zero_y, one = jnp.zeros_like(y), jnp.ones_like(v_bar)
            slope = pullback((jnp.zeros_like(residual), zero_y, one, none))
            mu = system.solve_transposed(w, past, gamma, slope[3])
            side = pullback((-mu, zero_y, jnp.zeros_like(v_bar), none))
            weight = (end_time + outer[1] + inner[1]) / (slope[1] + side[1])
            change = jax.tree.map(lambda a, b: -weight * (a + b), (slope[0], slope[2]), (side[0], side[2]))
            return (*change, weight)

        def without_event(_):
            nothing = jax.tree.map(jnp.zeros_like, (params, states))
            return (*nothing, jnp.zeros_like(v_bar))

        extra_params, extra_states, weight = lax.cond(event, through_event, without_event, None)
        params_bar = jax.tree.map(
            lambda total, a, b, c: total + a + b + c, params_bar, outer[0], inner[0], extra_params
        )
        towards = outer[2] + inner[2] + extra_states
        # At the start both entries of `states` are y0; its cotangent stays in the first register.
        shifted = jnp.concatenate([bars[1:], jnp.zeros_like(bars[:1])])
        return index - 1, jnp.where(index == 0, towards, shifted + towards), params_bar, level_bar + weight

    bars = jnp.zeros((k, walk.states.shape[1]), walk.states.dtype).at[0].set(given.state)
    carry = (walk.count, bars, jax.tree.map(jnp.zeros_like, params), jnp.zeros_like(walk.step))
    _, bars, params_bar, level_bar = lax.while_loop(lambda carry: carry[0] >= 0, pull, carry)
    return (params_bar[0], jnp.sum(bars, axis=0), level_bar)


def _filled(record, walk):
    """Cotangents of the record, with zeros where there is none."""

    def fill(given, like):
        return jnp.zeros_like(like) if given is None else given

    return Record(
        fill(record.time, walk.times), fill(record.observed, walk.observed), fill(record.state, walk.states[0]),
        fill(record.unknowns, walk.unknowns[0]), None, None,
    )  # fmt: skip
