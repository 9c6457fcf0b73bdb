"""Calibration of a cell by measured constant-current runs: residuals of all curves, with exact derivatives.

A model's run ends elsewhere than the measured one, so both are compared at the same share of the time each lasts, which
at constant current is the same share of the charge, and the end time is a residual of its own. Nothing is extrapolated,
and all of it is differentiable, the end by the implicit function theorem through the cut-off. The readings are averaged
in groups, model and data alike, so that a curve has some twenty residuals whatever the number of its readings; their
derivatives share one run and one sweep backwards.
"""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from microstructure.checks import require
from solver.cell.cell import Cell, open_circuit_voltage
from solver.cell.method import DFN, Method
from solver.cell.protocol import Discharge, discharge
from solver.numerics.real import real
from solver.numerics.solution import Result, Solution

from .correlation import correlated
from .fit import Estimate, Fitted, LevenbergMarquardt, estimate, fit
from .parameters import with_parameters
from .replay import Replay
from .space import Space

COST = 5.0  # of a run with all its derivatives, in runs without: 3.3 measured with a thermal model, 5.0 without
LENGTH = 512  # readings: curves are filled up to a multiple of it


class Errors(eqx.Module):
    """Standard deviations of what is measured.

    **Arguments:** `voltage_noise`, V, and `temperature_noise`, K, of each reading, independent; `voltage_model`, V, and
    `temperature_model`, K, by which the best model is expected to be off, the same however many readings are averaged;
    `end`, of the logarithm of the end time; `rest`, of the voltage at rest, V.
    """

    voltage_noise: Float[Array, ""] = eqx.field(converter=real, default=1e-3)
    temperature_noise: Float[Array, ""] = eqx.field(converter=real, default=0.1)
    voltage_model: Float[Array, ""] = eqx.field(converter=real, default=1e-2)
    temperature_model: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    end: Float[Array, ""] = eqx.field(converter=real, default=3e-3)
    rest: Float[Array, ""] = eqx.field(converter=real, default=5e-3)

    def __check_init__(self):
        for name in ("voltage_model", "temperature_model"):
            require(name, getattr(self, name), 0.0)
        for name in ("voltage_noise", "temperature_noise", "end", "rest"):
            require(name, getattr(self, name), 1e-12)


class Curve(eqx.Module):
    """A measured discharge at constant current, from the cell at rest to its last reading; [`measured`][] makes it.

    **Arguments:** `current`, A, positive; `state_of_charge`, at the start; `end_time`, s, and `end_voltage`, V, of the
    last reading; `longest`, s, after which the model's run is cut; `ambient`, K, the temperature before; `rest`, V, the
    voltage before, and `has_rest`, 1 or 0; `share`, (n,), of the end time, at which `voltage`, V, and `temperature`, K,
    were read; `groups` and `warm_groups`, (k, n), the weights of the readings in each mean; `counts` and `warm_counts`,
    (k,), readings in each, zero where there is no temperature.
    """

    current: Float[Array, ""]
    state_of_charge: Float[Array, ""]
    longest: Float[Array, ""]
    end_time: Float[Array, ""]
    end_voltage: Float[Array, ""]
    ambient: Float[Array, ""]
    rest: Float[Array, ""]
    has_rest: Float[Array, ""]
    share: Float[Array, " n"]
    voltage: Float[Array, " n"]
    temperature: Float[Array, " n"]
    groups: Float[Array, "k n"]
    warm_groups: Float[Array, "l n"]
    counts: Float[Array, " k"]
    warm_counts: Float[Array, " l"]


