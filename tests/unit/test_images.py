"""Label volumes in and out, and every way in which an image can be wrong."""

import h5py
import numpy as np
import pytest
import tifffile

from microstructure import images


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(0).integers(0, 3, (20, 32, 24)).astype(np.uint8)


def test_tiff_round_trip_with_spacing(tmp_path, labels):
    images.write_tiff(tmp_path / "a.tif", labels, (0.5e-6, 0.4e-6, 0.3e-6))
    image = images.read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.labels, labels)
    np.testing.assert_allclose(image.spacing, (0.5e-6, 0.4e-6, 0.3e-6), rtol=1e-6)
    assert sum(image.fractions().values()) == pytest.approx(1.0, abs=1e-15)


def test_npy_and_hdf5(tmp_path, labels):
    np.save(tmp_path / "a.npy", labels.astype(np.int64))
    assert images.read_image(tmp_path / "a.npy").labels.dtype == np.uint8
    with h5py.File(tmp_path / "a.h5", "w") as file:
        node = file.create_dataset("volume/labels", data=labels, compression="gzip")
        node.attrs["voxel_size_um"] = 0.4
        file["curve"] = np.arange(3.0)
    image = images.read_image(tmp_path / "a.h5")
    np.testing.assert_array_equal(image.labels, labels)
    np.testing.assert_allclose(image.spacing, (4e-7,) * 3)
    assert images.read_image(tmp_path / "a.h5", "volume/labels").labels.shape == labels.shape
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["second"] = labels
    with pytest.raises(ValueError, match="holds 2 datasets"):
        images.read_image(tmp_path / "a.h5")


def _plain(path, labels):
    tifffile.imwrite(path, labels)


def _imagej(path, labels):
    tifffile.imwrite(path, labels, imagej=True)


def _compressed(path, labels):
    tifffile.imwrite(path, labels, compression="zlib")


def _pages(path, labels):
    with tifffile.TiffWriter(path) as tiff:
        for page in labels:
            tiff.write(page, contiguous=False, metadata=None)


def _ome(path, labels):
    tifffile.imwrite(path, labels, ome=True, metadata={"axes": "ZYX"})


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("writer", [_plain, _imagej, _compressed, _pages, _ome])
def test_truncated_tiff_is_refused(tmp_path, labels, writer, share):
    writer(tmp_path / "a.tif", labels)
    np.testing.assert_array_equal(images.read_image(tmp_path / "a.tif").labels, labels)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="truncated|damaged|2 axes"):
        images.read_image(tmp_path / "b.tif")


def test_bad_images_are_one_sentence(tmp_path, labels):
    cases = {
        "two.npy": (np.zeros((4, 4), int), "2 axes"),
        "thin.npy": (np.zeros((1, 4, 4), int), "at least 2 voxels"),
        "nan.npy": (np.full((4, 4, 4), np.nan), "NaN"),
        "float.npy": (np.ones((4, 4, 4)), "floating-point"),
        "grey.npy": (np.arange(1000).reshape(10, 10, 10), "grey-scale"),
        "negative.npy": (-np.ones((4, 4, 4), int), "label -1"),
        "none.npy": (np.zeros((0, 4, 4), int), "at least 2 voxels"),
        "text.npy": (np.full((2, 2, 2), "a"), "must be integers"),
    }
    for name, (array, reason) in cases.items():
        np.save(tmp_path / name, array)
        with pytest.raises(ValueError, match=reason) as caught:
            images.read_image(tmp_path / name)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_bad_files(tmp_path, labels):
    with pytest.raises(ValueError, match="does not exist"):
        images.read_image(tmp_path / "no.tif")
    with pytest.raises(ValueError, match="extension `.png`"):
        images.read_image(tmp_path / "a.png")
    (tmp_path / "empty.tif").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        images.read_image(tmp_path / "empty.tif")
    with pytest.raises(ValueError, match="is not a file"):
        (tmp_path / "folder.tif").mkdir()
        images.read_image(tmp_path / "folder.tif")
    np.save(tmp_path / "object.npy", np.array([[["a", None]]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no plain NPY"):
        images.read_image(tmp_path / "object.npy")
    np.save(tmp_path / "a.npy", labels)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:900])
    with pytest.raises(ValueError, match="truncated"):
        images.read_image(tmp_path / "cut.npy")
    with pytest.raises(ValueError, match="GiB"):
        images.read_image(tmp_path / "a.npy", max_bytes=1000)
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((4, 8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match="colour"):
        images.read_image(tmp_path / "rgb.tif")
