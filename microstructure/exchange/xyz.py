"""Particles as extended XYZ with radii, which OVITO and ASE read.

The comment line holds `Lattice`, `Properties`, `pbc`, and `units`. Axes and units as in
[`microstructure.exchange.lammps`][]. Materials are the species M1, M2, ...

**Source:** the extxyz specification, github.com/libAtoms/extxyz.
"""

import re

import numpy as np

from microstructure.exchange import tables
from microstructure.exchange.tables import SI, Units, digits
from microstructure.particles import Particles
from microstructure.store import atomic

_ENTRY = re.compile(r"""([A-Za-z_]\w*)\s*=\s*("[^"]*"|'[^']*'|\{[^}]*\}|\S+)""")


def write_xyz(path, particles: Particles, units: Units = SI, thickness_axis: int = 2) -> None:
    """Writes one frame: species, position, `radius`, and `density` where it is known.

    **Arguments:** `units`, of the file; `thickness_axis`, 0, 1 or 2 for x, y or z.
    """
    positions, box, radii = tables.to_file(particles, units, thickness_axis)
    material = np.asarray(particles.material)
    properties, columns = "species:S:1:pos:R:3:radius:R:1", [radii]
    if particles.densities is not None:
        properties += ":density:R:1"
        columns.append(np.asarray(particles.densities, float)[material] / units.density)
    lattice = " ".join(digits(edge) if row == k else "0" for row, edge in enumerate(box) for k in range(3))
    periodic = " ".join("F" if axis == thickness_axis else "T" for axis in range(3))
    head = f'Lattice="{lattice}" Properties={properties} pbc="{periodic}" units={units.name}'
    rows = [
        f"M{m + 1} " + " ".join(map(digits, (*place, *rest)))
        for m, place, *rest in zip(material, positions, *columns, strict=True)
    ]
    with atomic(path) as temporary:
        temporary.write_text("\n".join([str(len(rows)), head, *rows]) + "\n", encoding="utf-8")


def read_xyz(path, units: Units | None = None, thickness_axis: int = 2, frame: int = -1) -> Particles:
    """Reads one frame of an extended XYZ file that holds a lattice, positions and radii.

    **Arguments:** as of [`write_xyz`][]; `units`, where the file does not say them; `frame`, the last by default.

    **Raises:** `ValueError`, in one sentence, for what is missing, malformed, tilted or not periodic sideways.
    """
    lines = tables.read_lines(path)
    starts, at = [], 0
    while at < len(lines) and lines[at].strip():
        count = tables.whole_number(path, lines[at].strip(), "number of particles")
        starts.append((at, count))
        at += count + 2
    if not -len(starts) <= frame < len(starts):
        raise ValueError(f"File `{path}` holds {len(starts)} frames, so there is no frame {frame}.")
    at, count = starts[frame]
    said = {key: value.strip("\"'{}") for key, value in _ENTRY.findall(lines[at + 1] if at + 1 < len(lines) else "")}
    units = tables.units_of(path, said.get("units"), units)
    box = _box(path, said.get("Lattice"))
    if "pbc" in said:
        flags = [flag.upper() in ("T", "TRUE", "1") for flag in said["pbc"].replace(",", " ").split()]
        tables.require_periods(path, flags, thickness_axis)
    columns = _columns(path, said.get("Properties", ""))
    rows = tables.table(path, lines[at + 2 :], count, "particles")
    if rows.shape[1] < max(part.stop for part in columns.values()):
        raise ValueError(f"File `{path}` has {rows.shape[1]} columns, fewer than its `Properties` name.")

    def column(name):
        return tables.numbers(path, rows[:, columns[name]], f"column `{name}`")

    material = rows[:, columns["species"]][:, 0].astype(str) if "species" in columns else np.zeros(count, int)
    if all(re.fullmatch(r"M\d{1,4}", str(name)) for name in material):
        material = np.asarray([int(name[1:]) for name in material])  # or M10 would come before M2
    density = column("density")[:, 0] if "density" in columns else None
    origin = said.get("Origin", "0 0 0").split()
    low = tables.numbers(path, np.asarray(origin, object), "origin of the box")
    return tables.from_file(
        path, units, thickness_axis, column("pos"), low, low + box, column("radius")[:, 0], material, density
    )


def _box(path, lattice: str | None):
    """The edges, (3,), of a lattice given by its three vectors."""
    if lattice is None or len(lattice.split()) != 9:
        raise ValueError(f"File `{path}` gives no `Lattice` of nine numbers in its second line.")
    vectors = tables.numbers(path, np.asarray(lattice.split(), object), "entries of `Lattice`").reshape(3, 3)
    if np.any(vectors != np.diag(np.diag(vectors))):
        raise ValueError(f"File `{path}` has a triclinic box, but only boxes with right angles are read.")
    return np.diag(vectors)


def _columns(path, properties: str) -> dict[str, slice]:
    """Which columns hold which property, from `name:type:count` triples."""
    words = properties.split(":")
    if len(words) < 3 or len(words) % 3 or not all(w.isdigit() and len(w) < 4 for w in words[2::3]):
        raise ValueError(f"File `{path}` gives no `Properties` of the form name:type:count in its second line.")
    columns, start = {}, 0
    for name, count in zip(words[::3], words[2::3], strict=True):
        columns[name], start = slice(start, start + int(count)), start + int(count)
    widths = {name: part.stop - part.start for name, part in columns.items()}
    missing = [name for name, width in (("pos", 3), ("radius", 1)) if widths.get(name) != width]
    if missing:
        raise ValueError(f"File `{path}` lacks {' and '.join(f'`{name}`' for name in missing)} among its properties.")
    return columns
