"""The test process: float64, strict dtype promotion, compiled code kept between runs."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS", "cpu"))

_cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_compilation_cache_dir", _cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _resident_bytes() -> int:
    """What the process holds in memory; 0 where the system does not say."""
    try:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory():
    """Lets go of compiled code after a test file when the process has grown large; it is kept on disk anyway."""
    yield
    if _resident_bytes() > 2 * 2**30:
        jax.clear_caches()
