"""A geometric multigrid V-cycle for seven-point networks, to precondition conjugate gradients.

Cells are joined two by two along each axis, and four by four to the coarsest level, which saves the compilation of one;
the conductance of a coarse face is the sum of the fine faces that it covers divided by the growth of the distance
across it, two or four. That is a half or a quarter of the Galerkin sum of piecewise-constant transfer, and a half
converges twice as fast; the first coarse levels are solved by two accelerated cycles each. Any size is coarsened: the
last cell of a row may join fewer.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from . import chebyshev
from .flux import Faces, apply, over_diagonal
from .layout import TOGETHER, Slabs

AGAIN = 2  # coarse levels on which two cycles are made
FLAT = 6.0  # ratio of conductances between axes above which voxels are too flat for it: eigenvalues leave the range
RANGE = (0.3, 3.0)  # eigenvalues of a cycle times its network, to which the two cycles are tuned; measured below 2.3


class Level(eqx.Module):
    """One network of a cycle.

    **Arguments:** `faces`; `inverse_diagonal`, kept where it is small, computed anew on the finest; `joined`, how many
    of its cells make one of the next level along each axis.
    """

    faces: Faces
    inverse_diagonal: Float[Array, "nx ny nz"] | None
    joined: int = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        return apply(self.faces, x)

    def scaled(self, residual: Array) -> Array:
        if self.inverse_diagonal is None:
            return over_diagonal(self.faces, residual)
        return self.inverse_diagonal * residual


class VCycle(eqx.Module):
    """A symmetric V-cycle with Chebyshev-Jacobi smoothing, callable as a preconditioner.

    **Arguments:** `levels`, fine to coarse; `rows`, weights of the two cycles; `degree`, smoothing steps
    before and after; `coarse_degree`, on the coarsest; `dtype`, in which it computes; `slabs`, where it lies on several
    devices.
    """

    levels: tuple[Level, ...]
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

    def joined(shape):
        return 4 if max(shape) <= 4 * coarsest else 2

    faces = jax.tree.map(lambda g: g if g.dtype == jnp.bool_ else g.astype(dtype), faces)
    levels = [Level(faces, None, joined(faces.shape))]
    while max(faces.shape) > coarsest:
        faces = _coarsen(faces, levels[-1].joined, dtype)
        if slabs is not None:
            in_slabs = len(levels) == 1 or levels[-1].faces.y.size > TOGETHER
            faces = slabs.together(jax.tree.map(slabs.apart, faces) if in_slabs else faces)
        levels.append(Level(faces, over_diagonal(faces, jnp.ones((), dtype)), joined(faces.shape)))
    rows = _rows(levels[min(1, len(levels) - 1)].faces, dtype)
    return VCycle(tuple(levels), rows, degree, dtype=dtype, slabs=slabs)


def _rows(faces: Faces, dtype) -> Float[Array, "2 2"]:
    """The weights of two accelerated cycles, or of a single one where voxels are flat."""
    shape, sides = faces.shape, [g for g in faces.interior if g.size]
    corner = [[(0, n - m, 0) for n, m in zip(shape, g.shape, strict=True)] for g in sides]
    padded = [lax.pad(g.astype(jnp.float32), jnp.float32(0), c) for g, c in zip(sides, corner, strict=True)]
    sums = jnp.sum(jnp.stack(padded), axis=(1, 2, 3)) if sides else jnp.ones(1)
    means = sums / jnp.asarray([g.size for g in sides] or [1], jnp.float32)
    flat = jnp.max(means) > FLAT * jnp.min(means)
    return jnp.where(flat, jnp.asarray([[0, 1], [0, 0]], dtype), jnp.asarray(chebyshev.weights(2, *RANGE), dtype))


def _sums(array: Array, shape, axes, by: int, skip: int | None = None) -> Array:
    """Sums of `by` neighbours along `axes` of a grid of `shape`, fewer at its end; of the faces of `skip`, every last.

    A window of XLA, not slices: on every level it compiles faster, most where sizes are odd. At run time it is up to
    three times slower where they are even, little beside the smoothing.
    """
    joined = [a for a in axes if shape[a] > 1]
    window = [by if a in joined else 1 for a in range(3)]
    strides = [by if a in (*joined, skip) else 1 for a in range(3)]
    padding = [(-(by - 1) * (a == skip), -array.shape[a] % by if a in joined else 0) for a in range(3)]
    return lax.reduce_window(array, jnp.zeros((), array.dtype), lax.add, window, strides, padding)


def _coarsen(faces: Faces, by: int, dtype) -> Faces:
    """`by` times the coarse network: sums of fine conductances. The division is left to the correction."""
    shape, coarse, ends = faces.shape, [], []
    for axis, (conductance, end) in enumerate(zip(faces.interior, faces.ends, strict=True)):
        others, skip = [a for a in range(3) if a != axis], axis if shape[axis] > 1 else None
        small = conductance.astype(jnp.int8 if conductance.dtype == jnp.bool_ else dtype)
        coarse.append(_sums(small, shape, others, by, skip).astype(dtype))
        # A plate lies half a cell away, and a joint is a face, so both distances grow with the cell.
        grown = 1.0 if shape[axis] > 1 else by
        ends.append(jax.tree.map(lambda g, o=others, k=grown: k * _sums(g.astype(dtype), shape, o, by), end))
    # A shunt has no distance that grows: it is summed, and raised like all of the coarse network.
    shunt = None if faces.shunt is None else by * _sums(faces.shunt.astype(dtype), shape, range(3), by)
    return Faces(*coarse, tuple(ends), shunt)


def _prolong(correction: Array, by: int, shape) -> Array:
    """Piecewise-constant transfer to a finer grid of `shape`."""
    for axis in range(3):
        if shape[axis] > 1:
            correction = jnp.repeat(correction, by, axis=axis)
            correction = lax.slice_in_dim(correction, 0, shape[axis], axis=axis)
    return correction


def _descend(cycle: VCycle, depth: int, b: Array) -> Array:
    """The V-cycle from level `depth` down, from a zero guess."""
    level, by = cycle.levels[depth], cycle.levels[depth].joined
    if depth == len(cycle.levels) - 1:
        return chebyshev.relax(level, level.scaled, chebyshev.weights(cycle.coarse_degree, 0.02, chebyshev.TOP), b)

    def correction(residual):
        restricted = _sums(residual, residual.shape, range(3), by)
        if cycle.slabs is not None:
            in_slabs = depth == 0 or residual.size > TOGETHER
            restricted = cycle.slabs.together(cycle.slabs.apart(restricted) if in_slabs else restricted)
        coarse = _correct(cycle, depth + 1, restricted)
        coarse = coarse if cycle.slabs is None else cycle.slabs.together(coarse)
        return _prolong(by * coarse, by, b.shape)  # the coarse network is `by` times what it should be

    # Errors that are smooth over `by` cells are left to the correction; a range twice as wide takes twice the steps.
    rows = chebyshev.weights(cycle.degree * by // 2, chebyshev.HIGH / by**2)
    return chebyshev.corrected(level, level.scaled, b, rows, correction)


def _correct(cycle: VCycle, depth: int, b: Array) -> Array:
    """The correction from level `depth`: on the uppermost ones two accelerated cycles.

    Piecewise constants alone grow worse with every level. On all levels it would take a fifth fewer steps, but launch
    as many kernels again for each level, which a GPU would feel.
    """
    solve = partial(_descend, cycle, depth)
    if depth > AGAIN or depth == len(cycle.levels) - 1:
        return solve(b)
    return chebyshev.iterate(cycle.levels[depth], solve, cycle.rows, b)
