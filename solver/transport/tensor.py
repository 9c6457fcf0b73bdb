"""The effective conductivity tensor of a periodic structure, all three axes at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from microstructure.grid import Grid
from solver.numerics import multigrid
from solver.numerics.flux import Faces, apply, difference, outflow, pad, slice_of
from solver.numerics.linear import conjugate_gradients
from solver.numerics.precise import total
from solver.numerics.solution import Result, Solution

from .conduct import Conduction
from .network import Conductor


def periodic_tensor(made: Conductor, grid: Grid, method: Conduction | None = None) -> Solution:
    """The 3 by 3 effective conductivity of a conductor whose opposite sides are joined along all axes.

    For a unit gradient along each axis, div(k (e + grad chi)) = 0 with chi periodic; then
    k_ab = <(e_a + grad chi_a) . k (e_b + grad chi_b)>, whose error is the square of that of the fields and whose
    derivative in the conductances is the product of the two steps: no adjoint solve. A second derivative is
    refused.

    **Arguments:** `made`, from [`solver.transport.network.conductor`][]; `grid`; `method`, [`Conduction`][], of which
    `rtol`, `max_steps` and `degree` count.

    **Returns:** a `Solution` of the tensor, shape (3, 3), in the unit of the conductivities, with `steps` and
    `residual` for each axis.

    **Source:** Milton 2002, The Theory of Composites, doi 10.1017/CBO9780511613357, ch. 1.
    """
    method = method or Conduction(energy_rtol=0.0)
    faces = Faces(*made.interior, made.joint)
    fields, result, stats = lax.stop_gradient(_correctors(lax.stop_gradient(faces), method))
    return Solution(_jitted(faces, fields, grid), result, stats)


@eqx.filter_jit
def _correctors(faces: Faces, method: Conduction):
    """The periodic parts chi of the three potentials, in voxels."""
    cycle = multigrid.build(faces, degree=method.degree)

    def one(axis):
        sources = jnp.stack([_source(faces, a) for a in range(3)])
        solution = conjugate_gradients(
            lambda x: apply(faces, x), sources[axis], preconditioner=cycle, rtol=method.rtol, max_steps=method.max_steps
        )
        return solution.value, solution.result, solution.stats

    fields, results, stats = lax.map(one, jnp.arange(3))
    first, *others = (jax.tree.map(lambda leaf, a=axis: leaf[a], results) for axis in range(3))
    worst = first
    for result in others:
        worst = Result.where(worst == Result.successful, result, worst)
    return fields, worst, stats


def _source(faces: Faces, axis: int) -> Array:
    """What a unit step of the potential from slice to slice along `axis` drives into each voxel."""
    n, conductance = faces.shape[axis], faces.interior[axis]
    link = faces.ends[axis].link
    joint = pad(link, axis, n - 1, 0) - pad(link, axis, 0, n - 1)
    return outflow(conductance.astype(link.dtype), axis) + joint


def _steps(faces: Faces, field: Array, along: int) -> list[Array]:
    """The step of the potential with a unit gradient `along` an axis, across the faces and joints of each axis."""
    out = []
    for axis in range(3):
        unit, n = float(axis == along), field.shape[axis]
        out.append(difference(field, axis) + unit)
        out.append(slice_of(field, axis, 0) - slice_of(field, axis, n - 1) + unit)
    return out


@jax.custom_jvp
def _tensor(faces: Faces, fields: Array, grid: Grid) -> Array:
    """The tensor of solved fields, whose derivative in the fields is zero."""
    return _products(faces, fields, grid)


@_tensor.defjvp
def _tensor_jvp(primals, tangents):
    faces, fields, grid = primals
    held = _once(faces, fields)
    changes = (faces, grid), (tangents[0], tangents[2])
    return _tensor(*primals), jax.jvp(lambda f, g: _products(f, held, g), *changes)[1]


@jax.custom_jvp
def _once(faces: Faces, fields: Array) -> Array:
    """`fields`, which a first derivative holds; a second one would have to move them."""
    return fields


@_once.defjvp
def _once_jvp(primals, tangents):
    raise NotImplementedError(
        "Second derivatives of the periodic tensor are not supported; take differences of its first derivative, or the "
        "effective conductivity between plates, which has them."
    )


_jitted = eqx.filter_jit(_tensor)


def _products(faces: Faces, fields: Array, grid: Grid) -> Array:
    conductances = [g.astype(fields.dtype) for a in range(3) for g in (faces.interior[a], faces.ends[a].link)]
    steps = [_steps(faces, fields[a], a) for a in range(3)]
    rows = []
    for a in range(3):
        row = []
        for b in range(3):
            terms = zip(conductances, steps[a], steps[b], strict=True)
            row.append(sum(total(g * p * q) for g, p, q in terms))
        rows.append(jnp.stack(row))
    return jnp.stack(rows) * _unit(grid)


def _unit(grid: Grid) -> Array:
    """From sums over faces of conductance times steps to conductivities; the unit of conductances is V / h^2."""
    h = grid.spacing
    nx, ny, nz = grid.shape
    return h[:, None] * h[None, :] / (jnp.min(h) ** 2 * float(nx * ny * nz))
