"""Multigrid on aggregates of strongly linked nodes, for networks with a large contrast inside the connected phase.

Where a geometric coarse cell joins what hardly touches (a film of conductivity 1 beside 1e-4, fragments, inclusions),
its error can be neither smoothed nor corrected, and conjugate gradients need a hundred steps. Here a 2x2x2 block is
split into the parts that strong links connect, and each is a coarse node of its own. The coarse networks are therefore
graphs. Which node goes where depends on data and is decided once, outside `jit`
([`solver.numerics.aggregation.plan`][]); the conductances of the graphs follow from those of the network inside `jit`
([`build`][]), so that one plan serves a family of designs.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from . import chebyshev
from .aggregation import Plan, Rung
from .flux import Faces, apply, over_diagonal, plate_links

MAX_DIRECT = 1024  # nodes of the coarsest level, padding included, for it to be solved exactly
# Eigenvalues of a cycle times its network. Two Chebyshev cycles on this range overshoot by half at most, and half a
# Galerkin sum by two: so three times one is the most there can be, on every level.
RANGE = (0.3, 3.0)


class Graph(eqx.Module):
    """A network without a grid: the conductances of each node's links, in the groups of a [`Rung`][], and of each to
    plates and to the ground."""

    neighbours: tuple[Int[Array, "width rows"], ...]
    conductances: tuple[Float[Array, "width rows"], ...]
    plate: Float[Array, " nodes"]

    def __call__(self, x: Array) -> Array:
        """A x, in difference form (never a rounded diagonal)."""
        return self.plate * x - jnp.concatenate(self._inflows(x))

    def _inflows(self, x: Array) -> list[Array]:
        out, start = [], 0
        for neighbour, conductance in zip(self.neighbours, self.conductances, strict=True):
            here = lax.slice_in_dim(x, start, start + neighbour.shape[1])
            out.append(jnp.sum(conductance * (_take(x, neighbour) - here), axis=0))
            start += neighbour.shape[1]
        return out

    def diagonal(self) -> Array:
        return self.plate + jnp.concatenate([jnp.sum(c, axis=0) for c in self.conductances])


class Coarse(eqx.Module):
    """One level below the finest: its network, the inverse of its diagonal, and how the finer one passes to it."""

    graph: Graph
    inverse_diagonal: Array
    parent: Int[Array, " fine"]
    children: Int[Array, "most coarse"] | None
    twice: bool = eqx.field(static=True)


class AggregateCycle(eqx.Module):
    """A symmetric V-cycle over aggregates, callable as a preconditioner on fields of the finest grid.

    **Arguments:** `faces`, the finest network; `levels`, the coarser ones; `factor`, shape
    (coarsest, coarsest), whose square is the inverse of the coarsest network, `None` if that is too large for one;
    `degree`, smoothing steps before and after; `coarse_degree`, on the coarsest without `factor`.

    **Source:** Braess 1995, Computing 55, 379-393, for scaled piecewise-constant coarse corrections; Vanek, Mandel and
    Brezina 1996, doi 10.1007/BF02238511, for strong links; Notay 2010, ETNA 37, 123-146, for aggregation.
    """

    faces: Faces
    levels: tuple[Coarse, ...]
    factor: Array | None
    degree: int = eqx.field(static=True, default=3)
    coarse_degree: int = eqx.field(static=True, default=16)

    def __call__(self, residual: Array) -> Array:
        def correction(r):
            return _descend(self, 0, r.ravel()).reshape(r.shape)

        operator, scaled = partial(apply, self.faces), partial(over_diagonal, self.faces)
        inside = residual.astype(self.faces.x.dtype)
        rows = chebyshev.weights(self.degree)
        return chebyshev.corrected(operator, scaled, inside, rows, correction).astype(residual.dtype)


def build(faces: Faces, plan: Plan, degree: int = 3, dtype=jnp.float32) -> AggregateCycle:
    """The V-cycle of a network along a plan of it, or of a similar one. Joints of periodic axes are only smoothed.

    A coarse conductance is the sum of the fine ones that it stands for, halved between blocks, whose distance has
    doubled, and not within one. That is half the Galerkin product, which converges twice as fast. Nothing is halved
    where hardly any nodes are joined. Where the finest network lies on several devices, only it is cut: the
    graphs are held whole by each of them.

    **Arguments:** `faces`, the finest network; `plan`, from [`plan`][]; `degree`, Chebyshev steps before and after each
    coarse correction; `dtype`, in which the cycle computes.
    """
    faces = jax.tree.map(lambda g: g.astype(dtype), faces)
    conductance = jnp.concatenate([g.ravel() for g in faces.interior])
    plate, levels = plate_links(faces, dtype).ravel(), []
    shunt = None if faces.shunt is None else faces.shunt.ravel()
    for rung in plan.rungs:
        conductance = _coarse_conductance(rung, conductance)
        conductances = tuple(_take(conductance, k) for k in rung.links)
        plate = _gather(rung, plate, _size(rung)) * (1 - 0.5 * rung.plate_far.astype(plate.dtype))
        if shunt is not None:  # has no distance that doubles
            shunt = _gather(rung, shunt, _size(rung))
        graph = Graph(rung.neighbours, conductances, plate if shunt is None else plate + shunt)
        levels.append(Coarse(graph, _inverse(graph.diagonal()), rung.parent, rung.children, rung.twice))
    factor = _factor(graph, plan.component) if plate.size <= MAX_DIRECT else None
    return AggregateCycle(faces, tuple(levels), factor, degree)


def _inverse(diagonal: Array) -> Array:
    """One over a diagonal, zero where nothing conducts."""
    return jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)


def _take(x: Array, index: Array) -> Array:
    """`x` at `index`, zero where that is past the end."""
    if x.size == 0:
        return jnp.zeros(index.shape, x.dtype)
    return x.at[index].get(mode="fill", fill_value=0)


def _size(rung: Rung) -> int:
    return sum(n.shape[1] for n in rung.neighbours)


def _gather(way: Rung | Coarse, fine: Array, n: int) -> Array:
    """Sums of a fine field over each of `n` aggregates."""
    if way.children is None:
        return jax.ops.segment_sum(fine, way.parent, n)
    return jnp.sum(_take(fine, way.children), axis=0)


def _coarse_conductance(rung: Rung, conductance: Array) -> Array:
    carried = _take(conductance, rung.source)
    total = jax.ops.segment_sum(carried, rung.target, rung.far.size, indices_are_sorted=True)
    return total * (1 - 0.5 * rung.far.astype(total.dtype))


def _factor(graph: Graph, component: Array) -> Array:
    """F with F^T F the pseudo-inverse of a small network, in float64 whatever that of the network.

    The constant of each part without a plate is projected out. The square cannot be indefinite, however rounded: links
    of a strong part to the rest may be far weaker than those inside it.
    """
    n, dtype = graph.plate.size, graph.plate.dtype
    with jax.enable_x64(True):
        matrix, row = jnp.zeros((n, n), jnp.float64), 0
        for neighbour, conductance in zip(graph.neighbours, graph.conductances, strict=True):
            rows = row + jnp.arange(neighbour.shape[1], dtype=jnp.int32)
            matrix = matrix.at[rows, neighbour].add(-conductance.astype(jnp.float64), mode="drop")
            row += neighbour.shape[1]
        plate = graph.plate.astype(jnp.float64)
        d = plate - jnp.sum(matrix, axis=1)
        # A link may be dead by now that was alive in the plan.
        matrix = matrix + jnp.diag(jnp.where(d > 0, (1 + 1e-10) * d, 1))
        same = (component[:, None] == component) & (d > 0) & (d > 0)[:, None]
        floating = jnp.sum(jnp.where(same, plate, 0), axis=1) <= 0
        same = (same & floating).astype(jnp.float64)
        mean = same / jnp.maximum(jnp.sum(same, axis=1), 1)  # projects on the constants of floating parts
        scale = jnp.sqrt(mean @ d)
        lower = jnp.linalg.cholesky(matrix + scale[:, None] * mean * scale)
        factor = solve_triangular(lower, jnp.eye(n, dtype=jnp.float64) - mean, lower=True)
        return jnp.where(d > 0, factor, 0).astype(dtype)


def _descend(cycle: AggregateCycle, depth: int, b: Array) -> Array:
    """The correction of a residual `b` of the network above coarse level `depth`."""
    level = cycle.levels[depth]
    b = _gather(level, b, level.graph.plate.size)
    solve = partial(_solve, cycle, depth)
    # Piecewise constants grow worse with every level below; with two accelerated cycles on each they do not.
    twice = level.twice and depth < len(cycle.levels) - 1
    x = chebyshev.iterate(level.graph, solve, chebyshev.weights(2, *RANGE), b) if twice else solve(b)
    return _take(x, level.parent)


def _solve(cycle: AggregateCycle, depth: int, b: Array) -> Array:
    """The V-cycle from coarse level `depth` down, from a zero guess."""
    level = cycle.levels[depth]

    def scaled(residual):
        return level.inverse_diagonal * residual

    if depth < len(cycle.levels) - 1:
        correction = partial(_descend, cycle, depth + 1)
        return chebyshev.corrected(level.graph, scaled, b, chebyshev.weights(cycle.degree), correction)
    if cycle.factor is None:
        rows = chebyshev.weights(cycle.coarse_degree, 0.02, chebyshev.TOP)
        return chebyshev.relax(level.graph, scaled, rows, b)
    exact = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    return exact(exact(cycle.factor, b), cycle.factor)
