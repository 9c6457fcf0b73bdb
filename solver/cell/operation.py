"""Figures of how a cell works: efficiency, resistance to a pulse, time to charge, and a cycle that gives them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from microstructure.checks import is_concrete, require

from ..numerics.solution import Solution
from .cell import Cell, open_circuit_voltage, theoretical_capacity
from .control import constant_current, constant_voltage, limits, plating_limit
from .cycle import Step, cycle
from .method import DFN, Method
from .protocol import Stop, discharge


def energy_efficiency(discharged, charged) -> Array:
    """The share of the energy put in that comes out again, E_out / E_in, over a cycle that ends where it began.

    **Arguments:** `discharged` and `charged`, J/m2 or any one unit. Where the two runs did not pass the same charge,
    use average voltages instead, which makes it the voltage efficiency.
    """
    return jnp.asarray(discharged) / jnp.asarray(charged)


def pulse_resistance(voltages, currents) -> Array:
    """The resistance that two points of a pulse give, R = -(V_2 - V_1) / (I_2 - I_1), in ohm m2.

    **Arguments:** `voltages`, V, before and in the pulse, shape (2,); `currents`, A/m2 at the same times, positive on
    discharge, shape (2,). With A in place of A/m2 the result is in ohm.

    **Source:** USABC hybrid pulse power characterisation, Battery Test Manual for Electric Vehicles, INL/EXT-15-34184.
    """
    voltages, currents = jnp.asarray(voltages), jnp.asarray(currents)
    if is_concrete(currents) and np.ptp(np.asarray(currents)) == 0.0:
        raise ValueError("Argument `currents` must hold two different currents, but they are equal. Pulse the cell.")
    return -(voltages[1] - voltages[0]) / (currents[1] - currents[0])


class Pulse(eqx.Module):
    """A pulse from rest: `resistance`, ohm m2; `voltages` before it and at its end, V; `stop`, why it ended."""

    resistance: Float[Array, ""]
    voltages: Float[Array, "2"]
    stop: eqx.Enumeration

    @property
    def reached(self) -> Array:
        """Whether the pulse lasted as long as was asked: not where the cut-off or the solver ended it before."""
        return self.stop == Stop.time_limit


def pulse(
    cell: Cell, current_density, state_of_charge=0.5, duration=10.0, rest_voltage=None, method: Method | None = None
) -> Pulse:
    """A discharge pulse of constant current from rest, and the resistance at its end.

    **Arguments:** `current_density`, A/m2; `state_of_charge`; `duration`, s, 10 s or 30 s by custom; `rest_voltage`, V,
    by default that at rest at `state_of_charge`.
    """
    require("current_density", current_density, 1e-9, unit="A/m2", hint="A pulse discharges the cell.")
    require("state_of_charge", state_of_charge, 0.0, 1.0)
    require("duration", duration, 1e-6, unit="s")
    current = jnp.asarray(current_density, cell.temperature.dtype)
    before = open_circuit_voltage(cell, state_of_charge) if rest_voltage is None else jnp.asarray(rest_voltage)
    run = discharge(cell, current, method, state_of_charge=state_of_charge, duration=duration).value
    voltages = jnp.stack([before, run.voltage[-1]])
    return Pulse(pulse_resistance(voltages, jnp.stack([jnp.zeros_like(current), current])), voltages, run.stop)


class RoundTrip(eqx.Module):
    """A charge from empty at a constant current, then at the upper cut-off, a discharge, and the same charge again.

    **Arguments:** `charging_time`, s, from 10 to 80 % of the theoretical capacity in the first charge, infinite where
    that is not reached; `efficiency`, of energy, the discharge over the charge after it, which ends where the first one
    did; `returned`, the charge of the discharge over that of the charge after it, which tells how well the cycle
    closes; `plating_margin`, V, the least plating potential of the first charge, below 0 where lithium plates.
    """

    charging_time: Float[Array, ""]
    efficiency: Float[Array, ""]
    returned: Float[Array, ""]
    plating_margin: Float[Array, ""]


def round_trip(
    cell: Cell, charge_current, discharge_current, method: DFN | None = None, *, taper=0.05, low=0.1, high=0.8
) -> Solution:
    """A [`RoundTrip`][]; not successful where one of its steps did not converge.

    **Arguments:** `charge_current` and `discharge_current`, A/m2, positive; `taper`, the share of the charging current
    at which the constant voltage ends; `low` and `high`, the states of charge between which the time is taken.
    """
    require("charge_current", charge_current, 1e-9, unit="A/m2")
    require("discharge_current", discharge_current, 1e-9, unit="A/m2")
    require("taper", taper, 1e-4, 0.99)
    charging, drawing = jnp.asarray(charge_current, float), jnp.asarray(discharge_current, float)
    capacity = theoretical_capacity(cell.positive)
    longest = jax.lax.stop_gradient(3.0 * capacity / jnp.minimum(charging, drawing))
    top, bottom = limits(voltage=(None, cell.upper_cutoff)), limits(voltage=(cell.lower_cutoff, None))
    charge = [
        Step(constant_current(-charging), top, longest),
        Step(constant_voltage(cell.upper_cutoff), limits(current=(taper * charging, None)), longest),
    ]
    steps = [*charge, Step(constant_current(drawing), bottom, longest), *charge]
    done = cycle(cell, steps, method, state_of_charge=0.0)
    course = done.value
    put_in, drawn_out = -(course.energy[3] + course.energy[4]), course.energy[2]
    state = jax.lax.cummax(-course.drawn[:2].ravel() / capacity)
    value = RoundTrip(
        charging_time=charging_time(course.time[:2].ravel(), state, low, high, -course.current[:2].ravel() / capacity),
        efficiency=energy_efficiency(drawn_out, put_in),
        returned=-course.charge[2] / (course.charge[3] + course.charge[4]),
        plating_margin=jnp.min(course.plating[:2]),
    )
    return Solution(value, done.result, done.stats)


class FastCharge(eqx.Module):
    """A charge that never plates: `time`, s, infinite where its end is not reached, `plating_margin`, V, the least
    plating potential, and `end`, by step, one of `ENDS` of [`cycle`][solver.cell.cycle.cycle]."""

    time: Float[Array, ""]
    plating_margin: Float[Array, ""]
    end: Int[Array, "3"]


def fast_charge(cell: Cell, current_density, method: DFN | None = None, *, margin=0.01, low=0.1, high=0.8) -> Solution:
    """From rest at one state of charge to another at a constant current, less of it where the plating potential would
    fall below `margin`, V, and then at the upper cut-off; a [`FastCharge`][], not successful where a step failed.

    **Arguments:** `current_density`, A/m2, positive; `low` and `high`, shares of the theoretical capacity.
    """
    require("current_density", current_density, 1e-9, unit="A/m2", hint="It is positive for a charge.")
    current, capacity = jnp.asarray(current_density, float), theoretical_capacity(cell.positive)
    ends = {"voltage": (None, cell.upper_cutoff), "drawn": (-(high - low) * capacity, None)}
    steps = [
        Step(constant_current(-current), limits(plating=(margin, None), **ends)),
        Step(plating_limit(margin), limits(**ends)),
        Step(constant_voltage(cell.upper_cutoff), limits(drawn=ends["drawn"])),
    ]
    done = cycle(cell, steps, method, state_of_charge=low)
    course = done.value
    state = jax.lax.cummax(low - course.drawn.ravel() / capacity)
    # The last step ends at `high` but for rounding.
    time = charging_time(course.time.ravel(), state, low, high - 1e-9, -course.current.ravel() / capacity)
    return Solution(FastCharge(time, jnp.min(course.plating), course.end), done.result, done.stats)


def charging_time(time, state_of_charge, low=0.1, high=0.8, rate=None) -> Array:
    """The time from one state of charge to another, s, from the record of a charge.

    Between records the time is a cubic in the state of charge where the `rate` is known, and else straight, which may
    be right to a second and its derivatives to a hundredth.

    It is differentiable in the record and in both levels. Where the record does not hold both levels the time is
    infinite and its derivatives are zero.

    **Arguments:** `time`, s, and `state_of_charge`, both of shape (n,), not falling; repeated entries at the end, as
    in a record that is longer than its run, do no harm; `low` and `high`, levels; `rate`, the rate at which the state
    of charge rises, 1/s, shape (n,).
    """
    time, state = jnp.asarray(time), jnp.asarray(state_of_charge)
    _check_record(time, state, low, high)
    reached = (state[0] <= low) & (high <= state[-1])
    return jnp.where(reached, _time_at(time, state, high, rate) - _time_at(time, state, low, rate), jnp.inf)


def _check_record(time, state, low, high):
    if time.ndim != 1 or time.shape != state.shape or time.shape[0] < 2:
        raise ValueError(
            f"Arguments `time` and `state_of_charge` must be records of one length, at least 2, but have the shapes "
            f"{time.shape} and {state.shape}."
        )
    require("low", low, 0.0, 1.0)
    require("high", high, 0.0, 1.0)
    if is_concrete(low, high) and not low < high:
        raise ValueError(f"Argument `low` must be below `high`, but {float(low):g} and {float(high):g} were given.")
    for name, record in (("time", time), ("state_of_charge", state)):
        require(name, record)
        if is_concrete(record) and np.any(np.diff(np.asarray(record)) < 0):
            raise ValueError(f"Argument `{name}` must not fall along the record. Give the part that charges.")


def _time_at(time, state, level, rate):
    """When `state` first reaches `level`, which lies inside the record."""
    above = jnp.clip(jnp.sum(state < level), 1, state.shape[0] - 1).astype(int)
    rise = state[above] - state[above - 1]
    climbing = rise > 0
    part = jnp.where(climbing, (level - state[above - 1]) / jnp.where(climbing, rise, 1.0), 0.0)
    step = time[above] - time[above - 1]
    straight = time[above - 1] + part * step
    if rate is None:
        return straight
    left, right = (rise / jnp.where(r > 0, r, jnp.inf) - step for r in (rate[above - 1], rate[above]))
    return straight + part * (1.0 - part) * ((1.0 - part) * left - part * right)
