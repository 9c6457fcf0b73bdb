"""Calendering to a line load or a plate pressure: what was asked for is reached, and its derivatives are implicit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.recipe import Recipe
from microstructure.sizes import LogNormal, sample, unit_draws
from solver import pipeline
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import candidate_pairs
from solver.pipeline import Methods
from solver.process.calender import Calendering
from solver.process.nip import Nip, line_load, line_loads
from solver.process.settle import settled_film
from solver.process.target import LineLoad, PlatePressure, begin, learn, press_to

COUNT, LEAST = 64, 27e-6
METHOD = Calendering(load=4, unload=2)


@pytest.fixture(scope="module")
def film():
    """64 particles at a fraction of 0.5 in 36 um, and their pairs."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(5), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.5 / 36e-6))
    packing = settled_film(jax.random.key(6), radii, jnp.asarray([36e-6, width, width])).value
    return packing, candidate_pairs(packing)


NAMES = ("line load", "diameter", "binder", "friction", "modulus")
START = 250e3  # N/m


def numbers(v, film):
    """Gap, released thickness, pressure at the gap and line load at the scales `v` of the named variables."""
    load, diameter, binder, friction, modulus = v
    goal = LineLoad(START * load, Nip(0.8 * diameter, 0.5))
    given = (ContactLaw(140e9 * modulus), Binder(2e9 * binder), METHOD, Friction(0.3 * friction, 0.3))
    solution = press_to(*film, goal, LEAST, *given)
    value = solution.value
    reached = line_load(goal.nip, value.thickness, value.pressure, METHOD.load) / START
    found = jnp.stack([value.thickness[4] * 1e5, value.packing.box[0] * 1e5, value.pressure[4] / 1e8, reached])
    return found, (solution.result, solution.stats["trials"], solution.stats["miss"])


@pytest.fixture(scope="module")
def evaluate(film):
    return jax.jit(lambda v: numbers(v, film))


@pytest.fixture(scope="module")
def jacobian(film):
    """Values, and their derivatives by reverse mode, (4, 5)."""

    @jax.jit
    def both(v):
        found, back, how = jax.vjp(lambda u: numbers(u, film), v, has_aux=True)
        return found, jax.lax.map(lambda w: back(w)[0], jnp.eye(4)), how

    return both(jnp.ones(5))


@pytest.mark.slow
def test_the_line_load_is_reached(jacobian):
    found, _, (result, trials, miss) = jacobian
    assert bool(result == Result.successful) and 2 <= int(trials) <= 7
    assert float(miss) < 2e-4 and float(found[3]) == pytest.approx(1, abs=1e-6)
    assert LEAST * 1e5 < float(found[0]) < float(found[1]) < 3.6


@pytest.mark.slow
def test_derivatives_are_those_of_the_root(jacobian, evaluate):
    """dh/dq = 1 / (dq/dh) and the rest, against central differences of two roots each; the line load itself has no
    derivative but in its goal."""
    _, slope, _ = jacobian
    np.testing.assert_allclose(np.asarray(slope[3]), [1.0, 0, 0, 0, 0], atol=2e-3)
    for k in range(5):
        e = 1e-4 * jnp.eye(5)[k]
        difference = np.asarray(evaluate(1 + e)[0] - evaluate(1 - e)[0]) / 2e-4
        np.testing.assert_allclose(np.asarray(slope[:, k]), difference, rtol=0.03, atol=3e-3, err_msg=NAMES[k])
    assert float(slope[0, 0]) < 0 and float(slope[0, 1]) > 0  # more load, less gap; larger rolls press over more length


@pytest.mark.slow
def test_the_line_load_is_a_number_of_the_recipe(film, jacobian):
    """The chain's stage: the released thickness changes with the recipe's line load, and not with its smallest gap."""
    packing, pairs = film
    recipe = Recipe(
        size=LogNormal(5e-6, 1.25),
        composition=[0.96, 0.02, 0.02],
        densities=[4750.0, 1900.0, 1780.0],
        areal_loading=0.085,
        gap=LEAST,
        line_load=START,
    )
    methods = Methods(calendering=METHOD, friction=Friction(0.3, 0.3))
    slope = eqx.filter_grad(lambda r: pipeline.press(r, packing, pairs, methods).value.packing.box[0])(recipe)
    assert float(slope.line_load) * START * 1e5 == pytest.approx(float(jacobian[1][1, 0]), rel=1e-3)
    assert float(slope.gap) == 0


@pytest.mark.slow
def test_a_goal_out_of_reach_says_so(evaluate):
    *_, (result, trials, _) = evaluate(jnp.ones(5).at[0].set(1e3))
    assert bool(result == Result.out_of_reach) and int(trials) == 1


def test_the_search_is_quick_on_a_power_law():
    """p = K (h0 - h)^2, of which the line load is known: few trials, from the course of the first."""
    top, least, goal = 50e-6, 35e-6, PlatePressure(3e7)
    known, share = begin(top, least), np.linspace(0, 1, 6)
    trials = 0
    while abs(float(known.miss)) > 1e-6:
        thickness = jnp.asarray(top + share * (float(known.gap) - top))
        pressure = 1e18 * (top - thickness) ** 2
        known, trials = learn(known, goal, thickness, pressure, 5), trials + 1
    assert trials <= 6
    assert float(known.tried) == pytest.approx(top - np.sqrt(3e-11), rel=1e-6)


def test_line_loads_along_the_way():
    """Of a linear web, whose line load grows as the 3/2 power of the reduction; the last is that of the whole pass."""
    nip, down = Nip(0.8, 0.5), jnp.linspace(70e-6, 50e-6, 9)
    thickness = jnp.concatenate([down, jnp.asarray([52e-6, 56e-6])])
    pressure = jnp.concatenate([4e12 * (70e-6 - down), jnp.asarray([1e7, 0.0])])
    found = np.asarray(line_loads(nip, thickness, pressure, 8))
    assert found[8] == pytest.approx(float(line_load(nip, thickness, pressure, 8)), rel=1e-12)
    np.testing.assert_allclose(found / found[8], (np.arange(9) / 8) ** 1.5, atol=1e-12)


def test_bad_input_is_a_sentence(film):
    for friction in (None, Friction(0.0, 0.0)):
        with pytest.raises(ValueError, match="`friction` must be given where a line load"):
            press_to(*film, LineLoad(1e5), LEAST, friction=friction)
    with pytest.raises(ValueError, match="`value` must lie between"):
        LineLoad(-3.0)
    with pytest.raises(ValueError, match="`value` must lie between"):
        PlatePressure(np.inf)
