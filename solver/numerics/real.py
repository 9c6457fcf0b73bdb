"""Real numbers as leaves."""

import jax.numpy as jnp
from jaxtyping import Array


def real(value) -> Array:
    """`value` as an array of floats, in the default precision where it was of integers: a converter for fields."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)
