"""The discrete adjoint of a march, from its record."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from . import bdf
from .lanes import where_active, while_lanes, write
from .walk import Record


class _Bars(eqx.Module):
    """Cotangents of a block of steps, a row each: the multiplier of the equations, of the state, of what is seen."""

    multiplier: Array
    state: Array
    observed: Array


class _Backwards(eqx.Module):
    """What goes from block to block, the latest first: the number of the `last` step of the next block and of the next
    `step` to take, cotangents of the latest states and, with the last step in it from the start, those of a block's
    steps; and the sum of those of the parameters."""

    last: Array
    step: Array
    states: Array
    bars: _Bars
    params: PyTree


class _Within(eqx.Module):
    """What goes from step to step in a block: its `row`, and the row to `stop` after."""

    row: Array
    stop: Array
    states: Array
    bars: _Bars


class _Step(eqx.Module):
    """A step of the record, linearised: weights of earlier states in its past, the derivative of what is observed, and
    [`System.derivative`][]."""

    weights: Array
    slopes: Array
    derivative: PyTree


def sweep(walk, cotangents, system, method):
    """The discrete adjoint, from the last step to the first.

    Each step pulls (y, V) back through w by one transposed solve. What needs no cotangent is linearised before, in
    blocks of `System.rows` steps side by side, and the parameters have no part in the sequence: theirs follow for a
    block at once.
    """
    k, count = method.order, jnp.maximum(walk.count, 0)
    given = _filled(cotangents, walk)
    multiplier, observed, states, gap_bar, horizon = _last_step(system, walk, given, count, k)
    bars = _Bars(*(jnp.zeros((system.rows, *jnp.shape(x)), x.dtype) for x in (multiplier, given.state, observed)))
    rows = zip(jax.tree.leaves(bars), (multiplier, given.state, observed), strict=True)
    bars = _Bars(*(block.at[-1].set(row) for block, row in rows))
    params = eqx.filter(system, eqx.is_inexact_array)
    start = _Backwards(count, count - 1, states, bars, jax.tree.map(jnp.zeros_like, params))
    arrays, static = eqx.partition((system, walk, given.observed), eqx.is_array)

    def block(carry, active, arrays):
        return _block(carry, active, *eqx.combine(arrays, static), k)

    end = while_lanes(lambda c: c.last >= 0, block, start, arrays, clock=lambda c: (c.last, c.step))
    by_gap = _by_gap(system, walk.unknowns[count], gap_bar)
    return jax.tree.map(jnp.add, end.params, by_gap), jnp.sum(end.states, axis=0), horizon


def _step_inputs(walk, index, order):
    """Time, times and states before, and unknowns of the step that ended as number `index`."""
    times = bdf.recent(walk.times, index - 1, order)
    states = bdf.recent(walk.states, jnp.maximum(index - 1, 0), order)
    return walk.times[index], times, states, walk.unknowns[index]


def _last_step(system, walk, given, index, order):
    """The last step, number `index`, backwards; it alone answers for the end time.

    That answers to gap = 0 with dt = -(dg/dp) / (dg/dt): where the march ended on the event, the right multiple of the
    derivative of the gap g is taken from that of the record.

    **Returns:** its multiplier, the cotangents of what it observed, of the states before, of the gap and of the
    horizon.
    """
    time, times, states, w = _step_inputs(walk, index, order)
    (past, gamma), to_past = jax.vjp(lambda time, states: bdf.past(time, times, states, index), time, states)
    derivative = system.derivative(w, past, gamma)
    _, by_gamma = jax.vjp(lambda g: (system.residual(w, past, g), system.state(w, past, g)), gamma)
    _, explicit = jax.vjp(lambda w: (system.observe(w), system.gap(w)), w)

    def back(cotangents):
        bars, w_bar, y_bar = cotangents
        multiplier, past_bar = system.pull_back(derivative, w_bar + explicit(bars)[0], y_bar)
        return multiplier, *to_past((past_bar, *by_gamma((multiplier, y_bar))))

    beyond = jnp.arange(walk.times.shape[0]) >= walk.count
    rows = beyond.reshape(-1, *[1] * (given.observed.ndim - 1))
    observed = jnp.sum(jnp.where(rows, given.observed, 0.0), axis=0)
    one, nil = jnp.ones_like(gamma), jnp.zeros_like(gamma)
    of_record = (observed, nil), given.unknowns, given.state
    of_gap = (jnp.zeros_like(observed), one), jnp.zeros_like(w), jnp.zeros_like(given.state)
    # One after the other in a loop: written twice, the solve in it would be compiled twice.
    both = lax.map(back, jax.tree.map(lambda *x: jnp.stack(x), of_record, of_gap))
    found, side = (jax.tree.map(lambda x, row=row: x[row], both) for row in (0, 1))
    end_time = jnp.sum(jnp.where(beyond, given.time, 0.0)) + found[1]
    event = walk.reached & (index > 0)
    weight = jnp.where(event, end_time / jnp.where(event, side[1], 1.0), 0.0)
    multiplier, _, before = jax.tree.map(lambda a, b: a - weight * b, found, side)
    return multiplier, observed, before, -weight, jnp.where(walk.reached, 0.0, end_time)


def _block(carry, active, system, walk, observed, order):
    """The steps of a block linearised, taken backwards, and differentiated in the parameters."""
    first = carry.last - system.rows + 1
    number = jnp.clip(first + jnp.arange(system.rows), 0, jnp.maximum(walk.count, 0))
    steps = eqx.filter_vmap(lambda index: _linearised(system, walk, index, order))(number)
    arrays, static = eqx.partition((steps, system, observed[number]), eqx.is_array)

    def visit(within, active, arrays):
        return _visit(within, active, *eqx.combine(arrays, static))

    start = _Within(carry.step - first, jnp.maximum(-first, 0), carry.states, carry.bars)
    within = while_lanes(lambda c: c.row >= c.stop, visit, start, arrays, clock=lambda c: (c.row, c.stop))
    wanted = first + jnp.arange(system.rows) >= 0
    params = jax.tree.map(
        jnp.add, carry.params, _parameter_cotangents(system, walk, number, wanted, within.bars, order)
    )
    return _Backwards(
        last=where_active(active, first - 1, carry.last),
        step=where_active(active, first - 1, carry.step),
        states=where_active(active, within.states, carry.states),
        bars=within.bars,
        params=where_active(active, params, carry.params),
    )


def _linearised(system, walk, index, order):
    """The [`_Step`][] with number `index`."""
    time, times, states, w = _step_inputs(walk, index, order)
    gamma, weights = bdf.weights(time, times, index)
    return _Step(weights, jax.jacrev(system.observe)(w), system.derivative(w, jnp.tensordot(weights, states, 1), gamma))


def _visit(carry, active, steps, system, observed):
    """One step backwards. Nothing changes unless `active`."""
    row = jnp.maximum(carry.row, 0)
    step, v_bar, y_bar = jax.tree.map(lambda x: x[row], steps), observed[row], carry.states[0]
    multiplier, past_bar = system.pull_back(step.derivative, _product(v_bar, step.slopes), y_bar)
    shifted = jnp.concatenate([carry.states[1:], jnp.zeros_like(carry.states[:1])])
    bars = jax.tree.map(lambda buffer, x: write(buffer, row, x, active), carry.bars, _Bars(multiplier, y_bar, v_bar))
    return _Within(
        row=where_active(active, carry.row - 1, carry.row),
        stop=carry.stop,
        states=where_active(active, shifted + step.weights.reshape(-1, *[1] * past_bar.ndim) * past_bar, carry.states),
        bars=bars,
    )


def _product(v_bar, slopes):
    """v_bar . slopes, for a scalar or a vector that is observed."""
    return v_bar * slopes if v_bar.ndim == 0 else jnp.sum(v_bar[:, None] * slopes, axis=0)


def _parameter_cotangents(system, walk, number, wanted, bars, order):
    """The derivative in every parameter of the sum of cotangents times equations over the `wanted` of some steps."""
    params, static = eqx.partition(system, eqx.is_inexact_array)

    def step(params, index, bars):
        system = eqx.combine(params, static)
        time, times, states, w = _step_inputs(walk, index, order)
        past, gamma = bdf.past(time, times, states, index)
        return (
            jnp.sum(bars.multiplier * system.residual(w, past, gamma))
            + jnp.sum(bars.state * system.state(w, past, gamma))
            + jnp.sum(bars.observed * system.observe(w))
        )

    def total(params):
        return jnp.sum(jnp.where(wanted, jax.vmap(step, in_axes=(None, 0, 0))(params, number, bars), 0.0))

    return jax.grad(total)(params)


def _by_gap(system, w, gap_bar):
    """The derivative of `gap_bar` times the gap in every parameter."""
    params, static = eqx.partition(system, eqx.is_inexact_array)
    return jax.grad(lambda params: gap_bar * eqx.combine(params, static).gap(w))(params)


def _filled(record, walk):
    """Cotangents of the record, with zeros where there is none."""

    def fill(given, like):
        return jnp.zeros_like(like) if given is None else given

    return Record(
        fill(record.time, walk.times), fill(record.observed, walk.observed), fill(record.state, walk.states[0]),
        fill(record.unknowns, walk.unknowns[0]), None, None,
    )  # fmt: skip
