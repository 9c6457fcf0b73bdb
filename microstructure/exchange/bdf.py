"""Curves of voltage and current in the Battery Data Format (BDF): CSV with fixed column names and units.

**Source:** Battery Data Alliance (LF Energy), battery-data-format,
https://battery-data-alliance.github.io/battery-data-format: the preferred labels of its required, recommended and
optional quantities, and their machine-readable names.
"""

import csv
import dataclasses
import math
import pathlib

import numpy as np

from microstructure import store
from microstructure.exchange.tables import LARGEST_FILE

TIME, VOLTAGE, CURRENT = "Test Time / s", "Voltage / V", "Current / A"
_REQUIRED = (TIME, VOLTAGE, CURRENT)
LABELS = {  # preferred label: machine-readable name
    TIME: "test_time_second",
    VOLTAGE: "voltage_volt",
    CURRENT: "current_ampere",
    "Unix Time / s": "unix_time_second",
    "Cycle Count / 1": "cycle_count",
    "Step Count / 1": "step_count",
    "Step Index / 1": "step_index",
    "Ambient Temperature / degC": "ambient_temperature_celsius",
    "Charging Capacity / Ah": "charging_capacity_ah",
    "Discharging Capacity / Ah": "discharging_capacity_ah",
    "Step Capacity / Ah": "step_capacity_ah",
    "Net Capacity / Ah": "net_capacity_ah",
    "Cumulative Capacity / Ah": "cumulative_capacity_ah",
    "Charging Energy / Wh": "charging_energy_wh",
    "Discharging Energy / Wh": "discharging_energy_wh",
    "Step Energy / Wh": "step_energy_wh",
    "Net Energy / Wh": "net_energy_wh",
    "Cumulative Energy / Wh": "cumulative_energy_wh",
    "Power / W": "power_watt",
    "Internal Resistance / Ohm": "internal_resistance_ohm",
    "Ambient Pressure / Pa": "ambient_pressure_pa",
    "Applied Pressure / Pa": "applied_pressure_pa",
    **{f"Surface Temperature T{i} / degC": f"temperature_t{i}_celsius" for i in range(1, 6)},
}
_BY_NAME = {name: label for label, name in LABELS.items()}


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve of one cell: `time`, s, rising; `voltage`, V; `current`, A; all (n,). `columns`, further columns (n,) by
    their label, in the unit that the label names.

    Current is positive when it charges, as in the curves of BPX files and on most cyclers; BDF itself names no sign.
    """

    time: np.ndarray
    voltage: np.ndarray
    current: np.ndarray
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def write_bdf(path, curve: Curve) -> None:
    """Writes a curve as BDF CSV, atomically, with all digits.

    **Raises:** `ValueError` for columns of different lengths, or numbers that are not finite.
    """
    columns = {TIME: curve.time, VOLTAGE: curve.voltage, CURRENT: curve.current, **curve.columns}
    columns = {label: np.asarray(values, float) for label, values in columns.items()}
    count = columns[TIME].size
    for label, values in columns.items():
        if values.shape != (count,):
            raise ValueError(f"Column `{label}` must have {count} values as `{TIME}` has, but it has {values.size}.")
        if not np.all(np.isfinite(values)):
            raise ValueError(f"Column `{label}` holds values that are not finite.")
    with store.atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def read_rows(path: pathlib.Path) -> list[list[str]]:
    """The rows of a CSV file that are not empty.

    **Raises:** `ValueError`, in one sentence, for a file that is missing, too large or no CSV in UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"The file `{path}` does not exist.")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"The file `{path}` is larger than {LARGEST_FILE} bytes.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"The file `{path}` is no CSV in UTF-8.") from error


def read_bdf(path) -> Curve:
    """Reads a BDF CSV, its columns by preferred label or machine-readable name; further columns of numbers are kept.

    **Raises:** `ValueError`, in one sentence, for a file that is missing, lacks a required column, holds a number that
    is none or not finite, or goes back in time.
    """
    path = pathlib.Path(path)
    rows = read_rows(path)
    labels = [_BY_NAME.get(label.strip(), label.strip()) for label in rows[0]] if rows else []
    missing = [label for label in _REQUIRED if label not in labels]
    if missing:
        raise ValueError(f"The file `{path}` lacks the column `{'`, `'.join(missing)}` of the Battery Data Format.")
    if len(set(labels)) < len(labels):
        raise ValueError(f"The file `{path}` names a column twice.")
    if len(rows) < 2:
        raise ValueError(f"The file `{path}` holds no rows.")
    columns = {label: [] for label in labels}
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(labels):
            raise ValueError(f"Row {line} of `{path}` has {len(row)} values, but the header names {len(labels)}.")
        for label, text in zip(labels, row, strict=True):
            columns[label].append(_number(text, label, line, path))
    columns = {label: np.asarray(values) for label, values in columns.items() if not np.all(np.isnan(values))}
    time = columns.pop(TIME)
    back = np.flatnonzero(np.diff(time) < 0)
    if back.size:
        raise ValueError(f"`{TIME}` of `{path}` must rise, but row {back[0] + 3} goes back to {time[back[0] + 1]:g} s.")
    return Curve(time, columns.pop(VOLTAGE), columns.pop(CURRENT), columns)


def _number(text, label, line, path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    if label in _REQUIRED or (label in LABELS and text.strip()):
        raise ValueError(
            f"Row {line} of `{path}` must hold a finite number under `{label}`, but {text!r} stands there."
        )
    return math.nan  # an empty field, or a column that is not of the format
