"""Descriptors against shapes whose answers are known."""

import numpy as np
import pytest

from microstructure import labels as measure


def _sphere(radius, n):
    x = np.arange(n) + 0.5 - n / 2
    return x[:, None, None] ** 2 + x[:, None] ** 2 + x**2 < radius**2


@pytest.mark.parametrize("radius", [8.0, 10.0, 12.3])
def test_surface_of_a_sphere(radius):
    # the estimator is for a stationary structure; around a lone sphere the pairs that leave the box are missed
    areas = []
    for n in (60, 120):
        areas.append(measure.specific_surface_area(_sphere(radius, n), 2e-6) * n**3 * (2e-6) ** 3)
    beyond = 2 * areas[1] - areas[0]
    assert beyond == pytest.approx(4 * np.pi * (radius * 2e-6) ** 2, rel=0.02)


def test_percolation_needs_faces_and_both_ends():
    mask = np.zeros((4, 4, 4), bool)
    mask[:, 0, 0] = True
    mask[0, 2, :2] = mask[1, 3, 1:] = True  # joined by an edge only
    np.testing.assert_array_equal(measure.percolating(mask, 0).sum(axis=0)[0], [4, 0, 0, 0])
    assert not measure.percolating(mask, 1).any()
    assert not measure.percolating(mask, 2).any()
    mask[2] = True
    assert measure.percolating(mask, 2).sum() == 16 + 3 + 3  # the slab, the line through it and the piece on it


def test_edges_do_not_connect_and_both_ends_are_needed():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[2, 1, 0] = True
    pieces = measure.clusters(mask)
    assert pieces.max() == 2
    found = measure.percolation(pieces, 0)
    assert not found.through.any()
    assert (found.fraction, found.dead_end_fraction) == (0.0, 3 / 27)
    mask[0, 1, 0] = True
    assert measure.percolation(measure.clusters(mask), 0).fraction == 4 / 27
    assert not measure.percolating(np.zeros((3, 3, 3), bool), 0).any()


def test_joined_sides_connect():
    mask = np.zeros((4, 4, 4), bool)
    mask[:2, 0, 1] = mask[1:, 3, 1] = True  # meets itself only through the side
    mask[0, 0, 3] = True
    assert not measure.percolating(mask, 0).any()
    joined = measure.percolation(measure.clusters(mask, (1,)), 0)
    assert joined.fraction == 5 / 64 and joined.dead_end_fraction == 1 / 64
    assert not measure.percolation(measure.clusters(mask, (2,)), 0).through.any()


def test_chords_profiles_fractions():
    mask = np.zeros((6, 3, 3), bool)
    mask[1:3] = mask[5] = True
    assert measure.mean_chord(mask, 0, 2.0) == 3.0
    assert measure.mean_chord(~mask, 1, 1.0) == 3.0
    np.testing.assert_array_equal(measure.profile(mask), [0, 1, 1, 0, 0, 1])
    assert measure.volume_fractions(mask.astype(np.uint8)) == {0: 0.5, 1: 0.5}
