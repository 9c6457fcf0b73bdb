"""A geometric multigrid V-cycle for seven-point networks, to precondition conjugate gradients.

Cells are joined two by two along each axis; the conductance of a coarse face is the sum of the fine faces that it
covers divided by the growth of the distance across it, which is half the Galerkin sum of piecewise-constant transfer
and converges twice as fast; the first coarse levels are solved by two accelerated cycles each. Any size is coarsened:
odd ones are padded with cells that conduct nothing.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from . import chebyshev
from .flux import Faces, apply, over_diagonal, pad
from .layout import Slabs
from .precise import total

AGAIN = 2  # coarse levels on which two cycles are made
FLAT = 6.0  # ratio of conductances between axes above which voxels are too flat for it: eigenvalues leave the range
RANGE = (0.3, 3.0)  # eigenvalues of a cycle times its network, to which the two cycles are tuned; measured below 2.3


class VCycle(eqx.Module):
    """A symmetric V-cycle with Chebyshev-Jacobi smoothing, callable as a preconditioner.

    **Arguments:** `levels`, networks fine to coarse; `rows`, weights of the two cycles; `degree`, smoothing steps
    before and after; `coarse_degree`, on the coarsest; `dtype`, in which it computes; `slabs`, where it lies on several
    devices.
    """

    levels: tuple[Faces, ...]
    rows: Float[Array, "2 2"]
    degree: int = eqx.field(static=True, default=3)
    coarse_degree: int = eqx.field(static=True, default=16)
    dtype: jnp.dtype = eqx.field(static=True, default=jnp.float32)
    slabs: Slabs | None = eqx.field(static=True, default=None)

    def __call__(self, residual: Array) -> Array:
        return _descend(self, 0, residual.astype(self.dtype)).astype(residual.dtype)


def build(faces: Faces, *, degree: int = 3, coarsest: int = 4, dtype=jnp.float32, slabs=None) -> VCycle:
    """The V-cycle of a network: in float32, which is enough to precondition float64.

    **Arguments:** `faces`, the fine network; `degree`, Chebyshev steps before and after each coarse correction;
    `coarsest`, the largest side of the last level, in cells; `dtype`, in which the cycle computes; `slabs`,
    [`solver.numerics.layout.Slabs`][] that the network lies in: coarse levels that are small are held whole by every
    device, since a step on them would only wait for the neighbours.
    """
    levels = [jax.tree.map(lambda g: g if g.dtype == jnp.bool_ else g.astype(dtype), faces)]
    while max(levels[-1].shape) > coarsest:
        coarse = _coarsen(levels[-1], dtype)
        levels.append(coarse if slabs is None else slabs.together(coarse))
    return VCycle(tuple(levels), _rows(levels[0], dtype), degree, dtype=dtype, slabs=slabs)


def _rows(faces: Faces, dtype) -> Float[Array, "2 2"]:
    """The weights of two accelerated cycles, or of a single one where voxels are flat."""
    means = [total(g.astype(jnp.float32)) / max(g.size, 1) for g in faces.interior if g.size]
    means = jnp.stack(means) if means else jnp.ones(1)
    flat = jnp.max(means) > FLAT * jnp.min(means)
    return jnp.where(flat, jnp.asarray([[0, 1], [0, 0]], dtype), jnp.asarray(chebyshev.weights(2, *RANGE), dtype))


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


def _coarsen(faces: Faces, dtype) -> Faces:
    shape, coarse, ends = faces.shape, [], []
    for axis, (conductance, end) in enumerate(zip(faces.interior, faces.ends, strict=True)):
        others, halved = [a for a in range(3) if a != axis], 0.5 if shape[axis] > 1 else 1.0
        conductance = conductance.astype(dtype)
        if shape[axis] > 1:
            conductance = halved * lax.slice_in_dim(conductance, 1, max(shape[axis] - 1, 1), 2, axis)
        coarse.append(_sum_pairs(conductance, shape, others))
        # A plate lies half a cell away, and a joint is a face, so both distances double with the cell.
        ends.append(jax.tree.map(lambda g, o=others, h=halved: h * _sum_pairs(g.astype(dtype), shape, o), end))
    return Faces(*coarse, tuple(ends))


def _restrict(residual: Array) -> Array:
    return _sum_pairs(residual, residual.shape, range(3))


def _prolong(correction: Array, shape) -> Array:
    """Piecewise-constant transfer to a finer grid of `shape`."""
    for axis in range(3):
        if shape[axis] > 1:
            correction = jnp.repeat(correction, 2, axis=axis)
            correction = lax.slice_in_dim(correction, 0, shape[axis], axis=axis)
    return correction


def _together(cycle: VCycle, field: Array) -> Array:
    return field if cycle.slabs is None else cycle.slabs.together(field)


def _descend(cycle: VCycle, depth: int, b: Array) -> Array:
    """The V-cycle from level `depth` down, from a zero guess."""
    faces, coarsest = cycle.levels[depth], depth == len(cycle.levels) - 1
    operator, scaled = partial(apply, faces), partial(over_diagonal, faces)
    if coarsest:
        return chebyshev.relax(operator, scaled, chebyshev.weights(cycle.coarse_degree, 0.02), b)

    def correction(residual):
        coarse = _together(cycle, _correct(cycle, depth + 1, _together(cycle, _restrict(residual))))
        return _prolong(coarse, b.shape)

    return chebyshev.corrected(operator, scaled, b, cycle.degree, correction)


def _correct(cycle: VCycle, depth: int, b: Array) -> Array:
    """The correction from level `depth`: on the uppermost ones two accelerated cycles.

    Piecewise constants alone grow worse with every level. On all levels it would take a fifth fewer steps, but launch
    as many kernels again for each level, which a GPU would feel.
    """
    solve = partial(_descend, cycle, depth)
    if depth > AGAIN or depth == len(cycle.levels) - 1:
        return solve(b)
    return chebyshev.iterate(partial(apply, cycle.levels[depth]), solve, cycle.rows, b)
