"""Descriptors of phases: fractions, areas, profiles and what connects to what."""

import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import measure
from microstructure.grid import Grid
from microstructure.voxel import Phases


@pytest.fixture(scope="module")
def phases():
    """A column of solid with a dead end, and a slab across it, with fractions of one half at its rim."""
    solid = np.zeros((4, 3, 3))
    solid[:, 1, 1] = 1
    solid[1, 2, 1] = 0.5
    solid[2, :, 2] = 1e-4
    stack = jnp.asarray(np.stack([solid, 1 - solid]))
    zero = tuple(jnp.zeros((2, *(n + (a == axis) for a, n in enumerate((4, 3, 3))))) for axis in range(3))
    areas = jnp.full((2, 4, 3, 3), 3e-12)
    return Phases(Grid((4, 3, 3), jnp.asarray([1e-6, 2e-6, 3e-6])), stack, zero, areas, ("solid", "pore"))


def test_fractions_and_profiles(phases):
    solid = (4 + 0.5 + 3e-4) / 36
    np.testing.assert_allclose(measure.volume_fractions(phases), [solid, 1 - solid], rtol=1e-14)
    profile = np.asarray(measure.depth_profile(phases))
    np.testing.assert_allclose(profile[0] * 9, [1, 1.5, 1 + 3e-4, 1], rtol=1e-14)
    np.testing.assert_allclose(profile.sum(0), 1, rtol=1e-15)


def test_specific_area_is_area_over_volume(phases):
    np.testing.assert_allclose(measure.specific_surface_area(phases), 3e-12 / 6e-18, rtol=1e-14)


def test_percolating_voxels_by_axis_and_threshold(phases):
    through = measure.percolating(phases, (0,), 0)
    assert through.sum() == 5 and through[1, 2, 1]  # the dead end belongs to the cluster
    assert not measure.percolating(phases, (0,), 2).any()
    assert not measure.percolating(phases, (0,), 1).any()
    assert measure.percolating(phases, (0,), 1, threshold=1e-5).any()
    assert measure.percolating(phases, (0, 1), 2).all()
