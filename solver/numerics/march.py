"""Time marching of differential-algebraic systems up to an event, with a discrete adjoint by record and replay."""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from .real import real
from .solution import Solution
from .sweep import sweep
from .walk import finish, walk_forward


class System(eqx.Module):
    """A system y' = f(y, w), 0 = g(y, w), in the form that an implicit step needs.

    A step of any backward differentiation formula reads y = p + gamma y', with p a sum over the past. `w` are the
    unknowns that Newton's method works on; y follows from them.

    `rows`, of the class, is how many steps the way back linearises side by side: fewer hold less memory.
    """

    rows: ClassVar[int] = 32

    @abc.abstractmethod
    def residual(self, w: Array, past: Array, gamma: Array) -> Array:
        """The equations of a step, zero at its solution; gamma = 0 asks for the consistent start at y = past."""

    @abc.abstractmethod
    def solve(self, w: Array, past: Array, gamma: Array) -> Solution:
        """A root of `residual` from the guess `w`."""

    @abc.abstractmethod
    def derivative(self, w: Array, past: Array, gamma: Array) -> PyTree[Array]:
        """What [`System.pull_back`][] needs that no cotangent changes: made for many steps at once."""

    @abc.abstractmethod
    def pull_back(self, derivative: PyTree[Array], w_bar: Array, y_bar: Array) -> tuple[Array, Array]:
        """One step backwards: the multiplier of the equations, -J^-T (w_bar + (dy/dw)^T y_bar) with J the derivative of
        `residual` in w, and the cotangent of `past`, of multiplier times `residual` plus y_bar times `state`."""

    @abc.abstractmethod
    def state(self, w: Array, past: Array, gamma: Array) -> Array:
        """y after the step."""

    @abc.abstractmethod
    def observe(self, w: Array) -> Array:
        """What is recorded at every step, a scalar or a vector."""

    @abc.abstractmethod
    def gap(self, w: Array) -> Array:
        """How far the event is, a number of the order of one or less; the march ends where it falls to zero."""

    @abc.abstractmethod
    def distance(self, w: Array, other: Array) -> Array:
        """A dimensionless size of the difference of two solutions, for the choice of the step."""


class March(eqx.Module):
    """How to march: variable steps, backward differentiation formulae up to `order`, error held near `tolerance`.

    **Arguments:** `tolerance`, local error a step in the units of [`System.distance`][]; `order`, 1, 2 or 3;
    `max_steps`, length of the record; `first_step`, as a share of the horizon; `growth`, largest ratio of two steps;
    `longest`, step, s;
    `schedule`, times to step to, shape (max_steps + 1,), instead of choosing them: see [`same_steps`][];
    `stops`, rising times, s, shape (k,), that no step crosses: kinks of what drives the system.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=real, default=2e-4)
    first_step: Float[Array, ""] = eqx.field(converter=real, default=1e-6)
    growth: Float[Array, ""] = eqx.field(converter=real, default=2.0)
    longest: Float[Array, ""] = eqx.field(converter=real, default=jnp.inf)
    schedule: Float[Array, " n"] | None = None
    stops: Float[Array, " k"] | None = None
    order: int = eqx.field(static=True, default=2)
    max_steps: int = eqx.field(static=True, default=250)


def same_steps(time: Array) -> Array:
    """The `schedule` that repeats a march with the recorded `time`, shape (n + 1,), for nearby parameters: the last
    step is half as long again and others follow it, so that an event that comes later is not cut off."""
    time = np.array(time)
    count = int(np.argmax(time))
    last = time[count] - time[count - 1]
    time[count:] = time[count - 1] + 1.5 * last * np.arange(1, len(time) - count + 1)
    return jnp.asarray(time)


def march(system: System, start: Array, guess: Array, horizon: Array, method: March):
    """Marches `system` from `start` until its gap falls to zero, or to the time `horizon`.

    The last step ends on the event to rounding: its length is the root of the gap. Derivatives are those of the
    discrete march at its recorded step times, the last one implicit through the event or, without one, in the horizon;
    they cost one transposed linear solve a step, whatever the number of parameters. Reverse mode only; `guess` and
    `method` have none.

    **Arguments:** `start`, y at t = 0; `guess`, for w there; `horizon`, s.

    **Returns:** a `Solution` with a [`Record`][solver.numerics.walk.Record]; stats `trials` and `newton`, numbers of
    attempted steps and of Newton corrections.
    """
    guess, method = lax.stop_gradient((guess, method))
    return _march((system, start, horizon), guess, method)


@eqx.filter_custom_vjp
def _march(inputs, guess, method):
    return finish(walk_forward(inputs, guess, method))


@_march.def_fwd
def _march_forward(perturbed, inputs, guess, method):
    walk = walk_forward(inputs, guess, method)
    return finish(walk), walk


@_march.def_bwd
def _march_backward(walk, cotangents, perturbed, inputs, guess, method):
    return sweep(walk, cotangents.value, inputs[0], method)
