"""The process: precision, platform, compilation cache, logging. Only this file of the program touches `jax.config`."""

import contextlib
import hashlib
import os
import pathlib
import platform
import sys


class Stop(Exception):
    """The run was asked to stop and has saved its state; the exit code is 3."""


def configure(device: str = "auto", *, x64: bool = True) -> None:
    """Sets float64, the platform and the per-user compilation cache; call it before any computation.

    **Arguments:** `device`, `cpu`, `gpu` or `auto`; a GPU that is asked for and absent is a `ValueError`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA writes notes to standard error otherwise
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


def require_memory(needed: float, what: str) -> None:
    """Raises a `ValueError` if `what` needs more than nine tenths of the free memory."""
    free = free_memory()
    if free is not None and needed > 0.9 * free:
        raise ValueError(
            f"{what} needs about {needed / 2**30:.3g} GiB, but only {free / 2**30:.3g} GiB of memory are free; "
            "use fewer voxels, fewer particles or a larger machine."
        )


def log(message: str, *, quiet: bool = False) -> None:
    """One line for the person at the terminal, on standard error."""
    if not quiet:
        print(message, file=sys.stderr, flush=True)
