"""Many small spheres: the resolved half-cell against the porous-electrode model with what is measured on its voxels.

Spheres on a simple cubic lattice, one voxel apart, in a carbon-binder that fills all pores and conducts ions and
electrons. The column is a quarter of a lattice cell across, its sides being mirrors, and many cells high. The two
models share materials, electrolyte, lithium and separator; porosity, area, radius and both effective transports come
from the voxels.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import voxel
from microstructure.grid import Grid
from solver.cell import library
from solver.cell.cell import Electrode, Separator, theoretical_capacity
from solver.cell.discretise import Mesh, build
from solver.cell.impedance import at_rest
from solver.cell.linearise import linearise
from solver.cell.protocol import DFN
from solver.cell.protocol import discharge as porous_discharge
from solver.electrochemistry.half_cell import half_cell, rest
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge
from solver.electrochemistry.resolved_solve import NewtonMethod, newton_krylov
from solver.electrochemistry.roles import active, carbon_binder
from solver.electrochemistry.structure import separator_on
from solver.numerics.march import March
from solver.numerics.solution import Result
from solver.transport.conduct import for_gradients
from solver.transport.effective import effective_conductivity

PITCH, RADIUS, CELLS = 4e-6, 1.75e-6, 8  # m, of the lattice and its spheres
FULL, EMPTY, CUTOFF = 17038.0 / 63104.0, 0.9084, 3.5  # Chen 2020; V
SIGMA, BINDER = 0.18, (5.0, 0.5, 0.25)  # S/m; of the binder S/m, porosity and relative transport
BETWEEN = (20e-6, 0.5, 0.35)  # separator: m, porosity, relative transport

METAL = library.half_cell(library.chen_positive(), library.nyman_electrolyte()).negative.kinetics

nested = eqx.filter_jit(voxel.nested)
run = eqx.filter_jit(discharge)
run_porous = eqx.filter_jit(porous_discharge)


def column(voxels: int):
    """The half-cell of a column of spheres, a lattice cell being `voxels` long, from distances at half voxels."""
    side, h = voxels // 2, PITCH / voxels
    x, y = np.arange(2 * CELLS * voxels + 1) * 0.5 * h, np.arange(2 * side + 1) * 0.5 * h
    x = x - PITCH * (np.clip(np.floor(x / PITCH * (1.0 + 1e-12)), 0, CELLS - 1) + 0.5)
    level = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + y**2) - RADIUS
    grid = Grid((CELLS * voxels, side, side), jnp.full(3, h))
    phases = nested((jnp.asarray(level),), grid, ("active", "binder"))
    roles = {"active": active(library.chen_nmc(), FULL, SIGMA), "binder": carbon_binder(*BINDER)}
    stack = separator_on(grid.spacing, *BETWEEN)
    return half_cell(phases, roles, library.nyman_electrolyte(), METAL, stack, lower_cutoff=CUTOFF)


@eqx.filter_jit
def reacting_area(cell):
    """Of the active phase, m2."""
    return jnp.sum(cell.resolved(1.0).structure.particles[0].area)


def homogenised(cell):
    """The cell of the porous-electrode model with what is measured on the voxels of `cell`."""
    phases = cell.phases
    volume, area = float(phases.grid.volume), float(reacting_area(cell))
    share = float(jnp.mean(phases.fractions[0]))

    def effective(*conductivities):
        solution = effective_conductivity(phases, jnp.asarray(conductivities), 0, None, for_gradients(dtype=np.float64))
        assert solution.result == Result.successful
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


def apart(cell, porous, rate: float) -> float:
    """Root mean square over the time of a discharge of the resolved less the homogenised voltage, V."""
    density = rate * float(theoretical_capacity(porous.positive)) / 3600.0
    method = ResolvedMethod(march=March(tolerance=3e-4, max_steps=120, order=3))
    solution = run(cell, jnp.asarray(density * float(cell.section)), method)
    other = run_porous(porous, jnp.asarray(density), DFN(Mesh(1, 20, 40, 20), March(tolerance=1e-5, max_steps=600)))
    assert solution.result == Result.successful and other.result == Result.successful
    assert float(solution.value.end_time) == pytest.approx(float(other.value.end_time), rel=5e-3)
    time = np.asarray(solution.value.time)
    time = time[time < min(float(solution.value.end_time), float(other.value.end_time))]
    off = np.asarray(solution.value.voltage)[: len(time)] - np.asarray(other.value.voltage_at(jnp.asarray(time)))
    return float(np.sqrt(np.mean(np.interp(np.linspace(0.0, time[-1], 400), time, off) ** 2)))


@pytest.fixture(scope="module")
def pair():
    """Spheres of 3.5 voxels, one voxel apart, and their homogenised cell."""
    cell = column(8)
    return cell, homogenised(cell)


def test_many_small_spheres_are_a_porous_electrode(pair):
    """Within 2 mV at C/2; measured, 0.9 mV."""
    assert apart(*pair, 0.5) < 2e-3


@pytest.mark.slow  # three more discharges
def test_the_difference_grows_with_the_rate(pair):
    """In proportion: 0.42, 0.87, 1.72 and 3.56 mV from C/4 to 2C."""
    rates = np.array([0.25, 0.5, 1.0, 2.0])
    found = np.array([apart(*pair, rate) for rate in rates])
    np.testing.assert_allclose(found / rates, np.mean(found / rates), rtol=0.1)


@pytest.mark.slow  # eight thousand voxels
def test_the_difference_is_that_of_voxels(pair):
    """It falls as the spheres get more voxels: it is how coarsely the resolved cell sees diffusion in them."""
    cell = column(16)
    assert apart(cell, homogenised(cell), 0.5) < 0.5 * apart(*pair, 0.5)


# --- small signals ----------------------------------------------------------------------------------------------------


@eqx.filter_jit
def resolved_impedance(cell, s):
    """-dV/di at rest, ohm m2, at a real Laplace variable s, 1/s: a step of implicit Euler from rest is
    y - y_0 = f / s, of small changes the Laplace transform of the equations under a current that is switched on."""
    density = 2e-4  # A/m2, so little that nothing but slopes matters
    system = cell.resolved(density * cell.section)
    y, w = rest(cell, system)
    solution = newton_krylov(system, w, y, 1.0 / s, NewtonMethod())
    still = system.active[0].material.potential_at(system.active[0].stoichiometry, system.temperature)
    return -(system.cut(solution.value).voltage - still) / density, solution.result


@eqx.filter_jit
def porous_impedance(cell, s):
    """The same of the homogenised cell, at all s, shape (n,)."""
    system = build(cell, jnp.asarray(0.0), Mesh(1, 40, 80, 1))
    linear = linearise(system, at_rest(system, cell, jnp.asarray(1.0)))
    return jnp.real(jax.vmap(linear.impedance)(s.astype(complex)))


def off_impedance(pair, s) -> np.ndarray:
    """The relative difference of both at `s`, 1/s, with particles so small that lithium spreads at once in them."""
    cell, porous = pair
    swift = jnp.asarray(1e-11)
    cell = eqx.tree_at(lambda c: c.roles["active"].material.diffusivity, cell, swift)
    porous = eqx.tree_at(lambda c: c.positive.material.diffusivity, porous, swift)
    wanted = np.asarray(porous_impedance(porous, jnp.asarray(s)))
    found = []
    for x in s:
        value, result = resolved_impedance(cell, jnp.asarray(x))
        assert result == Result.successful
        found.append(float(value))
    return np.array(found) / wanted - 1.0


def test_small_signals_are_the_impedance_of_the_porous_electrode(pair):
    """From where lithium and salt are even to where both hardly move; measured, within 1.3e-3."""
    off = off_impedance(pair, [1e-4, 1e-2, 0.1, 1.0, 100.0])
    assert np.max(np.abs(off)) < 3e-3
