"""Time marching of differential-algebraic systems up to an event, with a discrete adjoint by record and replay."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .real import real
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

    tolerance: Float[Array, ""] = eqx.field(converter=real, default=3e-4)
    first_step: Float[Array, ""] = eqx.field(converter=real, default=1e-6)
    growth: Float[Array, ""] = eqx.field(converter=real, default=2.0)
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
    linear solve a step, whatever the number of parameters. Reverse mode only; `guess`, `horizon`, `method` have none.

    **Arguments:** `start`, y at t = 0; `guess`, for w there; `level`, `sign`, the event; `horizon`, s.

    **Returns:** a `Solution` with a [`Record`][]; stats `trials` and `newton`, the numbers of attempted steps and of
    Newton corrections.
    """
    guess, sign, horizon, method = lax.stop_gradient((guess, sign, horizon, method))
    return _march((system, start, level), guess, sign, horizon, method)


@eqx.filter_custom_vjp
def _march(inputs, guess, sign, horizon, method):
    return _finish(_walk(inputs, guess, sign, horizon, method))


def _finish(walk):
    count = jnp.maximum(walk.count, 0)
    written = jnp.arange(walk.times.shape[0]) <= count
    record = Record(
        jnp.where(written, walk.times, walk.times[count]),
        jnp.where(written, walk.observed, walk.observed[count]),
        walk.states[count],
        walk.unknowns[count],
        count,
        walk.reached,
    )
    result = Result.where(
        walk.finished,
        Result.successful,
        Result.where(walk.failed, Result.stagnated, Result.max_steps),
    )
    return Solution(record, result, {"trials": walk.trials, "newton": walk.newton, "steps": count})


def _recent(buffer, count, length):
    """The last `length` entries up to `count`, latest first; entries before the first repeat it."""
    return jnp.stack([buffer[jnp.maximum(count - m, 0)] for m in range(length)])


def _walk(inputs, guess, sign, horizon, method):
    """The forward march. Trial -1 finds the consistent start, by the same code as every step, with gamma = 0."""
    _, start, _ = inputs
    zero = jnp.zeros_like(horizon)

    def buffer(x):
        return jnp.zeros((method.max_steps + 1, *jnp.shape(x)), horizon.dtype).at[0].set(x)

    false = jnp.asarray(False)
    walk = _Walk(
        times=buffer(zero), states=buffer(start), unknowns=buffer(guess), observed=buffer(zero),
        count=jnp.asarray(-1), trials=jnp.asarray(0), newton=jnp.asarray(0), step=method.first_step * horizon,
        low=zero, low_gap=zero, high=zero, high_gap=zero, bracketed=false, finished=false, reached=false, failed=false,
    )  # fmt: skip
    limit = 4 * method.max_steps

    def keep_going(walk):
        return ~walk.finished & ~walk.failed & (walk.count < method.max_steps) & (walk.trials < limit)

    return lax.while_loop(keep_going, lambda walk: _attempt(walk, inputs, sign, horizon, method), walk)