def measured(
    time, voltage, current: float, temperature=None, *, ambient=None, rest=None, means: int = 16, warm_means: int = 8
) -> Curve:
    """A [`Curve`][] of readings under a constant current.

    The model's run is cut at twice the time that was measured.

    **Arguments:** `time`, (n,), s since the current began to flow, rising; `voltage`, (n,), V; `current`, A, positive
    on discharge; `temperature`, (n,), K; `ambient`, K, by default the first temperature, or 298.15; `rest`, the voltage
    before, V; `means`, groups of readings, and `warm_means`, of temperatures.

    **Raises:** `ValueError` for readings that are no such curve.
    """
    time, voltage = np.asarray(time, float), np.asarray(voltage, float)
    temperature = None if temperature is None else np.asarray(temperature, float)
    _check(time, voltage, current, temperature)
    last = time[-1]
    share = time / last
    # Groups of equal length along the curve, in time and in voltage, so that its steep ends have some of their own.
    along = share - np.minimum.accumulate(voltage) / max(float(np.ptp(voltage)), 1e-9)
    warmth = np.full_like(time, 298.15 if ambient is None else ambient) if temperature is None else temperature
    groups, counts = _groups(along, min(means, time.size))
    warm, warm_counts = _groups(share, min(warm_means, time.size))
    numbers = {
        "current": current,
        "state_of_charge": 1.0,
        "longest": 2.0 * last,
        "end_time": last,
        "end_voltage": voltage[-1],
        "ambient": warmth[0] if ambient is None else ambient,
        "rest": 0.0 if rest is None else rest,
        "has_rest": float(rest is not None),
        "share": share,
        "voltage": voltage,
        "temperature": warmth,
        "groups": groups,
        "warm_groups": warm,
        "counts": counts,
        "warm_counts": warm_counts * (temperature is not None),
    }
    return Curve(**{name: jnp.asarray(value, float) for name, value in numbers.items()})


def _check(time, voltage, current, temperature) -> None:
    require("current", current, 1e-9, unit="A", hint="It is positive on discharge.")
    if time.ndim != 1 or time.size < 4 or voltage.shape != time.shape:
        raise ValueError(
            f"A curve needs at least four readings of time and voltage alike, but {time.shape} and {voltage.shape} "
            "were given."
        )
    for name, values in (("time", time), ("voltage", voltage), ("temperature", temperature)):
        if values is not None:
            require(name, values)
    if temperature is not None and temperature.shape != time.shape:
        raise ValueError(f"`temperature` must have the shape {time.shape} of `time`, but has {temperature.shape}.")
    back = np.flatnonzero(np.diff(time) <= 0)
    if back.size:
        k = int(back[0])
        raise ValueError(f"`time` must rise, but {time[k + 1]:g} s follows {time[k]:g} s.")
    require("time", time, 0.0, unit="s", hint="It is counted from when the current began to flow.")


