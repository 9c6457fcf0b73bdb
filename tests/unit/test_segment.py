"""Touching particles told apart."""

import numpy as np
import pytest

from microstructure.segment import owners, particles


def _spheres(shape, spheres):
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) + 0.5
    return np.any([np.linalg.norm(places - c, axis=-1) < r for c, r in spheres], axis=0)


def test_overlapping_spheres_are_two_and_a_sausage_is_one():
    centres = ((10, 10, 10), 8.0), ((10, 10, 23.5), 7.0)
    pieces = particles(_spheres((20, 20, 34), centres))
    assert pieces.max() == 2
    volumes = np.bincount(pieces.ravel())[1:]
    # Cut at the plane of their intersection, z = 17.31, caps of 0.694 and 0.806 voxels are missing.
    caps = [np.pi * h**2 * (3 * r - h) / 3 for h, r in ((0.694, 8.0), (0.806, 7.0))]
    wanted = [4 / 3 * np.pi * r**3 - cap for (_, r), cap in zip(centres, caps, strict=True)]
    np.testing.assert_allclose(sorted(volumes, reverse=True), wanted, rtol=0.04)
    sausage = [((8, 8, z), 6.0) for z in range(8, 25)]
    assert particles(_spheres((16, 16, 33), sausage)).max() == 1


def test_a_box_filter_of_noise_keeps_every_voxel_once():
    mask = np.random.default_rng(0).random((14, 15, 16)) < 0.6
    pieces = particles(mask)
    assert ((pieces > 0) == mask).all()
    assert sorted(np.unique(pieces)) == list(range(pieces.max() + 1))
    assert particles(mask, neck=0.0).max() <= pieces.max()


def test_flat_voxels_are_measured_in_metres():
    """A ball in voxels half as high is one particle whatever the voxels."""
    places = np.stack(np.meshgrid(np.arange(40) * 0.5, np.arange(20), np.arange(20), indexing="ij"), -1)
    ball = np.linalg.norm(places - 9.6, axis=-1) < 8
    assert particles(ball, (0.5, 1.0, 1.0)).max() == 1


def test_every_voxel_has_an_owner():
    pieces = np.zeros((4, 4, 4), int)
    pieces[0, 0, 0], pieces[3, 3, 3] = 1, 2
    owner = owners(pieces)
    assert owner[0, 1, 0] == 0 and owner[3, 2, 3] == 1 and set(np.unique(owner)) == {0, 1}
    assert not owners(np.zeros((2, 2, 2), int)).any()


def test_nothing_and_everything():
    assert not particles(np.zeros((3, 3, 3), bool)).any()
    assert (particles(np.ones((3, 3, 3), bool)) == 1).all()
    with pytest.raises(ValueError, match="`neck` must lie between"):
        particles(np.ones((3, 3, 3), bool), neck=1.5)
