"""Spheres to signed distances: against brute force, periodic, smooth where two meet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import rasterise
from microstructure.grid import box_grid

SHAPE = (12, 9, 7)
BOX = np.asarray([12.0, 9.0, 8.4])


@pytest.fixture(scope="module")
def spheres():
    rng = np.random.default_rng(3)
    radii = 0.8 + 1.2 * rng.random(9)
    positions = rng.random((9, 3)) * BOX
    positions[0] = [BOX[0] - 0.2, 0.1, BOX[2] - 0.1]  # through three sides
    positions[1] = [4.0, 3.0, 2.4]  # on a corner of the grid
    return positions, radii


@functools.partial(jax.jit, static_argnames="groups")
def _union(positions, radii, box, sharp, blunt, band, groups=2):
    patches = rasterise.patches(np.full(9, 2.0), BOX / SHAPE, 2.0, groups=groups)
    return rasterise.union(positions, radii, box_grid(SHAPE, box), patches, sharp=sharp, blunt=blunt, band=band)


def distances(positions, radii):
    """Distance of every corner to every sphere, the nearest of its lateral images."""
    axes = [np.arange(n + 1) * b / n for n, b in zip(SHAPE, BOX, strict=True)]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    step = corners[..., None, :] - positions
    step[..., 1:] -= BOX[1:] * np.round(step[..., 1:] / BOX[1:])
    return np.linalg.norm(step, axis=-1) - radii


def test_the_union_is_the_nearest_sphere_and_constant_beyond_the_band(spheres):
    exact = distances(*spheres).min(-1)
    width, band = 0.02, 1.5
    union = np.asarray(_union(*spheres, jnp.asarray(BOX), width, width, band).sharp)
    assert union.shape == tuple(n + 1 for n in SHAPE)
    inside = exact < 0
    # several spheres at one distance lower the union by at most w log(count)
    assert np.all(union[inside] <= exact[inside] + 1e-9)
    assert np.all(union[inside] >= exact[inside] - width * np.log(9))
    assert inside.sum() > 50
    near = (exact > 0) & (exact < 0.5)
    np.testing.assert_allclose(union[near], exact[near], atol=3 * width)
    np.testing.assert_allclose(union[exact > band], band, rtol=1e-12)
    assert union.max() <= band + 1e-12


def test_the_smooth_union_is_the_sum_of_exponentials(spheres):
    width, band = 0.3, 1.5
    d = distances(*spheres)
    taper = (1 - np.clip(d / band, 0, 1) ** 2) ** 2
    wanted = -width * np.log(np.sum(taper * np.exp(-d / width), -1) + np.exp(-band / width))
    union = _union(*spheres, jnp.asarray(BOX), 0.02, width, band)
    np.testing.assert_allclose(union.blunt, wanted, atol=1e-12)
    # within the spheres, where nothing is tapered, the blunter one is lower
    inside = d.min(-1) < 0
    assert np.all(np.asarray(union.blunt)[inside] <= np.asarray(union.sharp)[inside])


def test_sides_are_periodic_and_groups_do_not_matter(spheres):
    positions, radii = spheres
    arguments = (radii, jnp.asarray(BOX), 0.05, 0.3, 1.5)
    union = _union(positions, *arguments)
    for field in (union.sharp, union.blunt):
        np.testing.assert_array_equal(field[:, 0], field[:, -1])
        np.testing.assert_array_equal(field[:, :, 0], field[:, :, -1])
    moved = _union(positions + np.asarray([0, 2, -1]) * BOX, *arguments)
    np.testing.assert_allclose(moved.sharp, union.sharp, atol=1e-12)
    # a whole voxel sideways turns the field by one voxel
    shifted = np.asarray(_union(positions + np.asarray([0, BOX[1] / SHAPE[1], 0]), *arguments).sharp)
    np.testing.assert_allclose(shifted[:, 1:], np.asarray(union.sharp)[:, :-1], atol=1e-12)
    one = _union(positions, *arguments, groups=1)
    np.testing.assert_allclose(one.sharp, union.sharp, atol=1e-12)


def test_patches_cover_every_sphere_once_with_room_to_grow():
    radii = np.asarray([3.0, 1.0, 2.0, 1.5, 5.0])
    spacing = np.asarray([0.5, 1.0, 2.0])
    patches = rasterise.patches(radii, spacing, 0.7, groups=2, margin=1.2)
    members = [np.asarray(m) for m in patches.members]
    assert sorted(np.concatenate(members).tolist()) == list(range(5))
    assert radii[members[0]].max() <= radii[members[1]].min()
    for group, half in zip(members, patches.halves, strict=True):
        assert np.all(half * spacing >= 1.2 * (radii[group].max() + 0.7))
    assert len(rasterise.patches(radii[:2], spacing, 0.7, groups=4).members) == 2


def test_derivatives_are_finite_where_a_corner_is_a_centre(spheres):
    def total(p, r, b):
        return jnp.sum(_union(p, r, b, 0.05, 0.3, 1.5).sharp ** 2)

    for gradient in jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*map(jnp.asarray, spheres), jnp.asarray(BOX)):
        assert np.all(np.isfinite(gradient)) and np.any(np.asarray(gradient) != 0)


def test_deep_insides_do_not_overflow(spheres):
    union = _union(*spheres, jnp.asarray(BOX), 0.002, 0.3, 1.5)  # exp(-d / w) up to exp(900)
    assert np.all(np.isfinite(union.sharp))
    exact = distances(*spheres).min(-1)
    np.testing.assert_array_equal(np.asarray(union.sharp) < 0, exact < 0)
