"""What calibration is made of: parameters of a cell, measured curves, correlated errors, replay, expected gains."""

import jax.numpy as jnp
import numpy as np
import pytest

from inverse.calibrate import Calibration, Errors, measured, prior_of
from inverse.correlation import correlated, powers
from inverse.fit import Fitted, LevenbergMarquardt, estimate, fit
from inverse.informative import gain
from inverse.parameters import PARAMETERS, THERMAL, parameter_space, with_parameters
from inverse.replay import Replay, linearisations
from inverse.space import Leaf, Space, Variable
from solver.cell.cell import theoretical_capacity, warmed
from solver.cell.library import chen2020, chen_thermal, with_chen_temperature_laws
from solver.numerics.solution import Result

CELL = warmed(chen2020(), chen_thermal())
TIME = np.linspace(10.0, 3600.0, 40)
VOLTS = 4.1 - 1.4 * (TIME / 3600.0) ** 3


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_parameter_is_read_as_it_was_written(name):
    parameter = PARAMETERS[name]
    value = 1.07 * float(parameter.read(CELL)) + (0.0 if parameter.positive else 1e-3)
    assert float(parameter.read(parameter.write(CELL, value))) == pytest.approx(value, rel=1e-14)


def test_active_fraction_keeps_the_particles_as_they_are():
    """Capacity goes as the fraction, and 3 x fraction / radius stays the area of the spheres."""
    electrode = with_parameters(CELL, {"positive_active_fraction": jnp.asarray(0.6)}).positive
    assert float(electrode.specific_area) == pytest.approx(3 * 0.6 / 5.22e-6, rel=1e-12)
    ratio = float(theoretical_capacity(electrode) / theoretical_capacity(CELL.positive))
    assert ratio == pytest.approx(0.6 / 0.665, rel=1e-12)


def test_spaces_of_parameters_say_what_is_wrong():
    with pytest.raises(ValueError, match="no parameter `colour`"):
        parameter_space(CELL, {"colour": (0.0, 1.0)})
    for name in THERMAL:
        with pytest.raises(ValueError, match=f"`{name}` means nothing to a cell without a thermal model"):
            parameter_space(chen2020(), {name: (0.1, 1e4)})
    with pytest.raises(ValueError, match="start of contact_resistance"):
        parameter_space(CELL, {"contact_resistance": (1e-4, 1e-3)})


def test_temperature_laws_of_the_lg_m50():
    """Entropic changes as O'Regan et al. 2022 plot them, in mV/K; at 25 degC nothing else changes."""
    cell = with_chen_temperature_laws(CELL)
    negative, positive = (e.material.entropic_change for e in (cell.negative, cell.positive))
    by_hand = (-0.1112 * 0.1 + 0.02914 + 0.3561 * np.exp(-((0.1 - 0.08309) ** 2) / 0.004616)) * 1e-3
    assert float(negative(jnp.asarray(0.1))) == pytest.approx(by_hand, rel=1e-12)
    assert float(positive(jnp.asarray(0.8032))) == pytest.approx(-6.656e-5, rel=1e-6)
    reference = jnp.asarray(298.15)
    assert float(cell.positive.material.diffusivity_at(reference)) == pytest.approx(4e-15)
    assert np.shape(positive(jnp.linspace(0.3, 0.9, 7))) == (7,)


def test_groups_hold_every_reading_once():
    curve = measured(TIME, VOLTS, 5.0, means=8)
    members = np.asarray(curve.groups) > 0
    np.testing.assert_array_equal(members.sum(axis=0), 1)
    np.testing.assert_allclose(np.asarray(curve.groups).sum(axis=1)[np.asarray(curve.counts) > 0], 1.0)
    assert float(curve.counts.sum()) == 40 and not np.any(curve.warm_counts)
    # The steep end has more groups than its share of the time.
    at_end = members[:, np.asarray(curve.share) > 0.75].any(axis=1)
    assert at_end.sum() >= 4


def test_what_was_not_measured_has_no_weight():
    full = measured(TIME, VOLTS, 5.0, np.full(40, 299.0), rest=4.18, means=8, warm_means=3)
    bare = measured(TIME[:30], VOLTS[:30], 5.0, means=6, warm_means=2)
    space = parameter_space(CELL, {"cooling": (0.1, 2.0)})
    calibration = Calibration(space, CELL, (full, bare), Errors(voltage_noise=1e-3, voltage_model=0.0))
    first, second = np.split(calibration.weights[:-1], 2)
    assert first.size == 8 + 3 + 2 and calibration.blocks[-1].stop == 27 and calibration.weights[-1] == 0
    counts = np.asarray(calibration.curves[0].counts)
    np.testing.assert_allclose(first[:8], np.sqrt(counts) / 1e-3)
    assert np.count_nonzero(second) == np.count_nonzero(np.asarray(calibration.curves[1].counts)) + 1
    assert calibration.curves[0].share.shape == calibration.curves[1].share.shape


def test_what_was_known_before_is_a_deviation_in_the_unit_box():
    space = parameter_space(CELL, {"cooling": (0.1, 2.0), "transference_number": (0.0, 1.0)})
    found = prior_of(space, {"transference_number": 0.05})
    assert found[0] == np.inf and found[1] == pytest.approx(0.05)
    assert prior_of(space, {"cooling": float(CELL.thermal.cooling)})[0] == pytest.approx(np.log(2) / np.log(20))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current": -5.0}, "current"),
        ({"time": TIME[::-1]}, "must rise"),
        ({"voltage": VOLTS[:5]}, "alike"),
        ({"temperature": np.full(3, 300.0)}, "shape"),
        ({"time": TIME - 100.0}, "counted from when"),
        ({"voltage": np.where(TIME > 3000, np.nan, VOLTS)}, "voltage"),
    ],
)
def test_readings_that_are_no_curve(change, words):
    given = {"time": TIME, "voltage": VOLTS, "current": 5.0} | change
    with pytest.raises(ValueError, match=words):
        measured(**given)


