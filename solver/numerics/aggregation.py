"""Which nodes of a network to join to coarse ones, by the strength of their links: in numpy, outside `jit`."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .flux import Faces, Plates, plate_links

MAX_LEVELS = 24
MAX_CHILDREN = 64  # of an aggregate, for the sums over them to be gathered; beyond it they are scattered
STALLED = 0.9  # of the nodes left by one more level: those that are left hang on weak links, which smoothing handles
FEWER = 1.25  # times fewer nodes, at least, than the level above has one on which two cycles are made
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


def plan(faces: Faces, *, theta: float = 0.1, coarsest: int = 512) -> Plan:
    """Which nodes of a network to join, level by level; outside `jit`.

    Links are strong if g_ij >= theta max(max_k g_ik, max_k g_jk). A coarse node is what strong links connect within a
    block of 2x2x2 cells, then of 4x4x4, and so on; nodes without links, such as dead voxels, have no coarse node.
    Lengths are padded up a ladder of sizes, so that similar networks share compiled code.

    **Arguments:** `faces`, the finest network, concrete; `theta`, in (0, 1]; `coarsest`, the number of nodes at
    which to stop.

    **Source:** see [`solver.numerics.aggregate.AggregateCycle`][].
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
    plate = np.asarray(plate_links(faces, float), np.float64).ravel()
    driven = next((axis for axis, end in enumerate(faces.ends) if isinstance(end, Plates)), 0)
    return _Graph(ends, conductance[number], number, conductance.size, plate, driven, cell, plate.size)


def _adjacency(ends: np.ndarray, n: int) -> coo_array:
    return coo_array((np.ones(ends.shape[1], np.int8), tuple(ends)), (n, n))


def _ladder(n: int) -> int:
    """The next size up a ladder of four to each doubling, whole eights."""
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
