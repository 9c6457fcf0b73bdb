"""Which voxels take part: solid that reaches the collector, electrolyte that reaches the separator; what is lost.

Found once for a structure, outside `jit`, and held fixed in every derivative.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..numerics.aggregation import Plan


class Domains(eqx.Module):
    """Masks of shape (nx, ny, nz).

    **Arguments:** `solid`, voxels whose solid conducts to the collector; `lyte`, whose electrolyte conducts to the
    separator; `isolated`, with solid that does not; `dead`, with electrolyte that does not; `joined`, how multigrid
    joins voxels of solid, where their conductivities differ so much that twos along each axis will not do.
    """

    solid: Bool[Array, "nx ny nz"] = eqx.field(converter=jnp.asarray)
    lyte: Bool[Array, "nx ny nz"] = eqx.field(converter=jnp.asarray)
    isolated: Bool[Array, "nx ny nz"] = eqx.field(converter=jnp.asarray)
    dead: Bool[Array, "nx ny nz"] = eqx.field(converter=jnp.asarray)
    joined: Plan | None = None


def reached(filled: np.ndarray, links: tuple[np.ndarray, np.ndarray, np.ndarray], start: np.ndarray) -> np.ndarray:
    """The voxels of `filled` that open links join to those of `start`.

    **Arguments:** `filled`, `start`, boolean (nx, ny, nz); `links`, conductances along each axis, of the link to the
    next voxel; the last ones close a periodic axis.
    """
    number = np.arange(filled.size).reshape(filled.shape)
    pairs = []
    for axis, link in enumerate(links):
        beside = np.roll(number, -1, axis)
        is_open = (np.asarray(link) > 0) & filled & np.roll(filled, -1, axis)
        pairs.append(np.stack([number[is_open], beside[is_open]]))
    low, high = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(len(low), np.int8), (low, high)), (filled.size, filled.size))
    pieces = connected_components(graph, directed=False)[1].reshape(filled.shape)
    wanted = np.zeros(int(pieces.max()) + 1, bool)
    wanted[pieces[start & filled]] = True
    return wanted[pieces] & filled


def domains(solid, solid_links, plate, lyte, lyte_links, top) -> Domains:
    """The [`Domains`][] of a structure, with a sentence where there is nothing to compute.

    **Arguments:** `solid`, `lyte`, the share of each voxel that conducts electrons and ions, and their links; `plate`,
    `top`, conductances of the first slice to the collector and of the last to the separator, (1, ny, nz).

    **Raises:** `ValueError` where no solid touches the collector or no electrolyte the separator.
    """
    solid, lyte = np.asarray(solid) > 0, np.asarray(lyte) > 0
    first, last = np.zeros_like(solid), np.zeros_like(lyte)
    first[:1], last[-1:] = np.asarray(plate) > 0, np.asarray(top) > 0
    if not (first & solid).any():
        raise ValueError(
            "The electrode has no contact with the collector: no phase that conducts electrons reaches index 0 of "
            "axis 0. Crop or turn the structure so that the collector is there."
        )
    if not (last & lyte).any():
        raise ValueError(
            "The pores are cut off from the separator: no phase that lets ions through reaches the last index of axis "
            "0. Crop or turn the structure so that the separator is there."
        )
    with_electrons, with_ions = reached(solid, solid_links, first), reached(lyte, lyte_links, last)
    return Domains(with_electrons, with_ions, solid & ~with_electrons, lyte & ~with_ions)
