"""Derivatives of a discharge through its cut-off, against finite differences at the same steps; lowering for CUDA."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.discretise import Mesh
from solver.cell.library import chen2020
from solver.cell.protocol import DFN, Stop, discharge
from solver.numerics.march import March

MESH = Mesh(8, 4, 8, 8)
QUANTITIES = ("energy", "capacity", "end_time", "last_voltage")
LEAVES = {
    "thickness": lambda c: c.positive.thickness,
    "thickness of the negative": lambda c: c.negative.thickness,
    "porosity": lambda c: c.positive.porosity,
    "specific area": lambda c: c.positive.specific_area,
    "particle radius": lambda c: c.positive.particle_radius,
    "electrolyte transport": lambda c: c.positive.electrolyte_transport,
    "electronic conductivity": lambda c: c.positive.electronic_conductivity,
    "initial concentration": lambda c: c.electrolyte.initial_concentration,
    "diffusivity": lambda c: c.positive.material.diffusivity,
    "reaction rate": lambda c: c.negative.material.kinetics.rate,
    "initial stoichiometry": lambda c: c.positive.stoichiometry_full,
    "temperature": lambda c: c.temperature,
    "cut-off": lambda c: c.lower_cutoff,
}


def outcome(cell, current, method):
    value = discharge(cell, current, method).value
    return jnp.stack([value.energy, value.capacity, value.end_time, value.voltage[-1]])


def weighted(cell, current, weights, method):
    return weights @ outcome(cell, current, method)


@pytest.fixture(scope="module")
def cell():
    return chen2020()


@pytest.fixture(scope="module")
def current(cell):
    return jnp.asarray(10.0) / cell.area  # 2C


@pytest.fixture(scope="module")
def replay(cell, current):
    """The steps of one adaptive run, the last one made longer so that the event stays inside it."""
    solution = eqx.filter_jit(discharge)(cell, current, DFN(MESH, March(max_steps=150, tolerance=1e-3)))
    assert solution.value.stop == Stop.cut_off
    n, time = int(solution.stats["steps"]), np.array(solution.value.time)
    last = time[n] - time[n - 1]
    time[n:] = time[n - 1] + 1.5 * last * np.arange(1, len(time) - n + 1)
    return DFN(MESH, March(max_steps=150, schedule=jnp.asarray(time)))


@pytest.fixture(scope="module")
def gradients(cell, current, replay):
    compiled = eqx.filter_jit(lambda *a: eqx.filter_grad(lambda pair: weighted(*pair, *a[2:]))(a[:2]))
    return [compiled(cell, current, weights, replay) for weights in jnp.eye(4)]


@pytest.fixture(scope="module")
def value(current, replay):
    compiled = eqx.filter_jit(outcome)
    return lambda cell, current=current: np.asarray(compiled(cell, current, replay))


def central(function, x):
    """Central differences with one Richardson step, at relative steps of 4e-5 and 2e-5."""
    h = 2e-5 * float(x)
    half, full = ((function(x + k * h) - function(x - k * h)) / (2 * k * h) for k in (1, 2))
    return (4 * half - full) / 3


@pytest.mark.parametrize("name", LEAVES)
def test_gradient_through_the_cutoff(cell, gradients, value, name):
    leaf = LEAVES[name]
    expected = central(lambda x: value(eqx.tree_at(leaf, cell, x)), leaf(cell))
    for k, quantity in enumerate(QUANTITIES[:3]):
        assert float(leaf(gradients[k][0])) == pytest.approx(expected[k], rel=1e-6), quantity
    level = 1.0 if name == "cut-off" else 0.0
    scale = abs(float(leaf(cell)))
    assert float(leaf(gradients[3][0])) * scale == pytest.approx(level * scale, abs=1e-9)


def test_gradient_in_the_current(cell, current, gradients, value):
    expected = central(lambda x: value(cell, x), current)
    for k in range(3):
        assert float(gradients[k][1]) == pytest.approx(expected[k], rel=1e-6)


def test_adaptive_steps_have_the_same_gradient(cell, current, gradients):
    """Steps chosen anew, thirty times as fine: the derivative of the coarse replay is within three percent."""
    leaf = LEAVES["thickness"]
    compiled = eqx.filter_jit(lambda c, i, m: discharge(c, i, m).value.energy)
    method = DFN(MESH, March(max_steps=400, tolerance=3e-5))
    energy = [float(compiled(eqx.tree_at(leaf, cell, leaf(cell) * s), current, method)) for s in (1.02, 0.98)]
    difference = (energy[0] - energy[1]) / (0.04 * float(leaf(cell)))
    assert float(leaf(gradients[0][0])) == pytest.approx(difference, rel=3e-2)


def test_lowers_for_cuda(cell, current):
    method = DFN(MESH, March(max_steps=150))
    arrays, static = eqx.partition(cell, eqx.is_array)

    def energy(arrays, current):
        return discharge(eqx.combine(arrays, static), current, method).value.energy

    for function in (energy, jax.value_and_grad(energy)):
        exported = jax.export.export(jax.jit(function), platforms=["cuda"])(arrays, current)
        assert exported.platforms == ("cuda",)
