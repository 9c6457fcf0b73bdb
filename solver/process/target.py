"""Calendering to a line load or a plate pressure: the gap that gives it is found, and differentiated implicitly."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import is_concrete, require
from microstructure.packing import Packing
from solver.numerics.solution import Result, Solution
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import Pairs

from .calender import Calendering, calender
from .nip import Nip, line_load, line_loads


class LineLoad(eqx.Module):
    """Rolls that are pressed together with a force a width, `value`, N/m; `nip`, the rolls."""

    value: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    nip: Nip = eqx.field(default_factory=Nip)

    def __check_init__(self):
        require("value", self.value, 1.0, 1e8, unit="N/m")

    def reached(self, thickness, pressure, lowest: int):
        """The line load of a pass, N/m, from its course."""
        return line_load(self.nip, thickness, pressure, lowest)

    def on_the_way(self, thickness, pressure, lowest: int):
        """The line load, had the gap been at each point of the loading curve, (lowest + 1,)."""
        return line_loads(self.nip, thickness, pressure, lowest)


class PlatePressure(eqx.Module):
    """A plate that presses up to the mean pressure `value`, Pa."""

    value: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        require("value", self.value, 1e3, 1e12, unit="Pa")

    def reached(self, thickness, pressure, lowest: int):
        """The pressure at the gap, Pa."""
        return pressure[lowest]

    def on_the_way(self, thickness, pressure, lowest: int):
        """The pressure at each point of the loading curve, (lowest + 1,)."""
        return pressure[: lowest + 1]


class Search(eqx.Module):
    """How the gap is found: by secants of the logarithm of what is asked for, within what is already known.

    **Arguments:** `tolerance`, relative, of line load or pressure; `trials`, calenderings allowed.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-4)
    trials: int = eqx.field(static=True, default=10)


class Known(eqx.Module):
    """What trials have shown.

    **Arguments:** `gap`, the next to try, m; `narrow`, `wide`, the two between which the one that is wanted lies, m;
    `tried`, the last gap, m, and `miss`, the logarithm of what it reached over what is asked for, infinite before any.
    """

    gap: Array
    narrow: Array
    wide: Array
    tried: Array
    miss: Array


def begin(top, least) -> Known:
    """What is known of a film of the thickness `top`, m, before it is pressed to the smallest gap, `least`, m."""
    top, least = jnp.asarray(top, float), jnp.asarray(least, float)
    return Known(least, least, top, top, jnp.full_like(top, jnp.inf))


def learn(known: Known, goal, thickness, pressure, lowest: int, rise=None) -> Known:
    """What is known after the trial at `known.gap`, from the course of its first pass.

    The first trial is at the smallest gap, and the course on its way there says where to try next; then come Newton's
    steps or secants of the logarithm, and halves of the range where those leave it.

    **Arguments:** `rise`, how what is reached changes with the gap, if that is known.
    """
    miss = jnp.log(goal.reached(thickness, pressure, lowest) / goal.value)
    over = miss >= 0
    narrow, wide = jnp.where(over, known.gap, known.narrow), jnp.where(over, known.wide, known.gap)
    on_the_way = jnp.interp(goal.value, goal.on_the_way(thickness, pressure, lowest), thickness[: lowest + 1])
    first = jnp.isinf(known.miss)
    moved = jnp.where(first, 1, known.gap - known.tried)
    slope = (miss - jnp.where(first, 0, known.miss)) / jnp.where(moved != 0, moved, 1)
    if rise is not None:
        slope = rise / goal.reached(thickness, pressure, lowest)
    ahead = known.gap - miss / jnp.where(slope < 0, slope, -1)
    inside = (ahead > narrow) & (ahead < wide) & (slope < 0)
    guess = jnp.where(first, on_the_way, jnp.where(inside, ahead, 0.5 * (narrow + wide)))
    return Known(guess, narrow, wide, known.gap, miss)


