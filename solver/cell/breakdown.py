"""A constant-current discharge with its losses at every step, from one march: values, without derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.solution import Result, Solution
from ..numerics.walk import finish, walk_forward
from .cell import Cell, theoretical_capacity
from .discretise import build, rest
from .galvanostatic import Galvanostatic
from .losses import Course, losses
from .protocol import DFN, Stop, integral


class Breakdown(eqx.Module):
    """A discharge and where its voltage goes.

    **Arguments:** `time`, s, shape (n,), and `course`, the capacity and the losses at the steps, entries after the end
    repeating the last one; `current_density`, A/m2; `energy`, J/m2; `stop`, a [`Stop`][solver.cell.protocol.Stop].
    """

    time: Float[Array, " n"]
    course: Course
    current_density: Float[Array, ""]
    energy: Float[Array, ""]
    stop: eqx.Enumeration

    @property
    def voltage(self) -> Float[Array, " n"]:
        """At the terminals, V."""
        return self.course.losses.voltage

    @property
    def capacity(self) -> Array:
        """All that was drawn, C/m2."""
        return self.course.capacity[-1]

    @property
    def mean_losses(self) -> Float[Array, "6 3"]:
        """What each part lowers the average voltage by, V: rows as `CAUSES`, columns as `PLACES`."""
        flowed = self.capacity > 0
        return jnp.where(flowed, self.course.energies / jnp.where(flowed, self.capacity, 1.0), 0.0)


def breakdown(
    cell: Cell, current_density, method: DFN | None = None, *, state_of_charge=1.0, duration=None
) -> Solution:
    """Draws a constant current to the lower cut-off, as [`discharge`][solver.cell.protocol.discharge] does in the same
    steps, and accounts for the voltage at each of them.

    It reads the record of the march, so that the losses cost no further solve, but have no derivative:
    [`course`][solver.cell.losses.course] has them. Without the cell's thermal model.

    **Arguments:** as of `discharge`.

    **Returns:** a `Solution` with a [`Breakdown`][].
    """
    method = DFN() if method is None else method
    current = jnp.asarray(current_density, cell.temperature.dtype)
    system = build(cell, current, method.mesh)
    start, guess = rest(system, cell, jnp.asarray(state_of_charge, current.dtype))
    loaded = Galvanostatic(system, cell.lower_cutoff, jnp.ones_like(current))
    flowing = current > 0
    lasting = 1.5 * theoretical_capacity(cell.positive) / jnp.where(flowing, current, 1.0)
    horizon = jnp.where(flowing, lasting, 3600.0) if duration is None else jnp.asarray(duration, current.dtype)
    walk = walk_forward((loaded, start, horizon), guess, method.march)
    solution = finish(walk)
    record, done = solution.value, solution.result == Result.successful
    row = jnp.minimum(jnp.arange(record.time.shape[0]), record.steps)
    found = jax.vmap(lambda w, y: losses(system, w, y))(walk.unknowns[row], walk.states[row])
    ended = Stop.where(record.steps > 0, Stop.cut_off, Stop.already_past_cut_off)
    stop = Stop.where(done, Stop.where(record.reached, ended, Stop.time_limit), Stop.not_converged)
    energy = current * integral(record.time, record.observed)
    value = Breakdown(record.time, Course(current * record.time, found), current, energy, stop)
    return Solution(value, solution.result, solution.stats)