def _groups(along: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of means over readings that lie together, and how many each has; groups without any are left out."""
    edges = np.linspace(along[0], along[-1], count + 1)
    which = np.clip(np.searchsorted(edges, along, side="right") - 1, 0, count - 1)
    member = (which[None, :] == np.arange(count)[:, None]).astype(float)
    sizes = member.sum(axis=1)
    return member / np.maximum(sizes, 1.0)[:, None], sizes


class Calibration(eqx.Module):
    """A cell, the space of its free parameters, and what was measured of it from the charged state.

    Residuals, model minus data, a curve after the other: means of the voltage, V; with a thermal model, means of the
    temperature, K; logarithm of the end time over the measured one; voltage at rest before, V. What was not measured
    has no weight. Last comes what was known before: the distance from the start in the unit box.

    **Arguments:** `space`, of [`parameter_space`][inverse.parameters.parameter_space]; `cell`, with the numbers that
    are not free; `curves`; `errors`; `method`; `prior`, (n,), standard deviations of the start in the unit box, of
    [`prior_of`][], infinite by default.
    """

    space: Space
    cell: Cell
    curves: tuple[Curve, ...] = eqx.field(converter=lambda curves: _padded(tuple(curves)))
    errors: Errors = eqx.field(default_factory=Errors)
    method: Method = eqx.field(default_factory=DFN)
    prior: Float[Array, " n"] | None = None

    def at(self, x: Float[Array, " n"]) -> Cell:
        """The cell at `x` of the unit box."""
        return _placed(self.space, self.cell, jnp.asarray(x))

    def residual(self, x: Float[Array, " n"]) -> np.ndarray:
        """All residuals at `x`, (m,), without derivatives."""
        rows = [np.asarray(_valued(self.at(x), self.method, curve)) for curve in self.curves]
        return np.concatenate([*rows, np.asarray(x) - np.asarray(self.space.start)])

    def linearise(self, x: Float[Array, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """All residuals at `x`, (m,), and their derivatives, (m, n)."""
        cell, slopes = self.at(x), _slopes(self.space, self.cell, jnp.asarray(x))
        rows = [_linearised(cell, self.method, curve) for curve in self.curves]
        values = [np.asarray(value) for value, _, _ in rows]
        moved = np.asarray(x) - np.asarray(self.space.start)
        chained = [_chained(bars, slopes) for _, bars, _ in rows]
        return np.concatenate([*values, moved]), np.concatenate([*chained, np.eye(moved.size)])

    def run(self, x: Float[Array, " n"], curve: Curve) -> Discharge:
        """The model's run of a curve of `curves`, by the function that [`Calibration.linearise`][] has compiled."""
        return _linearised(self.at(x), self.method, curve)[2]

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviations of the residuals, (m,), infinite for what was not measured."""
        e, rows = self.errors, []
        for curve in self.curves:
            parts = [(curve.counts, e.voltage_noise, e.voltage_model)]
            if self.cell.thermal is not None:
                parts.append((curve.warm_counts, e.temperature_noise, e.temperature_model))
            for counts, noise, model in parts:
                counts, noise, model = np.asarray(counts), float(noise), float(model)
                rows.append(np.where(counts > 0, np.sqrt(noise**2 / np.maximum(counts, 1) + model**2), np.inf))
            rows.append([float(e.end), float(e.rest) if curve.has_rest > 0 else np.inf])
        free = len(self.space.variables)
        rows.append(np.full(free, np.inf) if self.prior is None else np.asarray(self.prior))
        return np.concatenate(rows)

    @property
    def weights(self) -> np.ndarray:
        """One over the standard deviations, (m,)."""
        return 1.0 / self.deviations

    @property
    def blocks(self) -> list[slice]:
        """Residuals that follow each other along one curve: voltages, temperatures; the end, the rest, and what was
        known before are alone."""
        found, at = [], 0
        for curve in self.curves:
            warm = [curve.warm_counts.size] if self.cell.thermal is not None else []
            for size in (curve.counts.size, *warm, 1, 1):
                found.append(slice(at, at + size))
                at += size
        return found + [slice(k, k + 1) for k in range(at, at + len(self.space.variables))]


def prior_of(space: Space, deviations: Mapping[str, float]) -> np.ndarray:
    """Standard deviations of the start in the unit box, (n,), from those of the values, SI; of a logarithmic variable
    that of the upper side."""
    found = []
    for variable in space.variables:
        deviation = deviations.get(variable.name, np.inf)
        moved = variable.to_unit(variable.start + deviation) - variable.to_unit(variable.start)
        found.append(float(moved) if np.isfinite(deviation) else np.inf)
    return np.asarray(found)


def calibrate(
    calibration: Calibration, steps: int = 40, tolerance: float = 1e-4, replay: Replay | None = None
) -> Solution:
    """The fit of all curves together: a `Solution` with [`Fitted`][inverse.fit.Fitted].

    **Arguments:** `steps` and `tolerance`, of [`LevenbergMarquardt`][inverse.fit.LevenbergMarquardt]; `replay`, to
    resume from.
    """
    replay = Replay(calibration.linearise) if replay is None else replay
    method = LevenbergMarquardt(steps=steps, tolerance=tolerance, jacobian=replay)
    return fit(lambda _: None, calibration.space, calibration.weights, method)


def judged(calibration: Calibration, fitted: Fitted, confidence: float = 0.95) -> tuple[Estimate, float]:
    """What the curves know of the parameters, residuals being as alike as they show; and how alike, from one to the
    next.

    Errors of the model are no noise: they do not average out over the points of a curve, and the intervals say so
    ([`correlated`][inverse.correlation.correlated]).
    """
    residual, jacobian = fitted.weighted
    covariance, degrees, rho = correlated(residual, calibration.blocks, jacobian)
    deviations = calibration.deviations
    deviations = np.where(np.isfinite(deviations), deviations, 0.0)
    return estimate(fitted, covariance * np.outer(deviations, deviations), degrees, confidence), rho


def _padded(curves: tuple[Curve, ...]) -> tuple[Curve, ...]:
    """Curves of one shape, so that one compiled function serves all, other data too; what is added has no weight."""
    if not curves:
        raise ValueError("A calibration needs at least one curve, but none was given.")
    length = LENGTH * -(-max(c.share.size for c in curves) // LENGTH)
    rows = {name: max(getattr(c, name).size for c in curves) for name in ("counts", "warm_counts")}

    def grown(c):
        more = length - c.share.size
        values = {name: jnp.pad(getattr(c, name), (0, more), mode="edge") for name in ("share", "voltage")}
        values["temperature"] = jnp.pad(c.temperature, (0, more), mode="edge")
        for name, groups in (("counts", "groups"), ("warm_counts", "warm_groups")):
            below = rows[name] - getattr(c, name).size
            values[name] = jnp.pad(getattr(c, name), (0, below))
            values[groups] = jnp.pad(getattr(c, groups), ((0, below), (0, more)))
        return dataclasses.replace(c, **values)

    return tuple(grown(c) for c in curves)


@eqx.filter_jit
def _placed(space, cell, x) -> Cell:
    return with_parameters(cell, space(x))


@eqx.filter_jit
def _slopes(space, cell, x):
    """Derivatives of all numbers of the cell in x, a last axis (n,) on each."""
    return jax.jacfwd(lambda u: eqx.filter(with_parameters(cell, space(u)), eqx.is_inexact_array))(x)


def _residual(cell, method, curve) -> tuple[Array, Discharge]:
    """Residuals of a curve, and the model's run of it: from the temperature before to the last voltage measured."""
    cell = eqx.tree_at(lambda c: (c.lower_cutoff, c.temperature), cell, (curve.end_voltage, curve.ambient))
    if cell.thermal is not None:
        cell = eqx.tree_at(lambda c: c.thermal.ambient, cell, curve.ambient)
    start = {"state_of_charge": curve.state_of_charge, "duration": curve.longest}
    solution = discharge(cell, curve.current / cell.area, method, **start)
    run = solution.value
    at = curve.share * run.end_time
    parts = [curve.groups @ (run.voltage_at(at) - curve.voltage)]
    if cell.thermal is not None:
        warmth = eqx.tree_at(lambda r: r.voltage, run, run.temperature)
        parts.append(curve.warm_groups @ (warmth.voltage_at(at) - curve.temperature))
    rest = open_circuit_voltage(cell, curve.state_of_charge) - curve.rest
    parts.append(jnp.stack([jnp.log(run.end_time / curve.end_time), rest * curve.has_rest]))
    return jnp.where(solution.result == Result.successful, jnp.concatenate(parts), jnp.nan), run


@eqx.filter_jit
def _valued(cell, method, curve):
    return _residual(cell, method, curve)[0]


@eqx.filter_jit
def _linearised(cell, method, curve):
    """Residuals of a curve, their derivatives in all numbers of the cell, and the run: one march, and one sweep
    backwards with a lane for each residual. Which numbers are free does not matter to it, so it is compiled once."""
    numbers, rest = eqx.partition(cell, eqx.is_inexact_array)
    value, pull, run = jax.vjp(lambda c: _residual(eqx.combine(c, rest), method, curve), numbers, has_aux=True)
    return value, jax.vmap(pull)(jnp.eye(value.size, dtype=value.dtype))[0], run


def _chained(bars, slopes) -> np.ndarray:
    """Derivatives in x from those in the numbers of the cell: (m, n)."""
    pairs = zip(jax.tree.leaves(bars), jax.tree.leaves(slopes), strict=True)
    return sum(
        np.asarray(bar).reshape(bar.shape[0], -1) @ np.asarray(slope).reshape(-1, slope.shape[-1])
        for bar, slope in pairs
    )
