"""A geometric multigrid V-cycle for seven-point networks, to precondition conjugate gradients.

Cells are joined two by two along each axis; the conductance of a coarse face is the sum of the fine faces that it
covers divided by the growth of the distance across it, which is half the Galerkin sum of piecewise-constant transfer
and converges twice as fast. Any size is coarsened: odd ones are padded with cells that conduct nothing.
"""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from . import chebyshev
from .flux import Faces, apply, diagonal, pad


class Level(eqx.Module):
    """One level: its network and the inverse of its diagonal (zero where nothing conducts)."""

    faces: Faces
    inverse_diagonal: Array


class VCycle(eqx.Module):
    """A symmetric V-cycle with Chebyshev-Jacobi smoothing, callable as a preconditioner.

    **Arguments:** `levels`, fine to coarse; `degree`, smoothing steps before and after; `coarse_degree`, on the
    coarsest.

    **Source:** Adams et al. 2003, doi 10.1016/S0021-9991(03)00194-3, for polynomial smoothing.
    """

    levels: tuple[Level, ...]
    degree: int = eqx.field(static=True, default=3)
    coarse_degree: int = eqx.field(static=True, default=16)

    def __call__(self, residual: Array) -> Array:
        return _descend(self, 0, residual)


def build(faces: Faces, *, degree: int = 3, coarsest: int = 4) -> VCycle:
    """The V-cycle of a network.

    **Arguments:** `faces`, the fine network; `degree`, Chebyshev steps before and after each coarse correction;
    `coarsest`, the largest side of the last level, in cells.
    """
    levels = [_level(faces)]
    while max(levels[-1].faces.shape) > coarsest:
        levels.append(_level(_coarsen(levels[-1].faces)))
    return VCycle(tuple(levels), degree)


def _level(faces: Faces) -> Level:
    return Level(faces, chebyshev.inverse(diagonal(faces)))


def _even(array: Array, axis: int, n: int) -> Array:
    """`array` padded with zeros to length `n` along `axis`."""
    return pad(array, axis, 0, n - array.shape[axis]) if array.shape[axis] < n else array


def _pair_sum(array: Array, axis: int) -> Array:
    """Sums of neighbours two by two along an axis of even length."""
    n = array.shape[axis]
    return lax.slice_in_dim(array, 0, n, 2, axis) + lax.slice_in_dim(array, 1, n, 2, axis)


def _sum_pairs(array: Array, shape, axes) -> Array:
    """`array`, defined on a grid of `shape`, padded and summed two by two along `axes` where the grid is halved."""
    for axis in axes:
        if shape[axis] > 1:
            array = _pair_sum(_even(array, axis, array.shape[axis] + array.shape[axis] % 2), axis)
    return array


def _coarsen(faces: Faces) -> Faces:
    shape = faces.shape
    coarse = []
    for axis, conductance in enumerate(faces.interior):
        if shape[axis] > 1:
            conductance = 0.5 * lax.slice_in_dim(conductance, 1, max(shape[axis] - 1, 1), 2, axis)
        coarse.append(_sum_pairs(conductance, shape, [a for a in range(3) if a != axis]))
    # A plate lies half a cell away along axis 0, so its distance doubles with the cell.
    plate = _sum_pairs(faces.plate, shape, range(3)) * (0.5 if shape[0] > 1 else 1.0)
    return Faces(*coarse, plate)


def _restrict(residual: Array) -> Array:
    return _sum_pairs(residual, residual.shape, range(3))


def _prolong(correction: Array, shape) -> Array:
    """Piecewise-constant transfer to a finer grid of `shape`."""
    for axis in range(3):
        if shape[axis] > 1:
            correction = jnp.repeat(correction, 2, axis=axis)
            correction = lax.slice_in_dim(correction, 0, shape[axis], axis=axis)
    return correction


def _descend(cycle: VCycle, depth: int, b: Array) -> Array:
    """The V-cycle from level `depth` down, from a zero guess: smooth, correct by the coarser level, smooth."""
    level = cycle.levels[depth]
    operator = partial(apply, level.faces)
    if depth == len(cycle.levels) - 1:
        return chebyshev.relax(operator, level.inverse_diagonal, chebyshev.weights(cycle.coarse_degree, 0.02), b)[0]

    def correction(residual):
        return _prolong(_descend(cycle, depth + 1, _restrict(residual)), b.shape)

    return chebyshev.corrected(operator, level.inverse_diagonal, b, cycle.degree, correction)
