"""Reductions in float64 over float32 fields, where a rounded sum would cost iterations or digits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def total(x: Array) -> Array:
    """The sum of `x`, shape (..., n), accumulated in float64 whatever the global precision, in the default float type.

    Rows of the last axis are summed in the type of `x`, and the rows in float64: converting a whole field would write
    it out once more in double precision, at twice the memory of the field.
    """
    if x.dtype == jnp.float64:
        return jnp.sum(x)
    rows, wide = jnp.sum(x, axis=-1), jnp.result_type(float)  # asked for outside: float64 inside, always
    with jax.enable_x64(True):
        out = jnp.sum(rows, dtype=jnp.float64)
        return out.astype(wide)


def vdot(a: Array, b: Array) -> Array:
    """The sum of a times b, accumulated in float64, returned in the dtype of `a`.

    Plain float32 accumulation costs a fifth more conjugate-gradient iterations on XLA CPU.
    """
    return total(a * b).astype(a.dtype)


def tree_vdot(a, b) -> Array:
    """[`vdot`][] summed over the leaves of two trees of the same structure."""
    return sum(vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
