"""Voxel images of labels, in and out: TIFF, NPY and HDF5, through a gate that refuses what is no label volume."""

import contextlib
import dataclasses
import logging
import math
import pathlib

import numpy as np

from microstructure.store import open_foreign, safe_dataset

MAX_LABELS = 64
MAX_BYTES = 16 * 2**30
EXTENSIONS = {".tif": "tiff", ".tiff": "tiff", ".npy": "npy", ".h5": "hdf5", ".hdf5": "hdf5", ".nxs": "hdf5"}
_LENGTH_UNITS = {
    "nm": 1e-9,
    "nanometer": 1e-9,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "\\u00b5m": 1e-6,
    "micron": 1e-6,
    "microns": 1e-6,
    "micrometer": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
}


@dataclasses.dataclass(frozen=True)
class LabelImage:
    """A segmented volume.

    **Arguments:** `labels`, integers of shape (nx, ny, nz), axis order as in the file, axis 0 being the thickness;
    `spacing`, three voxel edges in m, or `None` where the file does not say.
    """

    labels: np.ndarray
    spacing: tuple[float, float, float] | None = None

    def fractions(self) -> dict[int, float]:
        """The volume fraction of each label."""
        values, counts = np.unique(self.labels, return_counts=True)
        return {int(v): float(c) / self.labels.size for v, c in zip(values, counts, strict=True)}


def read_image(path, dataset: str | None = None, max_bytes: int = MAX_BYTES) -> LabelImage:
    """Reads a label volume; every defect of the file is a `ValueError` of one sentence.

    **Arguments:** `path`, a `.tif`, `.npy` or `.h5` file; `dataset`, the path inside an HDF5 file, needed only if it
    holds several volumes; `max_bytes`, what may be allocated for it.
    **Returns:** a [`LabelImage`][].
    """
    path = pathlib.Path(path)
    kind = EXTENSIONS.get(path.suffix.lower())
    if kind is None:
        allowed = ", ".join(EXTENSIONS)
        raise ValueError(f"Image `{path}` has the extension `{path.suffix}`, but must be one of {allowed}.")
    if not path.exists():
        raise ValueError(f"Image `{path}` does not exist.")
    if not path.is_file():
        raise ValueError(f"Image `{path}` is not a file.")
    if path.stat().st_size == 0:
        raise ValueError(f"Image `{path}` is empty (0 bytes).")
    if kind == "tiff":
        array, spacing = _read_tiff(path, max_bytes)
    elif kind == "npy":
        array, spacing = _read_npy(path, max_bytes), None
    else:
        array, spacing = _read_hdf5(path, dataset, max_bytes)
    return LabelImage(as_labels(array, f"Image `{path}`"), spacing)


def as_labels(array: np.ndarray, what: str = "The image") -> np.ndarray:
    """The array as a checked volume of labels, uint8 where they fit and int32 otherwise; `ValueError` if it is none."""
    if array.ndim != 3:
        raise ValueError(f"{what} has {array.ndim} axes (shape {array.shape}), but a volume with 3 axes is needed.")
    if min(array.shape) < 2:
        raise ValueError(f"{what} has the shape {array.shape}, but each axis of a volume needs at least 2 voxels.")
    if array.dtype.kind == "f":
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{what} holds NaN or infinite values; labels must be integers.")
        raise ValueError(f"{what} holds floating-point values ({array.dtype}); segment it into integer labels first.")
    if array.dtype.kind not in "iub":
        raise ValueError(f"{what} holds values of type {array.dtype}; labels must be integers.")
    values = np.flatnonzero(np.bincount(array.ravel())) if array.dtype == np.uint8 else np.unique(array)
    if values.size > MAX_LABELS:
        raise ValueError(
            f"{what} holds {values.size} different values, but at most {MAX_LABELS} labels are allowed; "
            "it looks like a grey-scale image: segment it first."
        )
    if int(values[0]) < 0 or int(values[-1]) >= 2**31:
        raise ValueError(f"{what} holds the label {int(values[0] if values[0] < 0 else values[-1])}, out of range.")
    return np.ascontiguousarray(array, dtype=np.uint8 if values[-1] <= 255 else np.int32)


def _read_npy(path: pathlib.Path, max_bytes: int) -> np.ndarray:
    try:
        view = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ValueError(f"Image `{path}` is truncated or no plain NPY array ({_first_line(error)}).") from error
    if not isinstance(view, np.ndarray):
        raise ValueError(f"Image `{path}` is an archive of arrays, not one NPY array.")
    _check_bytes(path, view.nbytes, max_bytes)
    return np.array(view)


def _read_hdf5(path: pathlib.Path, dataset: str | None, max_bytes: int):
    with open_foreign(path) as file:
        node = safe_dataset(file, dataset, rank=3, max_bytes=max_bytes)
        spacing = None
        for name, unit in (("spacing_m", 1.0), ("voxel_size_um", 1e-6), ("element_size_um", 1e-6)):
            if name in node.attrs:
                value = np.ravel(np.asarray(node.attrs[name], dtype=float)) * unit
                if value.size in (1, 3) and np.all(np.isfinite(value)) and np.all(value > 0):
                    spacing = tuple(float(v) for v in np.broadcast_to(value, 3))
        try:
            return node[...], spacing
        except OSError as error:
            raise ValueError(f"Image `{path}` is damaged: its data cannot be read ({_first_line(error)}).") from error


