"""The cell as values: laws, capacities, balance, checks, stack mass."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.exchange.formula import parse_formula
from microstructure.units import Ah
from solver.cell.cell import balanced_negative, open_circuit_voltage, stoichiometry_at, theoretical_capacity
from solver.cell.library import chen2020, marquis2019
from solver.cell.performance import Densities, stack
from solver.electrochemistry.laws import Constant, ExponentialTanh, Expression, PowerSum, Table


@pytest.fixture(scope="module")
def chen():
    return chen2020()


@pytest.fixture(scope="module")
def marquis():
    return marquis2019()


def test_rest_voltages(chen, marquis):
    voltage = jax.jit(open_circuit_voltage)
    assert voltage(marquis) == pytest.approx(3.85182066, abs=2e-8)
    assert voltage(chen) == pytest.approx(4.18094143, abs=2e-8)


def test_empty_is_the_lower_cutoff(chen, marquis):
    for cell in (chen, marquis):
        assert jax.jit(open_circuit_voltage)(cell, 0.0) == pytest.approx(float(cell.lower_cutoff), abs=1e-9)
        ratio = theoretical_capacity(cell.negative) / theoretical_capacity(cell.positive)
        assert ratio == pytest.approx(1.0, abs=1e-12)


def test_capacity_of_all_sites(chen, marquis):
    expected = {"chen": (5.827615, 8.732318), "marquis": (1.139331, 1.946443)}
    for cell, pair in ((chen, expected["chen"]), (marquis, expected["marquis"])):
        for electrode, value in zip((cell.negative, cell.positive), pair, strict=True):
            full = eqx.tree_at(lambda e: (e.stoichiometry_full, e.stoichiometry_empty), electrode, (1.0, 0.0))
            assert theoretical_capacity(full) * cell.area / Ah == pytest.approx(value, rel=1e-6)


def test_balanced_negative(chen):
    negative = balanced_negative(chen.negative, chen.positive, 1.1)
    assert theoretical_capacity(negative) == pytest.approx(1.1 * float(theoretical_capacity(chen.positive)), rel=1e-12)


def test_state_of_charge_spans_the_window(chen):
    ends = [float(stoichiometry_at(chen.negative, s)) for s in (0.0, 1.0)]
    assert ends == [float(chen.negative.stoichiometry_empty), float(chen.negative.stoichiometry_full)]


@pytest.mark.parametrize("field, value", [("thickness", 80.0), ("porosity", 1.3), ("stoichiometry_full", -0.1)])
def test_bad_values_are_named(chen, field, value):
    values = {name: getattr(chen.negative, name) for name in chen.negative.__dataclass_fields__}
    with pytest.raises(ValueError, match=f"Argument `{field}` must"):
        type(chen.negative)(**(values | {field: value}))


def test_laws():
    x = jnp.array([0.2, 0.7])
    assert np.allclose(Constant(3.0)(x), 3.0)
    assert np.allclose(PowerSum([2.0, 1.0], 0.5, (1.5, 0.0))(x), 2 * (np.array([0.2, 0.7]) / 0.5) ** 1.5 + 1)
    fit = ExponentialTanh(1.0, 2.0, [[3.0, -4.0]], [[0.5, 6.0, 0.3]])
    assert np.allclose(fit(x), 1 + 2 * x + 3 * np.exp(-4 * x) + 0.5 * np.tanh(6 * (x - 0.3)))
    assert np.allclose(Table([0.0, 0.5, 1.0], [1.0, 2.0, 0.0])(x), [1.4, 1.2])


@pytest.mark.parametrize(
    "text, function",
    [
        ("-2 ** 2 + x", lambda x: -(2**2) + x),
        ("2 - -x / 3", lambda x: 2 - -x / 3),
        ("exp(-(x - 0.1) ** 2) * tanh(x) ** 3", lambda x: np.exp(-((x - 0.1) ** 2)) * np.tanh(x) ** 3),
        ("1e-3 * x ** 1.5", lambda x: 1e-3 * x**1.5),
        ("2 ** x ** 2", lambda x: 2**x**2),
    ],
)
def test_formula_means_what_python_means(text, function):
    x = np.array([0.3, 0.8])
    assert np.allclose(Expression(parse_formula(text))(jnp.asarray(x)), function(x), rtol=1e-14)


def test_numbers_of_a_formula_have_derivatives():
    """Against central differences; the power is no leaf, and the formula can be had back."""
    law = Expression(parse_formula("2 * exp(-3 * x) - tanh(4 * (x - 0.5)) ** 2 / 7"))
    assert law.numbers.tolist() == [2.0, -3.0, 4.0, 0.5, 7.0]
    assert law.tree == parse_formula("2 * exp(-3 * x) - tanh(4 * (x - 0.5)) ** 2 / 7")
    x = jnp.asarray([0.2, 0.7])

    def value(numbers):
        return jnp.sum(eqx.tree_at(lambda e: e.numbers, law, numbers)(x))

    found = jax.grad(value)(law.numbers)
    for i in range(5):
        step = 1e-6 * jnp.eye(5)[i]
        assert found[i] == pytest.approx(float(value(law.numbers + step) - value(law.numbers - step)) / 2e-6, abs=1e-8)


@pytest.mark.parametrize(
    "text", ["__import__('os')", "x.real", "y + 1", "exp(x, x)", "lambda x: x", "x if x else 1", "1 +"]
)
def test_formula_is_never_code(text):
    with pytest.raises(ValueError, match="formula"):
        parse_formula(text)


def test_stack_of_the_reference_cell(chen):
    # The layer densities of the Chen 2020 set count the coating as one; foils halved: 0.46791 kg/m2 over 186.8 um.
    densities = Densities(
        negative_active=1657.0 / 0.75, positive_active=3262.0 / 0.665, inactive=0.0, electrolyte=0.0,
        separator=397.0 / 0.53,
    )  # fmt: skip
    pair = stack(chen, densities)
    assert pair.mass == pytest.approx(0.46791, rel=2e-5)
    assert pair.thickness == pytest.approx(186.8e-6, rel=1e-12)
    assert pair.specific_energy(182.58 * 3600) / 3600 == pytest.approx(390.2, abs=0.1)
    assert pair.energy_density(182.58 * 3600) / 3.6e6 == pytest.approx(977.4, abs=0.1)
    assert stack(chen).mass > pair.mass  # with electrolyte in the pores
