"""Real numbers as leaves."""

import jax.numpy as jnp
from jaxtyping import Array


def real(value) -> Array:
    """`value` as an array of floats, in the default precision where it was of integers: a converter for fields.

    The type is made definite, since a weak one, of a Python number, would have every function compiled a second time.
    """
    array = jnp.asarray(value)
    return array.astype(array.dtype if jnp.issubdtype(array.dtype, jnp.inexact) else float)
