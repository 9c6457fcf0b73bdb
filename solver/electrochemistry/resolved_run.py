"""A constant-current discharge of a resolved cell, to a cut-off voltage."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.units import faraday

from ..numerics.march import March, System, march
from ..numerics.solution import Solution
from .resolved import ResolvedCell, Unknowns
from .resolved_adjoint import transposed_solve
from .resolved_solve import NewtonMethod, newton_krylov
from .resolved_start import rest
from .resolved_vector import across, last
from .voxel_cell import VoxelCell

_LANDED = 2e-11  # of the gap, where a march has landed on its event


class ResolvedMethod(eqx.Module):
    """How a resolved cell is solved: `march`, steps in time; `newton`, each step."""

    march: March = eqx.field(default_factory=lambda: March(tolerance=5e-4, first_step=1e-5, max_steps=120))
    newton: NewtonMethod = eqx.field(default_factory=NewtonMethod)


class Held(System):
    """A [`ResolvedCell`][] under its own current until the voltage falls to `level`, V, within the tolerance of
    Newton's method, in V; the voltage is recorded."""

    rows: ClassVar[int] = 1
    cell: ResolvedCell
    level: Float[Array, ""]
    newton: NewtonMethod

    def residual(self, w, past, gamma):
        return self.cell.residual(w, past, gamma)

    def solve(self, w, past, gamma):
        return newton_krylov(self.cell, w, past, gamma, self.newton)

    def derivative(self, w, past, gamma):
        return w, past, gamma

    def pull_back(self, derivative, w_bar, y_bar):
        w, past, gamma = derivative
        w_bar = w_bar.at[..., : y_bar.shape[-1]].add(y_bar)
        multiplier = -transposed_solve(self.cell, w, gamma, w_bar, self.newton)
        _, by_past = jax.vjp(lambda past: self.cell.residual(w, past, gamma), past)
        return multiplier, by_past(multiplier)[0]

    def state(self, w, past, gamma):
        return self.cell.state(w)

    def observe(self, w):
        return last(w)

    def gap(self, w):
        return _LANDED / self.newton.tolerance * (last(w) - self.level)

    def distance(self, w, other):
        s, change = self.cell.structure, self.cell.cut(w - other)
        solid = sum(p.storage for p in s.particles)
        means = [
            _root_mean_square(change.salt / self.cell.electrolyte.initial_concentration, s.storage),
            _root_mean_square(change.lyte, s.storage),
            _root_mean_square(change.solid, solid),
        ]
        return jnp.max(jnp.stack([*means, jnp.abs(change.voltage)]))


def _root_mean_square(x: Array, volume: Array) -> Array:
    """Over a volume: slivers of voxels, whose potentials a solve leaves loose, count for what they hold."""
    return jnp.sqrt(jnp.sum(volume * x**2) / jnp.sum(volume))


class ResolvedDischarge(eqx.Module):
    """A constant-current discharge.

    **Arguments:** `time`, s, and `voltage`, V, at the steps, shape (n,), entries after the end repeating the last one;
    `current`, A, of the block; `capacity`, C, and `energy`, J, drawn; `end_time`, s; `reached`, whether it ended at the
    cut-off; `final`, the fields at the end; `filling`, the lithium that the active phases of the electrode have taken
    in, `emptying`, what those of a second electrode have given off, and `salt`, the change of the salt, all in C: what
    the balance of lithium is held against.
    """

    time: Float[Array, " n"]
    voltage: Float[Array, " n"]
    current: Array
    capacity: Array
    energy: Array
    end_time: Array
    reached: Array
    final: Unknowns
    filling: Array
    emptying: Array
    salt: Array


def resolved_on(cell: VoxelCell, current, devices: Sequence | None) -> ResolvedCell:
    """The system of `cell` under `current`, A, in slabs on `devices`; on one without them."""
    cut = across(cell.parts[0].phases.grid.shape, devices)
    if cut is None:
        return cell.resolved(current)
    system = cut.laid(cut.laid(cell).resolved(current))
    return dataclasses.replace(system, slabs=cut)


def discharge(
    cell: VoxelCell,
    current,
    method: ResolvedMethod | None = None,
    *,
    duration=None,
    devices: Sequence | None = None,
) -> Solution:
    """Draws `current`, A, from rest until the voltage falls to the lower cut-off, landed on, or for `duration`, s.

    Differentiable in reverse mode in every number of `cell`, its structure included, and in the current.

    **Arguments:** `devices`, that share the volume in slabs across y or z, from `jax.devices()` (`None`: the default
    one holds all of it); with them, call it inside `jit`.

    **Returns:** a `Solution` with a [`ResolvedDischarge`][]; stats `steps`, `trials` and `newton`.

    **Raises:** `ValueError` where the volume cannot be cut for `devices`.
    """
    method = ResolvedMethod() if method is None else method
    system = resolved_on(cell, current, devices)
    start, guess = rest(system)
    longest = 1.2 * lax.stop_gradient(cell.theoretical_capacity() / jnp.abs(system.current))
    horizon = longest if duration is None else jnp.asarray(duration, start.dtype)
    held = Held(system, cell.lower_cutoff, method.newton)
    solution = march(held, start, guess, horizon, method.march)
    record = solution.value
    end, final = record.time[-1], system.cut(record.unknowns)
    before, salted = system.contents(start)
    after, salt = system.contents(record.state)
    filling, emptying = _taken(system, before, after)
    steps, means = record.time[1:] - record.time[:-1], 0.5 * (record.observed[1:] + record.observed[:-1])
    value = ResolvedDischarge(
        time=record.time, voltage=record.observed, current=system.current, capacity=system.current * end,
        energy=system.current * jnp.sum(steps * means), end_time=end, reached=record.reached, final=final,
        filling=filling, emptying=emptying, salt=faraday * jnp.sum(system.structure.storage * (salt - salted)),
    )  # fmt: skip
    return Solution(value, solution.result, solution.stats)


def _taken(system: ResolvedCell, before, after) -> tuple[Array, Array]:
    """The lithium that the first electrode has taken in and the second given off, C."""
    taken = [jnp.zeros(()), jnp.zeros(())]
    for p, role, x, y in zip(system.structure.particles, system.active, after, before, strict=True):
        change = faraday * role.material.maximum_concentration * jnp.sum(p.storage * (x - y))
        taken[p.grounded] += -change if p.grounded else change
    return taken[0], taken[1]
