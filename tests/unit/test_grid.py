"""The grid: sizes, areas, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.grid import Grid, box_grid


def test_sizes_volumes_and_face_areas():
    grid = Grid((4, 3, 2), [1e-6, 2e-6, 5e-6])
    np.testing.assert_allclose(grid.size, [4e-6, 6e-6, 10e-6], rtol=1e-15)
    assert float(grid.voxel_volume) == pytest.approx(10e-18, rel=1e-15)
    assert float(grid.volume) == pytest.approx(240e-18, rel=1e-15)
    np.testing.assert_allclose(grid.face_areas, [10e-12, 5e-12, 2e-12], rtol=1e-15)


def test_a_grid_fills_its_box_and_follows_it():
    box = jnp.asarray([30e-6, 20e-6, 10e-6])
    np.testing.assert_allclose(box_grid((7, 5, 3), box).size, box, rtol=1e-15)
    slope = jax.jacobian(lambda b: box_grid((7, 5, 3), b).voxel_volume)(box)
    np.testing.assert_allclose(slope, float(jnp.prod(box)) / 105 / np.asarray(box), rtol=1e-14)


def test_only_the_spacing_is_traced():
    leaves, treedef = jax.tree.flatten(Grid((4, 3, 2), jnp.full(3, 1e-6)))
    assert len(leaves) == 1
    assert treedef == jax.tree.structure(Grid((4, 3, 2), jnp.full(3, 2e-6)))
    assert treedef != jax.tree.structure(Grid((4, 3, 1), jnp.full(3, 1e-6)))


@pytest.mark.parametrize("shape", [(4, 3), (4, 0, 2), (4, 3, 2, 1)])
def test_a_shape_that_is_no_block_is_refused(shape):
    with pytest.raises(ValueError, match="`shape` must hold three positive counts"):
        Grid(shape, jnp.full(3, 1e-6))


@pytest.mark.parametrize("spacing", [0.0, -1e-6, np.nan, 80.0])
def test_a_spacing_that_is_no_length_is_refused(spacing):
    with pytest.raises(ValueError, match="`spacing` must .*, but .* m was given"):
        Grid((4, 3, 2), jnp.asarray([1e-6, spacing, 1e-6]))
