"""Cut cells: exact for planes, second order for spheres, bounded, and blurred without moving the surface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import surface

apertures = jax.jit(surface.apertures)
volume_fraction = jax.jit(surface.volume_fraction)
apertures_curved = jax.jit(lambda level: surface.apertures(level, curved=True))
volume_fraction_curved = jax.jit(lambda level: surface.volume_fraction(level, curved=True))


def corners(shape, level):
    return jnp.asarray(level(*np.meshgrid(*(np.arange(n + 1.0) for n in shape), indexing="ij")))


@pytest.mark.parametrize("normal", [(1.0, 0.4, 0.2), (0.3, -1.0, 0.6), (-0.5, 0.5, 1.0), (1.0, 1.0, 1.0)])
def test_a_plane_is_cut_where_it_lies(normal):
    normal = np.asarray(normal) / np.linalg.norm(normal)
    level = corners((2, 2, 2), lambda x, y, z: normal @ np.stack([x - 0.9, y - 1.2, z - 1.1]).reshape(3, -1))
    level = level.reshape(3, 3, 3)
    # Volumes and areas by a fine midpoint rule in each voxel and on each face; what is left of the error comes from
    # the least slope of 1 % along every axis that keeps the closed forms finite.
    fine = (np.arange(80) + 0.5) / 80
    x, y, z = np.meshgrid(fine, fine, fine, indexing="ij")
    fractions, faces = np.asarray(volume_fraction(level)), [np.asarray(a) for a in apertures(level)]
    for i, j, k in np.ndindex(2, 2, 2):
        inside = normal[0] * (x + i - 0.9) + normal[1] * (y + j - 1.2) + normal[2] * (z + k - 1.1) < 0
        assert fractions[i, j, k] == pytest.approx(inside.mean(), abs=1.5e-3)
        face = normal[0] * (i - 0.9) + normal[1] * (x[..., 0] * 0 + fine[:, None] + j - 1.2)
        face = face + normal[2] * (fine[None, :] + k - 1.1) < 0
        assert faces[0][i, j, k] == pytest.approx(face.mean(), abs=5e-3)
    area = surface.interface_area(tuple(map(jnp.asarray, faces)), jnp.ones(3))
    # Gauss: the projections of the piece of plane in each voxel are its area times the normal
    vectors = [np.asarray(v) for v in surface.interface(tuple(map(jnp.asarray, faces)))]
    for v, component in zip(vectors, normal, strict=True):
        np.testing.assert_allclose(v, np.asarray(area) * component, atol=3e-3)


def test_a_plane_along_the_grid_is_cut_where_it_lies():
    level = corners((3, 2, 2), lambda x, y, z: x - 1.3)
    fractions = np.asarray(volume_fraction(level))
    # a plane along the grid is tilted by 1 % to keep the closed form finite
    np.testing.assert_allclose(fractions[:, 0, 0], [1, 0.3, 0], atol=2e-5)
    np.testing.assert_allclose(np.asarray(apertures(level)[0])[:, 0, 0], [1, 1, 0, 0])
    np.testing.assert_allclose(np.asarray(apertures(level)[1])[:, 0, 0], [1, 0.3, 0], atol=2e-5)


def test_everything_full_or_empty_and_flat_level_sets():
    for value, share in ((-1.0, 1.0), (1.0, 0.0), (-1e-30, 1.0)):
        level = jnp.full((3, 3, 3), value)
        np.testing.assert_array_equal(volume_fraction(level), share)
        for a in apertures(level):
            np.testing.assert_array_equal(a, share)
    # the zero level everywhere is nobody's: half, and its derivative is finite
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(surface.volume_fraction(v))))(jnp.zeros((3, 3, 3)))
    assert np.all(np.isfinite(gradient))


def _sphere(radius, scale=(1.0, 1.0, 1.0)):
    """A sphere off the grid's symmetry in a box that leaves a margin; `scale`, voxel edges."""
    n = [int(np.ceil(2 * radius / s)) + 4 for s in scale]
    middle = np.asarray(n) / 2 * np.asarray(scale) + np.asarray([0.17, -0.31, 0.08])
    c = [np.arange(m + 1) * s for m, s in zip(n, scale, strict=True)]
    d = sum((x - m) ** 2 for x, m in zip(np.meshgrid(*c, indexing="ij"), middle, strict=True))
    return jnp.asarray(np.sqrt(d) - radius)


@pytest.fixture(scope="module")
def spheres():
    """Relative errors of area and volume at radii of 3, 6 and 12 voxels."""
    errors = []
    for radius in (3.0, 6.0, 12.0):
        level = _sphere(radius)
        area = jnp.sum(surface.interface_area(apertures(level), jnp.ones(3)))
        volume = jnp.sum(volume_fraction(level))
        errors.append((area / (4 * np.pi * radius**2) - 1, volume / (4 / 3 * np.pi * radius**3) - 1))
    errors = np.asarray(errors)
    print("sphere of 3, 6, 12 voxels: area, volume", errors)
    return errors


