"""How well a model's run agrees with what was measured, and how far a prediction can be trusted."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from scipy import stats

from solver.cell.protocol import Discharge

from .calibrate import Calibration, Curve
from .fit import Estimate


def agreement(run: Discharge, curve: Curve) -> dict[str, float]:
    """Root mean square differences of a run and the readings of its curve, and the end times.

    At the same time, as long as both last: `voltage_rms_mV`, `temperature_rms_K`; at the same share of the time that
    each lasts: `voltage_share_rms_mV`; `end_time_s`, `measured_end_time_s`, and `end_time_error_percent`.
    """
    real = np.asarray(curve.groups).sum(axis=0) > 0  # others were filled up
    share, end, last = np.asarray(curve.share)[real], float(run.end_time), float(curve.end_time)
    time, volts = share * last, np.asarray(curve.voltage)[real]
    both = time <= end
    at_time, at_share = (np.asarray(run.voltage_at(jnp.asarray(t))) for t in (np.minimum(time, end), share * end))
    warmth = np.interp(time, np.asarray(run.time), np.asarray(run.temperature))
    found = {
        "voltage_rms_mV": 1e3 * _rms((at_time - volts)[both]),
        "voltage_share_rms_mV": 1e3 * _rms(at_share - volts),
        "end_time_s": end,
        "measured_end_time_s": last,
        "end_time_error_percent": 100 * (end / last - 1),
    }
    if np.any(np.asarray(curve.warm_counts) > 0):
        found["temperature_rms_K"] = _rms((warmth - np.asarray(curve.temperature)[real])[both])
    return found


def end_interval(
    calibration: Calibration, known: Estimate, x, curve: Curve, confidence: float = 0.95
) -> tuple[float, float]:
    """Between which end times, s, a curve that was not fitted is expected: from the covariance of the parameters and
    the error of the model, which is as many times the expected one as the fitted residuals are.

    **Source:** Seber and Wild 1989, doi 10.1002/0471725315, section 5.1, with the delta method.
    """
    alone = dataclasses.replace(calibration, curves=(curve,))
    _, jacobian = alone.linearise(x)
    row = jacobian[-2 - len(x)]  # of the logarithm of the end time: the rest and what was known before follow
    covariance = known.directions @ np.diag(1 / known.information) @ known.directions.T
    model = max(known.misfit, 1.0) * float(calibration.errors.end)
    half = float(stats.t.ppf(0.5 + 0.5 * confidence, known.degrees)) * np.sqrt(row @ covariance @ row + model**2)
    end = float(alone.run(x, alone.curves[0]).end_time)
    return end * np.exp(-half), end * np.exp(half)


def _rms(difference) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))
