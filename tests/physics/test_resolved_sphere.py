"""One sphere in the resolved half-cell: its reaction against the exact area, its filling against the series.

The sphere lies in a carbon-binder that is all electrolyte and conducts electrons too (`benchmarks.single_sphere`), so
that nothing but the sphere matters.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.single_sphere import DENSITIES, FILLED, NAMES, SALT, corners, halves, labelled, off_reaction
from microstructure import voxel
from microstructure.grid import Grid
from microstructure.units import faraday, gas_constant
from solver.cell import library
from solver.electrochemistry.electrolyte import Electrolyte
from solver.electrochemistry.half_cell import half_cell
from solver.electrochemistry.kinetics import InsertionKinetics, MetalKinetics
from solver.electrochemistry.laws import Constant, ExponentialTanh
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge
from solver.electrochemistry.roles import active, carbon_binder
from solver.numerics.march import March
from solver.numerics.solution import Result
from tests.resolved_reference import chen_stack, sphere_reaction, sphere_surface

# --- reaction ---------------------------------------------------------------------------------------------------------


def test_densities_are_those_of_the_reference():
    """At the NMC's exchange-current density as the reference has it."""
    nmc = chen_stack()
    exchange = nmc.rate * nmc.maximum * np.sqrt(SALT * FILLED * (1.0 - FILLED))
    for eta, density in DENSITIES.items():
        assert 4.0 * np.pi * density == pytest.approx(sphere_reaction(1.0, exchange, eta), rel=1e-9)


def test_reaction_of_a_sphere_of_six_voxels_is_that_of_the_exact_area():
    """Within 0.5 %; measured, 0.07 % from half voxels, and from the corners of voxels alone 0.8 %."""
    assert off_reaction(halves, 16, 6.0) < 2e-3
    assert off_reaction(corners, 16, 6.0) < 1e-2


def test_reaction_of_a_labelled_sphere_of_ten_voxels():
    assert off_reaction(labelled, 24, 10.0) < 2e-2


# --- filling ----------------------------------------------------------------------------------------------------------

RADIUS, DIFFUSIVITY, MAXIMUM = 5e-6, 1e-14, 5e4  # m, m2/s, mol/m3
SLOPE, START = 1.0, 0.3  # V, stoichiometry
FLUX = 0.15 * DIFFUSIVITY * MAXIMUM / RADIUS  # mol/m2/s, into the surface
EXCHANGE = 20.0  # A/m2, over sqrt(x (1 - x))
TIMES = (0.02, 0.5)  # D t / R^2

run = eqx.filter_jit(discharge)


def straight_material():
    """With a potential that falls straight, so that a voltage tells the stoichiometry of the surface."""
    straight = ExponentialTanh(4.0 + SLOPE * START, -SLOPE, np.zeros((1, 2)), np.zeros((1, 3)))
    return dataclasses.replace(
        library.chen_nmc(),
        maximum_concentration=MAXIMUM,
        diffusivity=DIFFUSIVITY,
        open_circuit_potential=straight,
        kinetics=InsertionKinetics(EXCHANGE / faraday),
    )


def voltage_at(surface, density):
    """Of an even surface of that material at the stoichiometry `surface` under `density`, A/m2, V."""
    exchange = EXCHANGE * np.sqrt(surface * (1.0 - surface))
    lost = 2.0 * gas_constant * 298.15 / faraday * np.arcsinh(0.5 * density / exchange)
    return 4.0 - SLOPE * (surface - START) - lost


# Lithium that reacts at once, and an electrolyte without resistance and without gradients of salt.
SWIFT = 100.0  # S/m
LITHIUM, ELECTROLYTE = MetalKinetics(1e6, 0.0), Electrolyte(1000.0, Constant(1.0), Constant(SWIFT), 1.0)