def test_area_of_a_sphere_is_within_a_percent_at_six_voxels(spheres):
    assert abs(spheres[1, 0]) < 1e-2


def test_area_and_volume_of_spheres_are_second_order(spheres):
    for column in np.abs(spheres).T:
        order = -np.polyfit(np.log([3, 6, 12]), np.log(column), 1)[0]
        print("order", order)
        assert order > 1.8


def test_voxels_need_not_be_cubes():
    scale = np.asarray([0.5, 1.0, 0.8])
    level = _sphere(6.0, scale)
    face_areas = jnp.asarray(np.prod(scale) / scale)
    area = float(jnp.sum(surface.interface_area(apertures(level), face_areas)))
    assert area == pytest.approx(4 * np.pi * 36, rel=6e-3)
    volume = float(jnp.sum(volume_fraction(level))) * np.prod(scale)
    assert volume == pytest.approx(4 / 3 * np.pi * 216, rel=1.2e-2)


def test_blur_keeps_the_mean_place_of_a_plane():
    places = np.linspace(0, 1, 200, endpoint=False) + 0.0025
    level = jax.vmap(lambda p: jnp.stack([jnp.full((2, 2), -p), jnp.full((2, 2), 1 - p)]))(jnp.asarray(places))
    pad = jnp.concatenate([level[:, :1] - 1, level, level[:, -1:] + 1], axis=1)  # three voxels along axis 0
    for blur in (0.0, 0.3):
        total = jax.jit(jax.vmap(lambda v, b=blur: jnp.sum(surface.volume_fraction(v, b * jnp.ones(3)))))(pad)
        np.testing.assert_allclose(total, places + 1, atol=0.03)
        assert float(jnp.mean(total - places - 1)) == pytest.approx(0, abs=1e-14)


def test_shares_are_shares_whatever_the_corners():
    level = jnp.asarray(np.random.default_rng(0).normal(size=(9, 8, 7)))
    for blur in (0.0, 0.3):
        shares = [volume_fraction(level, blur * jnp.ones(3)), *apertures(level, blur * jnp.ones(3))]
        turned = [volume_fraction(-level, blur * jnp.ones(3)), *apertures(-level, blur * jnp.ones(3))]
        for a, b in zip(shares, turned, strict=True):
            assert float(a.min()) >= 0 and float(a.max()) <= 1
            np.testing.assert_allclose(a + b, 1, atol=1e-10)  # what one side leaves the other has


def test_curved_cuts_keep_planes_and_shares():
    level = jnp.asarray(np.random.default_rng(0).normal(size=(9, 8, 7)))
    for shares in (volume_fraction_curved(level), *apertures_curved(level)):
        assert float(shares.min()) >= 0 and float(shares.max()) <= 1
    tilted = corners((4, 4, 4), lambda x, y, z: 0.5 * x - 0.8 * y + 0.3 * z - 0.2)
    np.testing.assert_allclose(volume_fraction_curved(tilted), volume_fraction(tilted), atol=1e-12)
    for a, b in zip(apertures_curved(tilted), apertures(tilted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    flat = jnp.zeros((4, 4, 4))
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(surface.volume_fraction(v, curved=True))))(flat)
    assert np.all(np.isfinite(gradient))


def test_voxels_gather_their_sub_voxels():
    values = jnp.asarray(np.random.default_rng(1).random((6, 4, 8)))
    np.testing.assert_allclose(surface.coarse_shares(values, 2)[1, 0, 3], values[2:4, :2, 6:].mean(), rtol=1e-14)
    np.testing.assert_allclose(surface.coarse_areas(values, 2)[1, 0, 3], values[2:4, :2, 6:].sum(), rtol=1e-14)
    faces = jnp.asarray(np.random.default_rng(1).random((6, 5, 8)))
    coarse = surface.coarse_shares(faces, 2, 1)
    assert coarse.shape == (3, 3, 4)
    np.testing.assert_allclose(coarse[1, 2, 3], faces[2:4, 4, 6:].mean(), rtol=1e-14)


def test_corners_that_fit_no_voxels_are_refused():
    assert surface.refinement(jnp.zeros((7, 10, 4)), (2, 3, 1)) == 3
    for shape in ((7, 9, 4), (2, 4, 1), (7, 10)):
        with pytest.raises(ValueError, match=r"`corners` must hold values at the corners of \(2, 3, 1\) voxels"):
            surface.refinement(jnp.zeros(shape), (2, 3, 1))
