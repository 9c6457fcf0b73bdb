"""Derivatives of the impedance against central differences; batches of designs; lowering for CUDA."""

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.cell import covered
from solver.cell.discretise import Mesh
from solver.cell.impedance import EIS, impedance
from solver.cell.library import chen2020

FREQUENCY = np.array([1e-3, 1.0, 1e3])  # Hz
METHOD = EIS(Mesh(4, 2, 4), series_resistance=1e-4, inductance=1e-8)
LEAVES = {
    "thickness": lambda c, m, x: c.positive.thickness,
    "thickness of the negative": lambda c, m, x: c.negative.thickness,
    "thickness of the separator": lambda c, m, x: c.separator.thickness,
    "porosity": lambda c, m, x: c.positive.porosity,
    "porosity of the separator": lambda c, m, x: c.separator.porosity,
    "specific area": lambda c, m, x: c.positive.specific_area,
    "particle radius": lambda c, m, x: c.positive.particle_radius,
    "radius in the negative": lambda c, m, x: c.negative.particle_radius,
    "electrolyte transport": lambda c, m, x: c.positive.electrolyte_transport,
    "electronic conductivity": lambda c, m, x: c.positive.electronic_conductivity,
    "initial concentration": lambda c, m, x: c.electrolyte.initial_concentration,
    "transference number": lambda c, m, x: c.electrolyte.transference_number,
    "thermodynamic factor": lambda c, m, x: c.electrolyte.thermodynamic_factor,
    "diffusivity": lambda c, m, x: c.positive.material.diffusivity,
    "diffusivity in the negative": lambda c, m, x: c.negative.material.diffusivity,
    "maximum concentration": lambda c, m, x: c.positive.material.maximum_concentration,
    "reaction rate": lambda c, m, x: c.negative.material.kinetics.rate,
    "stoichiometry": lambda c, m, x: c.positive.stoichiometry_full,
    "temperature": lambda c, m, x: c.temperature,
    "double layer": lambda c, m, x: c.positive.double_layer,
    "inductance": lambda c, m, x: m.inductance,
    "state of charge": lambda c, m, x: x,
}


def parts(cell, method, charge):
    """Real and imaginary parts of the impedance of the cell, shape (6,), ohm."""
    z = impedance(cell, jnp.asarray(FREQUENCY), method, state_of_charge=charge).of_cell
    return jnp.concatenate([z.real, z.imag])


@pytest.fixture(scope="module")
def point():
    return covered(chen2020(), 0.2, 0.3), METHOD, jnp.asarray(0.6, float)


@pytest.fixture(scope="module")
def value():
    compiled = eqx.filter_jit(lambda p: parts(*p))
    return lambda point: np.asarray(compiled(point))


@pytest.fixture(scope="module")
def rows(point):
    """The gradient of each of the six numbers, in every number of the cell, the method and the state."""
    arrays, static = eqx.partition(point, eqx.is_inexact_array)

    def of(arrays, weights):
        return weights @ parts(*eqx.combine(arrays, static))

    return jax.jit(jax.vmap(jax.grad(of), (None, 0)))(arrays, jnp.eye(6))


@pytest.mark.parametrize("name", LEAVES)
def test_gradient_against_central_differences(point, value, rows, name):
    def leaf(point):
        return LEAVES[name](*point)

    x = np.asarray(leaf(point))

    def moved(share):
        return value(eqx.tree_at(leaf, point, jnp.asarray(x + share * x)))

    half, full = ((moved(k * 1e-4) - moved(-k * 1e-4)) / (2 * k * 1e-4) for k in (1, 2))
    expected = (4 * half - full) / 3
    found = np.asarray(leaf(rows)) * x
    assert np.any(np.abs(expected) > 1e-9)
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-9 * np.max(np.abs(value(point))))


def test_a_batch_of_designs_is_each_of_them(point, value):
    cell, method, charge = point
    radii = jnp.asarray([3e-6, 5e-6, 8e-6])
    other = eqx.tree_at(lambda c: c.positive.particle_radius, cell, radii[2])
    many = jax.jit(
        jax.vmap(lambda r: parts(eqx.tree_at(lambda c: c.positive.particle_radius, cell, r), method, charge))
    )(radii)
    assert many.shape == (3, 6)
    assert np.allclose(many[2], value((other, method, charge)), rtol=1e-11)
    assert np.all(np.abs(np.diff(many[:, 0])) > 1e-4)


def test_lowers_for_cuda(point):
    arrays, static = eqx.partition(point, eqx.is_inexact_array)

    def total(arrays):
        return jnp.sum(parts(*eqx.combine(arrays, static)))

    exported = jax.export.export(jax.jit(jax.value_and_grad(total)), platforms=["cuda"])(arrays)
    assert exported.platforms == ("cuda",)
