"""How the fields of a resolved cell lie in one vector: one after the other, and on several devices so in each slab.

A vector has the shape (n,) or, where several devices share the volume, (slabs, n / slabs): each row holds the fields of
one slab, so that a device holds its row and no more. A single number stands last, in the first row; what is below it
is zero, and no equation reads it. The slabs are cut across y or z, since slices at both ends of x have equations of
their own.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array

from ..numerics.layout import Slabs, slabs
from ..numerics.written import written_linear


def across(shape: Sequence[int], devices: Sequence | None) -> Slabs | None:
    """The slabs of a half-cell of `shape` voxels on `devices`; `None` where one device holds all of it.

    **Raises:** `ValueError` where neither y nor z can be cut evenly.
    """
    return None if devices is None else slabs(shape, devices, axes=(1, 2))


def row_count(cut: Slabs | None) -> int:
    """In how many rows a vector lies."""
    return 1 if cut is None else cut.mesh.size


def flat(fields: Sequence[Array], cut: Slabs | None = None) -> Array:
    """All `fields` in one vector, a single number only at the end. Each is written out first: computed within the
    joint, a stencil takes ten times as long, since every element works out where it is."""
    row = jnp.ravel if cut is None else cut.rows
    joint = jnp.concatenate([row(written_linear(x) if x.ndim == 3 else x) for x in fields], axis=-1)
    return joint if cut is None else cut.by_row(joint)


def part(w: Array, start: int, shape: Sequence[int], cut: Slabs | None = None) -> Array:
    """The field of `shape` in the vector w after `start` numbers of other fields."""
    count = row_count(cut)
    found = w[..., start // count : (start + math.prod(shape)) // count]
    return jnp.reshape(found, shape) if cut is None else cut.field(found, shape)


def last(w: Array) -> Array:
    """The single number at the end of w."""
    return w[(0,) * (w.ndim - 1) + (-1,)]
