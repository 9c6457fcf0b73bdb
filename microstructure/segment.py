"""Touching particles of a label image told apart by the distance to their surface. Plain numpy."""

from collections.abc import Sequence

import numpy as np

from .checks import require


def particles(mask: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0), neck: float = 0.8) -> np.ndarray:
    """Numbers the particles of a boolean image from 1; 0 where it is false.

    Every voxel goes uphill in the distance to the surface, neighbour by neighbour, and all that reach the same top are
    one piece. Two that meet are one where the neck between them is nearly as wide as the slimmer of them, as in a
    particle that is not round.

    **Arguments:** `mask`, (nx, ny, nz); `spacing`, voxel edges; `neck`, largest ratio of the width of the neck to that
    of the slimmer particle for which they are two.

    **Source:** watershed of the distance transform, Vincent and Soille 1991, doi 10.1109/34.87344, by steepest ascent.
    """
    from scipy import ndimage

    require("neck", neck, 0.0, 1.0)
    mask = np.asarray(mask, bool)
    if mask.all() or not mask.any():
        return mask.astype(np.int32)
    padded = np.pad(mask, 1, mode="edge")  # a particle that the block cuts is as wide at the cut as it is there
    distance = ndimage.distance_transform_edt(padded, spacing)[1:-1, 1:-1, 1:-1]
    top = _top(np.where(mask, distance, -1.0))
    tops, pieces = np.unique(top[mask], return_inverse=True)
    numbered = np.zeros(mask.shape, np.int64)
    numbered[mask] = pieces + 1
    return _joined(numbered, distance, len(tops), neck)


def _top(height: np.ndarray) -> np.ndarray:
    """The index of the top that each voxel reaches uphill, through the highest of its 26 neighbours."""
    from scipy import ndimage

    order = np.argsort(height, axis=None, kind="stable")
    rank = np.empty(height.size, np.int64)  # no two are alike, so that there is always one way, and no way round
    rank[order] = np.arange(height.size)
    above = order[ndimage.maximum_filter(rank.reshape(height.shape), 3, mode="nearest").ravel()]
    while True:
        further = above[above]
        if np.array_equal(further, above):
            return above.reshape(height.shape)
        above = further


def _joined(pieces: np.ndarray, distance: np.ndarray, count: int, neck: float) -> np.ndarray:
    """`pieces` with those joined whose neck is wide, widest necks first."""
    from scipy import ndimage

    highest = np.concatenate([[0.0], ndimage.maximum(distance, pieces, np.arange(1, count + 1))])
    parent = np.arange(count + 1)

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return int(k)

    for a, b, width in zip(*_necks(pieces, distance), strict=True):
        a, b = root(a), root(b)
        if a != b and width > neck * min(highest[a], highest[b]):
            parent[b] = a
            highest[a] = max(highest[a], highest[b])
    roots = np.array([root(k) for k in range(count + 1)])
    present = np.unique(roots[pieces])
    number = np.zeros(count + 1, np.int32)
    present = present[present > 0]
    number[present] = np.arange(1, len(present) + 1)
    return number[roots[pieces]]


def _necks(pieces: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of pieces that share faces, and the largest distance to the surface on them; the widest first."""
    rows = []
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        a, b = pieces[low], pieces[high]
        meet = (a != b) & (a > 0) & (b > 0)
        width = np.minimum(distance[low], distance[high])[meet]
        rows.append(np.stack([np.minimum(a, b)[meet], np.maximum(a, b)[meet], width]))
    first, second, width = np.concatenate(rows, axis=1)
    order = np.argsort(-width)
    pairs = np.stack([first, second])[:, order].astype(np.int64)
    _, where = np.unique(pairs, axis=1, return_index=True)
    where = np.sort(where)
    return pairs[0, where], pairs[1, where], width[order][where]


def owners(particles: np.ndarray) -> np.ndarray:
    """For every voxel the particle that it belongs to or is nearest to, numbered from 0.

    **Arguments:** `particles`, (nx, ny, nz), numbers from 1, 0 where there is none.
    """
    from scipy import ndimage

    if not (particles > 0).any():
        return np.zeros(particles.shape, np.int32)
    nearest = ndimage.distance_transform_edt(particles == 0, return_distances=False, return_indices=True)
    return particles[tuple(nearest)] - 1