def octant(radius: int):
    """An eighth of the sphere, `radius` voxels, its middle in a corner of the block: the sides are mirrors. Conduction
    takes next to nothing, so that the current comes evenly."""
    h = RADIUS / radius
    roles = {"active": active(straight_material(), START, SWIFT), "binder": carbon_binder(SWIFT, 1.0, 1.0)}
    phases = halves(radius + max(2, radius // 4), (0.0, 0.0, 0.0), float(radius), h)
    return half_cell(phases, roles, ELECTROLYTE, LITHIUM, lower_cutoff=1.0)


def off_filling(radius: int, tolerance: float = 1e-4) -> np.ndarray:
    """By how much the voltage at the times above is off, over what N R / (D c_max) of lithium at the surface costs."""
    current = faraday * FLUX * 0.5 * np.pi * RADIUS**2
    seconds = np.asarray(TIMES) * RADIUS**2 / DIFFUSIVITY
    march = March(tolerance=tolerance, max_steps=150, order=3, stops=jnp.asarray(seconds[:-1]))
    solution = run(octant(radius), jnp.asarray(current), ResolvedMethod(march=march), duration=jnp.asarray(seconds[-1]))
    assert solution.result == Result.successful
    time, voltage = np.asarray(solution.value.time), np.asarray(solution.value.voltage)
    reached = np.array([voltage[np.argmin(np.abs(time - t))] for t in seconds])
    unit = FLUX * RADIUS / (DIFFUSIVITY * MAXIMUM)
    surface = START + unit * np.array([sphere_surface(t) for t in TIMES])
    return (voltage_at(surface, faraday * FLUX) - reached) / (SLOPE * unit)


@pytest.mark.slow  # compiles a march, as the next
def test_a_sphere_of_four_voxels_fills_nearly_as_the_diffusion_series_says():
    assert np.max(np.abs(off_filling(4))) < 0.05


@pytest.mark.slow  # 60 steps on a thousand voxels
def test_a_sphere_fills_as_the_diffusion_series_says_to_second_order():
    """At eight voxels a radius the surface is known to one hundredth of N R / (D c_max)."""
    coarse, refined = (np.abs(off_filling(n)) for n in (4, 8))
    assert np.max(refined) < 1.2e-2
    assert np.min(np.log2(coarse / refined)) > 1.8


# --- time -------------------------------------------------------------------------------------------------------------


def off_in_time(order: int, counts) -> np.ndarray:
    """By how much the voltage is off, V, after `counts` steps of a slab of two voxels, whose stoichiometries are

    x_1,2 = x_0 + q t / 2 +- q (1 - exp(-2 k t)) / (4 k),   k = D / h^2,   q = i / (F c_max h);

    steps grow from the start on, so that the first ones, of lower order, do not show.
    """
    h, density, most = 1e-6, 5.0, 32
    labels = np.array([0, 0, 1, 1]).reshape(4, 1, 1)
    phases = voxel.from_labels(labels, Grid((4, 1, 1), jnp.full(3, h)), dict(enumerate(NAMES)), dtype=jnp.float64)
    roles = {"active": active(straight_material(), START, SWIFT), "binder": carbon_binder(SWIFT, 1.0, 1.0)}
    cell = half_cell(phases, roles, ELECTROLYTE, LITHIUM, lower_cutoff=1.0)
    k, q = DIFFUSIVITY / h**2, density / (faraday * MAXIMUM * h)
    end = 1.0 / k
    facing = START + 0.5 * q * end + q * (1.0 - np.exp(-2.0 * k * end)) / (4.0 * k)
    exact = voltage_at(facing + 0.5 * density * h / (faraday * DIFFUSIVITY * MAXIMUM), density)
    exact -= 4.0 * h * density / SWIFT  # two voxels of electrolyte, two of solid
    errors = []
    for n in counts:
        schedule = end * np.minimum(np.arange(most + 1) / n, 1.0) ** 2
        method = ResolvedMethod(march=March(schedule=jnp.asarray(schedule), max_steps=most, order=order))
        solution = run(cell, jnp.asarray(density * h**2), method, duration=jnp.asarray(end))
        assert solution.result == Result.successful and int(solution.stats["steps"]) == n
        errors.append(float(solution.value.voltage[-1]) - exact)
    return np.abs(errors)


@pytest.mark.slow  # three marches each; the default suite has the orders of the march itself
@pytest.mark.parametrize("order", [2, 3])
def test_order_in_time(order):
    errors = off_in_time(order, (8, 16, 32))
    assert np.all(np.log2(errors[:-1] / errors[1:]) > order - 0.3)
