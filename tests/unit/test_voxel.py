"""Phases: nested shapes and labels fill every voxel and every face exactly once; areas of labelled shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.grid import Grid
from microstructure.voxel import Phases, from_grey, from_labels, nested, smoothed_area

SHAPE = (10, 9, 8)


def _corners(radius, refine=1):
    axes = [np.arange(refine * n + 1) * h / refine for n, h in zip(SHAPE, (0.5, 0.6, 0.45), strict=True)]
    d = sum((x - m) ** 2 for x, m in zip(np.meshgrid(*axes, indexing="ij"), (2.55, 2.65, 1.85), strict=True))
    return jnp.asarray(np.sqrt(d) - radius)


@pytest.fixture(scope="module", params=[(0.0, 1), (0.3, 1), (0.0, 2), (0.3, 2), (0.3, 3)])
def shells(request):
    grid, (blur, refine) = Grid(SHAPE, jnp.asarray([0.5, 0.6, 0.45])), request.param
    levels = (_corners(1.3, refine), _corners(1.5, refine))
    return jax.jit(lambda a, b: nested((a, b), grid, ("core", "shell", "rest"), blur))(*levels)


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


@pytest.fixture(scope="module")
def sphere():
    """Area and volume of one sphere on a grid of unit voxels, by centre and radius, cut in sub-voxels."""

    def fields(centre, radius, refine, n=16):
        x = jnp.arange(refine * n + 1) / refine
        squared = sum(jnp.reshape((x - centre[a]) ** 2, np.roll((-1, 1, 1), a)) for a in range(3))
        phases = nested((jnp.sqrt(squared) - radius,), Grid((n,) * 3, jnp.ones(3)), ("sphere", "rest"), 0.3)
        opening = sum(jnp.sum(a[0] ** 2) for a in phases.apertures)
        return jnp.stack([jnp.sum(phases.areas[0]), jnp.sum(phases.fractions[0]), opening])

    return fields


def test_area_of_a_sphere_of_six_voxels_wherever_it_lies(sphere):
    centres = jnp.asarray(7.5 + np.random.default_rng(0).random((20, 3)))
    found = jax.jit(jax.vmap(lambda c: sphere(c, 6.0, 2)))(centres)
    errors = np.asarray(found[:, :2]) / [4 * np.pi * 36, 4 / 3 * np.pi * 216] - 1
    print("area, volume: mean", errors.mean(0), "worst", np.abs(errors).max(0))
    assert np.abs(errors).max() < 1e-3


def test_sub_voxels_are_smooth_in_centre_and_radius(sphere):
    centre, radius, step = jnp.asarray([8.1, 7.8, 8.3]), jnp.asarray(4.7), 1e-5
    value = jax.jit(lambda c, r: sphere(c, r, 2))
    gradient = jax.jit(jax.grad(lambda weights, c, r: weights @ sphere(c, r, 2), argnums=(1, 2)))
    by_centre, by_radius = map(jnp.stack, zip(*(gradient(row, centre, radius) for row in jnp.eye(3)), strict=True))
    along = jnp.asarray([0.6, -0.48, 0.64])
    ends = [value(centre + s * step * along, radius) for s in (1, -1)]
    np.testing.assert_allclose(by_centre @ along, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-5)
    ends = [value(centre, radius + s * step) for s in (1, -1)]
    np.testing.assert_allclose(by_radius, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)
    # what grows is the surface
    assert by_radius[1] == pytest.approx(4 * np.pi * 4.7**2, rel=5e-3)


def test_surfaces_that_touch_keep_more_of_their_area_in_sub_voxels():
    """Two spheres in contact: within a voxel of the contact their surfaces cancel, and half of that in half voxels."""
    grid, rng = Grid((20, 20, 20), jnp.ones(3)), np.random.default_rng(0)
    normals = rng.normal(size=(12, 1, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    pairs = 10 + rng.random((12, 1, 3)) + 4 * normals * np.asarray([[1], [-1]])

    def lost(refine):
        axes = np.meshgrid(*(np.arange(refine * n + 1.0) / refine for n in grid.shape), indexing="ij")

        def area(pair):
            distances = [jnp.sqrt(sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True))) for centre in pair]
            return jnp.sum(nested((jnp.minimum(*distances) - 4,), grid, ("spheres", "rest"), 0.3).areas[0])

        return 1 - float(jnp.mean(jax.lax.map(area, jnp.asarray(pairs)))) / (8 * np.pi * 16)

    single, halves = lost(1), lost(2)
    print("area lost at a contact", single, halves)
    assert 0 < halves < 0.6 * single


LAMINATE = np.broadcast_to(np.asarray([1, 1, 0.3, 0, 0, 0.45, 1.0])[:, None, None], (7, 4, 5))


def test_grey_laminate_is_cut_where_it_lies():
    grid = Grid((7, 4, 5), jnp.full(3, 0.5))
    phases = from_grey(LAMINATE, grid, ("solid", "pore"), dtype=jnp.float64)
    np.testing.assert_array_equal(phases.fractions[0], LAMINATE)
    x, y, z = (a[0] for a in phases.apertures)
    np.testing.assert_allclose(y[:, 1, 2], LAMINATE[:, 0, 0], atol=1e-4)
    np.testing.assert_allclose(z[:, 3, 1], LAMINATE[:, 0, 0], atol=1e-4)
    np.testing.assert_allclose(x[:, 1, 2], [1, 1, 1, 0, 0, 0, 1, 1], atol=1e-4)
    areas = np.zeros(7)
    areas[[2, 5]] = 0.25  # one face of a voxel
    np.testing.assert_allclose(phases.areas[0, :, 1, 2], areas, atol=1e-3)


def test_grey_image_of_zeros_and_ones_is_that_of_labels():
    labels = np.zeros((8, 6, 7), int)
    labels[3:6] = 1
    grid = Grid(labels.shape, jnp.full(3, 1.0))
    grey, whole = from_grey(labels, grid, ("solid", "pore")), from_labels(labels, grid, {1: "solid", 0: "pore"})
    for a, b in zip((grey.fractions, *grey.apertures), (whole.fractions, *whole.apertures), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)  # a plane along the grid is tilted by 1 %


def test_nested_grey_phases_fill_voxels_and_faces_once():
    sub = [
        np.asarray(jax.jit(nested, static_argnums=(2,))((_corners(r),), GRID, ("a", "b")).fractions[0]) for r in RADII
    ]
    shares = np.stack([sub[0], sub[1] - sub[0], 1 - sub[1]])
    phases = from_grey(shares, GRID, ("core", "shell", "rest"), dtype=jnp.float64)
    check_shares(phases, 1e-12)
    np.testing.assert_allclose(phases.fractions, shares, atol=1e-14)
    core, shell, rest = np.asarray(phases.areas)
    np.testing.assert_allclose(shell, core + rest, rtol=1e-12)
    assert rest.sum() == pytest.approx(4 * np.pi * RADII[1] ** 2, rel=0.08)


GRID, RADII = Grid(SHAPE, jnp.asarray([0.5, 0.6, 0.45])), (1.0, 1.5)


def test_grey_images_that_are_none_are_refused():
    grid, half = Grid((2, 3, 4), jnp.ones(3)), np.full((2, 3, 4), 0.5)
    for value in (1.2, -0.1, np.nan):
        shares = half.copy()
        shares[1, 2, 3] = value
        with pytest.raises(ValueError, match=f"`shares` must lie between 0 and 1, but {value:g} was given"):
            from_grey(shares, grid, ("a", "b"))
    with pytest.raises(ValueError, match="`shares` must sum to one over the phases, but somewhere they sum to 1.5"):
        from_grey(np.stack([half] * 3), grid, ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"must be an image of \(2, 3, 4\) voxels .* its shape is \(2, 2, 3, 3\)"):
        from_grey(half[:, :, :3], grid, ("a", "b"))