def press_to(
    packing: Packing,
    pairs: Pairs,
    goal: LineLoad | PlatePressure,
    least,
    law: ContactLaw | None = None,
    binder: Binder | None = None,
    method: Calendering | None = None,
    friction: Friction | None = None,
    search: Search | None = None,
) -> Solution:
    """Compresses a dried film until the line load or pressure of the first pass is that of `goal`, and releases it.

    The gap h solves q(h, p) = q*. It is found by trials that carry no derivative; from the last one, h0, the film, y,
    is that of [`calender`][] there and of a linear step to the root,

        y = y(h0, p) + dy/dh (q* - q(h0, p)) / (dq/dh),

    whose derivatives are those of the implicit function theorem: dh = (dq* - dq/dp dp) / (dq/dh). So the film is
    differentiable in `goal`, and in all that that of [`calender`][] is.

    **Arguments:** `goal`, a [`LineLoad`][] or [`PlatePressure`][]; `least`, the smallest gap that is tried, m; the
    others as in [`calender`][]. `friction` must be given: without it pressures are several times too low.

    **Returns:** a `Solution` with [`Calendered`][], `out_of_reach` where the smallest gap gives less than the goal.
    Stats: those of the last calendering, `trials`, and `miss`, of the last trial, relative.
    """
    require_friction(friction)
    method, search = method or Calendering(), search or Search()
    given = (packing, law or ContactLaw(), binder or Binder(), method, friction, goal)
    count = method.load + method.unload + 1

    def course(gap, given):
        packing, law, binder, method, friction, goal = given
        solution = calender(packing, pairs, gap, law, binder, method, friction)
        thickness, pressure = solution.value.thickness[:count], solution.value.pressure[:count]
        return (solution.value, goal.reached(thickness, pressure, method.load)), (solution.result, solution.stats)

    known, slopes, trials = _found(course, least, given, method.load, count, search)
    (value, reached), (result, stats) = course(known.tried, given)
    slope, rise = slopes
    step = (goal.value - reached) / rise
    value = jax.tree.map(lambda v, s: v + s * step, value, slope)
    miss = lax.stop_gradient(jnp.abs(reached / goal.value - 1))
    result = Result.where((result == Result.successful) & (miss > 0.05), Result.out_of_reach, result)
    return Solution(value, result, stats | {"trials": trials, "miss": miss})


def _found(course: Callable, least, given, lowest: int, count: int, search: Search):
    """What is known after the last trial, how the film and what it reached change with the gap there, all without
    derivative, and the number of trials."""
    least, given, search = lax.stop_gradient((jnp.asarray(least), given, search))
    goal, known = given[-1], begin(given[0].box[0], least)

    def keep_going(state):
        known, _, trial = state
        short = (trial == 1) & (known.miss < 0)  # the smallest gap does not reach it
        return (jnp.abs(known.miss) > search.tolerance) & (trial < search.trials) & ~short

    def iterate(state):
        known, _, trial = state
        run = lambda gap: course(gap, given)[0]  # noqa: E731
        (value, _), slopes = jax.jvp(run, (known.gap,), (jnp.ones_like(known.gap),))
        after = learn(known, goal, value.thickness[:count], value.pressure[:count], lowest, slopes[1])
        return after, slopes, trial + 1

    shapes = jax.eval_shape(lambda gap: course(gap, given)[0], known.gap)
    empty = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    return lax.while_loop(keep_going, iterate, (known, empty, jnp.asarray(0)))


def require_friction(friction: Friction | None) -> None:
    """A `ValueError` unless there is friction between particles: without it no pressure can be asked for."""
    none = friction is None or (is_concrete(friction.coefficient) and not float(friction.coefficient) > 0)
    if none:
        raise ValueError(
            "Argument `friction` must be given where a line load or a plate pressure is asked for, because without "
            "friction between particles the pressure is about 3.5 times too low. Give friction, or give a gap."
        )
