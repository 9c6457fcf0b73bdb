"""The march against a closed form: orders, events with their derivatives, stops, replays, and what fails."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics.march import March, System, march, same_steps
from solver.numerics.solution import Result, Solution


class Decay(System):
    """y' = -rate y (1 + y), w = y: y = 1 / (2 exp(rate t) - 1) from y(0) = 1."""

    rate: jax.Array
    level: jax.Array

    def residual(self, w, past, gamma):
        return w - past + gamma * self.rate * w * (1 + w)

    def solve(self, w, past, gamma):
        linear = 1 + gamma * self.rate
        root = jnp.sqrt(linear**2 + 4 * gamma * self.rate * past)
        value = 2 * past / (linear + root)
        return Solution(value, Result.successful, {"steps": jnp.asarray(1)})

    def derivative(self, w, past, gamma):
        return 1 + gamma * self.rate * (1 + 2 * w)

    def pull_back(self, derivative, w_bar, y_bar):
        multiplier = -(w_bar + y_bar) / derivative
        return multiplier, -multiplier

    def state(self, w, past, gamma):
        return w

    def observe(self, w):
        return w[0]

    def gap(self, w):
        return w[0] - self.level

    def distance(self, w, other):
        return jnp.max(jnp.abs(w - other))


@eqx.filter_jit
def decay(rate, level, method):
    one = jnp.ones(1)
    return march(Decay(rate, level), one, one, jnp.asarray(10.0), method).value


@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_in_time(order):
    exact = np.log(1.5)  # y = 1/2
    errors = []
    for n in (40, 80, 160):
        # Graded so that the first-order start does not count: t = s^3.
        times = jnp.asarray(0.6 * (np.arange(321) / n) ** 3)
        method = March(schedule=times, max_steps=320, order=order)
        errors.append(abs(float(decay(jnp.asarray(1.0), jnp.asarray(0.5), method).time[-1]) - exact))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(orders > order - 0.2), orders


def test_adaptive_march_lands_on_the_event_and_its_derivative_is_exact():
    method = March(tolerance=1e-6, max_steps=400)
    record = decay(jnp.asarray(1.0), jnp.asarray(0.5), method)
    assert record.reached and float(record.observed[-1]) == pytest.approx(0.5, abs=1e-10)
    assert float(record.time[-1]) == pytest.approx(np.log(1.5), rel=2e-4)
    by_rate, by_level = jax.jit(jax.grad(lambda r, l: decay(r, l, method).time[-1], argnums=(0, 1)))(
        jnp.asarray(1.0), jnp.asarray(0.5)
    )
    assert float(by_rate) == pytest.approx(-np.log(1.5), rel=5e-4)  # t = ln((1 + y) / 2y) / rate
    assert float(by_level) == pytest.approx(-1 / (0.5 * 1.5), rel=5e-4)


def test_no_step_crosses_a_stop():
    """Every stop before the event is met, and what lies between is cut into even parts, without a sliver."""
    stops = jnp.asarray([0.0, 0.05, 0.0501, 0.2, 0.37, 5.0])
    plain = decay(jnp.asarray(1.0), jnp.asarray(0.5), March(tolerance=1e-5, max_steps=400))
    record = decay(jnp.asarray(1.0), jnp.asarray(0.5), March(tolerance=1e-5, max_steps=400, stops=stops))
    time = np.asarray(record.time)[: int(record.steps) + 1]
    for stop in stops[1:5]:
        assert np.min(np.abs(time - float(stop))) < 1e-12
    assert record.reached and time[-1] == pytest.approx(np.log(1.5), rel=5e-4)
    within = np.diff(time[(time > 0.0502) & (time < 0.3701)])
    assert np.min(within / np.maximum.accumulate(within)) > 0.2
    assert record.steps < plain.steps + 40


def test_a_replay_takes_the_same_steps_to_a_later_event():
    one, found = jnp.asarray(1.0), {}
    first = decay(one, jnp.asarray(0.5), March(tolerance=1e-5, max_steps=60))
    again = March(max_steps=60, schedule=same_steps(first.time))
    for level in (0.5, 0.499):
        found[level] = decay(one, jnp.asarray(level), again)
        assert found[level].reached and float(found[level].observed[-1]) == pytest.approx(level, abs=1e-10)
    np.testing.assert_allclose(found[0.5].time, first.time, rtol=1e-9)
    assert first.time[-1] < found[0.499].time[-1]


class Halted(Decay):
    """Without a solution below y = 0.7."""

    def solve(self, w, past, gamma):
        solution = super().solve(w, past, gamma)
        result = Result.where(solution.value[0] > 0.7, Result.successful, Result.max_steps)
        return Solution(solution.value, result, solution.stats)


@pytest.mark.parametrize("replayed", [False, True])
def test_a_march_whose_steps_have_no_solution_ends_there(replayed):
    schedule = jnp.linspace(0.0, 1.0, 61) if replayed else None
    one, method = jnp.ones(1), March(tolerance=1e-3, max_steps=60, schedule=schedule)
    halted = Halted(jnp.asarray(1.0), jnp.asarray(0.5))
    solution = eqx.filter_jit(march)(halted, one, one, jnp.asarray(10.0), method)
    assert solution.result == Result.stagnated and not solution.value.reached
    assert 0.7 < float(solution.value.observed[-1]) < 0.72
