"""The viscoelastic binder (reference `dem`, V12)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.particles.prony import Prony

PRONY = Prony()


def relaxed(strains, durations):
    """The stress over the instantaneous modulus after each of the steps."""

    def on(carry, now):
        stress, viscous, before = carry
        strain, duration = now
        change, viscous = PRONY.step(viscous, before, strain, duration)
        return (stress + change, viscous, strain), stress + change

    start = (jnp.asarray(0.0), PRONY.fresh(()), jnp.asarray(0.0))
    return jax.lax.scan(on, start, (jnp.asarray(strains), jnp.asarray(durations)))[1]


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_v12_relaxation_after_a_step(steps):
    """V12: F(t) = psi u (1 - sum alpha (1 - exp(-t / tau))), however long the steps are."""
    for time in (1e-3, 1.747, 300.0):
        durations = np.concatenate([[0.0], np.full(steps, time / steps)])
        found = relaxed(np.ones(steps + 1), durations)[-1]
        exact = 1 - np.sum(np.asarray(PRONY.shares) * (1 - np.exp(-time / np.asarray(PRONY.times))))
        assert float(found) == pytest.approx(exact, rel=1e-8)


def test_v12_numbers():
    """V12: F(inf) / F0 = 0.6317 and F(1.747 s) / F0 = 0.7216 of the three-term set."""
    assert float(relaxed([1.0, 1.0], [0.0, 1e6])[-1]) == pytest.approx(0.6317, abs=5e-5)
    assert float(relaxed([1.0, 1.0], [0.0, 1.747])[-1]) == pytest.approx(0.7216, abs=5e-5)


@pytest.mark.parametrize("steps", [1, 13])
def test_v12_ramp(steps):
    """A strain that grows linearly: the integral of the relaxation function, exact at any step."""
    time, rate = 2.0, 0.03
    edges = np.linspace(0, time, steps + 1)[1:]
    found = relaxed(rate * edges, np.full(steps, time / steps))[-1]
    a, tau = np.asarray(PRONY.shares), np.asarray(PRONY.times)
    exact = rate * (time - np.sum(a * (time - tau * (1 - np.exp(-time / tau)))))
    assert float(found) == pytest.approx(exact, rel=1e-10)


def test_short_steps_lose_no_digits():
    """A million short steps' worth: the series for small steps and the closed form agree where they meet."""
    tau = float(PRONY.times[2])
    for ratio in (0.99e-4, 1.01e-4):
        change, _ = PRONY.step(PRONY.fresh(()), jnp.asarray(0.0), jnp.asarray(1.0), ratio * tau)
        lags = [1 - (1 - np.exp(-r)) / r for r in ratio * tau / np.asarray(PRONY.times)[:2]]
        series = ratio / 2 - ratio**2 / 6
        expected = 1 - np.dot(np.asarray(PRONY.shares), [*lags, series])
        assert float(change) == pytest.approx(expected, rel=1e-12)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="`shares` and `times`"):
        Prony((0.1, 0.2), (1.0,))
    with pytest.raises(ValueError, match="`the sum of shares`"):
        Prony((0.6, 0.6), (1.0, 2.0))
