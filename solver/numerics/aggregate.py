"""Multigrid on aggregates of strongly linked nodes, for networks with a large contrast inside the connected phase.

Where a geometric coarse cell joins what hardly touches (a film of conductivity 1 beside 1e-4, fragments, inclusions),
its error can be neither smoothed nor corrected, and conjugate gradients need a hundred steps. Here a 2x2x2 block is
split into the parts that strong links connect, and each is a coarse node of its own. The coarse networks are therefore
graphs. Which node goes where depends on data and is decided once, outside `jit` ([`plan`][]); the conductances of the
graphs follow from those of the network inside `jit` ([`build`][]), so that one plan serves a family of designs.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from . import chebyshev
from .flux import Faces, Plates, apply, over_diagonal

MAX_LEVELS = 24
MAX_CHILDREN = 64  # of an aggregate, for the sums over them to be gathered; beyond it they are scattered
STALLED = 0.9  # of the nodes left by one more level: those that are left hang on weak links, which smoothing handles
FEWER = 2  # times fewer nodes, at least, than the level above has one on which two cycles are made
# Eigenvalues of a cycle times its network. Two Chebyshev cycles on this range overshoot by half at most, and half a
# Galerkin sum by two: so three times one is the most there can be, on every level.
RANGE = (0.3, 3.0)
SEMI = 0.3  # axes with links weaker than this, relative to the best, are not coarsened (spacings of 2 to 1 and more)


class Rung(eqx.Module):
    """The step from one network to the next coarser, as indices. One past the end stands for none.

    **Arguments:** `parent`, shape (fine,), the coarse node of each fine node; `children`, (most children, coarse);
    `None` if there are many; `source`, `target`, (carried,), each fine link that survives and the coarse link that it
    becomes part of, sorted by the latter; `far`, (links,), 1 where a coarse link spans twice the distance; `plate_far`,
    (), the same of plates; `neighbours`, `links`, tuples of (width, rows), for each node of a group of like degree the
    nodes at the other end of its links and those links. The groups one after another are all the coarse nodes. All
    int32; `twice`, whether there are so few that two cycles are made.
    """

    parent: Int[Array, " fine"]
    children: Int[Array, "most coarse"] | None
    source: Int[Array, " carried"]
    target: Int[Array, " carried"]
    far: Int[Array, " links"]
    plate_far: Int[Array, ""]
    neighbours: tuple[Int[Array, "width rows"], ...]
    links: tuple[Int[Array, "width rows"], ...]
    twice: bool = eqx.field(static=True)


class Plan(eqx.Module):
    """Which nodes are joined on every level, from [`plan`][].

    **Arguments:** `rungs`, fine to coarse; `component`, shape (coarsest,), int32, connected parts of the last level.
    """

    rungs: tuple[Rung, ...]
    component: Int[Array, " coarsest"]


class Graph(eqx.Module):
    """A network without a grid: the conductances of each node's links, in the groups of a [`Rung`][], and to plates."""

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
        return chebyshev.corrected(operator, scaled, inside, self.degree, correction).astype(residual.dtype)


def plan(faces: Faces, *, theta: float = 0.1, coarsest: int = 512) -> Plan:
    """Which nodes of a network to join, level by level; outside `jit`.

    Links are strong if g_ij >= theta max(max_k g_ik, max_k g_jk). A coarse node is what strong links connect within a
    block of 2x2x2 cells, then of 4x4x4, and so on; nodes without links, such as dead voxels, have no coarse node.
    Lengths are padded up a ladder of sizes, so that similar networks share compiled code.

    **Arguments:** `faces`, the finest network, concrete; `theta`, in (0, 1]; `coarsest`, the number of nodes at
    which to stop.

    **Source:** see [`AggregateCycle`][].
    """
    graph, rungs = _grid_graph(faces), []
    while len(rungs) < MAX_LEVELS:
        rung, graph, live = _climb(graph, theta)
        rungs.append(rung)
        if graph.alive <= coarsest or graph.alive > STALLED * live:
            break
    n = len(graph.plate)
    component = connected_components(_adjacency(graph.ends, n), directed=False)[1]
    return Plan(tuple(rungs), jnp.asarray(component, jnp.int32))


