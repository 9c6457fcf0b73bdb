"""Derivatives of the losses and of a pulse's resistance, at steps held fixed; lowering for CUDA."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.discretise import Mesh, build, rest
from solver.cell.galvanostatic import Galvanostatic
from solver.cell.library import chen2020
from solver.cell.losses import CAUSES, losses
from solver.cell.operation import pulse_resistance
from solver.numerics.march import March, march

MESH = Mesh(5, 3, 5, 6)
STEPS = 24
COUNT = len(CAUSES) + 1
TIMES = np.concatenate([[0.0], np.geomspace(0.05, 300.0, STEPS)])
LEAVES = {
    "thickness": lambda c: c.positive.thickness,
    "porosity": lambda c: c.negative.porosity,
    "electrolyte transport": lambda c: c.negative.electrolyte_transport,
    "electronic conductivity": lambda c: c.positive.electronic_conductivity,
    "particle radius": lambda c: c.positive.particle_radius,
    "reaction rate": lambda c: c.negative.material.kinetics.rate,
    "temperature": lambda c: c.temperature,
}


@pytest.fixture(scope="module")
def cell():
    return chen2020()


@pytest.fixture(scope="module")
def current(cell):
    return jnp.asarray(10.0) / cell.area  # 2C


def outcome(cell, current):
    """Each cause summed over the cell, V, and the resistance of the pulse, ohm m2."""
    system = build(cell, current, MESH)
    start, guess = rest(system, cell, jnp.asarray(0.6))
    method = March(max_steps=STEPS, schedule=jnp.asarray(TIMES))
    loaded = Galvanostatic(system, cell.lower_cutoff, jnp.ones_like(current))
    record = march(loaded, start, guess, jnp.asarray(300.0), method).value
    found = losses(system, record.unknowns, record.state)
    resistance = pulse_resistance(record.observed[jnp.array([0, STEPS])], jnp.stack([0.0 * current, current]))
    return jnp.append(jnp.sum(found.parts, axis=1), resistance)


@pytest.fixture(scope="module")
def compiled():
    """The figures, and the derivative of their weighted sum in every number of the cell and in the current."""

    def weighted(pair, weights):
        figures = outcome(*pair)
        return weights @ figures, figures

    return eqx.filter_jit(lambda pair, weights: eqx.filter_value_and_grad(weighted, has_aux=True)(pair, weights))


@pytest.fixture(scope="module")
def value(compiled):
    return lambda cell, current: np.asarray(compiled((cell, current), jnp.zeros(COUNT))[0][1])


@pytest.fixture(scope="module")
def gradients(cell, current, compiled):
    return [compiled((cell, current), weights)[1] for weights in jnp.eye(COUNT)]


def central(function, x):
    """Central differences with one Richardson step, at relative steps of 4e-5 and 2e-5."""
    h = 2e-5 * float(x)
    half, full = ((function(x + k * h) - function(x - k * h)) / (2 * k * h) for k in (1, 2))
    return (4 * half - full) / 3


@pytest.mark.parametrize("name", LEAVES)
def test_gradient_of_each_loss(cell, current, value, gradients, name):
    leaf = LEAVES[name]
    scale = abs(float(leaf(cell)))
    expected = np.asarray(central(lambda x: value(eqx.tree_at(leaf, cell, x), current), leaf(cell))) * scale
    found = np.array([float(leaf(each[0])) for each in gradients]) * scale
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)  # V, and ohm m2, for a change of the whole number
    assert np.max(np.abs(found)) > 1e-5


def test_gradient_in_the_current(cell, current, value, gradients):
    expected = central(lambda x: value(cell, x), current)
    found = [float(each[1]) for each in gradients]
    assert found == pytest.approx(list(np.asarray(expected)), rel=1e-6, abs=1e-10)


def test_lowers_for_cuda(cell, current):
    system = build(cell, current, MESH)
    y, w = rest(system, cell, jnp.asarray(0.6))
    arrays, static = eqx.partition(system, eqx.is_array)

    def total(arrays, w, y):
        return losses(eqx.combine(arrays, static), w, y).total

    for function in (total, jax.grad(total, argnums=1)):
        assert jax.export.export(jax.jit(function), platforms=["cuda"])(arrays, w, y).platforms == ("cuda",)
