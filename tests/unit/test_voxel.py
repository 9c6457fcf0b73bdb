"""Phases: nested shapes and labels fill every voxel and every face exactly once; areas of labelled shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.grid import Grid
from microstructure.voxel import Phases, from_labels, nested, smoothed_area

SHAPE = (10, 9, 8)


def _corners(radius):
    axes = [np.arange(n + 1) * h for n, h in zip(SHAPE, (0.5, 0.6, 0.45), strict=True)]
    d = sum((x - m) ** 2 for x, m in zip(np.meshgrid(*axes, indexing="ij"), (2.55, 2.65, 1.85), strict=True))
    return jnp.asarray(np.sqrt(d) - radius)


@pytest.fixture(scope="module", params=[0.0, 0.3])
def shells(request):
    grid = Grid(SHAPE, jnp.asarray([0.5, 0.6, 0.45]))
    levels = (_corners(1.3), _corners(1.5))
    return jax.jit(lambda a, b: nested((a, b), grid, ("core", "shell", "rest"), request.param))(*levels)


def check_shares(phases: Phases, rounding):
    for shares in (phases.fractions, *phases.apertures):
        assert float(shares.min()) >= -rounding and float(shares.max()) <= 1 + rounding
        np.testing.assert_allclose(jnp.sum(shares, 0), 1, rtol=0, atol=rounding)
    assert [a.shape[1:] for a in phases.apertures] == [
        tuple(n + (a == axis) for a, n in enumerate(SHAPE)) for axis in range(3)
    ]
    assert float(phases.areas.min()) >= 0


def test_nested_shapes_fill_voxels_and_faces_once(shells):
    check_shares(shells, 1e-15)
    assert shells.index("shell") == 1
    with pytest.raises(ValueError, match="`name` must be one of core, shell, rest, but 'pore' was given"):
        shells.index("pore")


def test_every_boundary_belongs_to_the_phases_on_its_two_sides(shells):
    core, shell, rest = np.asarray(shells.areas)
    np.testing.assert_allclose(shell, core + rest, rtol=1e-14)
    assert core.sum() == pytest.approx(4 * np.pi * 1.3**2, rel=0.06)
    assert rest.sum() == pytest.approx(4 * np.pi * 1.5**2, rel=0.06)


def test_a_shape_that_does_not_hold_the_inner_one_is_widened_to_it():
    grid = Grid(SHAPE, jnp.asarray([0.5, 0.6, 0.45]))
    phases = jax.jit(lambda a, b: nested((a, b), grid, ("a", "b", "c")))(_corners(1.3), _corners(1.0))
    check_shares(phases, 1e-15)
    np.testing.assert_allclose(phases.fractions[1], 0, atol=1e-15)


def test_labels_are_fractions_of_zero_and_one():
    labels = np.random.default_rng(0).integers(1, 4, SHAPE)
    grid = Grid(SHAPE, jnp.full(3, 1e-6))
    phases = from_labels(labels, grid, {3: "c", 1: "a", 2: "b"})
    check_shares(phases, 0)
    assert phases.names == ("c", "a", "b")
    for label, name in ((1, "a"), (2, "b"), (3, "c")):
        np.testing.assert_array_equal(phases.fractions[phases.index(name)], labels == label)
    # faces of the block are open to the voxel behind them, inner ones half to each side
    x = np.asarray(phases.apertures[0])
    np.testing.assert_array_equal(x[:, 0], phases.fractions[:, 0])
    np.testing.assert_array_equal(x[:, 4], (phases.fractions[:, 3] + phases.fractions[:, 4]) / 2)


def test_labels_without_a_name_are_refused():
    with pytest.raises(ValueError, match=r"`labels` holds the values \[2, 7\]"):
        from_labels(np.asarray([[[0, 2, 7]]]), Grid((1, 1, 3), jnp.full(3, 1e-6)), {0: "pore"})


@pytest.mark.parametrize("centre", [(0, 0, 0), (0.3, 0.17, 0.41)])
def test_area_of_a_labelled_sphere_is_within_two_per_cent(centre):
    x = np.arange(26) + 0.5 - 13
    r2 = sum((x.reshape(np.roll((-1, 1, 1), a)) - c) ** 2 for a, c in enumerate(centre))
    mask = jnp.asarray(r2 < 100.0, jnp.float32)
    area = float(jnp.sum(smoothed_area(mask, Grid((26,) * 3, jnp.full(3, 2e-6)))))
    print("labelled sphere, radius 10:", area / (4 * np.pi * 100 * 4e-12) - 1)
    assert area == pytest.approx(4 * np.pi * (20e-6) ** 2, rel=0.02)


def test_area_of_a_flat_layer_is_exact_and_the_block_cuts_no_faces():
    mask = np.zeros((26,) * 3)
    mask[5:15] = 1
    area = float(jnp.sum(smoothed_area(jnp.asarray(mask, jnp.float32), Grid((26,) * 3, jnp.full(3, 1.0)))))
    assert area == pytest.approx(2 * 26**2, rel=1e-3)
    whole = smoothed_area(jnp.ones((26,) * 3, jnp.float32), Grid((26,) * 3, jnp.full(3, 1.0)))
    np.testing.assert_array_equal(whole, 0)