def build(faces: Faces, plan: Plan, degree: int = 3, dtype=jnp.float32) -> AggregateCycle:
    """The V-cycle of a network along a plan of it, or of a similar one. Joints of periodic axes are only smoothed.

    A coarse conductance is the sum of the fine ones that it stands for, halved between blocks, whose distance has
    doubled, and not within one. That is half the Galerkin product, which converges twice as fast.

    **Arguments:** `faces`, the finest network; `plan`, from [`plan`][]; `degree`, Chebyshev steps before and after each
    coarse correction; `dtype`, in which the cycle computes.
    """
    faces = jax.tree.map(lambda g: g.astype(dtype), faces)
    conductance = jnp.concatenate([g.ravel() for g in faces.interior])
    plate, levels = _plates(faces).ravel(), []
    for rung in plan.rungs:
        conductance = _coarse_conductance(rung, conductance)
        conductances = tuple(_take(conductance, k) for k in rung.links)
        plate = _gather(rung, plate, _size(rung)) * (1 - 0.5 * rung.plate_far.astype(plate.dtype))
        graph = Graph(rung.neighbours, conductances, plate)
        levels.append(Coarse(graph, _inverse(graph.diagonal()), rung.parent, rung.children, rung.twice))
    direct = plate.size <= 1024
    factor = _factor(graph, plan.component) if direct else None
    return AggregateCycle(faces, tuple(levels), factor, degree)


def _plates(faces: Faces) -> Array:
    """The links of every node to plates."""
    out = jnp.zeros(faces.shape, faces.x.dtype)
    for axis, end in enumerate(faces.ends):
        if isinstance(end, Plates):
            out = out + end.diagonal(faces.shape[axis], axis, out.dtype)
    return out


def _inverse(diagonal: Array) -> Array:
    """One over a diagonal, zero where nothing conducts."""
    return jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)


def _take(x: Array, index: Array) -> Array:
    """`x` at `index`, zero where that is past the end."""
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
        return chebyshev.corrected(level.graph, scaled, b, cycle.degree, correction)
    if cycle.factor is None:
        rows = chebyshev.weights(cycle.coarse_degree, 0.02)
        return chebyshev.relax(level.graph, scaled, rows, b)
    exact = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    return exact(exact(cycle.factor, b), cycle.factor)


# What follows runs outside `jit`, in numpy.


class _Graph(eqx.Module):
    """A network as lists: `ends`, (2, links), and `conductance` of its live links; `number`, (links,), of them among
    all; `total`, the number of all; `plate`, (nodes,), along the axis `driven`; `cell`, (3, nodes), where each node
    lies; `alive`, a count."""

    ends: np.ndarray
    conductance: np.ndarray
    number: np.ndarray
    total: int
    plate: np.ndarray
    driven: int
    cell: np.ndarray
    alive: int


def _grid_graph(faces: Faces) -> _Graph:
    shape = faces.shape
    node = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    low = [np.take(node, range(n - 1), axis).ravel() for axis, n in enumerate(shape)]
    high = [np.take(node, range(1, n), axis).ravel() for axis, n in enumerate(shape)]
    conductance = np.concatenate([np.asarray(g, np.float64).ravel() for g in faces.interior])
    number = np.flatnonzero(conductance > 0).astype(np.int32)
    ends = np.stack([np.concatenate(low)[number], np.concatenate(high)[number]])
    cell = np.indices(shape, np.int32).reshape(3, -1)
    plate = np.asarray(_plates(faces), np.float64).ravel()
    driven = next((axis for axis, end in enumerate(faces.ends) if isinstance(end, Plates)), 0)
    return _Graph(ends, conductance[number], number, conductance.size, plate, driven, cell, plate.size)


