"""The run store: what is written is read, whole or not at all, and nothing foreign passes the gate."""

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import store


def _tree():
    rng = np.random.default_rng(0)
    return {
        "job": "[recipe]\nactive = 0.96  # µm",
        "kpis": {"porosity": 0.3, "count": 7, "flag": True},
        "structure": {"field": rng.random((5, 6, 7)).astype(np.float32), "names": ["pore", "active"]},
        "empty": np.zeros((0, 3)),
    }


def test_round_trip_is_exact(tmp_path):
    tree = _tree()
    store.write(tmp_path / "a.h5", tree, attributes={"command": "run"})
    back = store.read(tmp_path / "a.h5")
    assert back["job"] == tree["job"]
    assert back["kpis"] == {"porosity": 0.3, "count": 7, "flag": True}
    np.testing.assert_array_equal(back["structure"]["field"], tree["structure"]["field"])
    assert back["structure"]["field"].dtype == np.float32
    assert back["structure"]["names"] == ["pore", "active"]
    assert back["empty"].shape == (0, 3)
    with h5py.File(tmp_path / "a.h5") as file:
        node = file["structure/field"]
        assert (node.compression, node.shuffle, node.fletcher32) == ("gzip", True, True)


def test_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path):
    path = tmp_path / "a.h5"
    store.write(path, {"x": 1.0})
    with pytest.raises(ValueError, match="cannot hold"):
        store.write(path, {"x": 2.0, "bad": np.array([1j])})
    assert store.read(path)["x"] == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_output_folder_must_exist(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        store.write(tmp_path / "no" / "a.h5", {"x": 1.0})


def test_flipped_byte_is_detected(tmp_path):
    path = tmp_path / "a.h5"
    store.write(path, {"x": np.random.default_rng(1).random(4000)})
    with h5py.File(path) as file:
        offset = file["x"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 100] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="damaged"):
        store.read(path)


def test_truncated_foreign_and_newer_files_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    store.write(path, {"x": np.arange(5000.0)})
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="truncated"):
        store.read(tmp_path / "cut.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match="not a readable HDF5"):
        store.read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1.0
    with pytest.raises(ValueError, match="no Mesode run file"):
        store.read(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(ValueError, match="schema 99"):
        store.read(path)


def test_gate_refuses_storage_outside_the_file(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"x" * 64)
    with h5py.File(tmp_path / "target.h5", "w") as file:
        file["v"] = np.zeros((4, 4, 4), np.uint8)
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.create_dataset("ext", (4, 4, 4), np.uint8, external=[(str(secret), 0, 64)])
        file["link"] = h5py.ExternalLink(str(tmp_path / "target.h5"), "/v")
        file["soft"] = h5py.SoftLink("/ext")
        layout = h5py.VirtualLayout((4, 4, 4), np.uint8)
        layout[...] = h5py.VirtualSource(str(tmp_path / "target.h5"), "v", (4, 4, 4))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("huge", (100000, 100000, 100000), np.float64, chunks=(10, 10, 10), compression="gzip")
        file.create_dataset("bomb", (1000, 1000, 1000), np.uint8, chunks=(100, 100, 100), compression="gzip")
        file.create_dataset("text", data=np.array(["a"], dtype=object), dtype=h5py.string_dtype())
    reasons = {
        "ext": "other files",
        "virtual": "other files",
        "link": "external link",
        "soft": "soft link",
        "huge": "GiB",
        "bomb": "declares",
        "text": "numbers are needed",
        "absent": "no dataset",
    }
    with store.open_foreign(tmp_path / "bad.h5") as file:
        for name, reason in reasons.items():
            with pytest.raises(ValueError, match=reason):
                store.safe_dataset(file, name)


def test_image_view_is_transposed_for_vtk(tmp_path):
    field = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    store.write(tmp_path / "a.h5", {}, image={"fields": {"pore": field}, "spacing": (1e-6, 2e-6, 3e-6)})
    with h5py.File(tmp_path / "a.h5") as file:
        view = file["VTKHDF"]
        assert view.attrs["Type"] == b"ImageData"
        assert list(view.attrs["Version"]) == [2, 0]
        assert list(view.attrs["WholeExtent"]) == [0, 2, 0, 3, 0, 4]
        np.testing.assert_array_equal(view["CellData/pore"][...], field.transpose(2, 1, 0))


def test_particle_view_holds_one_vertex_a_particle(tmp_path):
    store.write_particle_view(tmp_path / "p.vtkhdf", np.ones((3, 3)), np.array([1.0, 2.0, 3.0]))
    with h5py.File(tmp_path / "p.vtkhdf") as file:
        assert list(file["VTKHDF/Vertices/Offsets"]) == [0, 1, 2, 3]
        assert list(file["VTKHDF/PointData/radius"]) == [1.0, 2.0, 3.0]
        assert list(file["VTKHDF/Polygons/Offsets"]) == [0]
        assert "material" not in file["VTKHDF/PointData"]
    particles = {"positions": np.ones((2, 3)), "radii": np.ones(2), "material": np.array([0, 1])}
    store.write(tmp_path / "p.h5", {"x": 1.0}, particles=particles)
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["VTKHDF"].attrs["Type"] == b"PolyData"
        assert list(file["VTKHDF/PointData/material"]) == [0, 1]
    assert store.read(tmp_path / "p.h5") == {"x": 1.0}


def test_voxels_and_particles_are_two_blocks_of_one_view(tmp_path):
    image = {"fields": {"pore": np.zeros((2, 3, 4), np.float32)}, "spacing": (1e-6,) * 3}
    particles = {"positions": np.ones((3, 3)), "radii": np.array([1.0, 2.0, 3.0])}
    store.write(tmp_path / "a.h5", {"x": 1.0}, image=image, particles=particles)
    with h5py.File(tmp_path / "a.h5") as file:
        view = file["VTKHDF"]
        assert view.attrs["Type"] == b"PartitionedDataSetCollection" and list(view.attrs["Version"]) == [2, 1]
        for index, (name, kind) in enumerate((("voxels", b"ImageData"), ("particles", b"PolyData"))):
            assert view[name].attrs["Type"] == kind and view[name].attrs["Index"] == index
            assert view["Assembly"].get(name, getlink=True).path == f"/VTKHDF/{name}"
        assert view["voxels/CellData/pore"].shape == (4, 3, 2)
        assert list(view["particles/PointData/radius"]) == [1.0, 2.0, 3.0]
    assert store.read(tmp_path / "a.h5") == {"x": 1.0}


class _State(eqx.Module):
    x: jax.Array
    key: jax.Array
    step: int
    name: str = eqx.field(static=True)


def test_pytree_round_trip(tmp_path):
    state = _State(jnp.array([1.0, 2.0]), jax.random.key(3), 5, "adam")
    store.write(tmp_path / "c.h5", {"state": store.tree_to_dict(state)})
    like = _State(jnp.zeros(2), jax.random.key(0), 0, "adam")
    back = store.tree_from_dict(like, store.read(tmp_path / "c.h5")["state"])
    np.testing.assert_array_equal(back.x, state.x)
    assert back.step == 5
    assert jax.random.uniform(back.key) == jax.random.uniform(state.key)
    with pytest.raises(ValueError, match="another shape"):
        store.tree_from_dict(_State(jnp.zeros(3), jax.random.key(0), 0, "adam"), store.tree_to_dict(state))
    with pytest.raises(ValueError, match="other names"):
        store.tree_from_dict({"y": jnp.zeros(2)}, store.tree_to_dict(state))
