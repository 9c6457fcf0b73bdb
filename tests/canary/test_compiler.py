"""The compiler is a component under test: idioms that some versions compile wrongly, each as its reproducer.

A strict expected failure that begins to pass tells that a rule of the house may be dropped.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from solver.numerics.flux import pad

ON_CPU = jax.default_backend() == "cpu"


@pytest.mark.parametrize(("dtype", "rows"), [(jnp.float64, 20_000), (jnp.float32, 40_000)])
def test_vmapped_matrix_vector_product_then_sum(dtype, rows):
    """jax-ml/jax#39103: 0.10.2 is wrong on CPU beyond row 16 384 in float64 and 32 768 in float32."""
    index = np.arange(rows, dtype=dtype)
    x = jnp.asarray(np.stack([index, np.zeros_like(index), np.zeros_like(index)], axis=1))
    matrix = jnp.eye(3, dtype=dtype)
    squares = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(x)
    np.testing.assert_allclose(np.asarray(squares), index**2, rtol=1e-6)


def _shifted(b):
    return np.concatenate([b[:1], b[:-1]])


@pytest.mark.xfail(ON_CPU, strict=True, reason="openxla/xla#49176: the kernel reads what it has already overwritten")
def test_shift_in_place_then_reshape():
    """openxla/xla#49176: why no array is ever shifted by `.at[].set` of a slice of itself."""

    def shift(x):
        b = x + 1
        return b.at[1:].set(b[:-1]).reshape((1, *b.shape))

    x = np.arange(128, dtype=np.int32).reshape(8, 16)
    np.testing.assert_array_equal(np.asarray(jax.jit(shift)(jnp.asarray(x)))[0], _shifted(x + 1))


def test_shift_by_slice_and_pad():
    """The house's own way of the same: slice, then pad."""

    def shift(x):
        b = x + 1
        moved = pad(lax.slice_in_dim(b, 0, b.shape[0] - 1), 0, 1, 0) + pad(lax.slice_in_dim(b, 0, 1), 0, 0, 7)
        return moved.reshape((1, *b.shape))

    x = np.arange(128, dtype=np.int32).reshape(8, 16)
    np.testing.assert_array_equal(np.asarray(jax.jit(shift)(jnp.asarray(x)))[0], _shifted(x + 1))


def _seconds(function, *args) -> float:
    """The least time of a few calls of a compiled function."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return min(times)


@jax.jit
def _write_one_by_one(buffer):
    """2000 small writes into one large buffer."""

    def write(k, b):
        return lax.dynamic_update_slice(b, lax.dynamic_slice(b, (k,), (1,)) + 1, (k,))

    return lax.fori_loop(0, 2000, write, buffer)


def test_small_writes_in_a_loop_do_not_copy_the_buffer():
    """jax-ml/jax#40101: jaxlib 0.11.1 copies the whole buffer at each small write on CPU.

    Copies of 16 MB would take seconds; the writes take microseconds, and the whole buffer is copied once at the call.
    """
    large = jnp.zeros(2_000_000)
    out = np.asarray(_write_one_by_one(large))
    assert out[:2000].min() == 1 and out[2000:].max() == 0
    assert _seconds(_write_one_by_one, large) < 0.5


@jax.jit
def _gather_sums(bins, values):
    return jnp.zeros(values.shape[0], values.dtype).at[bins].add(values)


def test_scatter_add_is_exact():
    """Sums of integers in float32, all into few places."""
    bins = np.arange(50_000) % 7
    sums = np.asarray(_gather_sums(jnp.asarray(bins), jnp.ones(bins.size, jnp.float32)))
    np.testing.assert_array_equal(sums[:7], np.bincount(bins))


@pytest.mark.gpu
def test_scatter_add_under_contention_is_fast():
    """jax-ml/jax#38806: jaxlib 0.10.2 and 0.11.0 add in a compare-and-swap loop on GPUs, up to 2000 times slower."""
    values = jnp.ones(4_000_000, jnp.float32)
    spread, few = jnp.arange(values.size), jnp.arange(values.size) % 1000
    assert _seconds(_gather_sums, few, values) < 30 * _seconds(_gather_sums, spread, values)


def test_operators_without_jit():
    """jax-ml/jax#40633: 0.11.0 and 0.11.1 return wrong values from operators outside jit on some GPUs."""
    x = np.linspace(-2, 3, 10_001)
    y = jnp.asarray(x)
    np.testing.assert_allclose(np.asarray(y * y - 2 * y + 1), (x - 1) ** 2, rtol=0, atol=4e-15)
    np.testing.assert_allclose(np.asarray(jnp.cumsum(y))[-1], np.sum(x), rtol=1e-12)
