"""Many small spheres in a conducting porous binder, and the porous electrode with what is measured on their voxels.

Spheres on a simple cubic lattice, one voxel apart, in a carbon-binder that fills all pores and conducts ions and
electrons. The column is a quarter of a lattice cell across, its sides being mirrors, and many cells high. The two
models share materials, electrolyte, lithium and separator; porosity, area, radius and both effective transports come
from the voxels.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from benchmarks.half_cells import FULL, SIGMA
from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.cell.cell import Cell, Electrode, Separator, theoretical_capacity
from solver.cell.discretise import Mesh
from solver.cell.protocol import DFN
from solver.cell.protocol import discharge as porous_discharge
from solver.electrochemistry.conductors import separator_on
from solver.electrochemistry.half_cell import HalfCell, half_cell
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge
from solver.electrochemistry.roles import active, carbon_binder
from solver.numerics.march import March
from solver.numerics.solution import Result
from solver.transport.conduct import for_gradients
from solver.transport.effective import effective_conductivity

PITCH, RADIUS, CELLS = 4e-6, 1.75e-6, 8  # m, of the lattice and its spheres
EMPTY, CUTOFF = 0.9084, 3.5  # stoichiometry of the discharged cathode, Chen 2020; V
BINDER = (5.0, 0.5, 0.25)  # S/m, porosity and relative transport
BETWEEN = (20e-6, 0.5, 0.35)  # separator: m, porosity, relative transport

nested = eqx.filter_jit(voxel.nested)
run = eqx.filter_jit(discharge)
run_porous = eqx.filter_jit(porous_discharge)


def column(voxels: int) -> HalfCell:
    """The half-cell of a column of spheres, a lattice cell being `voxels` long, from distances at half voxels."""
    side, h = voxels // 2, PITCH / voxels
    x, y = np.arange(2 * CELLS * voxels + 1) * 0.5 * h, np.arange(2 * side + 1) * 0.5 * h
    x = x - PITCH * (np.clip(np.floor(x / PITCH * (1.0 + 1e-12)), 0, CELLS - 1) + 0.5)
    level = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + y**2) - RADIUS
    grid = Grid((CELLS * voxels, side, side), jnp.full(3, h))
    phases = nested((jnp.asarray(level),), grid, ("active", "binder"))
    roles = {"active": active(library.chen_nmc(), FULL, SIGMA), "binder": carbon_binder(*BINDER)}
    stack = separator_on(grid.spacing, *BETWEEN)
    return half_cell(
        phases, roles, library.nyman_electrolyte(), library.xu_lithium().kinetics, stack, lower_cutoff=CUTOFF
    )


@eqx.filter_jit
def reacting_area(cell: HalfCell):
    """Of the active phase, m2."""
    return jnp.sum(cell.resolved(1.0).structure.particles[0].area)


def homogenised(cell: HalfCell) -> Cell:
    """The cell of the porous-electrode model with what is measured on the voxels of `cell`."""
    phases = cell.phases
    volume, area = float(phases.grid.volume), float(reacting_area(cell))
    share = float(jnp.mean(phases.fractions[0]))

    def effective(*conductivities):
        solution = effective_conductivity(phases, jnp.asarray(conductivities), 0, None, for_gradients(dtype=np.float64))
        if solution.result != Result.successful:
            raise RuntimeError(f"The effective transport of the column was not found: {solution.result}.")
        return float(solution.value[0])

    positive = Electrode(
        thickness=float(phases.grid.size[0]),
        porosity=BINDER[1] * (1.0 - share),
        active_fraction=share,
        specific_area=area / volume,
        particle_radius=3.0 * share * volume / area,
        electrolyte_transport=effective(0.0, BINDER[2]),
        electronic_conductivity=effective(SIGMA, BINDER[0]),
        material=library.chen_nmc(),
        stoichiometry_full=FULL,
        stoichiometry_empty=EMPTY,
    )
    return library.half_cell(positive, library.nyman_electrolyte(), CUTOFF, separator=Separator(*BETWEEN))


def discharges(cell: HalfCell, porous: Cell, rate: float):
    """Both to the cut-off at a multiple of the current that empties the porous electrode in an hour."""
    density = rate * float(theoretical_capacity(porous.positive)) / 3600.0
    method = ResolvedMethod(march=March(tolerance=3e-4, max_steps=120, order=3))
    resolved = run(cell, jnp.asarray(density * float(cell.section)), method)
    other = run_porous(porous, jnp.asarray(density), DFN(Mesh(1, 20, 40, 20), March(tolerance=1e-5, max_steps=600)))
    for solution in (resolved, other):
        if solution.result != Result.successful:
            raise RuntimeError(f"A discharge of the column at {rate:g}C failed: {solution.result}.")
    return resolved.value, other.value


def apart(resolved, porous) -> float:
    """Root mean square over the time of a discharge of the resolved less the homogenised voltage, V."""
    time = np.asarray(resolved.time)
    time = time[time < min(float(resolved.end_time), float(porous.end_time))]
    off = np.asarray(resolved.voltage)[: len(time)] - np.asarray(porous.voltage_at(jnp.asarray(time)))
    return float(np.sqrt(np.mean(np.interp(np.linspace(0.0, time[-1], 400), time, off) ** 2)))
