"""Planar stacks of lithium, electrolyte and NMC that lie anywhere in the grid, and what their voltage must be.

The half-cell has its collector below and its lithium above the block, along axis 0. On a block of one voxel along axis
0 every voxel faces both, so that plates may be put wherever a stack within the slice has its ends: [`Plated`][] gives
the links to the collector and the surface of the lithium voxel by voxel, and all else, the laws of the interface, the
readings, the links between voxels and the march, is the solver's own.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.half_cells import FULL, SIGMA
from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.electrochemistry.conductors import SeparatorStack
from solver.electrochemistry.full_cell import FullCell, full_cell
from solver.electrochemistry.half_cell import HalfCell, half_cell
from solver.electrochemistry.resolved_run import ResolvedDischarge, ResolvedMethod, discharge
from solver.electrochemistry.roles import active, pores
from solver.numerics.march import March
from solver.numerics.solution import Result

CURRENT = 20.0  # A/m2
THICK = (5e-6, 20e-6)  # m, of slab and electrolyte
THIN = (0.5e-6, 0.5e-6)
SIDE = 1e-6  # m, of the voxels along the slab
CUTOFF = 2.5  # V
COARSE, REFINED = 32, 80  # voxels a side of the inclined stack, where its order is taken
# The voltage, V, after so many seconds. Not ours: spectral elements in space and Radau IIA in time, in plain numpy and
# scipy (tests/resolved_reference: chen_stack, refined), whose two resolutions differ by less than 1e-10 V.
THICK_VOLTAGES = {10.0: 3.924297529, 60.0: 3.603925745}
THIN_VOLTAGES = {10.0: 3.925982466, 60.0: 3.537565216}
GRAPHITE = 7.5e-6  # m, of the second slab, in place of the lithium
CHARGED = 29866.0 / 33133.0  # Chen 2020: stoichiometry of the charged graphite
FULL_VOLTAGES = {10.0: 3.620731068, 60.0: 3.282331937}

nested = eqx.filter_jit(voxel.nested)
run = eqx.filter_jit(discharge)


class Plated(eqx.Module):
    """A half-cell with its plates put by hand, (1, ny, nz) each.

    **Arguments:** `half`; `plate`, links to the collector, S; `metal_area`, m2, and `metal_path`, m, to the lithium.
    """

    half: HalfCell
    plate: Array
    metal_area: Array
    metal_path: Array

    def resolved(self, current):
        def plates(cell):
            return cell.structure.plate, cell.structure.metal_area, cell.structure.metal_path

        return eqx.tree_at(plates, self.half.resolved(current), (self.plate, self.metal_area, self.metal_path))

    def theoretical_capacity(self):
        return self.half.theoretical_capacity()

    @property
    def lower_cutoff(self):
        return self.half.lower_cutoff

    @property
    def section(self) -> Array:
        """m2."""
        return jnp.sum(self.metal_area)


def upright(voxels: int) -> HalfCell:
    """The thick stack along axis 0, as half-cells are, with `voxels` in the slab."""
    slab, electrolyte = THICK
    layers = SeparatorStack(electrolyte - 0.2 * slab, 1.0, 1.0, tuple(1.1**k for k in range(30)))
    return _half(_slab(slab, voxels), False, layers)


def facing(voxels: int) -> FullCell:
    """The thick stack with a slab of graphite in place of the lithium, `voxels` in each slab."""
    slab, electrolyte = THICK
    grading = [1.1 ** min(k, 44 - k) for k in range(45)]
    layers = SeparatorStack(electrolyte - 0.2 * slab - 0.2 * GRAPHITE, 1.0, 1.0, tuple(grading))
    return full_cell(
        _slab(slab, voxels),
        {"active": active(library.chen_nmc(), FULL, SIGMA), "pore": pores()},
        _slab(GRAPHITE, voxels),
        {"active": active(library.chen_graphite(), CHARGED, 215.0), "pore": pores()},
        library.nyman_electrolyte(),
        layers,
        lower_cutoff=CUTOFF,
    )


def _slab(thickness: float, voxels: int):
    """Voxels of a slab, and a fifth as many of electrolyte on it."""
    labels = np.zeros((voxels + voxels // 5, 1, 1), int)
    labels[voxels:] = 1
    grid = Grid(labels.shape, jnp.asarray([thickness / voxels, SIDE, SIDE]))
    return voxel.from_labels(labels, grid, {0: "active", 1: "pore"}, dtype=jnp.float64)


def along(axis: int, voxels: int) -> Plated:
    """The thin stack in `voxels` along `axis`, 1 or 2; the surface of its slab cuts a voxel wherever it does."""
    slab, electrolyte = THIN
    length = slab + electrolyte
    shape, spacing = [1, 1, 1], [SIDE] * 3
    shape[axis], spacing[axis] = voxels, length / voxels
    places = np.linspace(0.0, length, voxels + 1) - slab
    corners = [2, 2, 2]
    corners[axis] = voxels + 1
    level = np.broadcast_to(places.reshape([-1 if a == axis else 1 for a in range(3)]), corners)
    half = _half(_cut(level, Grid(tuple(shape), jnp.asarray(spacing))), False)
    first, last = np.zeros(shape)[:1], np.zeros(shape)[:1]
    first.flat[0] = last.flat[-1] = SIDE**2
    width = spacing[axis]
    path = jnp.full(first.shape, 0.5 * width)
    return Plated(half, jnp.asarray(first * 2.0 * SIGMA / width), jnp.asarray(last), path)


def inclined(voxels: int) -> Plated:
    """The thin stack along (0, 1, 1) / sqrt 2, mirrored at both ends, in `voxels` by `voxels` with their sides joined.

    On the torus f(y + z) has the period of the block. Collector and lithium are diagonals of voxels whose middles lie
    on the two mirror planes: what holds at the middle of such a voxel holds at the plate, and both halves of the
    voxel belong to the stack. So the fields are those of the stack in one dimension, at voxel middles h / sqrt 2
    apart, and what is tested are cut voxels, links through cut faces and readings on a surface askew.
    """
    slab, electrolyte = THIN
    period = 2.0 * (slab + electrolyte)
    h, n = np.sqrt(2.0) * period / voxels, voxels
    y = np.arange(n + 1)
    across = (y[:, None] + y[None, :]) * h / np.sqrt(2.0) % period
    level = np.broadcast_to(np.minimum(across, period - across) - slab, (2, n + 1, n + 1))
    half = _half(_cut(level, Grid((1, n, n), jnp.asarray([SIDE, h, h]))), True)
    i = np.arange(n)
    diagonal = (i[:, None] + i[None, :] + 1)[None] % n
    # Each voxel of the diagonals bears sqrt 2 h of the plate on either side.
    facing = 2.0 * np.sqrt(2.0) * h * SIDE
    plate = np.where(diagonal == 0, 1e6 * facing * SIGMA / h, 0.0)
    metal = np.where(diagonal == n // 2, facing, 0.0)
    return Plated(half, jnp.asarray(plate), jnp.asarray(metal), jnp.zeros(plate.shape))


def _cut(level, grid):
    return nested((jnp.asarray(level),), grid, ("active", "pore"))


def _half(phases, periodic: bool, layers: SeparatorStack | None = None) -> HalfCell:
    roles = {"active": active(library.chen_nmc(), FULL, SIGMA), "pore": pores()}
    return half_cell(
        phases,
        roles,
        library.nyman_electrolyte(),
        library.xu_lithium().kinetics,
        layers,
        lower_cutoff=CUTOFF,
        periodic=periodic,
    )


def fine() -> March:
    """A march whose error lies well below that of the voxels."""
    return March(tolerance=5e-5, max_steps=150, order=3)


def discharged(stack, times, march: March | None = None) -> ResolvedDischarge:
    """A stack under [`CURRENT`][] to the last of `times`, s, each of which ends a step.

    Raises a `RuntimeError` where a step fails.
    """
    march = dataclasses.replace(march or fine(), stops=jnp.asarray(times))
    duration = jnp.asarray(times[-1])
    solution = run(stack, CURRENT * stack.section, ResolvedMethod(march=march), duration=duration)
    if solution.result != Result.successful:
        raise RuntimeError(f"A planar stack stopped at {float(solution.value.end_time):g} s: {solution.result}.")
    return solution.value


def off(value: ResolvedDischarge, wanted: dict[float, float]) -> np.ndarray:
    """By how much the voltage of a discharge that stepped on the times of `wanted` is off, V."""
    time, times = np.asarray(value.time), np.array(list(wanted))
    at = np.argmin(np.abs(time - times[:, None]), axis=1)
    np.testing.assert_allclose(time[at], times, rtol=1e-12)
    return np.asarray(value.voltage)[at] - np.array(list(wanted.values()))
