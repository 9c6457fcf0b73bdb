"""Run records: where a result came from, stop signals, and stages that are saved one by one and can be resumed."""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mesode.process import Stop, StopWatch
from microstructure import store

PACKAGES = ("mesode", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "h5py", "meshio", "matplotlib", "bpx")


def versions() -> dict[str, str]:
    """The versions of what takes part in a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def commit() -> str:
    """The git commit of the program with `-dirty` if changed, or an empty string if it was installed without git."""
    folder = pathlib.Path(__file__).parents[1]
    if not (folder / ".git").exists():  # installed: a repository further up is somebody else's
        return ""
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def file_hash(path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(seed: int, inputs: Sequence = (), *, devices: bool = True) -> dict:
    """What a later reader needs to trust and repeat a run: versions, devices, commit, command, seed, input hashes."""
    record = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["mesode", *sys.argv[1:]]),
        "commit": commit(),
        "seed": int(seed),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "host": platform.node(),
        "versions": versions(),
        "inputs": {f"input_{i}": f"{pathlib.Path(p).name} sha256:{file_hash(p)}" for i, p in enumerate(inputs)},
        "environment": {k: v for k, v in os.environ.items() if k in ("XLA_FLAGS", "SLURM_JOB_ID", "JAX_PLATFORMS")},
    }
    if devices:
        import jax

        record["devices"] = ", ".join(f"{d.device_kind} ({d.platform})" for d in jax.devices())
        record["x64"] = bool(jax.config.jax_enable_x64)
    return record


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of a job: `function(state) -> dict` of arrays, numbers and strings, kept under `name` in the state.

    **Arguments:** `forget`, names of earlier stages whose results nobody needs after this one.
    """

    name: str
    function: Callable[[Mapping], Mapping]
    forget: tuple[str, ...] = ()


def identity(*parts: str) -> str:
    """The fingerprint that ties a checkpoint to its job."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def checkpoint_path(output) -> pathlib.Path:
    """Where the checkpoint of a run lies until the run is done: beside its output."""
    output = pathlib.Path(output)
    return output.with_name(output.name + ".checkpoint")


def run_stages(
    stages: Sequence[Stage],
    output,
    fingerprint: str,
    watch: StopWatch,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> dict:
    """Runs the stages in order, saves after each, and returns the state: results by stage name.

    A resumed run takes the saved results up, so that it ends at the numbers of an uninterrupted one. The checkpoint
    is left for the caller to remove with [`finish`][] when the results are safe.

    **Raises:** [`Stop`][] after saving, when `watch` says so; `ValueError` if the checkpoint belongs to another job.
    """
    path = checkpoint_path(output)
    state = _load(path, fingerprint) if resume and path.is_file() else {}
    if resume:
        say(f"resumed after {len(state)} stages" if state else "no checkpoint found, so the run begins anew")
    done = set(state.pop("_done", ()))
    if watch.reason:
        raise Stop(f"Stopped by {watch.reason} before the first stage; go on with --resume.")
    for index, stage in enumerate(stages):
        if stage.name in done:
            continue
        started = time.perf_counter()
        state[stage.name] = _plain(stage.function(state))
        done.add(stage.name)
        for name in stage.forget:
            state.pop(name, None)
        say(f"[{index + 1}/{len(stages)}] {stage.name}: {time.perf_counter() - started:.1f} s")
        last = index + 1 == len(stages)
        if not last:
            store.write(path, {"fingerprint": fingerprint, "done": sorted(done), "state": state})
            if watch.reason:
                raise Stop(f"Stopped by {watch.reason}; the state is saved, go on with --resume.")
    return state


def finish(output) -> None:
    """Removes the checkpoint of a run whose results are written."""
    checkpoint_path(output).unlink(missing_ok=True)


def _load(path: pathlib.Path, fingerprint: str) -> dict:
    data = store.read(path)
    if data.get("fingerprint") != fingerprint:
        raise ValueError(
            f"Checkpoint `{path}` belongs to another job or version; run without --resume, or with the same settings."
        )
    return {**data.get("state", {}), "_done": data["done"]}


def _plain(result):
    """Results as they come back from a file, so that a resumed run sees exactly what an uninterrupted one does."""
    if isinstance(result, Mapping):
        return {str(k): _plain(v) for k, v in result.items() if v is not None}
    if isinstance(result, str) or (isinstance(result, list | tuple) and result and isinstance(result[0], str)):
        return result if isinstance(result, str) else list(result)
    array = np.asarray(result)
    return array.item() if array.ndim == 0 else array
