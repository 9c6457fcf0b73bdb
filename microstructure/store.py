"""The HDF5 store: nested dictionaries of arrays, written whole or not at all, viewable in ParaView, gated on reading.

Filters are gzip, shuffle and fletcher32 only, which every HDF5 and VTK reads. There is no pickle. A file from elsewhere
may hold no external or virtual storage and no external links, and its sizes are checked before anything is allocated.
"""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np

from .hdf_layout import FILTERS, chunks, vtk_group
from .store_series import add_series_view

SCHEMA = "mesode"
SCHEMA_VERSION = 1
MAX_BYTES = 16 * 2**30
MAX_EXPANSION = 2000  # deflate packs at most 1032:1; a file that declares more than this was made to do harm


@contextlib.contextmanager
def atomic(path) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`; on success it is synced to disk and renamed, on failure it is removed."""
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"Folder `{path.parent}` for the output `{path.name}` does not exist.")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise ValueError(f"Folder `{path.parent}` cannot be written to ({error.strerror}).") from error
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def write(
    path,
    tree: Mapping,
    *,
    attributes: Mapping | None = None,
    image: "dict | None" = None,
    particles: "dict | None" = None,
    series: "dict | None" = None,
) -> None:
    """Writes a nested dictionary as groups and datasets, atomically.

    **Arguments:** `tree`, whose leaves are arrays, numbers, strings, lists of strings or `None` (left out);
    `attributes`, strings and numbers for the root; `image`, `particles`, the arguments of [`add_image_view`][] and
    [`add_particle_view`][] as dictionaries: what ParaView shows of the file, as two blocks where both are given;
    `series`, instead of these, the arguments of [`microstructure.store_series.add_series_view`][].
    """
    import h5py

    with atomic(path) as temporary:
        with h5py.File(temporary, "w") as file:
            file.attrs["schema"], file.attrs["schema_version"] = SCHEMA, SCHEMA_VERSION
            for key, value in (attributes or {}).items():
                file.attrs[key] = value
            _write_group(file, tree)
            blocks = _collection(file) if image is not None and particles is not None else (None, None)
            if image is not None:
                add_image_view(file, **image, view=blocks[0])
            if particles is not None:
                add_particle_view(file, **particles, view=blocks[1])
            if series is not None:
                add_series_view(file, **series)


def _write_group(group, tree: Mapping) -> None:
    for key, value in tree.items():
        key = str(key)
        if not key or "/" in key or key == ".":
            raise ValueError(f"`{key}` cannot be the name of an entry in a run file.")
        if isinstance(value, Mapping):
            _write_group(group.create_group(key, track_order=True), value)
        elif value is not None:
            _write_leaf(group, key, value)


def _write_leaf(group, key: str, value) -> None:
    import h5py

    if isinstance(value, str):
        group.create_dataset(key, data=value, dtype=h5py.string_dtype())
        return
    array = np.asarray(value)
    if array.dtype.kind in "US":
        group.create_dataset(key, data=array.astype(object), dtype=h5py.string_dtype())
    elif array.dtype.kind not in "iufb":
        raise ValueError(f"`{group.name}/{key}` is of type {array.dtype}, which a run file cannot hold.")
    elif array.ndim == 0 or array.size == 0:
        group.create_dataset(key, data=array)
    else:
        group.create_dataset(key, data=array, chunks=chunks(array), **FILTERS)


def _collection(file) -> tuple:
    """The `/VTKHDF` group of a file that shows voxels and particles: an empty group for each of the two blocks.

    **Source:** VTK documentation, VTKHDF file format, PartitionedDataSetCollection.
    """
    import h5py

    root = vtk_group(file, "PartitionedDataSetCollection", minor=1)
    assembly = root.create_group("Assembly", track_order=True)
    blocks = []
    for index, (name, kind) in enumerate((("voxels", "ImageData"), ("particles", "PolyData"))):
        blocks.append(vtk_group(root, kind, name, minor=1))
        blocks[-1].attrs["Index"] = np.int64(index)
        assembly[name] = h5py.SoftLink(blocks[-1].name)
    return tuple(blocks)


def add_image_view(file, fields: Mapping[str, np.ndarray], spacing, origin=(0.0, 0.0, 0.0), view=None) -> None:
    """Adds the `/VTKHDF` group through which ParaView opens cell fields as an image.

    **Arguments:** `file`, an open HDF5 file; `fields`, arrays (nx, ny, nz), or (nx, ny, nz, 3) for vectors; `spacing`,
    three voxel edges in m; `origin`, the corner of the first voxel in m; `view`, a group to fill instead.
    **Source:** VTK documentation, VTKHDF file format, ImageData; arrays lie there as (z, y, x).
    """
    shapes = {np.shape(field)[:3] for field in fields.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise ValueError(f"Argument `fields` must hold volumes of one shape, but {sorted(shapes)} were given.")
    nx, ny, nz = next(iter(shapes))
    view = vtk_group(file, "ImageData") if view is None else view
    view.attrs["WholeExtent"] = np.array([0, nx, 0, ny, 0, nz], dtype=np.int64)  # in points: cells need 0..n
    view.attrs["Origin"] = np.asarray(origin, dtype=np.float64)
    view.attrs["Spacing"] = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
    view.attrs["Direction"] = np.eye(3).ravel()
    cells = view.create_group("CellData")
    for name, field in fields.items():
        array = np.asarray(field)
        if array.dtype.kind not in "iuf":
            array = array.astype(np.uint8)  # ParaView silently drops booleans
        array = np.ascontiguousarray(array.transpose(2, 1, 0, *range(3, array.ndim)))
        cells.create_dataset(name, data=array, chunks=chunks(array), **FILTERS)


def write_image_view(path, fields: Mapping[str, np.ndarray], spacing, origin=(0.0, 0.0, 0.0)) -> None:
    """Writes cell fields alone as a `.vtkhdf` file; arguments as in [`add_image_view`][]."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        add_image_view(file, fields, spacing, origin)


def add_particle_view(
    file,
    positions: np.ndarray,
    radii: np.ndarray,
    material: np.ndarray | None = None,
    fields: Mapping[str, np.ndarray] | None = None,
    view=None,
) -> None:
    """Adds the `/VTKHDF` group through which ParaView opens particles: one vertex each, glyphs scaled by `radius`.

    **Arguments:** `file`, an open HDF5 file; `positions`, (n, 3) in m; `radii`, (n,) in m; `material`, (n,) numbers;
    `fields`, more by name, (n,) or (n, k); `view`, a group to fill instead.
    **Source:** VTK documentation, VTKHDF file format, PolyData.
    """
    points = np.asarray(positions, dtype=np.float64)
    count = len(points)
    view = vtk_group(file, "PolyData") if view is None else view
    view.create_dataset("NumberOfPoints", data=np.array([count], dtype=np.int64))
    view.create_dataset("Points", data=points)
    for name in ("Vertices", "Lines", "Polygons", "Strips"):
        cells = view.create_group(name)
        number = count if name == "Vertices" else 0
        cells.create_dataset("NumberOfCells", data=np.array([number], dtype=np.int64))
        cells.create_dataset("NumberOfConnectivityIds", data=np.array([number], dtype=np.int64))
        cells.create_dataset("Connectivity", data=np.arange(number, dtype=np.int64))
        cells.create_dataset("Offsets", data=np.arange(number + 1, dtype=np.int64))
    data = view.create_group("PointData")
    data.create_dataset("radius", data=np.asarray(radii, dtype=np.float64))
    if material is not None:
        data.create_dataset("material", data=np.asarray(material, dtype=np.int32))
    for name, field in (fields or {}).items():
        if len(field) != count:
            raise ValueError(f"Field `{name}` must have {count} rows, one a particle, but {len(field)} were given.")
        data.create_dataset(name, data=np.asarray(field, dtype=np.float64))


def write_particle_view(path, positions: np.ndarray, radii: np.ndarray, material: np.ndarray | None = None) -> None:
    """Writes particles alone as a `.vtkhdf` file; arguments as in [`add_particle_view`][]."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        add_particle_view(file, positions, radii, material)


@contextlib.contextmanager
def open_foreign(path):
    """Opens an HDF5 file for reading; what is wrong with it is a `ValueError` of one sentence."""
    import h5py

    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"File `{path}` does not exist.")
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        text = str(error).lower()
        if "truncated" in text:
            reason = "is truncated"
        elif "lock" in text:
            reason = "is locked by another process; wait, or set HDF5_USE_FILE_LOCKING=FALSE where locks do not work"
        else:
            reason = "is not a readable HDF5 file"
        raise ValueError(f"File `{path}` {reason}.") from error
    with file:
        yield file


def _child(group, name: str):
    """A child reached by a plain link only; links that lead out of the file could read anything on the machine."""
    import h5py

    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise ValueError(f"File `{group.file.filename}`: `{name}` is an external link, which is refused.")
    if isinstance(link, h5py.SoftLink):
        raise ValueError(f"File `{group.file.filename}`: `{name}` is a soft link, which is refused.")
    if link is None:
        raise ValueError(f"File `{group.file.filename}` has no dataset `{name}` in `{group.name}`.")
    return group[name]


def _check_dataset(node, max_bytes: int) -> None:
    where = f"File `{node.file.filename}`: dataset `{node.name}`"
    if node.external or node.is_virtual:
        raise ValueError(f"{where} keeps its data in other files, which is refused.")
    if node.dtype.kind not in "iufb":
        raise ValueError(f"{where} holds values of type {node.dtype}, but numbers are needed.")
    needed, stored = node.size * node.dtype.itemsize, node.id.get_storage_size()
    if needed > max_bytes:
        raise ValueError(f"{where} needs {needed / 2**30:.3g} GiB, but only {max_bytes / 2**30:.3g} GiB are allowed.")
    if needed > MAX_EXPANSION * max(stored, 1) and needed > 2**20:
        raise ValueError(f"{where} declares {needed} bytes but stores {stored}, which is refused.")


def safe_dataset(file, name: str | None = None, *, rank: int = 3, max_bytes: int = MAX_BYTES):
    """A numeric dataset of `file` that passed the gate: the named one, or the only one with `rank` axes."""
    import h5py

    if name is None:
        found = []
        _collect(file, rank, found, 0)
        if len(found) != 1:
            names = ", ".join(f"`{n}`" for n in found[:8]) or "none"
            raise ValueError(
                f"File `{file.filename}` holds {len(found)} datasets with {rank} axes ({names}), so name one: "
                "FILE.h5:/path/of/dataset."
            )
        name = found[0]
    node = file
    for part in name.strip("/").split("/"):
        if not isinstance(node, h5py.Group):
            raise ValueError(f"File `{file.filename}` has no dataset `{name}`.")
        node = _child(node, part)
    if not isinstance(node, h5py.Dataset):
        raise ValueError(f"File `{file.filename}`: `{name}` is a group, not a dataset.")
    _check_dataset(node, max_bytes)
    return node


def _collect(group, rank: int, found: list, depth: int) -> None:
    import h5py

    if depth > 16 or len(found) > 64:
        return
    for key in group:
        if isinstance(group.get(key, getlink=True), h5py.HardLink):
            node = group[key]
            if isinstance(node, h5py.Dataset) and node.ndim == rank:
                found.append(node.name)
            elif isinstance(node, h5py.Group):
                _collect(node, rank, found, depth + 1)


def read(path, *, groups: tuple[str, ...] | None = None, max_bytes: int = MAX_BYTES) -> dict:
    """Reads a file that [`write`][] made back into a nested dictionary; the `/VTKHDF` view is left out.

    **Arguments:** `groups`, the names at the root to read, all by default; `max_bytes`, the limit of each dataset.
    **Returns:** numpy arrays, Python numbers, strings and lists of strings under the names they were written with.
    """
    with open_foreign(path) as file:
        check_schema(file)
        names = [k for k in file if k != "VTKHDF" and (groups is None or k in groups)]
        return {name: _read_node(_child(file, name), max_bytes, 0) for name in names}


def check_schema(file) -> None:
    """Raises a `ValueError` unless the open file is one of ours and not newer than this program."""
    if file.attrs.get("schema") != SCHEMA:
        raise ValueError(f"File `{file.filename}` is no Mesode run file.")
    version = int(file.attrs.get("schema_version", 0))
    if version > SCHEMA_VERSION:
        raise ValueError(f"File `{file.filename}` has schema {version}; this Mesode reads up to {SCHEMA_VERSION}.")


def _read_node(node, max_bytes: int, depth: int):
    import h5py

    if isinstance(node, h5py.Group):
        if depth > 16:
            raise ValueError(f"File `{node.file.filename}` is nested too deeply.")
        return {key: _read_node(_child(node, key), max_bytes, depth + 1) for key in node}
    if h5py.check_string_dtype(node.dtype) is not None and not (node.external or node.is_virtual):
        if node.size * 16 > max_bytes:
            raise ValueError(f"File `{node.file.filename}`: dataset `{node.name}` is too large.")
        value = node.asstr()[()]
        return value if node.ndim == 0 else [str(v) for v in value]
    _check_dataset(node, max_bytes)
    try:
        value = node[()]
    except OSError as error:
        raise ValueError(f"File `{node.file.filename}`: dataset `{node.name}` is damaged.") from error
    return value.item() if node.ndim == 0 else value


def tree_to_dict(tree) -> dict:
    """The array leaves of a pytree with their paths, as [`write`][] takes them; see [`tree_from_dict`][]."""
    import equinox as eqx
    import jax

    leaves = jax.tree_util.tree_flatten_with_path(eqx.filter(tree, eqx.is_array_like))[0]
    data = {"paths": [jax.tree_util.keystr(path) for path, _ in leaves]}
    for index, (_, leaf) in enumerate(leaves):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        data[f"leaf_{index}"] = np.asarray(leaf)
    return data


def tree_from_dict(like, data: Mapping):
    """A pytree shaped as `like` with its array leaves taken from `data`; `ValueError` if path, shape or type differ."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    dynamic, static = eqx.partition(like, eqx.is_array_like)
    leaves, structure = jax.tree_util.tree_flatten_with_path(dynamic)
    paths = [jax.tree_util.keystr(path) for path, _ in leaves]
    if list(data.get("paths", [])) != paths:
        raise ValueError("The checkpoint belongs to another state: its entries have other names.")
    restored = []
    for index, (path, leaf) in enumerate(zip(paths, (leaf for _, leaf in leaves), strict=True)):
        value = np.asarray(data[f"leaf_{index}"])
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            restored.append(jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(leaf)))
            continue
        if value.shape != np.shape(leaf) or value.dtype != np.asarray(leaf).dtype:
            raise ValueError(f"The checkpoint belongs to another state: `{path}` has another shape or type.")
        if isinstance(leaf, jax.Array):
            restored.append(jnp.asarray(value))
        else:
            restored.append(value if isinstance(leaf, np.ndarray) else type(leaf)(value.item()))
    return eqx.combine(jax.tree_util.tree_unflatten(structure, restored), static)
