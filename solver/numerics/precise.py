"""Reductions in float64 over float32 fields, where a rounded sum would cost iterations or digits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

COLUMNS = 8  # neighbours added in the type of the field, before the sum in float64


def total(x: Array) -> Array:
    """The sum of `x`, shape (..., n), accumulated in float64 whatever the global precision, in the default float type.

    Of a field of several axes, eight neighbours along the last are added in its own type. Written as a sum of slices
    that fuses with whatever computes `x`: a reduction in float64 would first write out all of `x` in double precision.
    """
    if x.dtype == jnp.float64:
        return jnp.sum(x)
    default, parts = jnp.result_type(float), [x]
    whole = x.shape[-1] - x.shape[-1] % COLUMNS
    if x.ndim > 1 and whole:
        columns = x[..., :whole].reshape(*x.shape[:-1], -1, COLUMNS)
        parts = [sum(columns[..., i] for i in range(1, COLUMNS)) + columns[..., 0], x[..., whole:]]
    with jax.enable_x64(True):
        return sum(jnp.sum(part, dtype=jnp.float64) for part in parts if part.size or part is x).astype(default)


def vdot(a: Array, b: Array) -> Array:
    """The sum of a times b, accumulated in float64, returned in the dtype of `a`.

    Plain float32 accumulation costs a fifth more conjugate-gradient iterations on XLA CPU.
    """
    return total(a * b).astype(a.dtype)


def tree_vdot(a, b) -> Array:
    """[`vdot`][] summed over the leaves of two trees of the same structure."""
    return sum(vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
