"""Which measurement would help most next: what it would leave of the intervals, by the Fisher information it adds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

from solver.cell.impedance import EIS, impedance

from .calibrate import Calibration, Curve, measured
from .correlation import powers
from .fit import Estimate
from .parameters import with_parameters


@dataclasses.dataclass(frozen=True)
class Gain:
    """What a further measurement is expected to do to the intervals of the unit box.

    **Arguments:** `name`; `volume`, of the ellipsoid that the variables lie in, over that of now, to the power of one
    over their number: the mean factor on an axis (D-optimality); `largest`, the longest interval over that of now
    (E-optimality, by variable); `intervals`, each over that of now, by name.
    """

    name: str
    volume: float
    largest: float
    intervals: dict[str, float]


def gain(name: str, known: Estimate, names, jacobian: np.ndarray, correlations: np.ndarray | None = None) -> Gain:
    """The [`Gain`][] of residuals with the derivatives `jacobian`, (k, n), in the unit box, over their deviations.

    What is known now is the covariance of `known`; the bounds count as knowledge too, a standard deviation of their
    distance, so that what nothing sees does not make all of it infinite.

    **Arguments:** `correlations` of the residuals, (k, k), none by default.

    **Source:** Atkinson, Donev and Tobias 2007, Optimum Experimental Designs, isbn 978-0199296606, chapter 10.
    """
    count = len(names)
    now = known.directions @ np.diag(known.information) @ known.directions.T + np.eye(count)
    solved = jacobian if correlations is None else linalg.solve(correlations, jacobian, assume_a="pos")
    then = now + jacobian.T @ solved
    before, after = (np.sqrt(np.diag(linalg.inv(information))) for information in (now, then))
    volume = np.exp(0.5 * (np.linalg.slogdet(now)[1] - np.linalg.slogdet(then)[1]) / count)
    each = {key: float(ratio) for key, ratio in zip(names, after / before, strict=True)}
    return Gain(name, float(volume), float(np.max(after) / np.max(before)), each)


def further_curve(
    calibration: Calibration, x, current: float, *, warm: bool = True, state_of_charge: float = 1.0, duration=None
) -> Calibration:
    """A calibration by the one curve that the model itself gives at `x` under another current, at 25 degC.

    **Arguments:** `warm`, whether its temperature is measured; `state_of_charge`, at the start; `duration`, s, of a
    pulse, whose end is no measurement.
    """
    first, errors = calibration.curves[0], calibration.errors
    count = first.share.size
    numbers = {"current": current, "ambient": 298.15, "state_of_charge": state_of_charge, "end_voltage": 0.0}
    numbers |= {"longest": duration or 1e7, "has_rest": 1.0, "rest": 0.0}
    asked = _with(first, numbers)
    if duration is None:
        asked = _with(asked, {"end_voltage": float(calibration.cell.lower_cutoff)})
        capacity = float(first.current * first.end_time)
        asked = _with(asked, {"longest": 3.0 * capacity / current})
    run = calibration.run(x, asked)
    time = np.linspace(0.0, 1.0, count + 1)[1:] * float(run.end_time)
    curve = measured(
        time, np.asarray(run.voltage_at(jnp.asarray(time))), current, np.full(count, 298.15) if warm else None,
        ambient=298.15, rest=0.0, means=first.counts.size, warm_means=first.warm_counts.size,
    )  # fmt: skip
    keep = {"state_of_charge": state_of_charge}
    if duration is not None:
        keep |= {"end_voltage": 0.0, "longest": duration}
        errors = dataclasses.replace(errors, end=1e6)
    return dataclasses.replace(calibration, curves=(_with(curve, keep),), errors=errors, prior=None)


def _with(curve: Curve, numbers) -> Curve:
    return dataclasses.replace(curve, **{name: jnp.asarray(value, float) for name, value in numbers.items()})


def of_curve(name: str, known: Estimate, calibration: Calibration, x, correlation: float) -> Gain:
    """The [`Gain`][] of the curves of `calibration` at `x`, residuals as alike from one to the next as `correlation`
    says."""
    _, jacobian = calibration.linearise(x)
    blocks = [powers(correlation, b.stop - b.start) for b in calibration.blocks]
    weighted = calibration.weights[:, None] * jacobian
    weighted[len(jacobian) - len(x) :] = 0.0  # what was known before is known already
    return gain(name, known, calibration.space.names, weighted, linalg.block_diag(*blocks))


def spectrum_jacobian(calibration: Calibration, x, frequency, state_of_charge: float = 0.5) -> np.ndarray:
    """Derivatives of the impedance of the cell at rest in the unit box, over its size: (2 f, n), real parts first."""

    def parts(u):
        cell = with_parameters(calibration.cell, calibration.space(u))
        found = impedance(cell, jnp.asarray(frequency), EIS(), state_of_charge=state_of_charge).specific
        return jnp.concatenate([found.real, found.imag]), jnp.abs(found)

    (_, pull, size) = jax.vjp(parts, jnp.asarray(x), has_aux=True)
    rows = jax.vmap(pull)(jnp.eye(2 * len(frequency)))[0]
    return np.asarray(rows / jnp.concatenate([size, size])[:, None])
