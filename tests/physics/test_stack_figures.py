"""Energy of the stack by mass and volume, what a casing takes, and the resistance of a pulse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.units import Wh, faraday, gas_constant, litre, mAh_cm2
from solver.cell.cell import stoichiometry_at, theoretical_capacity
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020, half_cell
from solver.cell.operation import pulse
from solver.cell.performance import Casing, Densities, areal_capacity, n_to_p_ratio, stack
from solver.cell.protocol import DFN, Stop, discharge


@pytest.fixture(scope="module")
def chen():
    return chen2020()


@pytest.fixture(scope="module")
def layers(chen):
    """PyBaMM 26.10's layer densities of Chen 2020: 1657, 397 and 3262 kg/m3 of whole layers, foils 8960 and 2700."""
    return Densities(
        negative_active=1657.0 / chen.negative.active_fraction,
        positive_active=3262.0 / chen.positive.active_fraction,
        inactive=0.0,
        electrolyte=0.0,
        separator=397.0 / (1.0 - chen.separator.porosity),
        negative_foil=8960.0,
        positive_foil=2700.0,
        negative_foil_thickness=12e-6,
        positive_foil_thickness=16e-6,
    )


def test_check_number_of_the_lg_m50(chen, layers):
    """Reference page electrochemistry, E: at C/10 182.58 Wh/m2; 0.46791 kg/m2 and 186.8 um; 390 Wh/kg and 977 Wh/L."""
    run = eqx.filter_jit(discharge)(chen, 0.5 / chen.area, DFN(Mesh(10, 5, 10, 8))).value
    pair = stack(chen, layers)
    assert float(run.energy) / Wh == pytest.approx(182.58, abs=0.02)
    assert float(pair.mass) == pytest.approx(0.46791, abs=1e-5)
    assert float(pair.thickness) == pytest.approx(186.8e-6, rel=1e-12)
    assert float(pair.specific_energy(run.energy)) / Wh == pytest.approx(390.2, abs=0.1)
    assert float(pair.energy_density(run.energy)) / Wh * litre == pytest.approx(977.4, abs=0.2)


def test_areal_capacity_and_balance(chen):
    """5.0 to 5.1 Ah over 0.1027 m2 between the cut-offs, 4.9 mAh/cm2, and a negative that matches it."""
    assert float(areal_capacity(chen)) / mAh_cm2 == pytest.approx(4.96, abs=0.05)
    assert float(n_to_p_ratio(chen)) == pytest.approx(1.0, abs=1e-12)
    assert float(areal_capacity(chen)) == float(theoretical_capacity(chen.positive))
    assert float(n_to_p_ratio(half_cell(chen.positive, chen.electrolyte))) == float("inf")


def test_casing(chen, layers):
    """A casing of a fifth of the mass and a tenth of the volume leaves 0.8 and 0.9 of both energies."""
    bare, cased = stack(chen, layers), stack(chen, layers, Casing(0.2, 0.1))
    energy = 182.58 * Wh
    assert cased.specific_energy(energy) == pytest.approx(0.8 * float(bare.specific_energy(energy)), rel=1e-14)
    assert cased.energy_density(energy) == pytest.approx(0.9 * float(bare.energy_density(energy)), rel=1e-14)
    with pytest.raises(ValueError, match="Argument `mass_share` must lie between 0 and 0.95, but 1.2 was given."):
        Casing(1.2)


def test_gradient_of_the_specific_energy(chen, layers):
    """Of Wh/kg at fixed energy: thickness, porosity, foil and casing, against central differences."""

    @jax.jit
    def value(x):
        cell = eqx.tree_at(lambda c: (c.positive.thickness, c.negative.porosity), chen, (x[0], x[1]))
        densities = eqx.tree_at(lambda d: (d.negative_foil_thickness, d.electrolyte), layers, (x[2], x[3]))
        return stack(cell, densities, Casing(x[4], x[4])).specific_energy(182.58 * Wh)

    x = jnp.array([7.56e-5, 0.25, 1.2e-5, 1200.0, 0.1])
    found = jax.grad(value)(x)
    for k in range(5):
        step = jnp.zeros(5).at[k].set(1e-5 * x[k])
        difference = (value(x + step) - value(x - step)) / (2e-5 * x[k])
        assert float(found[k]) == pytest.approx(float(difference), rel=1e-7)


def _linear_resistance(electrode, lyte, temperature, state_of_charge):
    """A porous electrode with linear kinetics and even salt, ohm m2: Newman and Tobias, case D.5 of the reference."""
    salt, sigma = jnp.asarray(lyte.initial_concentration), float(electrode.electronic_conductivity)
    kappa = float(lyte.transport(salt, temperature)[1] * electrode.electrolyte_transport)
    x = stoichiometry_at(electrode, state_of_charge)
    exchange = float(electrode.material.exchange_current_density(salt, x, temperature))
    slope = faraday * exchange / (gas_constant * float(temperature))
    length = float(electrode.thickness)
    nu = length * np.sqrt(float(electrode.specific_area) * slope * (1 / kappa + 1 / sigma))
    ratio = (2 + (sigma / kappa + kappa / sigma) * np.cosh(nu)) / (nu * np.sinh(nu))
    return length / (kappa + sigma) * (1 + ratio)


def test_pulse(chen):
    """At once the cell resists as two electrodes with linear kinetics and a separator; later diffusion adds to it."""
    run = eqx.filter_jit(lambda *a: pulse(*a, method=DFN(Mesh(12, 4, 12, 8))))
    current, half = jnp.asarray(0.05) / chen.area, jnp.asarray(0.5)
    at = [run(chen, current, half, jnp.asarray(t)) for t in (1e-4, 10.0, 60.0)]
    assert all(p.stop == Stop.time_limit and bool(p.reached) for p in at)
    lyte, separator = chen.electrolyte, chen.separator
    kappa = lyte.transport(jnp.asarray(lyte.initial_concentration), chen.temperature)[1]
    expected = float(separator.thickness / (kappa * separator.electrolyte_transport))
    expected += sum(_linear_resistance(e, lyte, chen.temperature, 0.5) for e in (chen.negative, chen.positive))
    assert float(at[0].resistance) == pytest.approx(expected, rel=3e-3)
    assert float(at[0].resistance) < float(at[1].resistance) < float(at[2].resistance)
    assert float(at[1].voltages[0] - at[1].voltages[1]) == pytest.approx(float(at[1].resistance * current), rel=1e-12)
    empty = run(chen, 600.0 * current, jnp.asarray(0.03), jnp.asarray(60.0))
    assert not bool(empty.reached)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ((-5.0,), "Argument `current_density` must be at least 1e-09 A/m2, but -5 A/m2 was given."),
        ((5.0, 50.0), "Argument `state_of_charge` must lie between 0 and 1, but 50 was given."),
        ((5.0, 0.5, 0.0), "Argument `duration` must be at least 1e-06 s, but 0 s was given."),
    ],
)
def test_bad_pulses(chen, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        pulse(chen, *arguments)
