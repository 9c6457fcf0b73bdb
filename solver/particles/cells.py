"""Which particles of a moving packing are near each other: sorted into cells, then pruned to a list of fixed capacity.

Built inside `jit` on any device. Every unordered pair stands once, so that action equals reaction to the last bit, and
each particle sums its pairs through a table of slots, without atomics. What does not fit is data: `overflow`.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Capacity:
    """Sizes of the arrays, static under `jit`: `pairs`, in all; `slots`, pairs of one particle; `cell`, particles in a
    cell; `cells`, cells along each axis.
    """

    pairs: int
    slots: int
    cell: int
    cells: tuple[int, int, int]


class Near(eqx.Module):
    """Pairs whose surfaces are nearer than the skin, and where each particle finds its own.

    **Arguments:** `first`, `second`, (P,) indices; `image`, (2, P) lateral periods to add to the second; `listed`, (P,)
    whether the entry is a pair; `slots`, (K, N), entry of each pair of a particle, plus P where the particle is the
    second, 2 P for none; `degree`, largest number of pairs of a particle; `crowding`, of particles in a cell; `count`,
    of pairs; `overflow`, whether any did not fit; `anchor`, (3, N) positions at which the list was made.
    """

    first: Int[Array, " p"]
    second: Int[Array, " p"]
    image: Float[Array, "2 p"]
    listed: Array
    slots: Int[Array, "k n"]
    degree: Int[Array, ""]
    crowding: Int[Array, ""]
    count: Int[Array, ""]
    overflow: Array
    anchor: Float[Array, "3 n"]


# Half of the 27 cells around one, itself first: every pair of cells is met once.
_HALF = tuple(
    (a, b, c) for a in (0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) if (a, b, c) == (0, 0, 0) or (a, b, c) > (0, 0, 0)
)


def _binned(positions, box, capacity: Capacity):
    """Cell of each particle (N,), lateral periods it lies away from the box (2, N), particles by cell (M, C), and the
    largest number of them."""
    cells = jnp.asarray(capacity.cells, jnp.int32)
    shape = cells.astype(positions.dtype)
    low, high = jnp.min(positions[0]), jnp.max(positions[0])
    wraps = jnp.floor(positions[1:] / box[1:, None])
    inside = positions[1:] / box[1:, None] - wraps
    # The depth is cut into equal cells over what the particles occupy now, but never thinner than a lateral cell.
    edge = jnp.maximum((high - low) / shape[0], jnp.max(box[1:] / shape[1:]))
    share = jnp.concatenate([((positions[0] - low) / edge)[None], inside * shape[1:, None]])
    index = jnp.clip(share.astype(jnp.int32), 0, cells[:, None] - 1)
    cell = (index[0] * cells[1] + index[1]) * cells[2] + index[2]
    total, count = int(np.prod(capacity.cells)), cell.shape[0]
    order = jnp.argsort(cell).astype(jnp.int32)
    ordered = cell[order]
    start = jnp.searchsorted(ordered, jnp.arange(total + 1, dtype=jnp.int32)).astype(jnp.int32)
    rank = jnp.arange(count, dtype=jnp.int32) - start[ordered]
    table = jnp.full((capacity.cell, total), count, jnp.int32)  # `count` stands for nobody
    table = table.at[rank, ordered].set(order, mode="drop")
    return index, wraps, table, jnp.max(start[1:] - start[:-1])


def build(positions: Float[Array, "3 n"], radii: Float[Array, " n"], box, skin, capacity: Capacity) -> Near:
    """The list for the positions (3, N), m, unwrapped sideways, axis 0 free; `skin`, m."""
    count = radii.shape[0]
    index, wraps, table, crowding = _binned(positions, box, capacity)
    cells = jnp.asarray(capacity.cells, jnp.int32)[:, None]
    folded = positions.at[1:].add(-wraps * box[1:, None])
    padded = jnp.concatenate([folded, jnp.zeros((3, 1))], axis=1)
    sizes = jnp.concatenate([radii, jnp.full((1,), -jnp.inf)])
    here = jnp.arange(count, dtype=jnp.int32)

    def around(found, offset):
        """How many pairs each particle has up to each place (C, N) of a neighbouring cell, and who is there."""
        moved = index + offset[:, None]
        period = jnp.floor_divide(moved[1:], cells[1:])
        y, z = moved[1:] - period * cells[1:]
        inside = moved[0] < cells[0]
        other = jnp.where(inside, table[:, jnp.where(inside, (moved[0] * cells[1] + y) * cells[2] + z, 0)], count)
        shift = period.astype(box.dtype) * box[1:, None]
        reach = jnp.maximum(radii + sizes[other] + skin, 0)
        squared = (padded[0][other] - folded[0]) ** 2
        squared = squared + sum((padded[a][other] + shift[a - 1] - folded[a]) ** 2 for a in (1, 2))
        # In a particle's own cell each pair would be met twice.
        once = jnp.any(offset != 0) | (other > here)
        near = (squared < reach**2) & (other < count) & once
        found = found + jnp.cumsum(near, axis=0, dtype=jnp.int32)
        return found[-1], (found, other, 3 * period[0] + period[1])

    found, (ranks, others, turns) = lax.scan(around, jnp.zeros(count, jnp.int32), jnp.asarray(_HALF, jnp.int32))
    flat = ranks.reshape(-1, count), others.reshape(-1, count), turns
    return _pruned(positions, found, *flat, wraps, capacity, crowding)


def _pruned(positions, found, ranks, others, turns, wraps, capacity: Capacity, crowding) -> Near:
    """The pairs as a list, without a scatter: entry p is the r-th pair of the particle whose share of the list holds p.

    **Arguments:** `found` (N,), pairs of each particle; `ranks` (M, N), how many up to each candidate; `others` (M, N),
    the candidates; `turns` (14, N), the periods to each neighbouring cell.
    """
    count, pairs = found.shape[0], capacity.pairs
    ends, entry = jnp.cumsum(found), jnp.arange(pairs, dtype=jnp.int32)
    first = jnp.searchsorted(ends, entry, side="right").astype(jnp.int32)
    listed = first < count
    first = jnp.where(listed, first, 0)
    wanted = entry - (ends - found)[first] + 1
    place = _first_reaching(ranks, first, wanted)
    second = jnp.where(listed, others[place, first], 0)
    code = turns[place // capacity.cell, first]
    turn = jnp.round(code / 3).astype(code.dtype)
    image = jnp.stack([turn, code - 3 * turn]).astype(wraps.dtype) + wraps[:, first] - wraps[:, second]
    # From the lower to the higher index, whichever cell the pair was met in: what a contact remembers has a sense.
    swapped = first > second
    first, second = jnp.where(swapped, second, first), jnp.where(swapped, first, second)
    image = jnp.where(listed, jnp.where(swapped, -image, image), 0)
    slots, degree = incidence(first, second, listed, count, capacity.slots)
    overflow = (crowding > capacity.cell) | (ends[-1] > pairs) | (degree > capacity.slots)
    return Near(first, second, image, listed, slots, degree, crowding, ends[-1], overflow, positions)


def _first_reaching(ranks, column, wanted):
    """The first row of `ranks` (M, N), which grow downwards, that reaches `wanted` (P,) in `column` (P,)."""

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        reached = ranks[middle, column] >= wanted
        return jnp.where(reached, low, middle + 1), jnp.where(reached, middle, high)

    low = jnp.zeros_like(wanted)
    high = jnp.full_like(wanted, ranks.shape[0] - 1)
    return lax.fori_loop(0, int(np.ceil(np.log2(ranks.shape[0]))) + 1, halve, (low, high))[1]


def incidence(first, second, listed, count, slots):
    """For each of `count` particles the entries of its pairs (K, N), plus P where it is the second, 2 P for none; and
    the largest number of them.

    **Arguments:** `first`, `second`, (P,); `listed`, (P,) whether the entry is a pair; `slots`, K.
    """
    pairs = first.shape[0]
    owner = jnp.where(jnp.tile(listed, 2), jnp.concatenate([first, second]), count)
    order = jnp.argsort(owner).astype(jnp.int32)
    owner = owner[order]
    start = jnp.searchsorted(owner, jnp.arange(count + 1, dtype=jnp.int32)).astype(jnp.int32)
    rank = jnp.arange(2 * pairs, dtype=jnp.int32) - start[jnp.minimum(owner, count)]
    table = jnp.full((slots, count), 2 * pairs, jnp.int32).at[rank, owner].set(order, mode="drop")
    return table, jnp.max(start[1:] - start[:-1])


def _keys(near: Near, count: int) -> Int[Array, " p"]:
    """A number for each pair that stays the same while it is listed; larger than any for an empty entry.

    The image enters, since two large particles of a small box can meet twice.
    """
    turns = near.image.astype(jnp.int64) % 3
    first, second = near.first.astype(jnp.int64), near.second.astype(jnp.int64)
    key = ((first * count + second) * 3 + turns[0]) * 3 + turns[1]
    return jnp.where(near.listed, key, jnp.iinfo(jnp.int64).max)


def carried(memory, before: Near, after: Near):
    """A tree of arrays (..., P) that belong to the pairs `before`, moved to where those pairs stand in `after`.

    A pair that was not listed remembers nothing: 0.
    """
    count = before.anchor.shape[1]
    old, new = _keys(before, count), _keys(after, count)
    order = jnp.argsort(old)
    source = order[jnp.minimum(jnp.searchsorted(old[order], new), old.shape[0] - 1)]
    known = (old[source] == new) & after.listed
    return jax.tree.map(lambda m: jnp.where(known, m[..., source], 0), memory)


def capacity_for(positions, radii, box, skin, spare: float = 1.3) -> Capacity:
    """A capacity for these particles (concrete, SI): a guess, mended after an overflow."""
    radii, box = np.asarray(radii), np.asarray(box)
    reach = 2 * radii.max() + float(skin)
    if reach > box[1:].min():
        raise ValueError(
            f"Argument `box` must be at least {1e6 * reach:.3g} um wide for these particles, but it is "
            f"{1e6 * box[1:].min():.3g} um. Use more or smaller particles."
        )
    lateral = np.maximum((box[1:] / reach).astype(int), 1)
    edge = (box[1:] / lateral).max()
    layers = max(int(np.ptp(np.asarray(positions)[0]) / edge), 1)
    # As many as a dense packing has in such a cell, and more where small particles gather.
    dense = 0.7 * edge * np.prod(box[1:] / lateral) / np.mean(4 / 3 * np.pi * radii**3)
    pairs = int(np.ceil(spare * 5 * len(radii) / 64)) * 64
    return Capacity(pairs, 24, int(np.ceil(spare * (2 * dense + 8) / 4)) * 4, (layers, *map(int, lateral)))


def fitted(capacity: Capacity, near: Near, spare: float = 1.1) -> Capacity:
    """The capacity with room for `spare` times what is there now: shorter lists are faster. Host only."""
    return Capacity(
        int(np.ceil((spare * int(near.count) + 32) / 64)) * 64,
        int(np.ceil(spare * int(near.degree) / 8 + 0.1)) * 8,
        int(np.ceil((spare * int(near.crowding) + 1) / 4)) * 4,
        capacity.cells,
    )


def grown(capacity: Capacity, near: Near) -> Capacity:
    """A capacity in which what overflowed fits, with room to spare, since each one is compiled anew: host only."""
    enough = fitted(capacity, near, 1.3)
    grow = (int(near.count) > capacity.pairs, int(near.degree) > capacity.slots, int(near.crowding) > capacity.cell)
    return Capacity(
        enough.pairs if grow[0] else capacity.pairs,
        enough.slots if grow[1] else capacity.slots,
        enough.cell if grow[2] else capacity.cell,
        capacity.cells,
    )
