"""The discrete adjoint of a march, from its record."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from . import bdf
from .lanes import where_active, while_lanes, write
from .walk import Record

_ROWS = 32  # steps whose equations are differentiated in the parameters side by side


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
    gap_bar: Array
    horizon: Array
    side: tuple


def _step_inputs(walk, index, order):
    """Time, times and states before, and unknowns of the step that ended as number `index`."""
    times = bdf.recent(walk.times, index - 1, order)
    states = bdf.recent(walk.states, jnp.maximum(index - 1, 0), order)
    return walk.times[index], times, states, walk.unknowns[index]


def sweep(walk, cotangents, system, method):
    """The discrete adjoint, from the last step to the first.

    Each step pulls (y, V) back through w by one transposed solve. The end time answers to gap = 0 with
    dt = -(dg/dp) / (dg/dt), so where the march ended on the event its last step is visited twice: first for the
    derivative of the gap g there, then for that of the record, of which the right multiple of the first is taken away.
    The parameters have no part in the loop: their cotangents follow for all steps at once.
    """
    k = method.order
    given = _filled(cotangents, walk)
    states = jnp.zeros((k, walk.states.shape[1]), walk.states.dtype).at[0].set(given.state)
    zero, count = jnp.zeros_like(walk.step), jnp.maximum(walk.count, 0)
    adjoint = _Adjoint(
        count, walk.reached & (count > 0), states, jnp.zeros_like(walk.unknowns), jnp.zeros_like(walk.states),
        jnp.zeros_like(walk.observed), zero, zero, (jnp.zeros_like(walk.unknowns[0]), zero, jnp.zeros_like(states)),
    )  # fmt: skip
    arrays, static = eqx.partition((system, walk, given), eqx.is_array)

    def visit(adjoint, active, arrays):
        return _visit(adjoint, active, *eqx.combine(arrays, static), k)

    adjoint = while_lanes(lambda a: a.index >= 0, visit, adjoint, arrays, clock=lambda a: (a.index, a.on_side))
    return _parameter_cotangents(system, walk, adjoint, k), jnp.sum(adjoint.states, axis=0), adjoint.horizon


def _visit(adjoint, active, system, walk, given, order):
    """One step backwards, or the first of the two visits of the last step. Nothing changes unless `active`."""
    index, side = jnp.maximum(adjoint.index, 0), adjoint.on_side
    beyond = jnp.arange(walk.times.shape[0]) >= walk.count
    at_end = (index == walk.count) & ~side
    y_bar = jnp.where(side, 0.0, adjoint.states[0])
    rows = beyond.reshape(-1, *[1] * (given.observed.ndim - 1))
    last_observed = jnp.sum(jnp.where(rows, given.observed, 0.0), axis=0)
    v_bar = jnp.where(side, 0.0, jnp.where(at_end, last_observed, given.observed[index]))
    bars = (y_bar, v_bar, jnp.where(side, 1.0, 0.0))
    found = _transposed_step(system, walk, index, bars, jnp.where(at_end, given.unknowns, 0.0), order)
    event, free = at_end & walk.reached & (index > 0), at_end & ~walk.reached
    slope = jnp.where(event, adjoint.side[1], 1.0)
    end_time = jnp.sum(jnp.where(beyond, given.time, 0.0))
    weight = jnp.where(event, (end_time + found[1]) / slope, 0.0)
    multiplier, _, states_bar = jax.tree.map(lambda a, b: a - weight * b, found, adjoint.side)
    shifted = jnp.concatenate([adjoint.states[1:], jnp.zeros_like(adjoint.states[:1])])
    towards = jnp.where(index == 0, states_bar, shifted + states_bar)

    def choose(new, old):
        return where_active(active, new, old)

    return _Adjoint(
        index=choose(jnp.where(side, index, index - 1), adjoint.index),
        on_side=choose(jnp.zeros_like(side), side),
        states=choose(jnp.where(side, adjoint.states, towards), adjoint.states),
        multipliers=write(adjoint.multipliers, index, multiplier, active),
        state_bars=write(adjoint.state_bars, index, y_bar, active),
        observed_bars=write(adjoint.observed_bars, index, v_bar, active),
        gap_bar=choose(adjoint.gap_bar - weight, adjoint.gap_bar),
        horizon=choose(adjoint.horizon + jnp.where(free, end_time + found[1], 0.0), adjoint.horizon),
        side=choose(jax.tree.map(lambda a, b: jnp.where(side, b, a), adjoint.side, found), adjoint.side),
    )


def _transposed_step(system, walk, index, bars, w_bar, order):
    """Pulls cotangents of (y, what is observed, gap) and of w of a step back: the multiplier of its equations, and the
    cotangents of time and states."""
    time, times, states, w = _step_inputs(walk, index, order)
    (past, gamma), to_past = jax.vjp(lambda time, states: bdf.past(time, times, states, index), time, states)
    _, explicit = jax.vjp(lambda w: (system.state(w, past, gamma), system.observe(w), system.gap(w)), w)
    multiplier = -system.solve_transposed(w, past, gamma, w_bar + explicit(bars)[0])
    _, pullback = jax.vjp(lambda p, g: (system.residual(w, p, g), system.state(w, p, g)), past, gamma)
    return multiplier, *to_past(pullback((multiplier, bars[0])))


def _parameter_cotangents(system, walk, adjoint, order):
    """The derivative in every parameter of the sum over the steps of cotangents times equations, `_ROWS` at a time."""
    params, static = eqx.partition(system, eqx.is_inexact_array)

    def step(params, index, multiplier, y_bar, v_bar):
        system = eqx.combine(params, static)
        time, times, states, w = _step_inputs(walk, index, order)
        past, gamma = bdf.past(time, times, states, index)
        return (
            jnp.sum(multiplier * system.residual(w, past, gamma))
            + jnp.sum(y_bar * system.state(w, past, gamma))
            + jnp.sum(v_bar * system.observe(w))
        )

    def total(params, first):
        index = first + jnp.arange(_ROWS)
        wanted = index <= walk.count
        index = jnp.clip(index, 0, jnp.maximum(walk.count, 0))
        rows = (adjoint.multipliers[index], adjoint.state_bars[index], adjoint.observed_bars[index])
        parts = jax.vmap(step, in_axes=(None, 0, 0, 0, 0))(params, index, *rows)
        return jnp.sum(jnp.where(wanted, parts, 0.0))

    def add(carry):
        first, sums = carry
        return first + _ROWS, jax.tree.map(jnp.add, sums, jax.grad(total)(params, first))

    def at_the_end(params):
        return adjoint.gap_bar * eqx.combine(params, static).gap(walk.unknowns[jnp.maximum(walk.count, 0)])

    start = jnp.zeros_like(walk.count), jax.grad(at_the_end)(params)
    return lax.while_loop(lambda carry: carry[0] <= walk.count, add, start)[1]


def _filled(record, walk):
    """Cotangents of the record, with zeros where there is none."""

    def fill(given, like):
        return jnp.zeros_like(like) if given is None else given

    return Record(
        fill(record.time, walk.times), fill(record.observed, walk.observed), fill(record.state, walk.states[0]),
        fill(record.unknowns, walk.unknowns[0]), None, None,
    )  # fmt: skip
