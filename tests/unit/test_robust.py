"""Robust forms against closed forms: a bowl, a cliff on one side of its optimum, a share of a normal law."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from inverse.problem import Bound, FigureProblem
from inverse.robust import (
    OverCopies,
    design_of,
    in_turn,
    judge,
    mean_form,
    soft_worst_form,
    worst_form,
    yield_form,
)
from inverse.scatter import Deviation, Scatter, box_points, corners, each, normal_points
from inverse.search import Climb, Log
from inverse.space import Leaf, Logarithmic, Space, Variable

PLACES = [Leaf(lambda r, k=k: r[k]) for k in range(2)]
SPACE = Space(
    (jnp.zeros(()), jnp.ones(())),
    [
        Variable("x", "m", -2.0, 3.0, 0.3, PLACES[0]),
        Variable("y", "m", 0.2, 4.0, 0.5, PLACES[1], Logarithmic()),
    ],
)
SIZES = (0.3, 0.1)  # of x in m, of y as a share


def scattered(points):
    deviations = [Deviation("x", "m", SIZES[0], PLACES[0]), Deviation("y", "", SIZES[1], PLACES[1], relative=True)]
    return Scatter(deviations, points)


def bowl(r):
    x, y = r
    return {"height": (x - 1.0) ** 2 + 2.0 * (y - 2.0) ** 2, "x": x}


def cliff(r):
    """A gentle slope up to x = 1 and a steep one beyond, of a parabola in y."""
    x, y = r
    return {"gain": x - jnp.where(x > 1.0, 10.0 * (x - 1.0), 0.0) - (y - 2.0) ** 2, "x": x}


BOWL = FigureProblem(SPACE, bowl, "height", -1.0)
CLIFF = FigureProblem(SPACE, cliff, "gain")


def values(problem, x):
    return np.asarray(problem.space.values(jnp.asarray(x)))


def test_points_are_what_they_say():
    assert np.array_equal(corners(2), [[0, 0], [-1, -1], [1, -1], [-1, 1], [1, 1]])
    normal, box = normal_points(3, 256), box_points(3, 256)
    assert np.allclose(np.mean(normal, axis=0), 0, atol=1e-14) and np.allclose(np.mean(normal**2, axis=0), 1)
    assert np.allclose(np.mean(normal**4, axis=0), 3, rtol=0.1)
    assert np.max(np.abs(box)) <= 1 and np.allclose(np.mean(box**2, axis=0), 1 / 3, rtol=0.02)
    assert not np.array_equal(box, box_points(3, 256, seed=1)) and np.array_equal(box, box_points(3, 256))


def test_mean_and_deviation_of_a_bowl():
    """With x = u + s z the mean of (x - 1)^2 is (u - 1)^2 + s^2, exactly so at points of unit variance."""
    form = mean_form(BOWL, scattered(normal_points(2, 512)))
    x = form.space.locate((jnp.asarray(0.5), jnp.asarray(2.5)))
    found = form.look(x)
    spread = SIZES[1] * 2.5
    mean = 0.25 + SIZES[0] ** 2 + 2 * (0.25 + spread**2)
    assert float(found["height mean"]) == pytest.approx(mean, rel=2e-3)
    variance = 4 * 0.25 * SIZES[0] ** 2 + 2 * SIZES[0] ** 4 + 4 * (4 * 0.25 * spread**2 + 2 * spread**4)
    assert float(found["height deviation"]) == pytest.approx(np.sqrt(variance), rel=0.02)


def test_best_mean_moves_where_scatter_is_relative():
    """2 (v - 2)^2 + 2 (s v)^2 is least at v = 2 / (1 + s^2)."""
    form = mean_form(BOWL, scattered(normal_points(2, 64)))
    assert np.allclose(values(form, Climb()(Log(form)).x), [1.0, 2.0 / (1 + SIZES[1] ** 2)], atol=2e-6)


@pytest.mark.parametrize("lanes", [1, 3])
def test_worst_case_of_a_cliff_exactly(lanes):
    """The best worst case over x +- s, where both ends are alike: x - s = x + s - 10 (x + s - 1), so x = 1 - 0.8 s."""
    form = worst_form(CLIFF, scattered(corners(2)), -3.0, 2.0, lanes=lanes)
    found = Climb()(Log(form))
    x, y = values(CLIFF, design_of(found.x))
    assert x == pytest.approx(1 - 0.8 * SIZES[0], abs=1e-7)
    assert y == pytest.approx(2.0, abs=1e-6)  # both ends, (1 +- s) y, are equally far from 2
    assert found.figures["gain worst"] == pytest.approx(1 - 1.8 * SIZES[0] - (SIZES[1] * 2) ** 2, abs=1e-6)
    nominal = Climb()(Log(CLIFF))
    corner = scattered(corners(2))
    assert judge(CLIFF, corner, nominal.x)["gain worst"] < found.figures["gain worst"] - 1.0


def test_soft_worst_case_in_turn_comes_to_the_exact_one():
    corner = scattered(corners(2))
    logs = [Log(soft_worst_form(CLIFF, corner, width)) for width in (0.3, 0.03, 0.003)]
    found = in_turn(logs, Climb(steps=60))
    assert values(CLIFF, found.x)[0] == pytest.approx(1 - 0.8 * SIZES[0], abs=0.01)
    again = [Log(log.problem, known=log.evaluations[:4]) for log in logs]
    assert np.array_equal(in_turn(again, Climb(steps=60)).x, found.x)


def test_worst_case_holds_bounds_in_every_copy():
    held = FigureProblem(SPACE, cliff, "gain", 1.0, [Bound("x", high=0.9)])
    form = worst_form(held, scattered(corners(2)), -3.0, 2.0)
    found = Climb()(Log(form))
    assert values(held, design_of(found.x))[0] == pytest.approx(0.9 - SIZES[0], abs=1e-6)
    assert found.figures["x worst"] == pytest.approx(0.9, abs=1e-6) and found.figures["yield"] == 1.0
    assert judge(held, scattered(corners(2)), Climb()(Log(held)).x)["yield"] == pytest.approx(3 / 5)


def test_yield_of_a_normal_law():
    """The share of x = u + s z below b is Phi((b - u) / s)."""
    held = FigureProblem(SPACE, bowl, "height", -1.0, [Bound("x", high=1.0)])
    scatter = scattered(normal_points(2, 1024))
    x = SPACE.locate((jnp.asarray(0.7), jnp.asarray(2.0)))
    found = judge(held, scatter, x)
    assert found["yield"] == pytest.approx(norm.cdf(1.0), abs=2e-3)
    soft = yield_form(held, scatter, 0.01).look(x)["soft yield"]
    assert float(soft) == pytest.approx(norm.cdf(1.0), abs=2e-3)


def test_best_yield_of_a_window():
    """Between 0.2 and 1 the share is largest in the middle."""
    held = FigureProblem(SPACE, bowl, "height", -1.0, [Bound("x", 0.2, 1.0)])
    scatter = scattered(normal_points(2, 128))
    logs = [Log(yield_form(held, scatter, width, bounds=[Bound("height mean", high=3.0)])) for width in (0.2, 0.05)]
    found = in_turn(logs, Climb())
    assert values(held, found.x)[0] == pytest.approx(0.6, abs=0.02)
    assert found.figures["yield"] == pytest.approx(norm.cdf(0.4 / 0.3) - norm.cdf(-0.4 / 0.3), abs=0.03)


@pytest.mark.parametrize("form", ["mean", "soft", "worst", "yield"])
def test_gradients_of_the_forms(form):
    held = FigureProblem(SPACE, lambda r: bowl(r) | {"s": jnp.sin(r[0]) * r[1]}, "height", -1.0, [Bound("s", low=0.1)])
    scatter = scattered(normal_points(2, 8))
    make = {"mean": mean_form, "soft": soft_worst_form, "worst": worst_form, "yield": yield_form}[form]
    given = {"soft": (0.3,), "yield": (0.3,), "worst": (0.0, 60.0)}.get(form, ())
    problem = make(held, scatter, *given, bounds=[Bound("s deviation", high=9.0)])
    x = jnp.asarray([0.35, 0.6, 0.5][: len(problem.space.names)])
    found, slopes = problem.linearise(x)
    for direction in np.eye(len(x)):
        up, down = (problem.look(x + h * direction) for h in (1e-5, -1e-5))
        for k, name in enumerate(problem.wanted):
            step = (float(up[name]) - float(down[name])) / 2e-5
            assert float(slopes[k] @ direction) == pytest.approx(step, rel=1e-6, abs=1e-8)


def test_one_run_a_copy_whatever_is_asked():
    """The function is run once for each copy, and its derivatives are pulled back once for each figure."""
    runs = []

    def counted(r):
        jax.debug.callback(lambda: runs.append(1))
        return bowl(r)

    held = FigureProblem(SPACE, counted, "height", -1.0, [Bound("x", high=9.0)])
    form = worst_form(held, scattered(corners(2)), 0.0, 60.0)
    jax.effects_barrier()
    runs.clear()
    jax.block_until_ready(form.linearise(form.space.start))
    jax.effects_barrier()
    assert len(runs) == 5


def test_what_cannot_be_scattered():
    with pytest.raises(ValueError, match="size of x"):
        Deviation("x", "m", 0.0, PLACES[0])
    with pytest.raises(ValueError, match=r"shape \(copies, 2\)"):
        scattered(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="power of two"):
        normal_points(2, 100)
    with pytest.raises(ValueError, match="no bounds"):
        yield_form(BOWL, scattered(corners(2)))
    with pytest.raises(ValueError, match="at least one log"):
        in_turn([], Climb())
    assert each(bowl, ("x",), scattered(corners(2)), (jnp.ones(()), jnp.ones(()))).shape == (5, 1)
    assert "yield" not in eqx.filter_jit(OverCopies(BOWL, scattered(corners(2))))((jnp.ones(()), jnp.ones(())))
