"""Fields over time as ParaView opens them from a run file."""

from collections.abc import Mapping

import numpy as np

from .hdf_layout import FILTERS, chunks, vtk_group


def add_series_view(file, fields: Mapping[str, np.ndarray], times, spacing, origin=(0.0, 0.0, 0.0)) -> None:
    """Adds the `/VTKHDF` group through which ParaView opens cell fields as an image that changes with time.

    **Arguments:** `file`, an open HDF5 file; `fields`, arrays (steps, nx, ny, nz), or (nx, ny, nz) for those that do
    not change; `times`, s, (steps,); `spacing`, three voxel edges in m; `origin`, the corner of the first voxel in m.

    **Source:** VTK documentation, VTKHDF file format, temporal ImageData; arrays lie there as (step, z, y, x).
    """
    times = np.asarray(times, float)
    shapes = {np.shape(field)[-3:] for field in fields.values()}
    if len(shapes) != 1 or any(np.ndim(f) == 4 and len(f) != len(times) for f in fields.values()):
        raise ValueError(f"Argument `fields` must hold volumes of one shape at {len(times)} times.")
    nx, ny, nz = next(iter(shapes))
    view = vtk_group(file, "ImageData")
    view.attrs["WholeExtent"] = np.array([0, nx, 0, ny, 0, nz], dtype=np.int64)
    view.attrs["Origin"] = np.asarray(origin, dtype=np.float64)
    view.attrs["Spacing"] = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
    view.attrs["Direction"] = np.eye(3).ravel()
    steps = view.create_group("Steps")
    steps.attrs["NSteps"] = np.int64(len(times))
    steps.create_dataset("Values", data=times)
    offsets, cells = steps.create_group("CellDataOffsets"), view.create_group("CellData")
    for name, field in fields.items():
        array = np.asarray(field)
        array = array if array.dtype.kind in "iuf" else array.astype(np.uint8)  # ParaView silently drops booleans
        where = np.arange(len(times)) if array.ndim == 4 else np.zeros(len(times))
        array = array if array.ndim == 4 else array[None]
        array = np.ascontiguousarray(array.transpose(0, 3, 2, 1))
        pieces = (1, *chunks(array[0]))
        cells.create_dataset(name, data=array, chunks=pieces, **FILTERS)
        offsets.create_dataset(name, data=where.astype(np.int64))
