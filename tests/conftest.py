"""The test process: float64, strict dtype promotion, compiled code kept between runs."""

import os
import pathlib

import jax
import jax.numpy as jnp
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


def _backwards_error(system, w, past, gamma):
    """How far `pull_back` of a `System` is from automatic differentiation: what its multiplier leaves, and the
    cotangent of the past, over the parts that each is the sum of."""
    w_bar, y_bar = (jnp.cos(jnp.arange(x.shape[0], dtype=float)) for x in (w, past))
    multiplier, past_bar = system.pull_back(system.derivative(w, past, gamma), w_bar, y_bar)
    _, of_state = jax.vjp(lambda w, past: system.state(w, past, gamma), w, past)
    _, of_equations = jax.vjp(lambda w, past: system.residual(w, past, gamma), w, past)
    (w_state, past_state), (w_equations, past_equations) = of_state(y_bar), of_equations(multiplier)
    left = (w_bar + w_state + w_equations) / (jnp.abs(w_bar) + jnp.abs(w_state) + jnp.max(jnp.abs(w_bar + w_state)))
    off = (past_bar - past_state - past_equations) / (jnp.abs(past_state) + jnp.abs(past_equations) + 1e-30)
    return jnp.max(jnp.abs(left)), jnp.max(jnp.abs(off))


@pytest.fixture
def backwards_error():
    return _backwards_error