def test_correlated_errors_widen_the_intervals_by_what_they_should():
    """An offset fitted to AR(1) errors: the variance of the mean of m is s^2 (1 + rho) / (1 - rho) / m."""
    rho, count, trials = 0.7, 400, 60
    factor = np.linalg.cholesky(powers(rho, count))
    found = []
    for seed in range(trials):
        residual = factor @ np.random.default_rng(seed).standard_normal(count)
        covariance, degrees, alike = correlated(residual, [slice(0, count)], np.ones((count, 1)), least=0.1)
        found.append((alike, np.sqrt(covariance.mean()), degrees))
    alike, deviation, degrees = np.mean(found, axis=0)
    assert alike == pytest.approx(rho, abs=0.03)
    assert deviation == pytest.approx(np.sqrt((1 + rho) / (1 - rho) / count), rel=0.1)
    assert degrees == pytest.approx(count * (1 - rho) / (1 + rho) - 1, rel=0.15)


def test_independent_errors_have_the_usual_covariance():
    residual = np.random.default_rng(1).standard_normal(2000)
    covariance, degrees, alike = correlated(residual, [slice(0, 2000)], np.ones((2000, 1)), least=0.0)
    assert alike < 0.05 and degrees == pytest.approx(2000, rel=0.1)
    assert covariance.mean() == pytest.approx(1 / 2000, rel=0.15)


def _line(noise, bounds=(-5.0, 5.0)):
    """Height and slope of a straight line, and its linearisation."""
    base = {"height": jnp.asarray(0.1), "slope": jnp.asarray(0.1)}
    rows = [Variable(k, "", *bounds, 0.1, Leaf(lambda p, k=k: p[k])) for k in base]
    space, x = Space(base, rows), np.linspace(0.0, 1.0, 20)
    data = 1.0 + 2.0 * x + noise * np.random.default_rng(3).standard_normal(20)
    design = np.stack([np.ones(20), x], axis=1)

    def linearise(u):
        values = np.asarray(space.values(jnp.asarray(u)))
        # The cube makes it take more than one step.
        return (design @ values - data) + (values[1] - 2) ** 3 * 0.05, _chain(design, values) * (bounds[1] - bounds[0])

    return space, linearise


def _chain(design, values):
    slopes = design.copy()
    slopes[:, 1] += 0.15 * (values[1] - 2) ** 2
    return slopes


def test_a_fit_resumes_bit_for_bit_from_any_evaluation():
    space, linearise = _line(0.01)
    whole = Replay(linearise)
    first = fit(lambda _: None, space, method=LevenbergMarquardt(jacobian=whole, tolerance=1e-12))
    assert len(whole.evaluations) > 3
    for stop in range(1, len(whole.evaluations)):
        stacked = {k: v[:stop] for k, v in whole.stacked().items()}
        new = []
        again = Replay(linearise, linearisations(stacked), lambda replay, new=new: new.append(1))
        second = fit(lambda _: None, space, method=LevenbergMarquardt(jacobian=again, tolerance=1e-12))
        np.testing.assert_array_equal(second.value.x, first.value.x)
        assert len(new) == len(whole.evaluations) - stop
    other, _ = _line(0.01, (-4.0, 5.0))
    with pytest.raises(ValueError, match="another fit"):
        fit(lambda _: None, other, method=LevenbergMarquardt(jacobian=Replay(linearise, whole.evaluations)))


def test_variables_at_a_bound_do_not_hold_up_the_others():
    """Two nearly collinear columns: the undamped step leaves the box by far, and cut off it would raise the squares."""
    base = {"a": jnp.asarray(0.5), "b": jnp.asarray(0.5)}
    space = Space(base, [Variable(k, "", 0.0, 1.0, 0.5, Leaf(lambda p, k=k: p[k])) for k in base])
    design = np.array([[1.0, 1.0], [1.0, 1.001], [1.0, 0.999]])
    data = design @ np.array([-4.0, 4.8])

    def linearise(u):
        return design @ np.asarray(u) - data, design

    solution = fit(lambda _: None, space, method=LevenbergMarquardt(jacobian=lambda _, u: linearise(u)))
    assert bool(solution.result == Result.successful)
    # In the box the sum a + b = 0.8 is what the data fix, and a = 0 is best.
    np.testing.assert_allclose(solution.value.x, [0.0, 0.8], atol=2e-3)


def test_expected_gains_are_those_of_a_straight_line():
    """Measuring the slope as well as it is known halves its variance and leaves the height alone."""
    space, _ = _line(0.0)
    jacobian = np.diag([100.0, 50.0, 0.0][:2])
    known = estimate(Fitted(space, [0.5, 0.5], np.zeros(2), jacobian, np.ones(2)), np.eye(2))
    found = gain("slope", known, space.names, np.array([[0.0, 50.0]]))
    before = 1 / np.sqrt(50.0**2 + 1)
    after = 1 / np.sqrt(2 * 50.0**2 + 1)
    assert found.intervals["height"] == pytest.approx(1.0)
    assert found.intervals["slope"] == pytest.approx(after / before, rel=1e-9)
    assert found.volume == pytest.approx(np.sqrt(after / before), rel=1e-9)
    assert found.largest == pytest.approx(after / before, rel=1e-9)
    nothing = gain("nothing", known, space.names, np.zeros((3, 2)), powers(0.5, 3))
    assert nothing.volume == pytest.approx(1.0) and nothing.largest == pytest.approx(1.0)