@contextlib.contextmanager
def _log_records(name: str):
    """Collects the warnings of a library that logs where it should raise."""
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    logger = logging.getLogger(name)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _read_tiff(path: pathlib.Path, max_bytes: int):
    import tifffile

    with _log_records("tifffile") as records:
        try:
            with tifffile.TiffFile(path) as tiff:
                _check_pages(path, tiff)
                series = tiff.series[0]
                _check_bytes(path, math.prod(series.shape) * series.dtype.itemsize, max_bytes)
                array, spacing = series.asarray(), _tiff_spacing(tiff)
        except _Refused as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise ValueError(f"Image `{path}` is truncated or no valid TIFF file ({_first_line(error)}).") from error
    if records:
        message = records[0].getMessage().splitlines()[0]
        raise ValueError(f"Image `{path}` is truncated or damaged ({message}).")
    return array, spacing


class _Refused(Exception):
    """A defect whose sentence is ready for the user."""


def _check_pages(path: pathlib.Path, tiff) -> None:
    """A truncated stack reads silently as fewer pages, so what is there is held against what the file promises."""
    if len(tiff.pages) == 0:
        raise _Refused(f"Image `{path}` is truncated: it holds no page.")
    promised = _promised_pages(tiff)
    if promised is not None:
        held = sum(math.prod(s.shape[: max(0, len(s.shape) - 2)]) for s in tiff.series)
        if held < promised:
            raise _Refused(f"Image `{path}` is truncated: it promises {promised} slices but holds {held}.")
    size = path.stat().st_size
    for page in tiff.pages:
        page = page.aspage() if hasattr(page, "aspage") else page
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if offset + count > size:
                raise _Refused(f"Image `{path}` is truncated: its data end before the last slice is complete.")
    series = tiff.series[0]
    end = series.dataoffset + math.prod(series.shape) * series.dtype.itemsize if series.dataoffset else 0
    if end > size:
        raise _Refused(f"Image `{path}` is truncated: its data end before the last slice is complete.")
    if len({s.shape for s in tiff.series}) > 1:
        raise _Refused(f"Image `{path}` holds slices of different sizes, so it is not one volume.")
    if tiff.pages[0].samplesperpixel > 1:
        raise _Refused(f"Image `{path}` is a colour image; one label per voxel is needed.")


def _promised_pages(tiff) -> int | None:
    if tiff.is_imagej and tiff.imagej_metadata:
        return int(tiff.imagej_metadata.get("images", 1))
    if tiff.shaped_metadata:
        shape = tiff.shaped_metadata[0].get("shape", ())
        return math.prod(shape[: max(0, len(shape) - 2)])
    if tiff.is_ome:
        import xml.etree.ElementTree as tree

        for node in tree.fromstring(tiff.ome_metadata).iter():
            if node.tag.endswith("Pixels"):
                return math.prod(int(node.get(f"Size{a}", "1")) for a in "ZCT")
    return None


def _tiff_spacing(tiff) -> tuple[float, float, float] | None:
    """Voxel edges in m from ImageJ or OME metadata, in the order of the axes."""
    meta = tiff.imagej_metadata or {}
    unit = _LENGTH_UNITS.get(str(meta.get("unit", "")).strip().lower())
    tags = tiff.pages[0].tags
    if unit and meta.get("spacing") and "XResolution" in tags and "YResolution" in tags:
        (xn, xd), (yn, yd) = tags["XResolution"].value, tags["YResolution"].value
        edges = (float(meta["spacing"]) * unit, yd / yn * unit if yn else 0.0, xd / xn * unit if xn else 0.0)
        return edges if min(edges) > 0 else None
    if tiff.is_ome:
        import xml.etree.ElementTree as tree

        for node in tree.fromstring(tiff.ome_metadata).iter():
            if node.tag.endswith("Pixels") and node.get("PhysicalSizeX"):
                sizes = [(node.get(f"PhysicalSize{a}"), node.get(f"PhysicalSize{a}Unit", "µm")) for a in "ZYX"]
                if all(s and u in _LENGTH_UNITS for s, u in sizes):
                    return tuple(float(s) * _LENGTH_UNITS[u] for s, u in sizes)
    return None


def write_tiff(path, labels: np.ndarray, spacing=None) -> None:
    """Writes a label volume as a compressed ImageJ-readable TIFF stack, axis 0 as the slices.

    **Arguments:** `labels`, (nx, ny, nz) integers up to 65535; `spacing`, three voxel edges in m.
    """
    import tifffile

    labels = as_labels(np.asarray(labels), "The volume to write")
    labels = labels.astype(np.uint8 if labels.max() <= 255 else np.uint16)
    options = {}
    metadata = {"axes": "ZYX"}
    if spacing is not None:
        dx, dy, dz = (float(v) * 1e6 for v in np.broadcast_to(np.asarray(spacing, dtype=float), 3))
        metadata |= {"spacing": dx, "unit": "um"}
        options["resolution"] = (1.0 / dz, 1.0 / dy)
    tifffile.imwrite(path, labels, imagej=True, metadata=metadata, compression="zlib", **options)


def write_field_tiff(path, field: np.ndarray) -> None:
    """Writes a real field (nx, ny, nz) as a float32 TIFF stack with its shape in the metadata."""
    import tifffile

    tifffile.imwrite(path, np.asarray(field, dtype=np.float32), metadata={"axes": "ZYX"}, compression="zlib")


def _check_bytes(path: pathlib.Path, needed: int, max_bytes: int) -> None:
    if needed > max_bytes:
        gib = 2**30
        raise ValueError(
            f"Image `{path}` needs {needed / gib:.3g} GiB, but only {max_bytes / gib:.3g} GiB are allowed; crop it."
        )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
