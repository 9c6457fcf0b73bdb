"""Particles as LAMMPS writes and reads them: data files of atom style `sphere`, and text dumps.

Our thickness axis is the z of the file by default (`thickness_axis`), and our lateral axes 1 and 2 are its x and y.
Lengths are in m (`units si`) unless [`microstructure.exchange.tables.MICRO`][] or others are given; every file written
here says its units. Materials are atom types, from 1. Only boxes with right angles are read.

**Source:** LAMMPS documentation, pages read_data, dump and units, 22 Jul 2025.
"""

import re

import numpy as np

from microstructure.exchange import tables
from microstructure.exchange.tables import SI, Units, digits
from microstructure.particles import Particles
from microstructure.store import atomic

_SECTION = re.compile(r"^[A-Z][A-Za-z ]*(#.*)?$")


def write_lammps_data(path, particles: Particles, units: Units = SI, thickness_axis: int = 2) -> None:
    """Writes a data file of atom style `sphere`: `id type diameter density x y z`.

    **Arguments:** `particles`, with densities; `units`, of the file; `thickness_axis`, 0, 1 or 2 for x, y or z.
    """
    if particles.densities is None:
        raise ValueError("A LAMMPS data file holds densities, but these particles have none; write a dump instead.")
    positions, box, radii = tables.to_file(particles, units, thickness_axis)
    material = np.asarray(particles.material)
    density = np.asarray(particles.densities, float)[material] / units.density
    bounds = [f"0 {digits(edge)} {axis}lo {axis}hi" for edge, axis in zip(box, "xyz", strict=True)]
    rows = [
        f"{i} {m + 1} {digits(2 * r)} {digits(rho)} {digits(x)} {digits(y)} {digits(z)}"
        for i, (m, r, rho, (x, y, z)) in enumerate(zip(material, radii, density, positions, strict=True), 1)
    ]
    head = [
        f"LAMMPS data file via Mesode, units = {units.name}, thickness along {'xyz'[thickness_axis]}",
        "",
        f"{len(rows)} atoms",
        f"{len(particles.densities)} atom types",
        "",
        *bounds,
        "",
        "Atoms # sphere",
        "",
    ]
    with atomic(path) as temporary:
        temporary.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


def read_lammps_data(path, units: Units | None = None, thickness_axis: int = 2) -> Particles:
    """Reads a data file of atom style `sphere`; sections other than `Atoms` are left out, as are image flags.

    **Arguments:** as of [`write_lammps_data`][]; `units`, where the first line of the file does not say them.

    **Raises:** `ValueError`, in one sentence, for what is missing, malformed, tilted or of another atom style.
    """
    lines = tables.read_lines(path)
    said = re.search(r"units\s*=\s*(\w+)", lines[0]) if lines else None
    units = tables.units_of(path, said and said.group(1), units)
    starts = [k for k, line in enumerate(lines) if k > 0 and _SECTION.match(line.strip())]
    bounds, count = _data_header(path, lines[1 : starts[0] if starts else None])
    at = next((k for k in starts if lines[k].split()[0] == "Atoms"), None)
    if at is None:
        raise ValueError(f"File `{path}` has no section `Atoms`, so it is no LAMMPS data file with particles.")
    style = lines[at].partition("#")[2].strip()
    if style not in ("", "sphere"):
        raise ValueError(f"File `{path}` is of atom style `{style}`, but `sphere` is needed: it holds no radii.")
    end = next((k for k in starts if k > at), len(lines))
    body = [text for line in lines[at + 1 : end] if (text := line.partition("#")[0].strip())]
    columns = tables.numbers(path, tables.table(path, body, count, "atoms"), "columns of the atoms")
    if columns.shape[1] not in (7, 10):
        raise ValueError(
            f"File `{path}` has {columns.shape[1]} columns of atoms, but atom style `sphere` has 7, or 10 with images."
        )
    columns = _by_identity(path, columns, columns[:, 0])
    low, high = np.asarray(bounds).T
    return tables.from_file(
        path, units, thickness_axis, columns[:, 4:7], low, high, columns[:, 2] / 2, columns[:, 1], columns[:, 3]
    )


def _data_header(path, lines):
    """Bounds along x, y and z, and the number of atoms."""
    bounds, count = {}, None
    for line in lines:
        words = line.partition("#")[0].split()
        if words[-3:] == ["xy", "xz", "yz"] or words[-1:] in (["avec"], ["bvec"], ["cvec"]):
            raise ValueError(f"File `{path}` has a triclinic box, but only boxes with right angles are read.")
        if len(words) == 4 and words[2:] in (["xlo", "xhi"], ["ylo", "yhi"], ["zlo", "zhi"]):
            bounds[words[2][0]] = tables.numbers(path, np.asarray(words[:2], object), "bounds of the box")
        elif words[1:] == ["atoms"]:
            count = tables.whole_number(path, words[0], "number of atoms")
    if count is None or len(bounds) != 3:
        raise ValueError(f"File `{path}` does not give the number of atoms and the bounds of the box.")
    return [bounds[axis] for axis in "xyz"], count


def _by_identity(path, columns, identity):
    """The rows in the order of their id."""
    if len(np.unique(identity)) != len(identity):
        raise ValueError(f"File `{path}` holds two particles with the same id.")
    return columns[np.argsort(identity, kind="stable")]


