"""The resolved half-cell without a porous reaction against the steady transport solver on the same voxels.

A slab of active material lies flat on the collector, obstacles of an inert phase above it; the lithium is right on the
last slice. The slab reacts at once, so that its surface is a plate of the transport solver.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import voxel
from microstructure.grid import Grid
from microstructure.units import faraday, gas_constant
from solver.cell import library
from solver.electrochemistry.electrolyte import Electrolyte
from solver.electrochemistry.half_cell import half_cell
from solver.electrochemistry.kinetics import InsertionKinetics, MetalKinetics
from solver.electrochemistry.laws import Constant
from solver.electrochemistry.resolved_solve import NewtonMethod, newton_krylov
from solver.electrochemistry.resolved_start import rest
from solver.electrochemistry.roles import active, carbon_binder, inert, pores
from solver.numerics.solution import Result
from solver.transport.conduct import Conduction
from solver.transport.effective import effective_conductivity
from solver.transport.network import Layout

SHAPE, H, DENSITY = (14, 8, 8), 1e-6, 20.0  # voxels, m, A/m2
SLAB = 2  # slices
LENGTH = (SHAPE[0] - SLAB) * H  # of the electrolyte, m
KAPPA, SIGMA, NANO = 1.3, 1e5, 0.1  # S/m, of electrolyte and slab, and relative transport of the binder
DIFFUSIVITY = 3e-10  # m2/s
EXCHANGE = 1e8  # A/m2, of both surfaces
NAMES = ("active", "inert", "binder", "pore")
nested = eqx.filter_jit(voxel.nested)


def phases():
    """Inert spheres in a film of binder, cut where they lie, over the slab; the sides are joined."""
    axes = [np.arange(n + 1.0) for n in SHAPE]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)

    def ball(centre, radius):
        step = places - np.asarray(centre)
        step[..., 1:] -= 8.0 * np.round(step[..., 1:] / 8.0)
        return np.linalg.norm(step, axis=-1) - radius

    slab = places[..., 0] - SLAB
    stones = np.minimum(ball((8.2, 2.1, 3.3), 2.6), ball((10.9, 6.2, 6.4), 2.3))
    film = stones - 0.6
    levels = (slab, np.minimum(slab, stones), np.minimum(slab, film))
    return nested(tuple(H * jnp.asarray(x) for x in levels), Grid(SHAPE, jnp.full(3, H)), NAMES)


def effective() -> float:
    """Of the electrolyte above the slab over the free one, by the steady transport solver."""
    whole = phases()
    grid = Grid((SHAPE[0] - SLAB, *SHAPE[1:]), whole.grid.spacing)
    through, *across = (a[:, SLAB:] for a in whole.apertures)
    # The face on the slab belongs half to each; as a plate it is all open.
    apertures = through.at[:, 0].set(jnp.asarray([0.0, 0.0, 0.0, 1.0])[:, None, None]), *across
    above = voxel.Phases(grid, whole.fractions[:, SLAB:], apertures, whole.areas[:, SLAB:], NAMES)
    method = Conduction(energy_rtol=0.0, rtol=1e-10, dtype=jnp.float64)
    solution = effective_conductivity(
        above, jnp.asarray([0.0, 0.0, NANO, 1.0]), 0, None, method, Layout(periodic=(False, True, True))
    )
    assert solution.result == Result.successful
    return float(solution.value[0])


@pytest.fixture(scope="module")
def relative():
    return effective()


@eqx.filter_jit
def begun(cell):
    system = cell.resolved(DENSITY * cell.section)
    return system, *rest(system)


@eqx.filter_jit
def stepped(system, w, past, gamma, tolerance):
    solution = newton_krylov(system, w, past, gamma, NewtonMethod(tolerance=tolerance, forcing=1e-4))
    return solution.value, solution.result


def solved(transference: float, steps, tolerance: float):
    """The system, and its fields after implicit steps, s, from rest; zero for the start."""
    nmc = library.chen_nmc()
    material = dataclasses.replace(
        nmc,
        diffusivity=1e-13,
        open_circuit_potential=Constant(4.0),
        kinetics=InsertionKinetics(2.0 * EXCHANGE / faraday),
    )
    roles = {
        "active": active(material, 0.5, SIGMA),
        "inert": inert(),
        "binder": dataclasses.replace(carbon_binder(1.0, 0.5, NANO), conductivity=None),
        "pore": pores(),
    }
    electrolyte = Electrolyte(1000.0, Constant(DIFFUSIVITY), Constant(KAPPA), transference)
    cell = half_cell(phases(), roles, electrolyte, MetalKinetics(EXCHANGE, 0.0), periodic=True)

    system, past, w = begun(cell)
    for gamma in steps:
        w, result = stepped(system, w, past, jnp.asarray(gamma), jnp.asarray(tolerance))
        assert result == Result.successful
        past = system.state(w)
    return system, system.cut(w)


def taken_beside(system, found) -> float:
    """What both reactions and the slab take, V, from what they dissipate: less than 1e-4 of what the electrolyte does,
    and counted with the currents that flow, so that what is left out is of second order."""
    s, thermal = system.structure, gas_constant * 298.15 / faraday
    pairs = ((s.particles[0].area, found.reaction[0]), (s.metal_area, found.metal))
    power = sum(float(jnp.sum(area * j**2)) * thermal / EXCHANGE for area, j in pairs)
    return power / (DENSITY * float(s.section)) + DENSITY * SLAB * H / SIGMA


def test_resistance(relative):
    """Without gradients of salt the electrolyte is the resistance L / kappa_eff of the transport solver."""
    system, found = solved(1.0, (0.0,), 1e-11)
    lost = 4.0 - float(found.voltage) - taken_beside(system, found)
    assert lost == pytest.approx(DENSITY * LENGTH / (KAPPA * relative), rel=1e-6)


def test_steady_salt(relative):
    """Long after the start the salt falls from the lithium to the slab by (1 - t+) i L / (F D_eff), even over both
    surfaces, its amount is kept, and the voltage is that of the stack in one dimension."""
    transference = 0.4
    system, found = solved(transference, (10.0,) * 4, 1e-9)
    s, seen = system.structure, system.read(0, found)
    top = np.asarray(system.beside(system.top(found.salt), system.top(found.lyte), found.metal, s.metal_path)[0])
    below = np.asarray(system.surface(0, seen, found.reaction[0])[1])[np.asarray(s.particles[0].area) > 0]
    fall = (1.0 - transference) * DENSITY * LENGTH / (faraday * DIFFUSIVITY * relative)
    assert max(np.ptp(top), np.ptp(below)) < 1e-4 * fall
    assert np.mean(top) - np.mean(below) == pytest.approx(fall, rel=2e-5)
    assert abs(float(jnp.sum(s.storage * (found.salt - 1000.0)) / jnp.sum(s.storage))) < 1e-6 * fall
    ohmic = DENSITY * LENGTH / (KAPPA * relative)
    diffusion = 2.0 * (1.0 - transference) * gas_constant * 298.15 / faraday * np.log(np.mean(top) / np.mean(below))
    lost = 4.0 - float(found.voltage) - taken_beside(system, found)
    assert lost == pytest.approx(ohmic + diffusion, rel=2e-5)
