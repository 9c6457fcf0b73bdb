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
from .conductors import Conductors


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


def _electrodes(made: Conductors) -> dict[str, slice]:
    """The slices of each electrode, by what it is called."""
    electrode, layers, _ = made.slices
    if made.ground is None:
        return {"electrode": slice(None, electrode)}
    return {"positive electrode": slice(None, electrode), "negative electrode": slice(electrode + layers, None)}


def domains(made: Conductors) -> Domains:
    """The [`Domains`][] of a cell, with a sentence where there is nothing to compute; on the host.

    **Raises:** `ValueError` where no solid touches a collector or no electrolyte the separator.
    """
    solid, lyte = np.asarray(made.electrons) > 0, np.asarray(made.ions) > 0
    contact, near = np.zeros_like(solid), np.zeros_like(lyte)
    contact[:1] = np.asarray(made.plate) > 0
    electrode, layers, other = made.slices
    if made.ground is None:
        near[-1:] = np.asarray(made.metal_area) > 0
    else:
        contact[-1:] = np.asarray(made.ground) > 0
        near[electrode : electrode + layers] = True
    for name, where in _electrodes(made).items():
        if not (contact & solid)[where].any():
            raise ValueError(
                f"The {name} has no contact with the collector: no phase that conducts electrons reaches index 0 of "
                "axis 0. Crop or turn the structure so that the collector is there."
            )
    if not (near & lyte).any():
        raise ValueError(
            "The pores are cut off from the separator: no phase that lets ions through reaches the last index of axis "
            "0. Crop or turn the structure so that the separator is there."
        )
    with_electrons, with_ions = reached(solid, made.solid_links, contact), reached(lyte, made.lyte_links, near)
    return Domains(with_electrons, with_ions, solid & ~with_electrons, lyte & ~with_ions)
