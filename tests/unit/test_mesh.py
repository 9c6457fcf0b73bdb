"""Meshes: what is written has the right volume, orientation and data, and meshio cannot end the program."""

import numpy as np
import pytest

from microstructure import mesh

EDGES = (1e-6, 2e-6, 3e-6)


def _volume(points, triangles):
    a, b, c = points[triangles].transpose(1, 0, 2)
    return np.sum(a * np.cross(b, c)) / 6


def test_sphere_is_closed_and_points_outwards():
    points, triangles = mesh.sphere(3)
    assert len(triangles) == 20 * 4**3
    assert len(points) == 2 + len(triangles) // 2  # Euler
    assert _volume(points, triangles) == pytest.approx(4 / 3 * np.pi, rel=0.01)
    assert _volume(points, triangles) < 4 / 3 * np.pi


def test_voxel_surface_encloses_the_voxels():
    mask = np.random.default_rng(0).random((5, 6, 7)) > 0.5
    points, triangles = mesh.surface(mask, EDGES)
    assert _volume(points, triangles) == pytest.approx(mask.sum() * np.prod(EDGES), rel=1e-12)


def test_vtu_round_trip(tmp_path):
    rng = np.random.default_rng(1)
    fields = {"pore": rng.random((3, 4, 5)).astype(np.float32), "label": rng.integers(0, 3, (3, 4, 5)).astype(np.uint8)}
    mesh.write_voxels(tmp_path / "a.vtu", fields, EDGES)
    back = mesh.read_mesh(tmp_path / "a.vtu")
    assert len(back.points) == 4 * 5 * 6
    np.testing.assert_array_equal(back.cell_data["pore"][0], fields["pore"].ravel())
    np.testing.assert_array_equal(back.cell_data["label"][0], fields["label"].ravel())
    np.testing.assert_allclose(back.points.max(axis=0), (3e-6, 8e-6, 15e-6))
    mesh.write_voxels(tmp_path / "b.vtu", fields, EDGES, fields["label"] == 1)
    assert len(mesh.read_mesh(tmp_path / "b.vtu").cells[0].data) == (fields["label"] == 1).sum()


def test_particles_as_stl(tmp_path):
    positions, radii = np.array([[0.0, 0.0, 0.0], [5e-6, 0.0, 0.0]]), np.array([1e-6, 2e-6])
    mesh.write_particles(tmp_path / "p.stl", positions, radii, 3)
    back = mesh.read_mesh(tmp_path / "p.stl")
    volume = _volume(np.asarray(back.points, dtype=float), back.cells[0].data)
    assert volume == pytest.approx(4 / 3 * np.pi * np.sum(radii**3), rel=0.01)


def test_surface_of_nothing_and_damaged_files_are_sentences(tmp_path):
    with pytest.raises(ValueError, match="phase is empty"):
        mesh.write_surface(tmp_path / "a.stl", np.zeros((3, 3, 3), bool), EDGES)
    mesh.write_voxels(tmp_path / "a.vtu", {"x": np.zeros((2, 2, 2))}, EDGES)
    (tmp_path / "cut.vtu").write_bytes((tmp_path / "a.vtu").read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read"):
        mesh.read_mesh(tmp_path / "cut.vtu")
    with pytest.raises(ValueError, match="does not exist"):
        mesh.read_mesh(tmp_path / "no.vtu")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.vtu", "cut.vtu"]
