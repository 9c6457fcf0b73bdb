"""Parting overlapping spheres: near pairs found with trees, forces of their overlaps, and the engine that follows them.

Lengths are in units of a mean particle, the stiffness of a contact is 1. A box is periodic along the axes where
`period` is positive; where it is 0 along axis 0, the collector at x = 0 and a plane at x = box[0] bound it.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import cKDTree

from solver.numerics.fire import at_rest, fire
from solver.numerics.solution import Solution
from solver.particles.walls import collector_overlap, plate_overlap


class Near(eqx.Module):
    """Pairs of particles whose surfaces are near each other, each once; padded by pairs of a particle with itself.

    **Arguments:** `first`, `second`, (P,) indices.
    """

    first: Int[Array, " p"]
    second: Int[Array, " p"]


def near_pairs(positions, radii, period, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Every pair, once, whose surfaces are at most `gap` apart through the nearest periodic image. Host only.

    One tree for each of up to four classes of size, so that few large particles do not make all of them search far.

    **Arguments:** `positions`, (N, 3); `radii`, (N,); `period`, (3,), 0 where not periodic.
    """
    x, r, period = (np.asarray(a, float) for a in (positions, radii, period))
    inside = np.where(period > 0, x - period * np.floor(x / np.where(period > 0, period, 1)), x)
    inside = np.where((period > 0) & (inside >= period), 0, inside)  # of a coordinate a rounding below 0
    steps = min(3, int(math.log2(max(r.max() / r.min(), 1)) / 0.8))
    kind = np.searchsorted(np.geomspace(r.min(), r.max(), steps + 2)[1:-1], r)
    members = [np.flatnonzero(kind == k) for k in range(steps + 1)]
    members = [m for m in members if len(m)]
    trees = [cKDTree(inside[m], boxsize=period) for m in members]
    found = []
    for a, (tree, mine) in enumerate(zip(trees, members, strict=True)):
        reach = r[mine].max() + gap
        found.append(mine[tree.query_pairs(reach + r[mine].max(), output_type="ndarray")])
        for other, theirs in zip(trees[a + 1 :], members[a + 1 :], strict=True):
            near = tree.sparse_distance_matrix(other, reach + r[theirs].max(), output_type="ndarray")
            found.append(np.column_stack([mine[near["i"]], theirs[near["j"]]]))
    pairs = np.sort(np.concatenate(found), axis=1)
    i, j = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
    d = x[j] - x[i]
    d -= period * np.round(d / np.where(period > 0, period, 1))
    near = np.sum(d * d, axis=1) < (r[i] + r[j] + gap) ** 2
    return i[near], j[near]


def padded(pairs, capacity: int) -> Near:
    """The pairs as a [`Near`][] of a fixed size."""
    lists = (np.concatenate([p, np.zeros(capacity - len(p), int)]) for p in pairs)
    return Near(*(jnp.asarray(p, dtype=jnp.int32) for p in lists))


class Overlaps(eqx.Module):
    """What the forces need beside the positions.

    **Arguments:** `radii`, (N,); `box`, (3,); `period`, (3,), 0 where not periodic; `near`, pairs; `hertzian`, whether
    the force is the overlap to the power 1.5 instead of 1.
    """

    radii: Float[Array, " n"]
    box: Float[Array, " 3"]
    period: Float[Array, " 3"]
    near: Near
    hertzian: bool = eqx.field(static=True, default=False)


def pair_overlaps(positions: Float[Array, "n 3"], state: Overlaps):
    """Of each pair the vector from first to second, (P, 3), its length and the overlap, (P,); none for padding."""
    first, second = state.near.first, state.near.second
    relative = positions[second] - positions[first]
    relative = relative - state.period * jnp.round(relative / jnp.where(state.period > 0, state.period, 1))
    squared = jnp.sum(relative**2, axis=1)
    # Coincident centres have no direction to part along, and are not met; padding is one particle twice.
    apart = squared > 0
    distance = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 1)
    return relative, distance, jnp.where(apart, state.radii[first] + state.radii[second] - distance, -1)


def push(overlap, hertzian: bool):
    """Force of a contact of stiffness 1: the overlap, or its power 1.5; none where apart."""
    pressed = jnp.maximum(overlap, 0)
    return pressed * jnp.sqrt(pressed) if hertzian else pressed


def overlap_force(positions: Float[Array, "n 3"], state: Overlaps) -> Float[Array, "n 3"]:
    """Force on each particle from the overlaps of pairs and, along a bounded axis 0, of the two planes."""
    relative, distance, overlap = pair_overlaps(positions, state)
    pull = (push(overlap, state.hertzian) / distance)[:, None] * relative
    force = jnp.zeros_like(positions).at[state.near.second].add(pull).at[state.near.first].add(-pull)
    depth = positions[:, 0]
    low = push(collector_overlap(depth, state.radii), state.hertzian)
    high = push(plate_overlap(depth, state.radii, state.box[0]), state.hertzian)
    return force.at[:, 0].add(jnp.where(state.period[0] > 0, 0, low - high))


_STEP = 0.4  # of time: twelve neighbours at contact have a largest stiffness of about 16


@eqx.filter_jit
def _follow(positions, state: Overlaps, motion, tolerance, steps, reach):
    return fire(
        overlap_force,
        positions,
        state,
        largest_step=_STEP,
        tolerance=tolerance,
        steps=steps,
        reach=reach,
        motion=motion,
    )


def separate(
    positions, radii, box, period, *, tolerance: float, hertzian=False, skin=0.4, steps=20000, capacity=0, progress=None
) -> Solution:
    """Minimises the energy of the overlaps of all spheres, the list of near pairs being built anew on the way.

    **Arguments:** `positions`, (N, 3); `radii`, (N,); `box`, `period`, (3,); `tolerance`, largest force at the end;
    `skin`, gap up to which pairs are listed; `steps`, in all; `capacity`, least size of the list, which grows by a
    quarter where it is too small, so that shapes seldom change; `progress`, called with steps and residual.

    **Returns:** a `Solution` with the positions (numpy); `residual`, `steps` and `state`, the [`Overlaps`][] at the
    end, in its stats.
    """
    x, used, rough = np.asarray(positions, float), 0, 4
    motion = at_rest(jnp.asarray(x), _STEP)
    while True:
        # While spheres fly apart from random positions a list need not stay complete; afterwards it does.
        gap, reach, now = (2 * skin, np.inf, 30) if rough > 0 else (skin, 0.5 * skin / 3**0.5, steps)
        pairs = near_pairs(x, radii, period, gap)
        while capacity < len(pairs[0]):
            capacity = max(int(1.25 * capacity), 6 * len(x))
        state = Overlaps(
            *(jnp.asarray(a, dtype=float) for a in (radii, box, period)), padded(pairs, capacity), hertzian
        )
        limits = jnp.asarray(tolerance), jnp.asarray(min(now, steps - used), dtype=jnp.int32), jnp.asarray(reach)
        solution = _follow(jnp.asarray(x), state, motion, *limits)
        moved = np.max(np.abs(np.asarray(solution.value) - x))
        x, used = np.asarray(solution.value), used + int(solution.stats["steps"])
        motion, residual = solution.stats["motion"], float(solution.stats["residual"])
        if progress is not None:
            progress(used, residual)
        if (residual <= tolerance and moved <= 0.5 * gap / 3**0.5) or used >= steps or not np.isfinite(residual):
            stats = {"residual": residual, "steps": used, "state": state}
            return Solution(x, solution.result, stats)
        rough = 0 if moved < 0.5 * skin else rough - 1
