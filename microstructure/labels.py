"""Descriptors of a label volume: fractions, percolation, interfaces, chords, profiles. Plain numpy, no derivatives."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Shares of the sphere of directions that lie nearest to each of the 13 directions of the 3 x 3 x 3 neighbourhood.
# Ohser and Muecklich 2000, Statistical Analysis of Microstructures in Materials Science, ISBN 0471974862, ch. 4;
# digits of Legland et al. 2007, doi 10.5566/ias.v26.p83-92.
_SHARES = {1: 2 * 0.04577789120476, 2: 2 * 0.03698062787608, 3: 2 * 0.03519563978232}


def volume_fractions(labels: np.ndarray) -> dict[int, float]:
    """The share of the volume of each label."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): float(c) / labels.size for v, c in zip(values, counts, strict=True)}


def clusters(mask: np.ndarray, periodic: Sequence[int] = ()) -> np.ndarray:
    """Numbers the parts of a boolean image that connect through voxel faces; 0 where the mask is false.

    **Arguments:** `periodic`, axes whose two sides are joined.
    """
    from scipy import ndimage
    from scipy.sparse import coo_matrix, csgraph

    pieces, count = ndimage.label(mask)
    pairs = [np.stack([np.take(pieces, i, axis).ravel() for i in (0, -1)]) for axis in periodic]
    if not pairs or not count:
        return pieces
    first, last = np.unique(np.concatenate(pairs, axis=1), axis=1)
    joined = (first > 0) & (last > 0)
    links = coo_matrix((np.ones(joined.sum()), (first[joined], last[joined])), (count + 1, count + 1))
    return csgraph.connected_components(links, directed=False)[1][pieces]


class Percolation(NamedTuple):
    """What joins the two ends of an axis.

    **Arguments:** `through`, (nx, ny, nz), the voxels of clusters that touch both ends; `fraction`, of them, and
    `dead_end_fraction`, of clusters that touch one end only, both of the whole volume.
    """

    through: np.ndarray
    fraction: float
    dead_end_fraction: float


def percolation(pieces: np.ndarray, axis: int) -> Percolation:
    """The [`Percolation`][] of [`clusters`][] along `axis`."""
    first, last = (np.unique(np.take(pieces, i, axis)) for i in (0, -1))
    sizes = np.bincount(pieces.ravel())
    touched = np.zeros(len(sizes), np.int8)
    touched[first] += 1
    touched[last] += 1
    touched[0] = 0
    fraction, dead_end = (float(sizes[touched == n].sum()) / pieces.size for n in (2, 1))
    through = (touched == 2)[pieces] if fraction else np.zeros(pieces.shape, bool)
    return Percolation(through, fraction, dead_end)


def percolating(mask: np.ndarray, axis: int) -> np.ndarray:
    """The part of `mask` (nx, ny, nz) that joins the first to the last slice of `axis` through faces."""
    return percolation(clusters(mask), axis).through


def specific_surface_area(mask: np.ndarray, spacing=1.0) -> float:
    """The area of the interface between `mask` and the rest over the whole volume, 1/m; outer faces do not count.

    S/V = 2 times the crossings per length, averaged over the 13 directions of the neighbourhood with the shares of the
    sphere that belong to each. Right within 2 % for a sphere of 8 voxels; counting faces overstates it by half.

    **Arguments:** `mask`, (nx, ny, nz); `spacing`, voxel edge, or three of them nearly alike, in m.

    **Source:** Cauchy-Crofton, as in Legland et al. 2007, doi 10.5566/ias.v26.p83-92.
    """
    edges = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
    area, weight = 0.0, 0.0
    for step in itertools.product((-1, 0, 1), repeat=3):
        if step <= (0, 0, 0):  # one of each pair of opposite directions
            continue
        here, there = _shifted(mask.shape, step)
        share = _SHARES[sum(map(abs, step))]
        length = np.linalg.norm(np.array(step) * edges)
        area += share * 2 * float(np.mean(mask[here] != mask[there])) / length
        weight += share
    return area / weight


def _shifted(shape, step):
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, shape, strict=True))
    there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, shape, strict=True))
    return here, there


def mean_chord(mask: np.ndarray, axis: int, spacing: float = 1.0) -> float:
    """The mean length, m, of the straight runs of `mask` along `axis`; runs that touch the ends count as they are."""
    lines = np.moveaxis(np.asarray(mask, dtype=np.int8), axis, -1)
    starts = np.sum(lines[..., 0]) + np.sum(np.diff(lines, axis=-1) == 1)
    return float(np.sum(lines, dtype=np.int64) / starts * spacing) if starts else 0.0


def profile(mask: np.ndarray, axis: int = 0) -> np.ndarray:
    """The area fraction of `mask` in each slice of `axis`."""
    others = tuple(a for a in range(3) if a != axis)
    return np.mean(mask, axis=others)
