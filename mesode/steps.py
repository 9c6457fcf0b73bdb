"""Stages of a protocol as steps of the cell model: per area, with the cell's own cut-offs where none were said."""

from collections.abc import Sequence

import numpy as np

from mesode.protocol import protocol_of
from mesode.sentences import Stage
from microstructure.units import Ah

DAY = 86400.0  # s
_FASTEST = (1e-4, 1e3)  # multiples of the nominal capacity per hour that a current in amperes may be


def steps(sentences: Sequence[str], nominal_Ah: float, area_m2: float, window=None, folder=".") -> list:
    """The sentences of a protocol as a list of [`Step`][solver.cell.cycle.Step]s.

    ```python
    from mesode.steps import steps
    course = cycle(cell, steps(["Discharge at 1C until 2.5 V", "Rest for 1 hour"], 5.0, cell.area)).value
    ```

    **Arguments:** `nominal_Ah`, what a C-rate refers to; `area_m2`, of all electrode pairs; `window`, lower and upper
    cut-off, V, within which all voltages must lie and which end what would leave it; `folder`, of drive cycles.
    """
    stages = protocol_of(sentences, folder).stages
    return [step_of(stage, float(nominal_Ah), float(area_m2), window) for stage in stages]


def step_of(stage: Stage, nominal: float, area: float, window=None):
    """The [`Step`][solver.cell.cycle.Step] of a stage; arguments as of [`steps`][]."""
    import jax.numpy as jnp

    from solver.cell import control
    from solver.cell.cycle import Step

    _check_current(stage, nominal)
    kind, value = stage.held, stage.value
    if kind == "table":
        scaled = jnp.asarray(stage.table.values / area)
        held = control.current_table(jnp.asarray(stage.table.times), scaled)
        if stage.table.power:
            held = control.Control(0.0, 0.0, 1.0, 0.0, scaled, held.times)
    else:
        makers = {"voltage": control.constant_voltage, "plating": control.plating_limit}
        makers |= {"power": control.constant_power, "resistance": control.constant_resistance}
        scale = {"voltage": 1.0, "plating": 1.0, "resistance": area, "c_rate": nominal / area}.get(kind, 1.0 / area)
        held = makers.get(kind, control.constant_current)(jnp.asarray(scale * value, float))
    low, high = _ends(stage, nominal, area, window)
    limits = control.Limits(
        *(jnp.asarray([side.get(name, none) for name in control.OBSERVED]) for side, none in zip(
            (low, high), (-np.inf, np.inf), strict=True
        ))
    )  # fmt: skip
    return Step(held, limits, horizon(stage, nominal))


def horizon(stage: Stage, nominal: float) -> float:
    """The longest that a stage may last, s: as said, or else a day, or twice what its current takes."""
    if stage.duration is not None:
        return stage.duration
    rate = abs(stage.value) / (nominal if stage.held == "current" else 1.0)
    return max(DAY, 2.0 * 3600.0 / rate) if stage.held in ("current", "c_rate") else DAY


def guards(stage: Stage, window) -> tuple[float | None, float | None]:
    """The cut-offs, V, that end a stage besides what was said: those that it runs towards."""
    if window is None or stage.held in ("rest", "voltage"):
        return None, None
    said = {end.above for end in stage.ends if end.quantity == "voltage"}
    falls = stage.held == "table" or (stage.held != "plating" and stage.value > 0)
    rises = stage.held in ("table", "plating") or stage.value < 0
    return (
        float(window[0]) if falls and False not in said else None,
        float(window[1]) if rises and True not in said else None,
    )


def _ends(stage: Stage, nominal: float, area: float, window) -> tuple[dict, dict]:
    """Lower and upper limits by name of what is observed, in its unit; of two the closer one."""
    low, high = {}, {}
    for end in stage.ends:
        name = {"capacity": "charge", "c_rate": "current"}.get(end.quantity, end.quantity)
        scale = {"charge": Ah / area, "current": 1.0 / area}.get(name, 1.0)
        value = end.value * scale * (nominal if end.quantity == "c_rate" else 1.0)
        if name == "voltage":
            _check_voltage(stage, end.value, window)
        side, closer = (high, min) if end.above else (low, max)
        side[name] = closer(value, side.get(name, value))
    if stage.held == "voltage":
        _check_voltage(stage, stage.value, window)
    for side, guard in zip((low, high), guards(stage, window), strict=True):
        if guard is not None:
            side["voltage"] = guard
    return low, high


def _check_voltage(stage: Stage, value: float, window) -> None:
    if window is not None and not window[0] - 1e-9 <= value <= window[1] + 1e-9:
        raise ValueError(
            f"`{stage.text}`: The voltage must lie between the cut-offs of the cell, {float(window[0]):g} and "
            f"{float(window[1]):g} V, but {value:g} V was given."
        )


def _check_current(stage: Stage, nominal: float) -> None:
    """A current in amperes that no cell of this capacity would be given is a slip of the unit."""
    rate = 0.0
    if stage.held == "current":
        rate = abs(stage.value) / nominal
    elif stage.held == "table" and not stage.table.power:
        rate = float(np.max(np.abs(stage.table.values))) / nominal
    if rate and not (rate <= _FASTEST[1] and (stage.held == "table" or rate >= _FASTEST[0])):
        raise ValueError(
            f"`{stage.text}`: The current is {rate:.3g} times the nominal capacity of {nominal:g} Ah per hour, but "
            f"must lie between {_FASTEST[0]:g} and {_FASTEST[1]:g} times. Is it in A?"
        )


def check_cell(stages: Sequence[Stage], thermal: bool, half_cell: bool) -> None:
    """`ValueError` where a stage asks for what this model of the cell does not have."""
    errors = []
    for stage in dict.fromkeys(stage.text for stage in stages):
        named = {q for s in stages if s.text == stage for q in (s.held, *(end.quantity for end in s.ends))}
        if "temperature" in named and not thermal:
            errors.append(f"`{stage}`: Without a thermal model the temperature stays as it is; add `--thermal`.")
        if "plating" in named and half_cell:
            errors.append(f"`{stage}`: A half-cell, with lithium as its negative electrode, has no plating potential.")
    if errors:
        raise ValueError("\n".join(errors))
