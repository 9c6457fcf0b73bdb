"""How arrays lie in our HDF5 files: filters that every HDF5 and VTK reads, pieces, and groups that VTK looks for."""

import numpy as np

FILTERS = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}


def chunks(array: np.ndarray) -> tuple[int, ...]:
    """The pieces in which an array is stored."""
    edge = {1: 16384, 2: 128, 3: 32}.get(array.ndim, 16)
    return tuple(min(edge, n) for n in array.shape)


def vtk_group(parent, kind: str, name: str = "VTKHDF", minor: int = 0):
    """A new group that VTK reads as data of a `kind`."""
    view = parent.create_group(name, track_order=True)
    view.attrs["Version"] = np.array([2, minor], dtype=np.int64)
    view.attrs.create("Type", np.bytes_(kind), dtype=f"S{len(kind)}")
    return view
