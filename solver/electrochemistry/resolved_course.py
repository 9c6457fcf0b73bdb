"""A discharge of a resolved cell that stops on the host every few steps: for progress, checkpoints and memory.

The steps are those of `resolved_run.discharge`, but for the depths of discharge that are landed on; no derivatives.
"""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..numerics.chunks import Progress, march_in_chunks, started
from ..numerics.march import March
from ..numerics.solution import Result
from .resolved import ResolvedCell
from .resolved_run import Held, ResolvedMethod, resolved_on
from .resolved_start import rest
from .voxel_cell import VoxelCell


class Course(eqx.Module):
    """A discharge that can be marched; make it with [`course`][].

    **Arguments:** `held`, the system under its current; `start`, y at rest; `guess`, of the unknowns; `horizon`, s;
    `march`, with the times to land on.
    """

    held: Held
    start: Array
    guess: Array
    horizon: Array
    march: March

    @property
    def system(self) -> ResolvedCell:
        return self.held.cell

    def begun(self, rows: int) -> Progress:
        """The march before its first step, in chunks of at most `rows` steps."""
        return started(self.held, self.start, self.guess, self.horizon, self.march, rows)

    def run(self, progress: Progress, after: Callable[[Progress], None]) -> Result:
        """Marches to the end and calls `after` with what each chunk has made, which the next one takes over."""
        cut = self.system.slabs
        progress = progress if cut is None else cut.place_rows(progress)  # as chunks leave it: compiled once
        return march_in_chunks(progress, self.held, self.horizon, self.march, after)


@eqx.filter_jit
def _prepared(cell: VoxelCell, current: Array, devices):
    system = resolved_on(cell, current, devices)
    return system, *rest(system)


def course(
    cell: VoxelCell,
    current,
    capacity,
    depths=(),
    method: ResolvedMethod | None = None,
    devices: Sequence | None = None,
) -> Course:
    """The discharge of `cell` by `current`, A, from rest to its lower cut-off; outside `jit`.

    **Arguments:** `capacity`, C, that depths of discharge refer to; `depths`, rising, that a step is to end on;
    `devices`, as of [`discharge`][solver.electrochemistry.resolved_run.discharge].
    """
    method = ResolvedMethod() if method is None else method
    current = jnp.asarray(current, jnp.result_type(float))
    system, start, guess = _prepared(cell, current, None if devices is None else tuple(devices))
    longest = 1.2 * jax.device_get(cell.theoretical_capacity()) / abs(float(current))
    longest = max(longest, 1.2 * float(capacity) / abs(float(current)))
    times = np.asarray(depths, float) * float(capacity) / abs(float(current))
    march = method.march if not len(times) else dataclasses.replace(method.march, stops=jnp.asarray(times))
    held = Held(system, cell.lower_cutoff, method.newton)
    return Course(held, start, guess, jnp.asarray(longest, start.dtype), march)
