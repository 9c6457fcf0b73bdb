"""A march in chunks takes the steps of the one call, to the same bits, and goes on from what was saved."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics.chunks import march_in_chunks, restored, saved, started
from solver.numerics.march import March, System, march
from solver.numerics.solution import Result, Solution
from solver.numerics.walk import walk_forward


class Falling(System):
    """y_1' = -rate y_1 y_2, y_2' = rate y_1 - y_2 until y_1 falls to `level`."""

    rate: jax.Array
    level: jax.Array

    def residual(self, w, past, gamma):
        a, b = w
        return w - past - gamma * jnp.stack([-self.rate * a * b, self.rate * a - b])

    def solve(self, w, past, gamma):
        def better(_, w):
            return w - jnp.linalg.solve(
                jax.jacfwd(lambda w: self.residual(w, past, gamma))(w), self.residual(w, past, gamma)
            )

        w = jax.lax.fori_loop(0, 6, better, w)
        return Solution(
            w, Result.where(jnp.all(jnp.isfinite(w)), Result.successful, Result.not_finite), {"steps": jnp.asarray(6)}
        )

    def derivative(self, w, past, gamma):
        raise NotImplementedError

    def pull_back(self, derivative, w_bar, y_bar):
        raise NotImplementedError

    def state(self, w, past, gamma):
        return w

    def observe(self, w):
        return w[0]

    def gap(self, w):
        return w[0] - self.level

    def distance(self, w, other):
        return jnp.max(jnp.abs(w - other))


START = jnp.array([1.0, 0.2])
HORIZON = jnp.asarray(20.0)


def _both(system, method, rows, after=lambda progress, kept: None):
    """The walk of one call, and times, states and the end of one in chunks."""
    whole = eqx.filter_jit(walk_forward)((system, START, HORIZON), START, method)
    kept = {"times": [], "states": []}

    def keep(progress):
        for row in progress.rows:
            kept["times"].append(float(progress.walk.times[row]))
            kept["states"].append(np.asarray(progress.walk.states[row]))
        after(progress, kept)

    progress = started(system, START, START, HORIZON, method, rows)
    result = march_in_chunks(progress, system, HORIZON, method, keep)
    return whole, kept, result


@pytest.mark.parametrize(("order", "level"), [(2, 0.1), (3, -1.0)])
def test_the_steps_are_those_of_one_call(order, level):
    method = March(tolerance=1e-4, order=order, max_steps=1000, stops=jnp.array([0.7, 3.0]))
    system = Falling(jnp.asarray(1.3), jnp.asarray(level))
    whole, kept, result = _both(system, method, 5)
    count = int(whole.count)
    assert result == Result.successful and count > 20
    np.testing.assert_array_equal(kept["times"], whole.times[: count + 1])
    np.testing.assert_array_equal(kept["states"], whole.states[: count + 1])
    assert np.isin(method.stops[method.stops < kept["times"][-1]], kept["times"]).all()
    record = march(system, START, START, HORIZON, method).value
    assert kept["times"][-1] == float(record.time[-1])


def test_it_goes_on_from_what_was_saved():
    class Stopped(Exception):
        pass

    method = March(tolerance=1e-5)
    system = Falling(jnp.asarray(1.3), jnp.asarray(0.1))
    store = {}

    def stop(progress, kept):
        if len(kept["times"]) > 11:
            store.update(saved(progress, method), kept=kept)
            raise Stopped

    with pytest.raises(Stopped):
        _both(system, method, 3, stop)
    begun = store.pop("kept")
    whole, kept, _ = _both(system, method, 3)
    progress = restored(started(system, START, START, HORIZON, method, 4), store)

    def keep(progress):
        begun["times"] += [float(progress.walk.times[row]) for row in progress.rows]

    assert march_in_chunks(progress, system, HORIZON, method, keep) == Result.successful
    assert begun["times"] == kept["times"]
    assert store["states"].shape == (method.order + 2, 2)
    with pytest.raises(ValueError, match="another march"):
        restored(started(system, START, START, HORIZON, method, 4), store | {"states": np.zeros((4, 3))})


def test_limits_are_those_of_the_march():
    system = Falling(jnp.asarray(1.3), jnp.asarray(0.1))
    method = March(tolerance=1e-5, max_steps=13)
    whole, kept, result = _both(system, method, 4)
    assert result == Result.max_steps and len(kept["times"]) == 14 == int(whole.count) + 1
    stuck = eqx.tree_at(lambda s: s.rate, system, jnp.asarray(jnp.nan))
    _, kept, result = _both(stuck, method, 4)
    assert result == Result.stagnated and kept["times"] == []


def test_what_cannot_be_asked_for():
    system = Falling(jnp.asarray(1.3), jnp.asarray(0.1))
    with pytest.raises(ValueError, match="`rows` must be at least 1"):
        started(system, START, START, HORIZON, March(), 0)
    with pytest.raises(ValueError, match="leave out `schedule`"):
        started(system, START, START, HORIZON, March(schedule=jnp.linspace(0.0, 1.0, 251)), 4)
