"""What the resolved half-cell is held against: an independent solution in one dimension, a closed form, the porous
electrode of many small spheres, and differences for its derivatives."""

import equinox as eqx
import numpy as np

from benchmarks import gradient_cell, planar_stacks, single_sphere, sphere_column
from benchmarks.harness import aimed, case
from benchmarks.planar_stacks import COARSE, REFINED, THICK_VOLTAGES, THIN_VOLTAGES

PLANAR_MV, INCLINED_MV, COLUMN_MV = 0.1, 1.0, 2.0
SPHERE, LABELS = 0.5, 2.0  # %, of the reaction of a sphere of 6 voxels a radius, and of labels of one of 10
GEOMETRY, MATERIALS = 1e-4, 1e-6  # relative errors of derivatives
RATES = (0.25, 0.5, 1.0, 2.0)  # C
AIMED_RATE = 0.5  # C, at which the porous electrode is aimed at


def brief():
    """The rows that take a minute or two each, as they come."""
    yield from _reactions()
    yield _planar("x", planar_stacks.upright(500), THICK_VOLTAGES, 500)
    for axis, name in ((1, "y"), (2, "z")):
        yield _planar(name, planar_stacks.along(axis, 101), THIN_VOLTAGES, 101)


def long():
    """The rows that take several minutes each."""
    yield _inclined()
    yield _column()
    yield from _derivatives()


def _row(problem: str, voxels: int, **measured) -> dict:
    return case("resolved", problem, {"voxels": voxels}, "float64", **measured)


# --- values -----------------------------------------------------------------------------------------------------------


def _percent(make, voxels: int, radius: float) -> float:
    """The worst error of the current of a sphere at four places and two overpotentials, each even everywhere, %."""
    return 100.0 * single_sphere.off_reaction(make, voxels, radius)


def _reactions():
    """Spheres cut from samples at half voxels, or of the labels of voxels, against the exact area."""
    halves, corners = (_percent(make, 16, 6.0) for make in (single_sphere.halves, single_sphere.corners))
    beside = {"corners_percent": corners}
    row = _row("reaction of a sphere of 6 voxels", 16**3, off_percent=halves, accuracy=beside)
    yield aimed(row, "off_percent", SPHERE)
    labels = _percent(single_sphere.labelled, 24, 10.0)
    yield aimed(_row("reaction of 10 voxels of labels", 24**3, off_percent=labels), "off_percent", LABELS)


def _millivolts(stack, wanted: dict) -> np.ndarray:
    """By how much a stack is off at the times of `wanted`, mV."""
    return 1e3 * np.abs(planar_stacks.off(planar_stacks.discharged(stack, tuple(wanted)), wanted))


def _planar(name: str, stack, wanted: dict, voxels: int) -> dict:
    """A planar stack along an axis against the independent solution."""
    off = _millivolts(stack, wanted)
    at = {f"at_{time:g}_s_mV": float(x) for time, x in zip(wanted, off, strict=True)}
    row = _row(f"planar stack along {name}", voxels, worst_mV=max(at.values()), accuracy=at)
    return aimed(row, "worst_mV", PLANAR_MV)


def _inclined() -> dict:
    """A planar stack askew on two grids, and the order of its error."""
    coarse, refined = (_millivolts(planar_stacks.inclined(n), THIN_VOLTAGES) for n in (COARSE, REFINED))
    order = np.min(np.log(coarse / refined)) / np.log(REFINED / COARSE)
    beside = {"coarse_mV": float(np.max(coarse)), "order": float(order)}
    row = _row("planar stack at 45 degrees", REFINED**2, refined_mV=float(np.max(refined)), accuracy=beside)
    return aimed(row, "refined_mV", INCLINED_MV)


def _column() -> dict:
    """Many small spheres against the porous electrode, rms of the voltage at each rate; and the largest ratio of what
    it is at one rate and at the next faster one."""
    cell = sphere_column.column(8)
    porous = sphere_column.homogenised(cell)
    rms = {rate: 1e3 * sphere_column.apart(*sphere_column.discharges(cell, porous, rate)) for rate in RATES}
    found = list(rms.values())
    ratio = max(slower / faster for slower, faster in zip(found[:-1], found[1:], strict=True))
    beside = {f"at_{rate:g}C_mV": x for rate, x in rms.items()}
    voxels = int(np.prod(cell.phases.grid.shape))
    row = _row("many small spheres", voxels, rms_mV=rms[AIMED_RATE], slower_over_faster=ratio, accuracy=beside)
    return aimed(aimed(row, "rms_mV", COLUMN_MV), "slower_over_faster", 1.0)


# --- derivatives ------------------------------------------------------------------------------------------------------


def _derivatives():
    """Reverse mode against central differences, relative: in the geometry, and in materials and current."""
    figure = gradient_cell.figure()
    gradient, run = gradient_cell.gradient(figure), eqx.filter_jit(figure)
    wanted = {name: gradient_cell.central_difference(run, name) for name in gradient_cell.NAMES}
    off = {name: abs(float(gradient[name]) / wanted[name] - 1.0) for name in wanted}
    voxels = int(np.prod(gradient_cell.SHAPE))
    sides = (("geometry", gradient_cell.GEOMETRY, GEOMETRY), ("materials", gradient_cell.MATERIALS, MATERIALS))
    for side, names, target in sides:
        each = {name: off[name] for name in names}
        row = _row(f"derivatives in {side}", voxels, worst_relative=max(each.values()), accuracy=each)
        yield aimed(row, "worst_relative", target)