def _attempt(walk, inputs, sign, horizon, method):
    """One trial step: reject it, use it to close in on the event, or accept it."""
    system, _, level = inputs
    time, past, gamma, predicted, last = _propose(walk, horizon, method)
    begun, k = walk.count >= 0, method.order
    step = time - walk.times[jnp.maximum(walk.count, 0)]
    solution = system.solve(predicted, past, gamma)
    w = solution.value
    observed = system.observe(w)
    gap = sign * (observed - level)
    solved = (solution.result == Result.successful) & jnp.isfinite(gap)

    earliest = walk.times[jnp.maximum(walk.count - k, 0)]
    span = jnp.where(walk.count > k, time - earliest, (k + 1) * step)
    share = step / jnp.where(begun, span, 1.0)
    error = jnp.where(walk.count > 0, system.distance(w, predicted) * share, 0.0)
    ratio = jnp.where(solved, error / method.tolerance, 1e3)
    replay = method.schedule is not None
    rejected = ~solved | ((ratio > 6.0) & ~walk.bracketed & (not replay))
    crossing = begun & ~rejected & (gap < 0)
    small = jnp.abs(gap) <= 1e-11 * jnp.maximum(jnp.abs(level), 1.0)
    tight = walk.bracketed & ((walk.high - walk.low) <= 1e-13 * (time + walk.high))
    landed = jnp.where(begun, (~rejected & small) | (tight & solved), ~rejected & (gap <= 0))
    accepted = landed | (~rejected & ~crossing & ~walk.bracketed)

    factor = jnp.clip(0.9 * jnp.maximum(ratio, 1e-6) ** (-1.0 / (k + 1)), 0.25, method.growth)
    closing = _close_in(walk, step, gap, crossing, solved)
    following = jnp.where(closing.bracketed & ~accepted, closing.step, step * jnp.where(solved, factor, 0.25))
    index = jnp.where(accepted, walk.count + 1, walk.count)

    def write(buffer, x):
        at = jnp.maximum(index, 0)
        return buffer.at[at].set(jnp.where(accepted, x, buffer[at]))

    finished = accepted & (landed | (last & begun))
    onward = accepted & ~finished
    return _Walk(
        times=write(walk.times, time), states=write(walk.states, system.state(w, past, gamma)),
        unknowns=write(walk.unknowns, w), observed=write(walk.observed, observed), count=index,
        trials=walk.trials + 1, newton=walk.newton + solution.stats["steps"],
        step=jnp.where(begun, following, walk.step),
        low=jnp.where(onward, 0.0, closing.low), low_gap=jnp.where(onward, gap, closing.low_gap),
        high=closing.high, high_gap=closing.high_gap, bracketed=closing.bracketed & ~onward,
        finished=finished, reached=accepted & landed,
        failed=~accepted & ((following < 1e-12 * horizon) & ~closing.bracketed | ~begun),
    )  # fmt: skip


def _propose(walk, horizon, method):
    """The time of the next trial, what the past contributes to it, and where the unknowns are expected to be."""
    begun, k = walk.count >= 0, method.order
    count = jnp.maximum(walk.count, 0)
    now = walk.times[count]
    wish = walk.step
    if method.schedule is not None:
        wish = jnp.where(walk.bracketed, walk.step, method.schedule[count + 1] - now)
    last = wish >= (horizon - now) * (1 - 1e-9)
    time = jnp.where(begun, jnp.where(last, horizon, now + wish), now)
    times = _recent(walk.times, count, k + 1)
    past, gamma = _past(time, times[:k], _recent(walk.states, count, k), walk.count + 1)
    ahead = _lagrange(time, times, jnp.arange(k + 1) < jnp.where(walk.count > 1, walk.count + 1, 1))
    return time, past, gamma, ahead @ _recent(walk.unknowns, count, k + 1), last


def _past(time, times, states, index):
    """p and gamma of the step that ends as number `index` at `time`; number 0 is the consistent start."""
    started = index > 0
    gamma, weights = difference_weights(jnp.where(started, time, times[0] + 1.0), times, jnp.clip(index, 1, len(times)))
    return jnp.where(started, weights @ states, states[0]), jnp.where(started, gamma, 0.0)


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


class _Adjoint(eqx.Module):
    """What the backward loop carries: cotangents of the latest states and, a row a step, those of the equations.

    `side` is the derivative of the event, made first and used once.
    """

    index: Array
    on_side: Array
    states: Array
    multipliers: Array
    state_bars: Array
    observed_bars: Array
    level: Array
    side: tuple


def _step_inputs(walk, index, order):
    """Time, times and states before, and unknowns of the step that ended as number `index`."""
    times = _recent(walk.times, index - 1, order)
    states = _recent(walk.states, jnp.maximum(index - 1, 0), order)
    return walk.times[index], times, states, walk.unknowns[index]


