"""A protocol: steps of current, voltage, power, resistance, plating limit or rest, one after the other."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..numerics.march import march
from ..numerics.real import real
from ..numerics.solution import Result, Solution
from .cell import Cell
from .control import OBSERVED, Control, Limits
from .discretise import rest
from .method import DFN, Method
from .protocol import Fields, fields, integral
from .terminal import Terminal

# How a step ended: each of OBSERVED below its lower limit, then above its upper one; its duration; not converged; and
# not begun, after a step that did not converge.
ENDS = (*(f"{name} below" for name in OBSERVED), *(f"{name} above" for name in OBSERVED), "time", "failed", "not begun")
_TIME, _FAILED, _NOT_BEGUN = range(2 * len(OBSERVED), 2 * len(OBSERVED) + 3)


class Step(eqx.Module):
    """A [`Control`][] until one of its [`Limits`][] or for its `duration`, s. What has passed its limit as soon as the
    step begins takes no time, and its records are those of the moment before."""

    control: Control
    limits: Limits = eqx.field(default_factory=Limits)
    duration: Float[Array, ""] = eqx.field(converter=real, default=86400.0)


class Course(eqx.Module):
    """What a protocol did. S steps, of at most n records each; records after the end of a step repeat its last one.

    **Arguments:** `time`, s from the start of the protocol, `voltage`, V, `current`, A/m2, positive on discharge,
    `temperature`, K, `plating`, V, and `drawn`, C/m2, all of shape (S, n); by step, shape (S,), `duration`, s,
    `charge`, C/m2, and `energy`, J/m2, drawn, and `end`, a number that stands for one of `ENDS`; `final`, the profiles
    at the end.
    """

    time: Float[Array, "steps n"]
    voltage: Float[Array, "steps n"]
    current: Float[Array, "steps n"]
    temperature: Float[Array, "steps n"]
    plating: Float[Array, "steps n"]
    drawn: Float[Array, "steps n"]
    duration: Float[Array, " steps"]
    charge: Float[Array, " steps"]
    energy: Float[Array, " steps"]
    end: Int[Array, " steps"]
    final: Fields


def stacked(steps: Sequence[Step]) -> Step:
    """The steps as one, with a leading axis; tables are made as long as the longest by repeating their last value, at
    times that no step lives to see."""
    longest = max(step.control.values.shape[0] for step in steps)

    def filled(step):
        control, more = step.control, longest - step.control.values.shape[0]
        later = control.times[-1] + 1e12 * (1.0 + jnp.arange(more, dtype=control.times.dtype))
        values = jnp.concatenate([control.values, jnp.broadcast_to(control.values[-1], (more,))])
        times = jnp.concatenate([control.times, later])
        return eqx.tree_at(lambda s: (s.control.values, s.control.times), step, (values, times))

    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(filled, steps))


def cycle(cell: Cell, steps: Sequence[Step], method: Method | None = None, *, state_of_charge=1.0) -> Solution:
    """Takes a cell at rest through the steps of a protocol, each landed on its end exactly.

    **Arguments:** `steps`, of which only the numbers may be traced; `method`, by default `DFN()`, the records of each
    step being `method.march.max_steps` + 1 long; `state_of_charge`, at the start.

    **Returns:** a `Solution` with a [`Course`][]: not successful where a step did not converge, after which none
    begins. Differentiable, in reverse mode, in every number of `cell` and of `steps`, through the ends of all steps;
    the times of a table have no derivative. Stats `trials` and `newton` by step.
    """
    method = DFN() if method is None else method
    system, start = begin(cell, steps[0].control, method, state_of_charge)
    (state, unknowns, _, _), (course, stats) = lax.scan(
        lambda carry, step: take(system, carry, step, method), start, stacked(steps)
    )
    inside = system.porous_state(state), system.parts(unknowns)[0]
    course = course | {"final": fields(cell, system.porous.layout, *inside, method.mesh)}
    worst = jnp.all(course["end"] < _FAILED)
    result = Result.where(worst, Result.successful, Result.stagnated)
    return Solution(Course(**course), result, stats)


def begin(cell: Cell, control: Control, method: Method, state_of_charge) -> tuple[Terminal, tuple]:
    """The system of a cell, and the carry of [`take`][] before the first step: (state, unknowns, time, whether all
    went well), at rest. `control` is that of any step."""
    none = jnp.zeros_like(cell.temperature)
    porous = method.system(cell, none)
    y, w = rest(porous.layout, cell, jnp.asarray(state_of_charge, cell.temperature.dtype))
    system = Terminal(porous, control, Limits(), cell.thermal, none)
    return system, (*system.begin(y, w, none), none, jnp.asarray(True))


def take(first: Terminal, carry: tuple, step: Step, method: Method):
    """One step from the carry that [`begin`][] or the step before left: the carry after it, and its row of a
    [`Course`][] by name with the stats. Of the system `first` the load and the limits are replaced.
    """
    state, unknowns, began, well = carry
    before = first.parts(unknowns)[1]
    # A step that must not begin is past its end at once.
    shut = eqx.tree_at(lambda ends: ends.lower, step.limits, step.limits.lower.at[0].set(1e6))
    ends = jax.tree.map(lambda a, b: jnp.where(well, a, b), step.limits, shut)
    system = eqx.tree_at(lambda s: (s.control, s.limits, s.before), first, (step.control, ends, before))
    how = eqx.tree_at(lambda m: m.stops, method.march, step.control.times, is_leaf=lambda x: x is None)
    solution = march(system, system.again(state), _guess(system, unknowns), step.duration, how)
    record = solution.value
    done = solution.result == Result.successful
    reached = jnp.argmin(system.gaps(record.unknowns))
    end = jnp.where(done, jnp.where(record.reached, reached, _TIME), _FAILED)
    end = jnp.where(well, end, _NOT_BEGUN)
    # What takes no time leaves no trace: nor what its control would have made of the cell, which may be far away.
    skipped = record.reached & (record.steps == 0)
    observed = jnp.where(skipped, system.observe(unknowns), record.observed)
    voltage, current, temperature, plating, drawn = observed.T
    ended = record.time[-1]
    row = {
        "time": began + record.time,
        "voltage": voltage,
        "current": current,
        "temperature": temperature,
        "plating": plating,
        "drawn": drawn,
        "duration": ended,
        "charge": drawn[-1] - before,
        "energy": integral(record.time, voltage * current),
        "end": end,
    }
    well = well & done
    state, unknowns = jax.tree.map(
        lambda a, b: jnp.where(well & ~skipped, a, b), (record.state, record.unknowns), (state, unknowns)
    )
    return (state, unknowns, began + jnp.where(well, ended, 0.0), well), (row, solution.stats)


def _guess(system: Terminal, unknowns):
    """Where Newton's method begins a step: what the one before left, where that is held on, as a voltage after the
    current that led to it; or else the same without a current, from where every load is found as from rest."""
    voltage, current, _, plating, _ = system.observe(unknowns)
    control, zero = system.control, jnp.zeros_like(current)
    held = jnp.abs(control.lack(current, voltage, plating, zero)) <= 1e-6 * (1.0 + jnp.abs(control.values[0]))
    (w, _, _), layout = system.parts(unknowns), system.porous.layout
    flows = jnp.zeros(unknowns.shape, bool).at[layout.size + layout.potentials : w.shape[0]].set(True)
    flows = flows.at[w.shape[0] + 1].set(True)  # the reactions, and after the charge the current
    return jnp.where(flows & ~held, 0.0, unknowns)
