"""Meshes out through meshio: voxels as VTU hexahedra, particles and interfaces as STL."""

import contextlib
import io
import pathlib
from collections.abc import Mapping

import numpy as np

from microstructure.store import atomic

_FACES = (  # axis, and the corners of a face of the voxel in the order that points along +axis
    (0, ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1))),
    (1, ((0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 1, 0))),
    (2, ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))),
)


@contextlib.contextmanager
def _guarded(path):
    """meshio leaves the whole program when it fails (`SystemExit`); here that is a `ValueError`."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it also prints its warnings to standard output
            yield
    except SystemExit as error:
        raise ValueError(
            f"Mesh `{path}` cannot be read or written; the file is damaged or of another format."
        ) from error


def _write(path, mesh, file_format: str, **options) -> None:
    path = pathlib.Path(path)
    with atomic(path) as temporary:
        # meshio looks at the extension even when the format is given
        named = temporary.with_name(temporary.name + path.suffix)
        try:
            with _guarded(path):
                mesh.write(named, file_format=file_format, **options)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def read_mesh(path):
    """Reads a mesh by its extension; `ValueError` where it cannot."""
    import meshio

    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"Mesh `{path}` does not exist.")
    with _guarded(path):
        try:
            return meshio.read(path)
        except Exception as error:
            raise ValueError(f"Mesh `{path}` cannot be read; it is damaged or of another format.") from error


def write_voxels(path, fields: Mapping[str, np.ndarray], spacing, keep: np.ndarray | None = None) -> None:
    """Writes voxels as hexahedra of a VTU file with their fields as cell data.

    **Arguments:** `fields`, (nx, ny, nz) each; `spacing`, three voxel edges in m; `keep`, (nx, ny, nz) of booleans, the
    voxels to write, all by default.
    """
    import meshio

    shape = np.shape(next(iter(fields.values())))
    keep = np.ones(shape, dtype=bool) if keep is None else np.asarray(keep, dtype=bool)
    if not keep.any():
        raise ValueError("There is no voxel to write.")
    cells = np.argwhere(keep)
    corners = np.array(((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)))
    nodes = (cells[:, None, :] + corners).reshape(-1, 3)
    points, hexahedra = _merge(nodes, shape, 8)
    data = {name: [_plain(np.asarray(field)[keep])] for name, field in fields.items()}
    mesh = meshio.Mesh(points * np.broadcast_to(spacing, 3), [("hexahedron", hexahedra)], cell_data=data)
    _write(path, mesh, "vtu", compression="zlib")


def _plain(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind in "iuf" and values.dtype.itemsize > 2 else values.astype(np.int32)


def _merge(nodes: np.ndarray, shape, corners: int):
    """Grid nodes without repetition, and the cells that use them."""
    strides = np.array([(shape[1] + 1) * (shape[2] + 1), shape[2] + 1, 1])
    unique, inverse = np.unique(nodes @ strides, return_inverse=True)
    points = np.stack([unique // strides[0], unique // strides[1] % (shape[1] + 1), unique % strides[1]], axis=1)
    return points.astype(float), inverse.reshape(-1, corners)


def surface(mask: np.ndarray, spacing) -> tuple[np.ndarray, np.ndarray]:
    """The closed voxel surface of `mask`, pointing outwards.

    **Returns:** points (n, 3) in m and triangles (m, 3).
    """
    mask = np.asarray(mask, dtype=bool)
    padded = np.pad(mask, 1)
    quads = []
    for axis, corners in _FACES:
        step = np.diff(padded.astype(np.int8), axis=axis)
        inner = [slice(1, -1)] * 3
        inner[axis] = slice(None)
        step = step[tuple(inner)]  # step[i] lies between voxel i - 1 and voxel i
        shift = np.array(corners)
        shift[:, axis] = 0
        for sign, order in ((-1, (0, 1, 2, 3)), (1, (3, 2, 1, 0))):
            cells = np.argwhere(step == sign)
            quads.append((cells[:, None, :] + shift[list(order)]).reshape(-1, 3))
    nodes = np.concatenate(quads)
    if not len(nodes):
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=int)
    points, faces = _merge(nodes, mask.shape, 4)
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    return points * np.broadcast_to(spacing, 3), triangles


def write_surface(path, mask: np.ndarray, spacing) -> None:
    """Writes the closed voxel surface of a phase as a binary STL file; `ValueError` if the phase is empty."""
    points, triangles = surface(mask, spacing)
    write_triangles(path, points, triangles)


def write_triangles(path, points: np.ndarray, triangles: np.ndarray) -> None:
    """Writes triangles as a binary STL file.

    **Arguments:** `points`, (n, 3) in m; `triangles`, (m, 3) indices.
    """
    import meshio

    if not len(triangles):  # meshio would write an empty file
        raise ValueError("There is no surface to write: the phase is empty.")
    _write(path, meshio.Mesh(points, [("triangle", triangles)]), "stl", binary=True)


def sphere(level: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere as a subdivided icosahedron of 20 * 4^level triangles, pointing outwards."""
    golden = (1 + 5**0.5) / 2
    points = np.array([(a, b * golden, 0) for b in (1, -1) for a in (1, -1)])
    points = np.concatenate([points, points[:, [2, 0, 1]], points[:, [1, 2, 0]]])
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    near = np.isclose(distance, 2.0)
    triangles = np.array(
        [(i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[i, k]]
    )
    normal = np.cross(
        points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    )
    inward = np.sum(normal * points[triangles].sum(axis=1), axis=1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    for _ in range(level):
        a, b, c = points[triangles].transpose(1, 0, 2)
        corners = np.stack([a, (a + b) / 2, (c + a) / 2, b, (b + c) / 2, c], axis=1).reshape(-1, 3)
        corners /= np.linalg.norm(corners, axis=1, keepdims=True)
        points, inverse = np.unique(corners.round(12), axis=0, return_inverse=True)
        six = inverse.reshape(-1, 6)
        triangles = six[:, [[0, 1, 2], [1, 3, 4], [1, 4, 2], [2, 4, 5]]].reshape(-1, 3)
    return points / np.linalg.norm(points, axis=1, keepdims=True), triangles


def write_particles(path, positions: np.ndarray, radii: np.ndarray, level: int = 2) -> None:
    """Writes particles as triangulated spheres in a binary STL file.

    **Arguments:** `positions`, (n, 3) in m; `radii`, (n,) in m; `level`, subdivisions of the icosahedron.
    """
    points, triangles = sphere(level)
    positions, radii = np.asarray(positions, dtype=float), np.asarray(radii, dtype=float)
    every = positions[:, None, :] + radii[:, None, None] * points
    shift = np.arange(len(radii))[:, None, None] * len(points)
    write_triangles(path, every.reshape(-1, 3), (triangles + shift).reshape(-1, 3))