@_march.def_bwd
def _march_backward(walk, cotangents, perturbed, inputs, guess, sign, horizon, method):
    """The discrete adjoint, from the last step to the first.

    Each step pulls (y, V) back through w by one transposed solve. The end time answers to V = level with
    dt = -(dV/dp) / (dV/dt), so where the march ended on the event its last step is visited twice: first for the
    derivative of V there, then for that of the record, of which the right multiple of the first is taken away.
    The parameters have no part in the loop: their cotangents follow for all steps at once.
    """
    system, k = inputs[0], method.order
    given = _filled(cotangents.value, walk)
    beyond = jnp.arange(walk.times.shape[0]) >= walk.count
    last_observed = jnp.sum(jnp.where(beyond, given.observed, 0.0))
    end_time = jnp.sum(jnp.where(beyond, given.time, 0.0))

    def transposed_step(index, y_bar, v_bar, w_bar):
        time, times, states, w = _step_inputs(walk, index, k)
        (past, gamma), to_past = jax.vjp(lambda time, states: _past(time, times, states, index), time, states)
        _, explicit = jax.vjp(lambda w: (system.state(w, past, gamma), system.observe(w)), w)
        multiplier = -system.solve_transposed(w, past, gamma, w_bar + explicit((y_bar, v_bar))[0])
        _, pullback = jax.vjp(lambda p, g: (system.residual(w, p, g), system.state(w, p, g)), past, gamma)
        return multiplier, *to_past(pullback((multiplier, y_bar)))

    def visit(adjoint):
        index, side = adjoint.index, adjoint.on_side
        at_end = (index == walk.count) & ~side
        y_bar = jnp.where(side, 0.0, adjoint.states[0])
        v_bar = jnp.where(side, 1.0, jnp.where(at_end, last_observed, given.observed[index]))
        found = transposed_step(index, y_bar, v_bar, jnp.where(at_end, given.unknowns, 0.0))
        event = at_end & walk.reached & (index > 0)
        slope = jnp.where(event, adjoint.side[1], 1.0)
        weight = jnp.where(event, (end_time + found[1]) / slope, 0.0)
        multiplier, _, states_bar = jax.tree.map(lambda a, b: a - weight * b, found, adjoint.side)
        shifted = jnp.concatenate([adjoint.states[1:], jnp.zeros_like(adjoint.states[:1])])
        towards = jnp.where(index == 0, states_bar, shifted + states_bar)
        return _Adjoint(
            index=jnp.where(side, index, index - 1),
            on_side=jnp.zeros_like(side),
            states=jnp.where(side, adjoint.states, towards),
            multipliers=adjoint.multipliers.at[index].set(multiplier),
            state_bars=adjoint.state_bars.at[index].set(y_bar),
            observed_bars=adjoint.observed_bars.at[index].set(v_bar - weight),
            level=adjoint.level + weight,
            side=jax.tree.map(lambda a, b: jnp.where(side, b, a), adjoint.side, found),
        )

    states = jnp.zeros((k, walk.states.shape[1]), walk.states.dtype).at[0].set(given.state)
    zero, count = jnp.zeros_like(walk.step), jnp.maximum(walk.count, 0)
    adjoint = _Adjoint(
        count, walk.reached & (count > 0), states, jnp.zeros_like(walk.unknowns), jnp.zeros_like(walk.states),
        jnp.zeros_like(walk.observed), zero, (jnp.zeros_like(walk.unknowns[0]), zero, jnp.zeros_like(states)),
    )  # fmt: skip
    adjoint = lax.while_loop(lambda adjoint: adjoint.index >= 0, visit, adjoint)
    return _parameter_cotangents(system, walk, adjoint, k), jnp.sum(adjoint.states, axis=0), adjoint.level


def _parameter_cotangents(system, walk, adjoint, order):
    """The derivative in every parameter of the sum, over all steps at once, of cotangents times equations."""
    params, static = eqx.partition(system, eqx.is_inexact_array)
    index = jnp.minimum(jnp.arange(walk.times.shape[0]), jnp.maximum(walk.count, 0))

    def step(params, index, multiplier, y_bar, v_bar):
        system = eqx.combine(params, static)
        time, times, states, w = _step_inputs(walk, index, order)
        past, gamma = _past(time, times, states, index)
        return (
            jnp.sum(multiplier * system.residual(w, past, gamma))
            + jnp.sum(y_bar * system.state(w, past, gamma))
            + v_bar * system.observe(w)
        )

    def total(params):
        rows = (index, adjoint.multipliers, adjoint.state_bars, adjoint.observed_bars)
        return jnp.sum(jax.vmap(step, in_axes=(None, 0, 0, 0, 0))(params, *rows))

    return jax.grad(total)(params)


def _filled(record, walk):
    """Cotangents of the record, with zeros where there is none."""

    def fill(given, like):
        return jnp.zeros_like(like) if given is None else given

    return Record(
        fill(record.time, walk.times), fill(record.observed, walk.observed), fill(record.state, walk.states[0]),
        fill(record.unknowns, walk.unknowns[0]), None, None,
    )  # fmt: skip
