"""Descriptors of a structure: fractions, specific surface area, and what connects to what."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from . import labels
from .voxel import Phases


def volume_fractions(phases: Phases) -> Array:
    """The share of each phase in the block, shape (phases,)."""
    return jnp.mean(phases.fractions, axis=(1, 2, 3))


def specific_surface_area(phases: Phases) -> Array:
    """The area of the boundary of each phase per volume of the block, shape (phases,), 1/m."""
    return jnp.sum(phases.areas, axis=(1, 2, 3)) / phases.grid.volume.astype(phases.areas.dtype)


def depth_profile(phases: Phases) -> Array:
    """The share of each phase in each slice through the thickness, shape (phases, nx)."""
    return jnp.mean(phases.fractions, axis=(2, 3))


def percolating(phases: Phases, members: tuple[int, ...], axis: int, *, threshold: float = 1e-3) -> np.ndarray:
    """The voxels through which a set of phases connects the two ends of the block along `axis`, as a boolean image.

    It is computed outside `jit` and held fixed in derivatives.

    **Arguments:** `members`, positions of the phases that conduct; `threshold`, the share of a voxel below which it
    counts as empty.
    """
    return labels.percolating(np.asarray(phases.fractions[np.asarray(members)].sum(0)) > threshold, axis)
