"""What is done to a cell: discharge and charge at constant current to a cut-off voltage."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..electrochemistry.intercalation import sphere_profile
from ..numerics.march import march
from ..numerics.solution import Result, Solution
from .cell import Cell, Electrode, theoretical_capacity
from .control import constant_current, limits
from .discretise import Mesh, layers_of, rest, widths
from .galvanostatic import Galvanostatic
from .method import DFN, Method
from .porous import PorousCell
from .terminal import Terminal


class Stop(eqx.Enumeration):
    """Why a constant-current run ended."""

    cut_off = "The cut-off voltage was reached."
    already_past_cut_off = "The cell was past its cut-off voltage as soon as the current flowed."
    time_limit = "The time limit was reached before the cut-off voltage."
    not_converged = "The solver could not go on: the steps became too small or too many."


class Fields(eqx.Module):
    """Profiles through the thickness.

    **Arguments:** `depth`, cell centres from the negative collector, shape (n,), m; `concentration`, of the salt, shape
    (n,), mol/m3; for each class of particles, from the negative electrode on, `surface` and `mean` stoichiometry, and
    `reaction` current density, A/m2.
    """

    depth: Array
    concentration: Array
    surface: tuple[Array, ...]
    mean: tuple[Array, ...]
    reaction: tuple[Array, ...]


class Discharge(eqx.Module):
    """A constant-current run; a charge has the same form, with the charge and energy put in counted positive.

    **Arguments:** `time`, s, `voltage`, V, and `temperature`, K, at the steps, shape (n,), entries after the end
    repeating the last one;
    `current_density`, A/m2, positive; `capacity`, C/m2; `energy`, J/m2; `end_time`, s; `stop`, a [`Stop`][]; `final`,
    the profiles at the end. All per electrode area.
    """

    time: Float[Array, " n"]
    voltage: Float[Array, " n"]
    temperature: Float[Array, " n"]
    current_density: Float[Array, ""]
    capacity: Float[Array, ""]
    energy: Float[Array, ""]
    end_time: Float[Array, ""]
    stop: eqx.Enumeration
    final: Fields

    @property
    def average_voltage(self) -> Array:
        """Energy over charge, V; the first voltage where no charge flowed."""
        flowed = self.capacity > 0
        return jnp.where(flowed, self.energy / jnp.where(flowed, self.capacity, 1.0), self.voltage[0])

    def voltage_at(self, time: Array) -> Array:
        """Voltage at any times up to the end, by cubic interpolation between the steps, shape as `time`."""
        n = self.time.shape[0]
        last = jnp.sum(self.time[1:] > self.time[:-1]).astype(int)
        i = jnp.clip(jnp.searchsorted(self.time, time, side="right").astype(int) - 2, 0, jnp.maximum(last - 3, 0))
        index = i[..., None] + jnp.arange(4)
        usable = index <= last
        index = jnp.minimum(index, n - 1)
        t, v = self.time[index], self.voltage[index]
        other = usable[..., None, :] & usable[..., :, None] & ~jnp.eye(4, dtype=bool)
        gap = jnp.where(other, t[..., :, None] - t[..., None, :], 1.0)
        ahead = jnp.where(other, jnp.asarray(time)[..., None, None] - t[..., None, :], 1.0)
        return jnp.sum(jnp.where(usable, jnp.prod(ahead / gap, axis=-1) * v, 0.0), axis=-1)


def discharge(
    cell: Cell, current_density, method: Method | None = None, *, state_of_charge=1.0, duration=None
) -> Solution:
    """Draws a constant current until the lower cut-off, landed on exactly.

    **Arguments:** `current_density`, A/m2 of electrode area, positive; `method`, by default `DFN()`, or `SPMe()` or
    `SPM()`; `state_of_charge`, at the start; `duration`, a time limit in s, by default 1.5 times what the theoretical
    capacity would last.

    **Returns:** a `Solution` with a [`Discharge`][]. It is differentiable, in reverse mode, in every number of `cell`
    and in the current, through the cut-off: the cost is independent of how many.
    """
    return _run(cell, jnp.asarray(current_density), 1.0, cell.lower_cutoff, method, state_of_charge, duration)


def charge(
    cell: Cell, current_density, method: Method | None = None, *, state_of_charge=0.0, duration=None
) -> Solution:
    """Puts a constant current in until the upper cut-off; as [`discharge`][] otherwise."""
    return _run(cell, jnp.asarray(current_density), -1.0, cell.upper_cutoff, method, state_of_charge, duration)


def _run(cell, current, sign, level, method, state_of_charge, duration):
    if cell.temperature.dtype != jnp.float64:
        raise ValueError("The cell model needs float64, but the cell holds float32. Enable x64 before making the cell.")
    method = DFN() if method is None else method
    current = current.astype(cell.temperature.dtype)
    porous = method.system(cell, sign * current)
    start, guess = rest(porous.layout, cell, jnp.asarray(state_of_charge, current.dtype))
    system, start, guess = _loaded(cell, porous, start, guess, sign, level)
    flowing = current > 0
    lasting = 1.5 * theoretical_capacity(cell.positive) / jnp.where(flowing, current, 1.0)
    longest = lax.stop_gradient(jnp.where(flowing, lasting, 3600.0))
    horizon = longest if duration is None else jnp.asarray(duration, current.dtype)
    solution = march(system, start, guess, horizon, method.march)
    record, isothermal = solution.value, cell.thermal is None
    end, voltage = record.time[-1], record.observed if isothermal else record.observed[:, 0]
    temperature = jnp.broadcast_to(cell.temperature, voltage.shape) if isothermal else record.observed[:, 2]
    stop = Stop.where(
        solution.result == Result.successful,
        Stop.where(
            record.reached, Stop.where(record.steps > 0, Stop.cut_off, Stop.already_past_cut_off), Stop.time_limit
        ),
        Stop.not_converged,
    )
    inside = (record.state, record.unknowns)
    if not isothermal:
        inside = system.porous_state(record.state), system.parts(record.unknowns)[0]
    value = Discharge(
        time=record.time, voltage=voltage, temperature=temperature, current_density=current, capacity=current * end,
        energy=current * integral(record.time, voltage), end_time=end, stop=stop,
        final=fields(cell, porous.layout, *inside, method.mesh),
    )  # fmt: skip
    return Solution(value, solution.result, solution.stats)


def _loaded(cell, porous, start, guess, sign, level):
    """The system of a constant current, with a temperature where the cell has a thermal model, and its start."""
    if cell.thermal is None:
        return Galvanostatic(porous, level, jnp.asarray(sign)), start, guess
    ends = limits(voltage=(level, None) if sign > 0 else (None, level))
    system = Terminal(porous, constant_current(porous.current), ends, cell.thermal, jnp.zeros(()))
    return system, *system.begin(start, guess, porous.current)


def integral(time, value):
    """The integral of a record: trapezoids, corrected by the parabola through the step before."""
    step = time[1:] - time[:-1]
    moving = step > 0
    slope = jnp.where(moving, (value[1:] - value[:-1]) / jnp.where(moving, step, 1.0), 0.0)
    span = step[1:] + step[:-1]
    bend = jnp.where(moving[1:], (slope[1:] - slope[:-1]) / jnp.where(moving[1:], span, 1.0), 0.0)
    return jnp.sum(0.5 * step * (value[1:] + value[:-1])) - jnp.sum(step[1:] ** 3 * bend) / 6.0


def fields(cell: Cell, porous: PorousCell, y: Array, w: Array, mesh: Mesh) -> Fields:
    """The [`Fields`][] of a cell on `mesh` at its state y and unknowns w, as [`PorousCell`][] lays them out.

    What is the same through an electrode is given for all of its cells.
    """
    c, _, reaction = porous.unknowns(w)
    amplitudes = porous.amplitudes(y)
    width = widths(cell, mesh)
    counts = [count for layer, count in layers_of(cell, mesh) if isinstance(layer, Electrode)]

    def spread(values):
        return tuple(jnp.broadcast_to(x, (counts[p.electrode],)) for p, x in zip(porous.particles, values, strict=True))

    return Fields(
        depth=jnp.cumsum(width) - 0.5 * width,
        concentration=c,
        surface=spread(sphere_profile(q, [1.0])[0] for q in amplitudes),
        mean=spread(q[0] for q in amplitudes),
        reaction=spread(reaction),
    )
