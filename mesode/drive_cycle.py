"""Tables of current or power over time, from CSV."""

import csv
import pathlib
import re

import numpy as np

from mesode.sentences import Table
from microstructure.exchange.bdf import CURRENT
from microstructure.exchange.bdf import TIME as BDF_TIME
from microstructure.exchange.tables import LARGEST_FILE

_TIME, _CURRENT, _POWER = "time_s", "current_a", "power_w"
MOST_ROWS = 20000


def read_drive_cycle(path) -> Table:
    """The [`Table`][] of a CSV with the columns `time / s` and `current / A` or `power / W`, positive on discharge.

    `time_s`, `Time [s]` and the like are the same names. In a file of the Battery Data Format, known by its column
    `Test Time / s`, a positive current charges.

    **Raises:** `ValueError`, in one sentence, for a file that is missing, lacks a column, holds what is no number, or
    does not start at 0 and rise.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"Drive cycle `{path}` does not exist.")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"Drive cycle `{path}` is larger than {LARGEST_FILE} bytes.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(field.strip() for field in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Drive cycle `{path}` is no CSV in UTF-8.") from error
    header = [text.strip() for text in rows[0]] if rows else []
    if BDF_TIME in header and CURRENT in header:
        return _checked(path, _columns(path, rows, [header.index(BDF_TIME), header.index(CURRENT)]), -1.0, False)
    names = [re.sub(r"[^a-z]+", "_", text.lower()).strip("_") for text in header]
    load = next((name for name in (_CURRENT, _POWER) if name in names), None)
    if _TIME not in names or load is None:
        found = ", ".join(header) or "nothing"
        raise ValueError(
            f"Drive cycle `{path}` must have the columns `time / s` and `current / A` or `power / W`, but its first "
            f"row is: {found}."
        )
    return _checked(path, _columns(path, rows, [names.index(_TIME), names.index(load)]), 1.0, load == _POWER)


def _columns(path, rows, wanted) -> np.ndarray:
    """The columns of these numbers below the header, shape (rows, 2)."""
    if not 2 <= len(rows) - 1 <= MOST_ROWS:
        raise ValueError(f"Drive cycle `{path}` must have 2 to {MOST_ROWS} rows of numbers, but has {len(rows) - 1}.")
    found = np.full((len(rows) - 1, len(wanted)), np.nan)
    for line, row in enumerate(rows[1:]):
        for k, column in enumerate(wanted):
            text = row[column] if column < len(row) else ""
            try:
                found[line, k] = float(text)
            except ValueError:
                pass  # stays undefined
            if not np.isfinite(found[line, k]):
                raise ValueError(
                    f"Row {line + 2} of `{path}` must hold a finite number under `{rows[0][column].strip()}`, but "
                    f"{text!r} stands there."
                )
    return found


def _checked(path, columns, sign: float, power: bool) -> Table:
    times, values = columns.T
    if times[0] != 0.0:
        raise ValueError(f"The time in drive cycle `{path}` must start at 0 s, but it starts at {times[0]:g} s.")
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        raise ValueError(
            f"The time in drive cycle `{path}` must rise from row to row, but row {back[0] + 3} holds "
            f"{times[back[0] + 1]:g} s after {times[back[0]]:g} s; a jump takes two rows a millisecond apart."
        )
    return Table(times, sign * values, power)
