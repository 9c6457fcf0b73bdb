"""What the particle formats share: units, axes, and the gate that a table from elsewhere must pass."""

import dataclasses
import pathlib

import numpy as np

from microstructure.packing import Packing
from microstructure.particles import Particles

LARGEST_FILE = 2**31  # bytes of text
DIGITS = 15  # as many as survive a change of units and back


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of a file, by their name in LAMMPS: `length` in m and `mass` in kg."""

    name: str
    length: float
    mass: float

    @property
    def density(self) -> float:
        """Of the file's unit, kg/m3."""
        return self.mass / self.length**3


SI = Units("si", 1.0, 1.0)
MICRO = Units("micro", 1e-6, 1e-15)  # um and pg, so that densities are in g/cm3
CGS = Units("cgs", 1e-2, 1e-3)
KNOWN_UNITS = {units.name: units for units in (SI, MICRO, CGS)}


def units_of(path, said: str | None, given: Units | None) -> Units:
    """The units of a file: what it says, which must agree with what is given; SI where neither is."""
    if said is not None and said not in KNOWN_UNITS:
        raise ValueError(f"File `{path}` is in LAMMPS units `{said}`, but only {', '.join(KNOWN_UNITS)} are read.")
    if said is not None and given is not None and said != given.name:
        raise ValueError(f"File `{path}` says that it is in units `{said}`, but `{given.name}` was given.")
    return KNOWN_UNITS[said] if said is not None else given or SI


def file_axes(thickness_axis: int) -> list[int]:
    """The axis of the file for each of ours (thickness, and the two lateral ones), in cyclic order."""
    if thickness_axis not in (0, 1, 2):
        raise ValueError(f"Argument `thickness_axis` must be 0, 1 or 2 for x, y or z, but {thickness_axis} was given.")
    return [(thickness_axis + axis) % 3 for axis in range(3)]


def to_file(particles: Particles, units: Units, thickness_axis: int):
    """Positions (N, 3), folded into the period, and box (3,), along the axes of the file; radii; all in its units."""
    axes = file_axes(thickness_axis)
    packing = particles.packing
    positions, box = np.array(packing.positions, float), np.asarray(packing.box, float)
    folded = positions[:, 1:] % box[1:]
    positions[:, 1:] = np.where(folded >= box[1:], 0, folded)  # of a coordinate a rounding below 0
    order = np.argsort(axes)
    scale = 1 / units.length
    return positions[:, order] * scale, box[order] * scale, np.asarray(packing.radii, float) * scale


def from_file(path, units, thickness_axis, positions, low, high, radii, material, density=None) -> Particles:
    """Particles from the columns of a file in its own units and axes, after the gate.

    **Arguments:** `positions`, (N, 3); `low`, `high`, (3,) the bounds of the box; `radii`, (N,); `material`, (N,) any
    labels, numbered in their order; `density`, (N,) or `None`.
    """
    axes = file_axes(thickness_axis)
    positions, low, high, radii = (np.asarray(a, float) for a in (positions, low, high, radii))
    for name, values in (("positions", positions), ("radii", radii), ("bounds of the box", np.stack([low, high]))):
        if not np.all(np.isfinite(values)):
            raise ValueError(f"File `{path}` holds {name} that are not finite.")
    if not np.all(high > low):
        raise ValueError(f"File `{path}` has a box without volume: its bounds are {low.tolist()} and {high.tolist()}.")
    if not np.all(radii > 0):
        raise ValueError(f"File `{path}` holds {np.sum(~(radii > 0))} particles whose radius is not positive.")
    meters = radii * units.length
    if meters.min() < 1e-9 or meters.max() > 1e-3:
        raise ValueError(
            f"File `{path}` holds radii from {meters.min():.3g} to {meters.max():.3g} m, but they must lie between "
            f"1e-09 and 0.001 m; it was read in units `{units.name}`, so say which ones it is in."
        )
    labels, material = np.unique(np.asarray(material), return_inverse=True)
    box, positions = ((high - low) * units.length)[axes], ((positions - low) * units.length)[:, axes]
    positions[:, 1:] -= box[1:] * np.floor(positions[:, 1:] / box[1:])
    densities = None if density is None else _densities(path, units, material, len(labels), np.asarray(density, float))
    return Particles(Packing(positions, meters, box), material.astype(np.int32), densities)


def _densities(path, units, material, count, density):
    if not (np.all(np.isfinite(density)) and np.all(density > 0)):
        raise ValueError(f"File `{path}` holds densities or masses that are not positive.")
    first = np.asarray([density[np.argmax(material == m)] for m in range(count)])
    if np.any(np.abs(density / first[material] - 1) > 1e-6):
        raise ValueError(f"File `{path}` holds particles of one type with different densities, which is not supported.")
    return first * units.density


def require_periods(path, boundary, thickness_axis: int) -> None:
    """Raises a `ValueError` unless the film is periodic sideways and bounded through its thickness.

    **Arguments:** `boundary`, for each axis of the file whether it is periodic.
    """
    wanted = [axis != thickness_axis for axis in range(3)]
    if list(boundary) != wanted:
        said = ", ".join(name for name, periodic in zip("xyz", boundary, strict=True) if periodic) or "no axis"
        raise ValueError(
            f"File `{path}` is periodic along {said}, but a film must be bounded along its thickness, here "
            f"{'xyz'[thickness_axis]}, and periodic along the other two; check `thickness_axis`."
        )


def read_lines(path) -> list[str]:
    """The lines of a text file; `ValueError` where there is none or it is too large."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"File `{path}` does not exist.")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"File `{path}` is larger than {LARGEST_FILE / 2**30:.3g} GiB, which is refused.")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"File `{path}` is not text.") from error


def whole_number(path, text: str, what: str, low: int = 1, high: int = 10**8) -> int:
    """A count in a file; `ValueError` where it is none or out of bounds."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not low <= value <= high:
        raise ValueError(f"File `{path}`: the {what} must be a whole number from {low} to {high}, but is `{text}`.")
    return value


def table(path, lines: list[str], count: int, what: str) -> np.ndarray:
    """Rows of numbers, (count, columns); `ValueError` where rows are missing, ragged or no numbers."""
    if len(lines) < count:
        raise ValueError(f"File `{path}` is cut short: it holds {len(lines)} of {count} {what}.")
    rows = [line.split() for line in lines[:count]]
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"File `{path}`: the rows of the {what} must have the same number of columns, but differ.")
    return np.asarray(rows, dtype=object)


def numbers(path, column: np.ndarray, what: str) -> np.ndarray:
    """A column or block of a [`table`][] as numbers."""
    try:
        return column.astype(float)
    except ValueError as error:
        raise ValueError(f"File `{path}`: the {what} must be numbers, but are not.") from error


def digits(value: float) -> str:
    """A number with the digits that survive a change of units."""
    return f"{value:.{DIGITS}g}"
