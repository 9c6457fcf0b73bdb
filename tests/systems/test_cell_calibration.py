"""Calibration of a cell: derivatives of the residuals, recovery of what the curves were made with, intervals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.agreement import agreement, end_interval
from inverse.calibrate import Calibration, Errors, calibrate, judged, measured
from inverse.informative import further_curve, of_curve
from inverse.parameters import parameter_space, with_parameters
from solver.cell.cell import open_circuit_voltage, warmed
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020, chen_thermal
from solver.cell.method import DFN
from solver.cell.protocol import discharge
from solver.numerics.solution import raise_unless_successful

CELL = warmed(chen2020(), chen_thermal())
METHOD = DFN(Mesh(8, 4, 8, 8))
TRUTH = {"positive_active_fraction": 0.6, "positive_diffusivity": 7e-15, "cooling": 0.8}
BOUNDS = {"positive_active_fraction": (0.55, 0.7), "positive_diffusivity": (1e-15, 3e-14), "cooling": (0.2, 2.0)}
NOISE = Errors(
    voltage_noise=1e-3, temperature_noise=0.05, voltage_model=0.0, temperature_model=0.0, end=1e-5, rest=1e-4
)
compiled = jax.jit(lambda cell, current: discharge(cell, current, METHOD))


def curve(rate, noise=0.0, seed=0, method=METHOD):
    """Forty readings of the true cell."""
    cell = with_parameters(CELL, {k: jnp.asarray(v) for k, v in TRUTH.items()})
    run = raise_unless_successful(compiled(cell, jnp.asarray(5.0 * rate) / cell.area), "The data")
    time = np.linspace(0.0, 1.0, 41)[1:] * float(run.end_time)
    draws = noise * np.random.default_rng(seed).standard_normal((2, 40))
    volts = np.asarray(run.voltage_at(jnp.asarray(time))) + 1e-3 * draws[0]
    warmth = np.interp(time, np.asarray(run.time), np.asarray(run.temperature)) + 0.05 * draws[1]
    volts[-1] = 2.5  # the cut-off
    rest = float(open_circuit_voltage(cell))
    return measured(time, volts, 5.0 * rate, warmth, ambient=298.15, rest=rest, means=6, warm_means=3)


def calibration(*curves):
    return Calibration(parameter_space(CELL, BOUNDS), CELL, curves, NOISE, METHOD)


@pytest.mark.slow  # compiles a cell with three derivatives; the fit below needs them right
def test_derivatives_of_the_residuals_are_those_of_differences():
    """Central differences over 2 % of the bounds: their own error, from the steps in time, is 1e-3 of a derivative."""
    here = calibration(curve(1.0))
    x, step = np.asarray(here.space.start), 1e-2
    residual, jacobian = here.linearise(x)
    np.testing.assert_allclose(here.residual(x), residual, rtol=1e-9, atol=1e-12)
    for k, shift in enumerate(step * np.eye(3)):
        difference = (here.residual(x + shift) - here.residual(x - shift)) / (2 * step)
        np.testing.assert_allclose(jacobian[:, k], difference, atol=1e-2 * np.max(np.abs(difference)))


def test_a_fit_finds_what_the_curves_were_made_with():
    here = calibration(curve(0.5), curve(1.0))
    fitted = raise_unless_successful(calibrate(here, tolerance=1e-8), "The fit")
    # Temperatures are interpolated straight in the data and as a cubic in the model, by 0.01 K.
    assert fitted.values == pytest.approx(TRUTH, rel=5e-3)
    found = agreement(here.run(fitted.x, here.curves[0]), here.curves[0])
    assert found["voltage_rms_mV"] < 0.2 and abs(found["end_time_error_percent"]) < 0.01
    known, _ = judged(here, fitted)
    low, high = end_interval(here, known, fitted.x, curve(0.7))
    assert low < float(curve(0.7).end_time) < high and high / low < 1.01
    # Another 1C curve narrows every interval, and of a pulse, whose end says nothing, little is learned.
    gain = of_curve("1C", known, further_curve(here, fitted.x, 5.0), fitted.x, 0.0)
    assert gain.largest < 0.9 and all(0.2 < v < 0.9 for v in gain.intervals.values())
    pulse = of_curve(
        "pulse", known, further_curve(here, fitted.x, 5.0, state_of_charge=0.5, duration=30.0), fitted.x, 0.0
    )
    assert gain.volume < pulse.volume <= 1.0


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """95 % of 20 draws: fewer than 16 have a probability of 3e-4 each."""
    held = np.zeros(3)
    for seed in range(20):
        here = calibration(curve(0.5, 1.0, seed), curve(1.0, 1.0, 100 + seed))
        known, _ = judged(here, raise_unless_successful(calibrate(here, tolerance=1e-6), "The fit"))
        held += [known.low[k] <= v <= known.high[k] for k, v in TRUTH.items()]
    assert np.all(held >= 16)