def _adjacency(ends: np.ndarray, n: int) -> coo_array:
    return coo_array((np.ones(ends.shape[1], np.int8), tuple(ends)), (n, n))


def _ladder(n: int) -> int:
    """The next of eight sizes to each doubling."""
    step = max(1 << max(int(n - 1).bit_length() - 3, 0), 8)
    return max(-(-n // step) * step, step)


def _filled(values: np.ndarray, length: int, fill: int) -> Array:
    return jnp.asarray(np.concatenate([values, np.full(length - len(values), fill)]), jnp.int32)


def _table(row: np.ndarray, values: np.ndarray, rows: int, width: int, fill: int) -> np.ndarray:
    """`values` listed under their `row`, shape (width, rows), `row` sorted."""
    start = np.searchsorted(row, np.arange(rows))
    table = np.full((width, rows), fill, np.int32)
    table[np.arange(len(row)) - start[row], row] = values
    return table


def _halved(graph: _Graph) -> np.ndarray:
    """Along which axes to join cells two by two, shape (3,): those with as good links as any, where there are two."""
    apart = graph.cell[:, graph.ends[0]] != graph.cell[:, graph.ends[1]]
    strength = apart @ graph.conductance * (graph.cell.max(1, initial=0) > 0)
    return (strength > 0) & (strength >= SEMI * strength.max())


def _largest(graph: _Graph) -> np.ndarray:
    """The largest conductance of a link of each node."""
    largest = np.zeros(len(graph.plate))
    for end in graph.ends:
        np.maximum.at(largest, end, graph.conductance)
    return largest


def _merge(pairs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The labels of nodes (-1 for those that take no part), with those of `pairs`, (2, pairs), made one."""
    count, merged = connected_components(_adjacency(pairs, label.max(initial=-1) + 1), directed=False)
    return np.append(merged, -1).astype(np.int32)[label] if count else label


def _join(graph: _Graph, cell: np.ndarray, theta: float) -> np.ndarray:
    """The aggregate of each node, within its coarse `cell`; -1 without links."""
    largest, (i, j) = _largest(graph), graph.ends
    live = largest > 0
    number = np.where(live, np.cumsum(live) - 1, -1)
    strong = (cell[:, i] == cell[:, j]).all(0) & (graph.conductance >= theta * np.maximum(largest[i], largest[j]))
    return _merge(number[graph.ends[:, strong]], number)


def _absorb(graph: _Graph, cell: np.ndarray, aggregate: np.ndarray, theta: float) -> np.ndarray:
    """The aggregates, each with those in its cell that hang on it: all their strong links are weak ones of others.

    Only the best of those others gets them, since they must not tie together what is hardly linked.
    """
    largest = np.zeros(aggregate.max(initial=-1) + 1)
    joined = np.flatnonzero(aggregate >= 0)
    np.maximum.at(largest, aggregate[joined], _largest(graph)[joined])
    near = (cell[:, graph.ends[0]] == cell[:, graph.ends[1]]).all(0)
    here, there = np.concatenate([aggregate[graph.ends], aggregate[graph.ends[::-1]]], axis=1)
    conductance = np.tile(graph.conductance, 2)
    hangs = np.flatnonzero(np.tile(near, 2) & (largest[there] > largest[here]) & (conductance >= theta * largest[here]))
    hangs = hangs[np.lexsort((conductance[hangs], here[hangs]))]
    best = hangs[np.append(here[hangs[1:]] != here[hangs[:-1]], True)] if hangs.size else hangs
    return _merge(np.stack([here[best], there[best]]), aggregate)


def _climb(graph: _Graph, theta: float) -> tuple[Rung, _Graph, int]:
    """The next coarser network, the way to it, and the number of nodes that took part."""
    halved = _halved(graph)
    cell = graph.cell // (1 + halved[:, None])
    aggregate = _join(graph, cell, theta)
    joined = np.flatnonzero(aggregate >= 0)
    if FEWER * aggregate.max() > len(joined) and not cell[halved].any():
        aggregate = _absorb(graph, cell, aggregate, theta)
    count = int(aggregate.max()) + 1
    pair = np.sort(aggregate[graph.ends], axis=0)
    kept = np.flatnonzero(pair[0] != pair[1])
    key, target = np.unique(pair[0, kept].astype(np.int64) * count + pair[1, kept], return_inverse=True)
    ends = np.stack(np.divmod(key, max(count, 1)))
    place, groups, size = _arrange(np.bincount(ends.ravel(), minlength=count))
    ends, parent = place[ends], np.append(place, size)[aggregate]
    cells = np.zeros((3, size), np.int32)
    cells[:, parent[joined]] = cell[:, joined]
    twice = bool(FEWER * count <= len(joined))
    far = twice & (halved[:, None] & (cells[:, ends[0]] != cells[:, ends[1]])).any(0)
    conductance = np.bincount(target, graph.conductance[kept], len(key)) * np.where(far, 0.5, 1)
    plate = np.bincount(parent, graph.plate * (0.5 if halved[graph.driven] & twice else 1), size + 1)[:size]
    coarse = _Graph(ends, conductance, np.arange(len(key)), _ladder(len(key)), plate, graph.driven, cells, count)
    order, length = np.argsort(target, kind="stable"), _ladder(len(kept))
    neighbours, links = _rows(coarse, groups)
    rung = Rung(
        parent=jnp.asarray(parent, jnp.int32),
        children=_children(parent, joined, size),
        source=_filled(graph.number[kept][order], length, graph.total),
        target=_filled(target[order], length, coarse.total - 1),
        far=_filled(far, coarse.total, 0),
        plate_far=jnp.asarray(halved[graph.driven] & twice, jnp.int32),
        neighbours=neighbours,
        links=links,
        twice=twice,
    )
    return rung, coarse, len(joined)


def _children(parent: np.ndarray, joined: np.ndarray, size: int) -> Array | None:
    """The nodes of each of `size` aggregates, out of those `joined` to one."""
    most = np.bincount(parent[joined], minlength=1).max()
    if most > MAX_CHILDREN:
        return None
    child = joined[np.argsort(parent[joined], kind="stable")]
    width = 1 << int(max(most, 1) - 1).bit_length()
    return jnp.asarray(_table(parent[child], child, size, width, len(parent)))


def _arrange(degree: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]], int]:
    """Places of nodes sorted into groups of like degree, each padded: the place of each node, (width, rows) of each
    group, the number of places."""
    width = 3 * 2 ** np.ceil(np.log2(np.maximum(degree, 3) / 3)).astype(int)
    place, groups, size = np.zeros(len(degree), np.int32), [], 0
    for w in np.unique(np.append(width, 3)):
        here = np.flatnonzero(width == w)
        place[here] = size + np.arange(len(here))
        groups.append((int(w), _ladder(len(here)) if w < 96 else 1 << int(len(here) - 1).bit_length()))
        size += groups[-1][1]
    return place, groups, size


def _rows(graph: _Graph, groups) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """For each group the nodes at the other end of each node's links, and those links."""
    here, there = np.concatenate([graph.ends, graph.ends[::-1]], axis=1)
    order = np.argsort(here, kind="stable")
    here, there, link = here[order], there[order], np.tile(graph.number, 2)[order]
    neighbours, links, start = [], [], 0
    for width, rows in groups:
        low, high = np.searchsorted(here, (start, start + rows))
        for out, values, fill in ((neighbours, there, len(graph.plate)), (links, link, graph.total)):
            out.append(jnp.asarray(_table(here[low:high] - start, values[low:high], rows, width, fill)))
        start += rows
    return tuple(neighbours), tuple(links)
