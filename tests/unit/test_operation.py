"""Efficiency, pulse resistance and charging time from records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.operation import charging_time, energy_efficiency, pulse_resistance


def test_energy_efficiency():
    assert energy_efficiency(90.0, 100.0) == pytest.approx(0.9)


def test_pulse_resistance():
    """A drop of 60 mV from 1 A/m2 to 21 A/m2 is 3 mohm m2, on charge as on discharge."""
    assert pulse_resistance([3.70, 3.64], [1.0, 21.0]) == pytest.approx(3e-3)
    assert pulse_resistance([3.70, 3.76], [0.0, -20.0]) == pytest.approx(3e-3)
    with pytest.raises(ValueError, match="Argument `currents` must hold two different currents"):
        pulse_resistance([3.7, 3.6], [5.0, 5.0])


def test_charging_time_at_constant_current():
    """At 2C seventy percent take 0.35 h, wherever the steps lie; what repeats at the end of a record does not count."""
    state = jnp.concatenate([jnp.linspace(0.02, 0.93, 17) ** 1.0, jnp.full(5, 0.93)])
    assert charging_time(state * 1800.0, state) == pytest.approx(0.7 * 1800.0, rel=1e-13)
    assert charging_time(state * 1800.0, state, 0.02, 0.93) == pytest.approx(0.91 * 1800.0, rel=1e-13)


def test_charging_time_of_a_falling_current():
    """State of charge 1 - exp(-t / tau): tau ln((1 - 0.1) / (1 - 0.8)), within h^2 / 8 tau for each level."""
    for n in (50, 100, 200):
        time = jnp.linspace(0.0, 2.0, n)
        error = float(charging_time(time, 1.0 - jnp.exp(-time))) - np.log(4.5)
        assert 0.0 < abs(error) < 2 * 1.03 * (2.0 / (n - 1)) ** 2 / 8


def test_charging_time_with_the_rate():
    """The same with the rate exp(-t / tau): within h^4 / 384 of the fourth derivative of t in the state, 6 / (1 - s)^4.

    A step in the state is at most exp(-t) times one in time, which leaves h^4 / 64 for each level.
    """
    for n in (11, 21, 41):
        time = jnp.linspace(0.0, 2.0, n)
        error = float(charging_time(time, 1 - jnp.exp(-time), rate=jnp.exp(-time))) - np.log(4.5)
        assert 0.0 < abs(error) < 2 * 1.5 * (2.0 / (n - 1)) ** 4 / 64


def test_gradient_of_the_charging_time():
    time, rate = jnp.linspace(0.0, 3000.0, 41), jnp.asarray(1.1e-3)

    def value(rate, low, high):
        return charging_time(time, 1.0 - jnp.exp(-rate * time), low, high)

    at = (rate, jnp.asarray(0.1), jnp.asarray(0.8))
    found = jax.grad(value, argnums=(0, 1, 2))(*at)
    for k, derivative in enumerate(found):
        h = 1e-5 * float(at[k])
        ends = [value(*(x + s * h * (i == k) for i, x in enumerate(at))) for s in (1, -1)]
        assert float(derivative) == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-6)
    assert jax.jit(value)(*at) == pytest.approx(float(value(*at)), rel=1e-14)


def test_a_level_that_is_not_reached():
    """A charge that stops at 70 % has no time to 80 %: infinite, with derivatives of zero and not of nan."""
    time, state = jnp.linspace(0.0, 1.0, 8), jnp.linspace(0.05, 0.7, 8)
    assert float(charging_time(time, state)) == np.inf
    assert float(charging_time(time, state + 0.25)) == np.inf  # starts above 10 %
    assert np.all(np.asarray(jax.grad(charging_time, argnums=1)(time, state)) == 0.0)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (([0.0, 1.0], [0.1, 0.5, 0.9]), "must be records of one length"),
        (([0.0, 1.0], [0.9, 0.1]), "Argument `state_of_charge` must not fall"),
        (([1.0, 0.0], [0.1, 0.9]), "Argument `time` must not fall"),
        (([0.0, 1.0], [0.1, 0.9], 0.8, 0.1), "Argument `low` must be below `high`, but 0.8 and 0.1 were given."),
        (([0.0, 1.0], [0.1, 0.9], 10.0, 80.0), "Argument `low` must lie between 0 and 1, but 10 was given."),
    ],
)
def test_bad_records(arguments, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        charging_time(*(jnp.asarray(a) for a in arguments[:2]), *arguments[2:])