def write_lammps_dump(path, particles: Particles, units: Units = SI, thickness_axis: int = 2) -> None:
    """Writes a text dump of one step: `id type x y z radius`, and `density` where it is known.

    **Arguments:** as of [`write_lammps_data`][].
    """
    positions, box, radii = tables.to_file(particles, units, thickness_axis)
    material = np.asarray(particles.material)
    names, columns = "id type x y z radius", [radii]
    if particles.densities is not None:
        names, columns = names + " density", [radii, np.asarray(particles.densities, float)[material] / units.density]
    rows = [
        f"{i} {m + 1} " + " ".join(map(digits, (*place, *rest)))
        for i, (m, place, *rest) in enumerate(zip(material, positions, *columns, strict=True), 1)
    ]
    flags = " ".join("ff" if axis == thickness_axis else "pp" for axis in range(3))
    head = ["ITEM: UNITS", units.name, "ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", str(len(rows))]
    head += [f"ITEM: BOX BOUNDS {flags}", *(f"0 {digits(edge)}" for edge in box), f"ITEM: ATOMS {names}"]
    with atomic(path) as temporary:
        temporary.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


def read_lammps_dump(path, units: Units | None = None, thickness_axis: int = 2, step: int = -1) -> Particles:
    """Reads one step of a text dump that holds positions (x, xu, xs or xsu) and `radius` or `diameter`.

    **Arguments:** as of [`write_lammps_data`][]; `units`, where the dump does not say them; `step`, which of the steps
    in the file, the last by default.

    **Raises:** `ValueError`, in one sentence, for what is missing, malformed, tilted or not periodic sideways.
    """
    lines = tables.read_lines(path)
    said = next((lines[k + 1].strip() for k, line in enumerate(lines[:-1]) if line.startswith("ITEM: UNITS")), None)
    units = tables.units_of(path, said, units)
    starts = [k for k, line in enumerate(lines) if line.startswith("ITEM: TIMESTEP")]
    if not -len(starts) <= step < len(starts):
        raise ValueError(f"File `{path}` holds {len(starts)} steps of a LAMMPS dump, so there is no step {step}.")
    step %= len(starts)
    part = lines[starts[step] : starts[step + 1] if step + 1 < len(starts) else None]
    low, high, periodic = _dump_box(path, part)
    if periodic is not None:
        tables.require_periods(path, periodic, thickness_axis)
    count = tables.whole_number(path, _after(path, part, "NUMBER OF ATOMS", 1)[0].strip(), "number of atoms")
    at = next((k for k, line in enumerate(part) if line.startswith("ITEM: ATOMS")), None)
    if at is None:
        raise ValueError(f"File `{path}` has no section `ITEM: ATOMS`.")
    names = part[at].split()[2:]
    columns = tables.numbers(path, tables.table(path, part[at + 1 :], count, "atoms"), "columns of the atoms")
    if columns.shape[1] != len(names):
        raise ValueError(f"File `{path}` has {columns.shape[1]} columns of atoms, but names {len(names)}.")
    if "id" in names:
        columns = _by_identity(path, columns, columns[:, names.index("id")])
    column = dict(zip(names, columns.T, strict=True))
    positions = _dump_positions(path, column, low, high)
    if not {"radius", "diameter"} & set(column):
        raise ValueError(f"File `{path}` holds neither `radius` nor `diameter`, but {', '.join(names)}.")
    radii = column["radius"] if "radius" in column else column["diameter"] / 2
    density = column.get("density", column["mass"] / (4 / 3 * np.pi * radii**3) if "mass" in column else None)
    material = column.get("type", np.ones(count))
    return tables.from_file(path, units, thickness_axis, positions, low, high, radii, material, density)


def _after(path, lines, item: str, count: int) -> list[str]:
    at = next((k for k, line in enumerate(lines) if line.startswith(f"ITEM: {item}")), None)
    if at is None or len(lines) <= at + count:
        raise ValueError(f"File `{path}` has no section `ITEM: {item}`, or it is cut short.")
    return lines[at + 1 : at + 1 + count]


def _dump_box(path, lines):
    """Lower and upper bounds, (3,) each, and which axes are periodic, or `None` where the dump does not say."""
    rows = tables.table(path, _after(path, lines, "BOX BOUNDS", 3), 3, "bounds of the box")
    flags = next(line for line in lines if line.startswith("ITEM: BOX BOUNDS")).split()[3:]
    if rows.shape[1] != 2 or {"xy", "abc"} & set(flags):
        raise ValueError(f"File `{path}` has a triclinic box, but only boxes with right angles are read.")
    low, high = tables.numbers(path, rows, "bounds of the box").T
    return low, high, [flag == "pp" for flag in flags] if len(flags) == 3 else None


def _dump_positions(path, column, low, high):
    for suffix, scaled in (("", False), ("u", False), ("s", True), ("su", True)):
        names = [axis + suffix for axis in "xyz"]
        if all(name in column for name in names):
            found = np.stack([column[name] for name in names], axis=1)
            return low + found * (high - low) if scaled else found
    raise ValueError(f"File `{path}` holds no positions x y z, xu yu zu or xs ys zs.")
