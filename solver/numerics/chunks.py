"""A march that stops on the host after every few steps: for progress, checkpoints, and memory.

[`march`][solver.numerics.march.march] keeps the states and unknowns of all steps, which its derivative needs. Here only
the newest are kept that a further step reads, `order` + 2 of them, and there is no derivative. Steps, trials and
numbers are those of the one call.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .march import March, System
from .solution import Result
from .walk import Walk, attempt, begin

_RECORDS = ("times", "states", "unknowns", "observed")


class Progress(eqx.Module):
    """A march between two chunks: all that the next one needs.

    **Arguments:** `walk`, its records cut to the newest rows and those of the last chunk; `before`, steps that are no
    longer in its record; `new`, the first row of it that the last chunk wrote.
    """

    walk: Walk
    before: Array
    new: Array

    @property
    def steps(self) -> Array:
        """Accepted so far; -1 before the consistent start is found."""
        return self.before + self.walk.count

    @property
    def rows(self) -> range:
        """The rows of the record that the last chunk wrote, on the host."""
        return range(int(self.new), int(self.walk.count) + 1)


def started(system: System, start: Array, guess: Array, horizon: Array, method: March, rows: int) -> Progress:
    """The [`Progress`][] of a march that has not begun, in chunks of at most `rows` steps.

    **Arguments:** as of [`march`][solver.numerics.march.march], whose choice of the steps cannot be given here.
    """
    if method.schedule is not None:
        raise ValueError("A march in chunks chooses its own steps; leave out `schedule`.")
    if rows < 1:
        raise ValueError(f"Argument `rows` must be at least 1, but {rows} was given.")
    room = dataclasses.replace(method, max_steps=_kept(method) + rows - 1)
    # Each array by itself: what is given up must not be shared.
    walk = jax.tree.map(lambda x: jnp.array(x, copy=True), begin((system, start, horizon), guess, room))
    return Progress(walk, jnp.array(0), jnp.array(0))


def _kept(method: March) -> int:
    """Rows that a further step reads, and one more, which tells a march that goes on from one that has just begun."""
    return method.order + 2


def newest(progress: Progress, method: March) -> Progress:
    """`progress` with its newest rows moved to the front; what is behind them is written over."""
    walk, kept = progress.walk, _kept(method)
    shift = jnp.maximum(walk.count - (kept - 1), 0)

    def moved(buffer):
        rows = lax.dynamic_slice_in_dim(buffer, shift, kept)
        return lax.dynamic_update_slice_in_dim(buffer, rows, 0, 0)

    records = tuple(moved(getattr(walk, name)) for name in _RECORDS)
    walk = eqx.tree_at(lambda w: (*(getattr(w, n) for n in _RECORDS), w.count), walk, (*records, walk.count - shift))
    return Progress(walk, progress.before + shift, walk.count + 1)


def advanced(progress: Progress, system: System, horizon: Array, method: March, limit: Array) -> Progress:
    """`progress` after one more chunk: as many accepted steps as its record has room for, or until the march ends.

    **Arguments:** `limit`, steps of the whole march, in place of `method.max_steps`.
    """
    progress = newest(progress, method)
    rows = progress.walk.times.shape[0] - _kept(method)
    last = jnp.minimum(progress.walk.count + rows, limit - progress.before)

    def going(walk):
        return ~walk.finished & ~walk.failed & (walk.count < last) & (walk.trials < 4 * limit)

    walk = lax.while_loop(going, lambda walk: attempt(walk, True, system, horizon, method), progress.walk)
    return Progress(walk, progress.before, progress.new)


@eqx.filter_jit(donate="all-except-first")
def _advanced(inputs, progress):
    return advanced(progress, *inputs)


def march_in_chunks(
    progress: Progress, system: System, horizon: Array, method: March, after: Callable[[Progress], None]
) -> Result:
    """Takes `progress` to the end of the march, and calls `after` on the host with what each chunk has made.

    Outside `jit`. What is handed over is given up: the next chunk writes into its memory. So `after` copies what it
    keeps; to stop, it raises.

    **Returns:** the [`Result`][] of [`march`][solver.numerics.march.march].
    """
    limit, any_length = jnp.asarray(method.max_steps), dataclasses.replace(method, max_steps=1)  # compiled for any
    while not _ended(progress, method):
        progress = _advanced((system, horizon, any_length, limit), progress)
        after(progress)
    if bool(progress.walk.finished):
        return Result.successful
    return Result.stagnated if bool(progress.walk.failed) else Result.max_steps


def _ended(progress: Progress, method: March) -> bool:
    walk = progress.walk
    spent = int(progress.steps) >= method.max_steps or int(walk.trials) >= 4 * method.max_steps
    return bool(walk.finished) or bool(walk.failed) or spent


def saved(progress: Progress, method: March) -> dict[str, np.ndarray]:
    """What a later process goes on from, by name: only the rows that it reads."""
    walk = progress.walk
    shift = max(int(walk.count) - (_kept(method) - 1), 0)
    rows = slice(shift, shift + _kept(method))
    values = {f.name: getattr(walk, f.name) for f in dataclasses.fields(Walk)}
    found = {name: np.asarray(x[rows] if name in _RECORDS else x) for name, x in values.items()}
    return found | {"count": np.asarray(int(walk.count) - shift), "before": np.asarray(int(progress.before) + shift)}


def restored(like: Progress, data: dict[str, np.ndarray]) -> Progress:
    """The [`Progress`][] that [`saved`][] has written, with the room of `like`.

    **Raises:** `ValueError` where it is that of another march.
    """
    values = {}
    for field in dataclasses.fields(Walk):
        there, room = np.asarray(data[field.name]), getattr(like.walk, field.name)
        if there.shape[1:] != room.shape[1:] or there.shape[:1] > room.shape[:1]:
            raise ValueError(f"The saved state is that of another march: `{field.name}` has the shape {there.shape}.")
        there = jnp.array(there, room.dtype)
        values[field.name] = room.at[: there.shape[0]].set(there) if field.name in _RECORDS else there
    walk = Walk(**values)
    return Progress(walk, jnp.array(int(data["before"])), walk.count + 1)
