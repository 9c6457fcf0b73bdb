"""Derivatives of a discharge through its cut-off, against finite differences at the same steps; lowering for CUDA.

Every class of output (energy, capacity, end time, voltages, what is left in electrolyte and particles) in every
one of 28 parameters, for two parameter sets; all as derivatives in the logarithm of a parameter.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.cell import covered
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020, marquis2019
from solver.cell.protocol import DFN, Stop, discharge
from solver.numerics.march import March, same_steps

MESH = Mesh(8, 4, 8, 8)
SETS = {"Marquis 1C": (marquis2019, 0.680616), "Chen 2C": (chen2020, 10.0)}  # and the current, A
OUTPUTS = ("energy", "capacity", "end time", "last voltage", "voltage", "salt", "surface", "mean")
OF_AN_ELECTRODE = {
    "thickness": lambda e: e.thickness,
    "porosity": lambda e: e.porosity,
    "specific area": lambda e: e.specific_area,
    "particle radius": lambda e: e.particle_radius,
    "electrolyte transport": lambda e: e.electrolyte_transport,
    "electronic conductivity": lambda e: e.electronic_conductivity,
    "initial stoichiometry": lambda e: e.stoichiometry_full,
    "maximum concentration": lambda e: e.material.maximum_concentration,
    "diffusivity": lambda e: e.material.diffusivity,
    "reaction rate": lambda e: e.material.kinetics.rate,
}
LEAVES = {
    f"{name} of the {side}": lambda c, side=side, leaf=leaf: leaf(getattr(c, side))
    for side in ("negative", "positive")
    for name, leaf in OF_AN_ELECTRODE.items()
} | {
    "thickness of the separator": lambda c: c.separator.thickness,
    "porosity of the separator": lambda c: c.separator.porosity,
    "transport of the separator": lambda c: c.separator.electrolyte_transport,
    "initial concentration": lambda c: c.electrolyte.initial_concentration,
    "transference number": lambda c: c.electrolyte.transference_number,
    "temperature": lambda c: c.temperature,
    "cut-off": lambda c: c.lower_cutoff,
}
PARAMETERS = (*LEAVES, "current")


def outcome(factors, cell, current, method, time):
    """A number of each class of `OUTPUTS`, the parameters multiplied by `factors`; V and fields as weighted sums."""
    values = [leaf(cell) * f for leaf, f in zip(LEAVES.values(), factors, strict=False)]
    cell = eqx.tree_at(lambda c: [leaf(c) for leaf in LEAVES.values()], cell, values)
    value = discharge(cell, current * factors[-1], method).value

    def weigh(x):
        return jnp.sum(x * jnp.linspace(1.0, 2.0, x.size))

    parts = [value.energy, value.capacity, value.end_time, value.voltage[-1], weigh(value.voltage_at(time))]
    parts += [weigh(value.final.concentration), *(sum(map(weigh, f)) for f in (value.final.surface, value.final.mean))]
    return jnp.stack(parts)


@pytest.fixture(scope="module", params=["Marquis 1C", pytest.param("Chen 2C", marks=pytest.mark.slow)])
def case(request):
    make, amperes = SETS[request.param]
    cell = make()
    return cell, jnp.asarray(amperes) / cell.area


@pytest.fixture(scope="module")
def replay(case):
    """The steps of one adaptive run, and some times."""
    solution = eqx.filter_jit(discharge)(*case, DFN(MESH, March(max_steps=150, tolerance=1e-3)))
    assert solution.value.stop == Stop.cut_off
    method = DFN(MESH, March(max_steps=150, schedule=same_steps(solution.value.time)))
    return method, jnp.array([0.02, 0.3, 0.6, 0.9]) * float(solution.value.end_time)


@pytest.fixture(scope="module")
def value(case, replay):
    compiled = eqx.filter_jit(outcome)
    return lambda factors: np.asarray(compiled(factors, *case, *replay))


@pytest.fixture(scope="module")
def gradients(case, replay):
    """The derivatives of all outputs in all factors, shape (outputs, parameters)."""

    @eqx.filter_jit
    def jacobian(factors, case, replay):
        _, pull_back = jax.vjp(lambda f: outcome(f, *case, *replay), factors)
        return jax.vmap(lambda row: pull_back(row)[0])(jnp.eye(len(OUTPUTS)))

    return np.asarray(jacobian(jnp.ones(len(PARAMETERS)), case, replay))


def central(function, x=1.0, h=2.5e-5):
    """Central differences with one Richardson step, at steps of h and 2 h."""
    half, full = ((function(x + k * h) - function(x - k * h)) / (2 * k * h) for k in (1, 2))
    return (4 * half - full) / 3


@pytest.mark.parametrize("name", PARAMETERS)
def test_gradient_through_the_cutoff(gradients, value, name):
    """Within 1e-6 of the derivative, or of a hundredth of the output where the derivative is smaller than that.

    The end time among them: the derivative of the event at recorded steps. The last voltage is the cut-off, whose
    derivative is known, and to which the steps come to 1e-11.
    """
    k, one = PARAMETERS.index(name), jnp.ones(len(PARAMETERS))
    expected = central(lambda x: value(one.at[k].set(x)))
    size = np.maximum(np.abs(expected), 1e-2 * np.abs(value(one)))
    off = dict(zip(OUTPUTS, (gradients[:, k] - expected) / size, strict=True))
    del off["last voltage"]
    assert off == pytest.approx(dict.fromkeys(off, 0.0), abs=1e-6)
    level = value(one)[3] if name == "cut-off" else 0.0
    assert gradients[3, k] == pytest.approx(level, abs=1e-9)


def test_adaptive_steps_have_the_same_gradient(case, gradients):
    """Steps chosen anew, thirty times as fine: the derivative of the coarse replay is within three percent."""
    cell, current = case
    compiled = eqx.filter_jit(lambda c, i, m: discharge(c, i, m).value.energy)
    method, leaf = DFN(MESH, March(max_steps=400, tolerance=3e-5)), LEAVES["thickness of the positive"]
    energy = [float(compiled(eqx.tree_at(leaf, cell, leaf(cell) * s), current, method)) for s in (1.02, 0.98)]
    found = gradients[0, PARAMETERS.index("thickness of the positive")]
    assert found == pytest.approx((energy[0] - energy[1]) / 0.04, rel=3e-2)


@pytest.mark.slow
def test_a_batch_has_the_gradients_of_its_lanes(case, gradients, replay):
    """Under `vmap`, beside lanes that end at other times."""

    @eqx.filter_jit
    def slopes(factors, case, replay):
        return jax.vmap(jax.grad(lambda f: outcome(f, *case, *replay)[2]))(factors)

    one = jnp.ones(len(PARAMETERS))
    found = slopes(jnp.stack([one.at[-1].set(1.2), one, one.at[0].set(0.8)]), case, replay)
    assert np.allclose(found[1], gradients[2], rtol=1e-9, atol=1e-9 * np.abs(gradients[2]).max())


def test_lowers_for_cuda(case):
    cell, current = case
    method = DFN(MESH, March(max_steps=150))
    arrays, static = eqx.partition(cell, eqx.is_array)

    def energy(arrays, current):
        return discharge(eqx.combine(arrays, static), current, method).value.energy

    for function in (energy, jax.value_and_grad(energy)):
        exported = jax.export.export(jax.jit(function), platforms=["cuda"])(arrays, current)
        assert exported.platforms == ("cuda",)


@pytest.mark.slow
def test_derivatives_of_a_double_layer():
    """The voltage 5 ms into a discharge, in both capacitances and a rate constant, in steps of 0.25 ms."""
    cell = covered(marquis2019(), 0.2, 0.3)
    current = jnp.asarray(0.680616) / cell.area
    method = DFN(MESH, March(max_steps=20, schedule=jnp.linspace(0.0, 5e-3, 21)))

    @jax.jit
    def voltage(factors):
        def leaves(c):
            return c.negative.double_layer, c.positive.double_layer, c.positive.material.kinetics.rate

        moved = eqx.tree_at(leaves, cell, [leaf * f for leaf, f in zip(leaves(cell), factors, strict=True)])
        return discharge(moved, current, method, duration=5e-3).value.voltage[-1]

    found, one = jax.grad(voltage)(jnp.ones(3)), np.eye(3)
    expected = [central(lambda x, k=k: np.asarray(voltage(jnp.asarray(1 + (x - 1) * one[k])))) for k in range(3)]
    assert np.all(np.abs(expected) > 1e-5)
    assert np.allclose(found, expected, rtol=1e-6)
