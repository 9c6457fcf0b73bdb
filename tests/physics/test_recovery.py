"""Recovery of the thickness after calendering: where it ends, what it does not depend on, what does not relax."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles.neighbours import candidate_pairs
from solver.particles.prony import Prony
from solver.process import calender, frictionless
from solver.process.calender import Calendering
from solver.process.film import Stage
from solver.process.recovery import _relaxing, recover
from solver.process.settle import settled_film

COUNT = 64
METHOD = Calendering(load=4, unload=2)
SHARES, TIMES = (0.2, 0.3), (1.0, 30.0)
recovered = eqx.filter_jit(recover)


@pytest.fixture(scope="module")
def released():
    """64 particles pressed from 36 to 27 um and let go, without friction, in their calender."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(5), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.5 / 36e-6))
    film = settled_film(jax.random.key(6), radii, jnp.asarray([36e-6, width, width])).value
    press = calender.prepare(film, candidate_pairs(film), jnp.asarray(27e-6), method=METHOD)
    step, carry = eqx.filter_jit(calender.advance), press.first
    for k in range(6):
        carry, _ = step(press, carry, jax.tree.map(lambda a, k=k: a[k], press.stages))
    assert bool(carry[3] == Result.successful)
    return press, carry


def thickness(released, times, shares=SHARES):
    solution = recovered(*released, jnp.asarray(times), Prony(shares, TIMES))
    assert bool(solution.result == Result.successful)
    return np.asarray(solution.value.thickness)


def test_the_film_grows_thicker_and_ends_at_its_relaxed_equilibrium(released):
    """After a long time the bridges act with 1 - sum alpha of their stiffness, whatever the way there: two routes."""
    press, carry = released
    found = thickness(released, np.geomspace(0.1, 1e4, 12))
    assert np.all(np.diff(found) > -1e-15) and found[-1] > 1.0002 * found[0]
    state, history, *_ = carry
    system, past = _relaxing(press.system, history, 1 - sum(SHARES), jnp.zeros_like(history.bridges.plastic))
    stage = Stage(jnp.asarray(False), state[1], press.method.release)
    solution, *_ = eqx.filter_jit(frictionless.advance)(state, past, stage, system, press.method.newton)
    assert bool(solution.result == Result.successful)
    assert found[-1] == pytest.approx(float(solution.value[1] * press.unit), rel=1e-7)


def test_the_course_does_not_depend_on_the_steps(released):
    """Exact for strains linear within a step: halving the steps changes the thickness in second order only."""
    ends = []
    for steps in (3, 6, 12):
        after = 6 + np.arange(1, 13 - steps)  # only so that all have twelve steps, which compile once
        ends.append(thickness(released, np.concatenate([np.linspace(0, 6, steps + 1)[1:], after]))[steps])
    first, second = abs(ends[1] - ends[0]), abs(ends[2] - ends[1])
    assert second < 0.35 * first and second < 0.02 * (ends[2] - thickness(released, np.arange(1.0, 13.0))[0])


def test_a_binder_that_does_not_relax_leaves_the_film_as_it_is(released):
    found = thickness(released, np.geomspace(0.1, 1e4, 12), shares=(0.0, 0.0))
    np.testing.assert_allclose(found, found[0], rtol=1e-9)


def test_bad_input_is_a_sentence(released):
    with pytest.raises(ValueError, match="Let the times grow"):
        recover(*released, [1.0, 0.5])
