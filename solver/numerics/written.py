"""Values that are written out where XLA would compute them again for every reader."""

import jax
from jax import lax
from jaxtyping import Array

from .chebyshev import unfoldable


def _through_loop(x: Array) -> Array:
    # A loop is the one boundary that XLA CPU does not fuse across; that it takes no step is not known to it.
    return lax.fori_loop(0, unfoldable(0, x), lambda _, y: y + y, x)


@jax.custom_jvp
def written(x: Array) -> Array:
    """`x`, computed once: a stencil of costly laws would compute them anew for each neighbour. Tangents are not."""
    return _through_loop(x)


@written.defjvp
def _written_jvp(primals, tangents):
    return written(*primals), tangents[0]


def written_linear(x: Array) -> Array:
    """[`written`][] for linear maps that are transposed: the transpose is written out as well."""
    return lax.custom_linear_solve(lambda y: y, x, solve=lambda _, b: _through_loop(b), symmetric=True)
