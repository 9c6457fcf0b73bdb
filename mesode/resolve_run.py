"""The discharges of `mesode resolve`, one after the other, saved after every chunk of steps."""

import pathlib
import time
from collections.abc import Callable, Mapping

import numpy as np

from mesode import record
from mesode.process import Stop, StopWatch
from mesode.resolve_build import Setup
from mesode.resolve_record import Kept, Viewer
from microstructure import store
from solver.electrochemistry.resolved_course import Course, course
from solver.numerics.chunks import Progress, restored, saved
from solver.numerics.solution import Result, SolveError

_SHARE = 0.1  # of the time, that saving may take
_SECONDS = 2.0  # between lines of progress


class Saves:
    """The checkpoint of a job: which discharges are done, and where the present one is.

    **Arguments:** `output`, the run file beside which it lies; `fingerprint`, what ties it to its job; `resume`,
    whether to take up what is there.
    """

    def __init__(self, output: pathlib.Path, fingerprint: str, resume: bool):
        self.path, self.fingerprint = record.checkpoint_path(output), fingerprint
        self.done: dict[str, dict] = {}
        self.present: dict | None = None
        self._free = 0.0  # the time before which the next save would take too large a share
        if resume and self.path.is_file():
            data = store.read(self.path)
            if data.get("fingerprint") != fingerprint:
                raise ValueError(
                    f"Checkpoint `{self.path}` belongs to another job or version; run without --resume, or with the "
                    "same job."
                )
            self.done, self.present = dict(data.get("done", {})), data.get("present")

    @property
    def found(self) -> bool:
        return bool(self.done) or self.present is not None

    def write(self, present: Mapping | None, *, now: bool) -> None:
        """Saves, unless that would take too large a share of the time and it need not be `now`."""
        start = time.monotonic()
        if not now and start < self._free:
            return
        tree = {"fingerprint": self.fingerprint, "done": self.done}
        store.write(self.path, tree | ({} if present is None else {"present": present}))
        end = time.monotonic()
        self._free = end + (end - start) / _SHARE


def discharges(
    setup: Setup,
    rates: list[float],
    depths: list[float],
    rows: int,
    saves: Saves,
    watch: StopWatch,
    say: Callable[[str], None],
) -> dict[str, dict]:
    """What is kept of the discharge at each rate, by its number; `say` gets lines of progress.

    **Arguments:** `depths`, of discharge, at which fields are kept; `rows`, steps of a chunk.

    **Raises:** [`Stop`][mesode.process.Stop] after saving, when `watch` says so.
    """
    if watch.reason:
        raise Stop(f"Stopped by {watch.reason} before the first step; go on with --resume.")
    viewer = Viewer(setup)
    for number, rate in enumerate(rates):
        name = f"{number}"
        if name in saves.done:
            continue
        current = rate * setup.capacity / 3600.0
        made = course(setup.cell, current, setup.capacity, depths, setup.method, setup.devices)
        stops = np.asarray(depths) * 3600.0 / rate
        kept = _discharge(setup, made, viewer, name, rate, stops, rows, saves, watch, say)
        saves.done[name] = kept
        saves.write(None, now=number + 1 < len(rates))
    return saves.done


def _discharge(setup, made: Course, viewer, name, rate, stops, rows, saves: Saves, watch, say) -> dict:
    progress, kept = made.begun(rows), Kept.nothing()
    if saves.present is not None and saves.present["name"] == name:
        progress = restored(progress, _whole(saves.present["march"]))
        kept = Kept.of(saves.present["kept"])
    saves.present = None
    shown = [time.monotonic()]

    def after(progress: Progress) -> None:
        kept.take(progress, made, viewer, stops)
        if not bool(progress.walk.finished):
            if watch.reason or time.monotonic() - shown[0] > _SECONDS:
                shown[0] = time.monotonic()
                say(_line(rate, kept, progress))
            present = {"name": name, "march": _rows(saved(progress, made.march)), "kept": kept.saved()}
            saves.write(present, now=bool(watch.reason))
            if watch.reason:
                raise Stop(f"Stopped by {watch.reason}; the state is saved, go on with --resume.")
        else:
            say(_line(rate, kept, progress))

    result = made.run(progress, after)
    successful = bool(result == Result.successful)
    if not kept.rows["time_s"]:
        raise SolveError(f"The discharge at {rate:g}C found no state to begin with: {Result[result]}")
    ended = "not_converged" if not successful else "cut_off" if _reached(kept, setup) else "time_limit"
    if ended == "cut_off" and len(kept.rows["time_s"]) == 1:
        ended = "already_past_cut_off"
    return {**kept.saved(), "stop": ended, "c_rate": rate, "why": "" if successful else str(Result[result])}


def _rows(march: Mapping) -> dict:
    """`march` with its records row by row: long vectors are written in large pieces, tables in small ones."""

    def apart(x):
        return {f"{k}": apart(row) for k, row in enumerate(x)} if x.ndim > 1 else x

    return {name: apart(x) for name, x in march.items()}


def _whole(march: Mapping) -> dict:
    """What [`_rows`][] was made of."""

    def joined(x):
        return np.stack([joined(x[f"{k}"]) for k in range(len(x))]) if isinstance(x, Mapping) else x

    return {name: joined(x) for name, x in march.items()}


def _reached(kept: Kept, setup: Setup) -> bool:
    landed = 2.0 * float(setup.method.newton.tolerance)  # V, within which a march lands on its event
    return float(kept.rows["voltage_V"][-1]) <= float(setup.cell.lower_cutoff) + landed


def _line(rate: float, kept: Kept, progress: Progress) -> str:
    if not kept.rows["time_s"]:
        return f"{rate:g}C: no start found"
    time_s, voltage, charge = (float(kept.rows[n][-1]) for n in ("time_s", "voltage_V", "state_of_charge"))
    return (
        f"{rate:g}C: {time_s:.0f} s, {voltage:.4f} V, {100 * (1 - charge):.1f} % drawn, "
        f"{len(kept.rows['time_s']) - 1} steps, {int(progress.walk.newton)} Newton corrections"
    )
