"""Calibration: closed forms of value and covariance, bounds, how often intervals hold, and sentences about misuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.fit import Fitted, LevenbergMarquardt, estimate, fit, forward, reverse
from inverse.problem import Impossible
from inverse.space import Affine, Leaf, Logarithmic, Space, Variable
from solver.numerics.solution import Result, SolveError, raise_unless_successful

TIMES = jnp.linspace(0.0, 3.0, 12)
TIGHT = LevenbergMarquardt(tolerance=1e-14)


class Law(eqx.Module):
    height: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)
    rate: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)


def space(transform=None, start=(0.5, 0.3), low=(0.01, 0.01), high=(10.0, 10.0)):
    places = Leaf(lambda p: p.height), Leaf(lambda p: p.rate)
    rows = zip(("height", "rate"), low, high, start, places, strict=True)
    return Space(Law(), [Variable(n, "", *bounds, place, transform or Affine()) for n, *bounds, place in rows])


def line(law):
    return law.height + law.rate * TIMES


def decay(law):
    return law.height * jnp.exp(-law.rate * TIMES)


def fitted(model, data, within, weights=1.0, method=TIGHT):
    return raise_unless_successful(fit(lambda p: model(p) - data, within, weights, method), "The fit")


def noise(seed, size=0.02):
    return size * np.random.default_rng(seed).standard_normal(TIMES.size)


@pytest.mark.parametrize("jacobian", [reverse, forward])
def test_a_straight_line_has_the_textbook_values_and_covariance(jacobian):
    """Ordinary least squares: b = (A^T A)^-1 A^T y and s^2 (A^T A)^-1, s^2 = |r|^2 / (m - n)."""
    data = line(Law(2.0, 0.7)) + noise(0)
    found = fitted(line, data, space(), method=LevenbergMarquardt(tolerance=1e-14, jacobian=jacobian))
    design = np.stack([np.ones(12), TIMES], axis=1)
    best, squares, *_ = np.linalg.lstsq(design, np.asarray(data))
    np.testing.assert_allclose([found.values["height"], found.values["rate"]], best, rtol=1e-9)
    known = estimate(found, confidence=0.9)
    exact = squares[0] / 10 * np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(known.covariance, exact, rtol=1e-8)
    assert known.degrees == 10 and known.warnings == ()
    # Student's t of 10 degrees at 95 % one-sided: 1.8125 (tables).
    half = 1.8125 * np.sqrt(np.diag(exact))
    np.testing.assert_allclose([known.high["height"], known.high["rate"]], best + half, rtol=1e-4)
    np.testing.assert_allclose([known.low["height"], known.low["rate"]], best - half, rtol=1e-4)


def test_weights_are_those_of_weighted_least_squares():
    deviation = np.linspace(0.01, 0.1, 12)
    data = line(Law(2.0, 0.7)) + deviation * noise(1, 1.0)
    found = fitted(line, data, space(), weights=1 / deviation)
    design = np.stack([np.ones(12), TIMES], axis=1) / deviation[:, None]
    normal = np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(list(found.values.values()), normal @ design.T @ (data / deviation), rtol=1e-8)
    # Errors that are known beforehand: no factor from the residuals, and the normal distribution.
    known = estimate(found, np.diag(deviation**2))
    np.testing.assert_allclose(known.covariance, normal, rtol=1e-8)
    assert known.high["rate"] - known.values["rate"] == pytest.approx(1.959964 * np.sqrt(normal[1, 1]), rel=1e-6)


def test_correlated_errors_are_those_of_the_sandwich():
    """Any weights, any covariance of the data: C = G covariance G^T, here with a shift that all points share."""
    shared = 0.04 * np.ones((12, 12)) + 1e-4 * np.eye(12)
    known = estimate(fitted(line, line(Law(2.0, 0.7)) + noise(2), space()), shared, degrees=5)
    design = np.stack([np.ones(12), TIMES], axis=1)
    gain = np.linalg.pinv(design)
    np.testing.assert_allclose(known.covariance, gain @ shared @ gain.T, rtol=1e-8)
    # A shift moves the height alone.
    np.testing.assert_allclose(known.covariance[1, 1], 1e-4 * np.linalg.inv(design.T @ design)[1, 1], rtol=1e-6)
    # Student's t of 5 degrees at 97.5 %: 2.5706 (tables).
    half = known.high["height"] - known.values["height"]
    assert half == pytest.approx(2.5706 * np.sqrt(known.covariance[0, 0]), rel=1e-4)


@pytest.mark.parametrize("transform", [Affine(), Logarithmic()])
def test_an_exponential_without_noise_is_found_to_round_off(transform):
    found = fitted(decay, decay(Law(3.0, 1.7)), space(transform))
    assert found.values == pytest.approx({"height": 3.0, "rate": 1.7}, rel=1e-9)


def test_an_exponential_has_the_covariance_of_its_own_derivatives():
    """Logarithmic or not, the covariance of the values is the same; intervals of logarithmic variables are factors."""
    data = decay(Law(3.0, 1.7)) + noise(3)
    plain, curved = (estimate(fitted(decay, data, space(t))) for t in (Affine(), Logarithmic()))
    assert plain.values == pytest.approx(curved.values, rel=1e-6)
    np.testing.assert_allclose(plain.covariance, curved.covariance, rtol=1e-5)
    height, rate = plain.values.values()
    slopes = np.stack([np.exp(-rate * TIMES), -height * TIMES * np.exp(-rate * TIMES)], axis=1)
    exact = plain.misfit**2 * np.linalg.inv(slopes.T @ slopes)
    np.testing.assert_allclose(plain.covariance, exact, rtol=1e-6)
    for name in ("height", "rate"):
        assert curved.high[name] / curved.values[name] == pytest.approx(curved.values[name] / curved.low[name])
        assert curved.low[name] > 0 and plain.values[name] - plain.low[name] > 0


def share_covered(trials, estimated):
    """How often the interval of the height holds the true one."""
    truth, hits = 3.0, 0
    for seed in range(trials):
        known = estimated(seed)
        hits += known.low["height"] <= truth <= known.high["height"]
    return hits / trials


def test_intervals_hold_as_often_as_they_say():
    """Coverage over 250 draws of the noise: 95 %, of which the draws leave a standard error of 1.4 %."""
    within, truth = space(Logarithmic(), start=(3.0, 1.7)), decay(Law(3.0, 1.7))
    compiled = jax.jit(lambda x, data: reverse(lambda u: decay(within(u)) - data, x))

    def estimated(seed):
        data = np.asarray(truth) + noise(seed, 0.1)
        method = LevenbergMarquardt(jacobian=lambda _, x: compiled(x, data))
        return estimate(raise_unless_successful(fit(None, within, method=method), "The fit"))

    assert 0.91 <= share_covered(250, estimated) <= 0.99


def test_intervals_hold_where_every_sample_has_an_error_of_its_own():
    """A shift from sample to sample, its covariance known from eight more samples: with it 95 %, without it not."""
    within, design = space(start=(3.0, 0.7)), np.stack([np.ones(12), np.asarray(TIMES)], axis=1)
    jacobian = design * 9.99  # the bounds

    def sampled(seed):
        rng = np.random.default_rng(seed)
        rows = 0.3 * rng.standard_normal((9, 1)) * (1 + 0.2 * np.asarray(TIMES)) + 0.05 * rng.standard_normal((9, 12))
        model = rows[:8].mean(axis=0)
        best = np.linalg.pinv(design) @ (np.asarray([3.0, 0.7]) @ design.T + rows[8] - model)
        residual = model + design @ (best - np.asarray([3.0, 0.7])) - rows[8]
        return Fitted(within, (best - 0.01) / 9.99, residual, jacobian, np.ones(12)), np.cov(rows[:8].T)

    def honest(seed):
        found, scatter = sampled(seed)
        return estimate(found, (1 + 1 / 8) * scatter, degrees=7)

    assert 0.91 <= share_covered(250, honest) <= 0.99
    assert share_covered(80, lambda seed: estimate(sampled(seed)[0])) < 0.5


def test_a_bound_holds_and_is_said():
    data = line(Law(2.0, 0.7)) + noise(4)
    found = fitted(line, data, space(high=(10.0, 0.5)))
    assert found.values["rate"] == pytest.approx(0.5, rel=1e-12)
    assert found.values["height"] == pytest.approx(float(np.mean(data) - 0.5 * np.mean(TIMES)), rel=1e-8)
    assert any("`rate` ended at its high bound" in said for said in estimate(found).warnings)


def test_the_sloppy_direction_is_found_and_said():
    """Data that see the product alone: along height times rate constant the information vanishes."""
    data = 2.0 + noise(5)
    found = fitted(lambda p: p.height * p.rate + 0 * TIMES, data, space(Logarithmic()))
    assert found.values["height"] * found.values["rate"] == pytest.approx(float(np.mean(data)), rel=1e-6)
    known = estimate(found)
    assert known.information[0] < 1e-12 * known.information[1]
    np.testing.assert_allclose(np.abs(known.directions[:, 0]), np.sqrt(0.5), rtol=1e-6)
    assert known.directions[0, 0] * known.directions[1, 0] < 0
    assert any("do not determine the combination" in said and "height" in said for said in known.warnings)


def test_where_the_model_fails_the_step_is_shortened():
    def fragile(p):
        if float(jax.lax.stop_gradient(p.rate)) > 2.0:
            raise SolveError("Too fast.")
        return decay(p)

    # A step of Gauss and Newton from here goes past 2.
    found = fitted(fragile, decay(Law(3.0, 1.7)), space(start=(0.2, 0.1)))
    assert found.values == pytest.approx({"height": 3.0, "rate": 1.7}, rel=1e-6)


def test_a_derivative_that_is_wrong_is_not_followed():
    """Where derivative and values do not go together the fit says so; it does not call the start an answer."""

    @jax.custom_jvp
    def wrong(p):
        return decay(p)

    wrong.defjvp(lambda primals, tangents: (decay(*primals), -jax.jvp(decay, primals, tangents)[1]))
    solution = fit(lambda p: wrong(p) - decay(Law(3.0, 1.7)), space())
    assert solution.result == Result.stagnated
    with pytest.raises(SolveError, match="stopped making progress"):
        raise_unless_successful(solution, "The fit")


def test_too_few_steps_are_said():
    solution = fit(lambda p: decay(p) - decay(Law(3.0, 1.7)), space(), method=LevenbergMarquardt(steps=2))
    assert solution.result == Result.max_steps


@pytest.mark.parametrize(
    ("residual", "more", "error", "sentence"),
    [
        (lambda p: p.height, {}, ValueError, "must return a vector of at least 2 numbers"),
        (lambda p: line(p)[:1], {}, ValueError, "Give more data, or fewer variables"),
        (line, {"weights": np.ones(3)}, ValueError, "Argument `weights` must be a number or have the shape"),
        (line, {"weights": -1.0}, ValueError, "Argument `weights` must be at least 0"),
        (lambda p: line(p) / 0, {}, Impossible, "cannot start: The residuals are not finite"),
        (lambda p: jnp.sqrt(p.rate - p.rate) + line(p), {}, Impossible, "The derivative of the residuals in `rate`"),
    ],
)
def test_misuse_of_fit_is_a_sentence(residual, more, error, sentence):
    with pytest.raises(error, match=sentence):
        fit(residual, space(), **more)


def test_misuse_of_estimate_is_a_sentence():
    found = fitted(line, line(Law(2.0, 0.7)) + noise(0), space())
    for arguments, sentence in (
        ((np.eye(3),), r"Argument `covariance` must have the shape \(12, 12\)"),
        ((-np.eye(12),), "without negative eigenvalues"),
        ((np.eye(12), -1.0), "Argument `degrees` must be positive"),
        ((None, None, 1.5), "Argument `confidence` must lie between"),
    ):
        with pytest.raises(ValueError, match=sentence):
            estimate(found, *arguments)
    few = fitted(lambda p: line(p)[:2], line(Law(2.0, 0.7))[:2], space())
    with pytest.raises(ValueError, match="more data than variables"):
        estimate(few)
    blind = Fitted(space(), found.x, found.residual, np.zeros((12, 2)), found.weights)
    with pytest.raises(ValueError, match="depend on none of the variables"):
        estimate(blind)
    with pytest.raises(ValueError, match="Argument `tolerance` must lie between"):
        LevenbergMarquardt(tolerance=-1.0)
