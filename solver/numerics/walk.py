"""The forward march: trial steps, their error, and the bracket that closes on the event."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from . import bdf
from .lanes import where_active, while_lanes, write
from .solution import Result, Solution


class Record(eqx.Module):
    """The march step by step; entries after `steps` repeat the last one.

    **Arguments:** `time`, shape (n + 1,); `observed`, shape (n + 1,) or (n + 1, m); `state` and `unknowns` at the
    end; `steps`; `reached`, whether it ended at the event.
    """

    time: Array
    observed: Array
    state: Array
    unknowns: Array
    steps: Array
    reached: Array


class Walk(eqx.Module):
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


def finish(walk: Walk) -> Solution:
    """The `Solution` with the [`Record`][] of a walk: what was not written repeats the last entry."""
    count = jnp.maximum(walk.count, 0)
    written = jnp.arange(walk.times.shape[0]) <= count
    record = Record(
        jnp.where(written, walk.times, walk.times[count]),
        jnp.where(written.reshape(-1, *[1] * (walk.observed.ndim - 1)), walk.observed, walk.observed[count]),
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


def begin(inputs, guess, method):
    """Before the first trial, number -1, which finds the consistent start by the code of every step, with gamma = 0."""
    system, start, horizon = inputs
    zero, unseen = jnp.zeros_like(horizon), jnp.zeros_like(system.observe(guess))

    def buffer(x):
        return jnp.zeros((method.max_steps + 1, *jnp.shape(x)), horizon.dtype).at[0].set(x)

    false = jnp.asarray(False)
    return Walk(
        times=buffer(zero), states=buffer(start), unknowns=buffer(guess), observed=buffer(unseen),
        count=jnp.asarray(-1), trials=jnp.asarray(0), newton=jnp.asarray(0), step=method.first_step * horizon,
        low=zero, low_gap=zero, high=zero, high_gap=zero, bracketed=false, finished=false, reached=false, failed=false,
    )  # fmt: skip


def walk_forward(inputs, guess, method):
    """The forward march."""
    arrays, static = eqx.partition((inputs[0], inputs[2], method), eqx.is_array)

    def going(walk):
        return ~walk.finished & ~walk.failed & (walk.count < method.max_steps) & (walk.trials < 4 * method.max_steps)

    def trial(walk, active, arrays):
        return attempt(walk, active, *eqx.combine(arrays, static))

    return while_lanes(going, trial, begin(inputs, guess, method), arrays)


def attempt(walk, active, system, horizon, method):
    """One trial step: reject it, use it to close in on the event, or accept it. Nothing changes unless `active`."""
    time, past, gamma, predicted, last = _propose(walk, horizon, method)
    begun, k = walk.count >= 0, method.order
    step = time - walk.times[jnp.maximum(walk.count, 0)]
    # Newton's method gives up on what is not a number at once, so that a lane that is done delays no other.
    solution = system.solve(jnp.where(active, predicted, jnp.nan), past, gamma)
    w = solution.value
    observed, gap = system.observe(w), system.gap(w)
    solved = (solution.result == Result.successful) & jnp.isfinite(gap)

    earliest = walk.times[jnp.maximum(walk.count - k, 0)]
    span = jnp.where(walk.count > k, time - earliest, (k + 1) * step)
    share = step / jnp.where(begun, span, 1.0)
    error = jnp.where(walk.count > 0, system.distance(w, predicted) * share, 0.0)
    ratio = jnp.where(solved, error / method.tolerance, 1e3)
    replay = method.schedule is not None
    rejected = ~solved | ((ratio > 6.0) & ~walk.bracketed & (not replay))
    crossing = begun & ~rejected & (gap < 0)
    small = jnp.abs(gap) <= 2e-11
    tight = walk.bracketed & ((walk.high - walk.low) <= 1e-13 * (time + walk.high))
    landed = jnp.where(begun, (~rejected & small) | (tight & solved), ~rejected & (gap <= 0))
    accepted = (landed | (~rejected & ~crossing & ~walk.bracketed)) & active

    factor = jnp.clip(0.9 * jnp.maximum(ratio, 1e-6) ** (-1.0 / (k + 1)), 0.25, method.growth)
    closing = _close_in(walk, step, gap, crossing, solved)
    following = jnp.where(closing.bracketed & ~accepted, closing.step, step * jnp.where(solved, factor, 0.25))
    index = jnp.where(accepted, walk.count + 1, walk.count)

    def record(buffer, x):
        return write(buffer, jnp.maximum(index, 0), x, accepted)

    finished = accepted & (landed | (last & begun))
    onward = accepted & ~finished
    after = Walk(
        times=record(walk.times, time), states=record(walk.states, system.state(w, past, gamma)),
        unknowns=record(walk.unknowns, w), observed=record(walk.observed, observed), count=index,
        trials=walk.trials + 1, newton=walk.newton + solution.stats["steps"],
        step=jnp.where(begun, following, walk.step),
        low=jnp.where(onward, 0.0, closing.low), low_gap=jnp.where(onward, gap, closing.low_gap),
        high=closing.high, high_gap=closing.high_gap, bracketed=closing.bracketed & ~onward,
        finished=finished, reached=accepted & landed,
        failed=~accepted & (~begun | ~closing.bracketed & ((following < 1e-12 * horizon) | (replay & ~solved))),
    )  # fmt: skip
    return _but_records(after, where_active(active, _but_records(after), _but_records(walk)))


def _but_records(walk, others=None):
    """The walk without its records, or with all but its records replaced."""
    is_record = Walk(True, True, True, True, *[False] * 12)
    records, rest = eqx.partition(walk, is_record)
    return rest if others is None else eqx.combine(records, others)


def _propose(walk, horizon, method):
    """The time of the next trial, what the past contributes to it, and where the unknowns are expected to be."""
    begun, k = walk.count >= 0, method.order
    count = jnp.maximum(walk.count, 0)
    now = walk.times[count]
    wish = jnp.minimum(walk.step, method.longest)
    if method.stops is not None:
        wish = jnp.where(walk.bracketed, walk.step, _short_of_stop(wish, now, method.stops, horizon))
    if method.schedule is not None:
        wish = jnp.where(walk.bracketed, walk.step, method.schedule[count + 1] - now)
    last = wish >= (horizon - now) * (1 - 1e-9)
    time = jnp.where(begun, jnp.where(last, horizon, now + wish), now)
    times = bdf.recent(walk.times, count, k + 1)
    past, gamma = bdf.past(time, times[:k], bdf.recent(walk.states, count, k), walk.count + 1)
    ahead = bdf.lagrange(time, times, jnp.arange(k + 1) < jnp.where(walk.count > 1, walk.count + 1, 1))
    return time, past, gamma, jnp.tensordot(ahead, bdf.recent(walk.unknowns, count, k + 1), 1), last


def _short_of_stop(wish, now, stops, horizon):
    """The step `wish` from `now`, or up to the next of `stops`, in two halves rather than with a sliver at the end."""
    following = jnp.searchsorted(stops, now + 1e-12 * horizon, side="right")
    room = jnp.where(following < stops.shape[0], stops[jnp.minimum(following, stops.shape[0] - 1)] - now, jnp.inf)
    return jnp.where(room <= wish, room, jnp.where(room < 2.0 * wish, 0.5 * room, wish))


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
