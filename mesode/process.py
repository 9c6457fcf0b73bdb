"""The process: precision, platform, compilation cache, logging. Only this file of the program touches `jax.config`."""

import contextlib
import hashlib
import math
import os
import pathlib
import platform
import signal
import sys
import time

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")


class Stop(Exception):
    """The run was asked to stop and has saved its state; the exit code is 3."""


class StopWatch:
    """Answers TERM, INT, USR1, USR2 and a time limit by a flag; a second INT interrupts at once.

    **Arguments:** `max_walltime`, s, counted from now; `None` for no limit.
    """

    def __init__(self, max_walltime: float | None = None):
        self.deadline = None if max_walltime is None else time.monotonic() + max_walltime
        self.signal: str | None = None
        self._before = {}

    def __enter__(self):
        with contextlib.suppress(ValueError):  # only the main thread may set handlers
            for name in STOP_SIGNALS:
                number = getattr(signal, name, None)
                if number is not None:
                    self._before[number] = signal.signal(number, self._answer)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _answer(self, number, _frame) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name

    @property
    def reason(self) -> str | None:
        """Why to stop, or `None`."""
        if self.signal is not None:
            return f"signal {self.signal}"
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "the time limit"
        return None


def parse_walltime(text: str) -> float:
    """Seconds from `90`, `5:00`, `01:30:00` or `1-00:00:00`; `ValueError` otherwise."""
    days, dash, clock = text.rpartition("-")
    try:
        parts = [float(p) for p in clock.split(":")]
        total = sum(p * 60**i for i, p in enumerate(reversed(parts))) + 86400 * int(days if dash else 0)
    except ValueError:
        total, parts = -1.0, [0.0]
    if total <= 0 or len(parts) > 3 or not math.isfinite(total):
        raise ValueError(f"`{text}` is no time limit; write seconds or [days-]hours:minutes:seconds.")
    return total


def configure(device: str = "auto", *, x64: bool = True) -> None:
    """Sets float64, the platform and the per-user compilation cache; call it before any computation.

    **Arguments:** `device`, `cpu`, `gpu` or `auto`; a GPU that is asked for and absent is a `ValueError`.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # 1 is what jax itself leaves in a parent process
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # XLA writes pages about its own cache to standard error otherwise
    import jax

    jax.config.update("jax_enable_x64", x64)
    if device != "auto":
        jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[device])
    if device == "gpu":
        try:
            found = [d for d in jax.devices() if d.platform in ("gpu", "cuda")]
        except Exception:  # what jax raises here differs between its versions
            found = []
        if not found:
            raise ValueError(
                "A GPU was asked for with `--device gpu`, but JAX finds none here; install `mesode[cuda12]` or "
                "`mesode[cuda13]` on a machine with an NVIDIA GPU, or use `--device cpu`."
            )
    with contextlib.suppress(OSError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cache_folder() -> pathlib.Path:
    """Where compiled code is kept: one folder per user and kind of machine, since login and compute nodes differ."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    features = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        features += "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    return pathlib.Path(base) / "mesode" / "jax" / hashlib.sha256(features.encode()).hexdigest()[:12]


class CompileClock:
    """Adds up the seconds that JAX spends on lowering and compiling, from its own events."""

    def __init__(self):
        import jax.monitoring

        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration: float, **_) -> None:
        if event.endswith(("backend_compile_duration", "jaxpr_to_mlir_module_duration")):
            self.seconds += duration


def free_memory() -> int | None:
    """The bytes that this process may still use, or `None` where the system does not say."""
    limits = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        limits.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    with contextlib.suppress(OSError, ValueError):
        root = pathlib.Path("/sys/fs/cgroup")
        limit = (root / "memory.max").read_text().strip()
        if limit != "max":
            limits.append(int(limit) - int((root / "memory.current").read_text()))
    return min(limits) if limits else None


CURES = "use fewer voxels, fewer particles or a larger machine"


def free_device_memory() -> int | None:
    """The bytes that are free on the accelerator, or `None` where there is none or it does not say."""
    import jax

    found = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in found:
        return None
    return int(found["bytes_limit"]) - int(found.get("bytes_in_use", 0))


def require_memory(needed: float, what: str, cures: str = CURES, *, free: int | None = None) -> None:
    """Raises a `ValueError` that ends with `cures` if `what` needs more than nine tenths of the free memory.

    **Arguments:** `free`, bytes, where they are not those of the machine: of an accelerator.
    """
    free = free_memory() if free is None else free
    if free is not None and needed > 0.9 * free:
        raise ValueError(
            f"{what} needs about {needed / 2**30:.3g} GiB, but only {free / 2**30:.3g} GiB of memory are free; {cures}."
        )


def log(message: str, *, quiet: bool = False) -> None:
    """One line for the person at the terminal, on standard error."""
    if not quiet:
        print(message, file=sys.stderr, flush=True)
