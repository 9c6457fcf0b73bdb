"""Jobs of `mesode fit`: TOML in, checked values out. All errors are found at once."""

import dataclasses
import difflib
import math
import pathlib
import tomllib
from collections.abc import Mapping

import numpy as np

from microstructure.exchange import bdf

_TOP = ("cell", "thermal", "temperature_laws", "output", "curve", "parameters", "errors", "method", "candidates")
_CURVE = ("file", "c_rate", "current_A", "use", "name")
_USES = ("fit", "predict")
_ERRORS = {  # key: (name in `Errors`, factor to SI)
    "voltage_noise_mV": ("voltage_noise", 1e-3),
    "voltage_model_mV": ("voltage_model", 1e-3),
    "temperature_noise_K": ("temperature_noise", 1.0),
    "temperature_model_K": ("temperature_model", 1.0),
    "end_time_percent": ("end", 1e-2),
    "rest_mV": ("rest", 1e-3),
}
_METHOD = {"steps": (1, 1000), "tolerance": (1e-12, 0.1), "means": (4, 200), "confidence": (0.5, 0.999),
           "mesh": (1, 200)}  # fmt: skip
_CANDIDATES = ("c_rates", "impedance", "pulse")
_TABLE = {"time_s": "time", "voltage_V": "voltage", "current_A": "current", "cell_temperature_C": "temperature"}


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a file says of one discharge: `time`, s since the current flows, `voltage`, V, `temperature`, K, or `None`,
    all (n,); `current`, A, its median; `rest`, V, and `ambient`, K, before, where the file has it."""

    time: np.ndarray
    voltage: np.ndarray
    temperature: np.ndarray | None
    current: float
    rest: float | None
    ambient: float | None


@dataclasses.dataclass(frozen=True)
class FitJob:
    """A checked job: `cell`, `thermal` and `laws`, of which a cell is made; `readings` by name, those of `predicted`
    only to be judged by; `bounds`, `start` and the `deviations` to which it is known, SI, by name of the parameter;
    `keys`, as the user wrote them; `errors`, arguments of `Errors`; `method` and `candidates`, with their defaults;
    `output`; `text`, of the file; `files`, of the curves."""

    cell: str
    thermal: bool
    laws: bool
    readings: dict[str, Reading]
    predicted: tuple[str, ...]
    bounds: dict[str, tuple[float, float]]
    start: dict[str, float]
    deviations: dict[str, float]
    keys: dict[str, str]
    errors: dict[str, float]
    method: dict[str, float]
    candidates: dict
    output: str
    text: str
    files: tuple[str, ...]


def suffix(unit: str) -> str:
    """What the key of a parameter ends in: its unit, as in `contact_resistance_ohm_m2`."""
    return "_" + unit.replace("/", " ").replace(" ", "_") if unit else ""


def read_fit_job(path) -> FitJob:
    """Reads a job; its files lie beside it. `ValueError` with every error found, a line each."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"Job `{path}` does not exist.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Job `{path}` cannot be read as text.") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}.") from error
    return _job(content, text, path.parent)


def _job(content: Mapping, text: str, folder: pathlib.Path) -> FitJob:
    errors: list[str] = []
    _known("", content, _TOP, errors)
    thermal = _flag(content, "thermal", errors)
    laws = content.get("temperature_laws", "")
    if laws not in ("", "LG M50") or (laws and content.get("cell") != "Chen2020"):
        errors.append('`temperature_laws` can only be "LG M50", with `cell = "Chen2020"`, or be left out.')
    bounds, start, deviations, keys = _parameters(content.get("parameters", {}), thermal, errors)
    readings, predicted, files = _curves(content.get("curve", []), folder, errors)
    cell = content.get("cell")
    if not isinstance(cell, str):
        errors.append('The job must name its cell, as in `cell = "Chen2020"`, a built-in set or a BPX file.')
    elif pathlib.Path(cell).suffix and not pathlib.Path(cell).is_absolute():
        cell = str(folder / cell)
    job = {
        "errors": _errors(content.get("errors", {}), errors),
        "method": _method(content.get("method", {}), errors),
        "candidates": _candidates(content.get("candidates", {}), errors),
    }
    output = content.get("output", "mesode_fit.h5")
    if not isinstance(output, str) or not output.endswith((".h5", ".hdf5")):
        errors.append(f"`output` must be the name of a file that ends in .h5, but {output!r} was given.")
    if errors:
        raise ValueError("\n".join(errors))
    return FitJob(
        cell,
        thermal,
        bool(laws),
        readings,
        predicted,
        bounds,
        start,
        deviations,
        keys,
        **job,
        output=output,
        text=text,
        files=files,
    )


def nearest(word: str, known) -> str:
    """What may have been meant."""
    close = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known are {', '.join(known)}."


def _known(section: str, table, known, errors) -> None:
    if not isinstance(table, Mapping):
        errors.append(f"[{section}] must be a table.")
        return
    where = f"[{section}] " if section else ""
    errors.extend(f"{where}`{key}` is no key of a fit{nearest(key, known)}" for key in table if key not in known)


def _flag(content, key, errors) -> bool:
    value = content.get(key, False)
    if not isinstance(value, bool):
        errors.append(f"`{key}` must be true or false, but {value!r} was given.")
    return bool(value)


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parameters(table, thermal, errors):
    """Bounds and starts in SI by name, and the keys they were written under."""
    from inverse.parameters import PARAMETERS, THERMAL

    known = {name + suffix(parameter.unit): name for name, parameter in PARAMETERS.items()}
    bounds, start, deviations, keys = {}, {}, {}, {}
    if not isinstance(table, Mapping) or not table:
        errors.append("A fit needs [parameters] with their bounds, as in `contact_resistance_ohm_m2 = [0.0, 0.01]`.")
        return bounds, start, deviations, keys
    for key, value in table.items():
        if key in PARAMETERS and key not in known:
            full = key + suffix(PARAMETERS[key].unit)
            errors.append(f"[parameters] `{key}` has a unit, which its key must end in: write `{full}`.")
            continue
        if key not in known:
            errors.append(f"[parameters] `{key}` is no parameter of a cell{nearest(key, known)}")
            continue
        name = known[key]
        if name in THERMAL and not thermal:
            errors.append(f"[parameters] `{key}` means nothing without `thermal = true`.")
            continue
        row = {"bounds": value} if isinstance(value, list) else value
        limits = row.get("bounds") if isinstance(row, Mapping) else None
        if not (isinstance(limits, list) and len(limits) == 2 and all(map(_number, limits)) and limits[0] < limits[1]):
            errors.append(f"[parameters] `{key}` must be its two bounds, the lower one first, but {value!r} was given.")
            continue
        _known(f"parameters.{key}", row, ("bounds", "start", "deviation"), errors)
        if "start" in row:
            if not _number(row["start"]) or not limits[0] <= row["start"] <= limits[1]:
                errors.append(
                    f"[parameters] The start of `{key}` must lie between its bounds {limits[0]:g} and {limits[1]:g}, "
                    f"but {row['start']!r} was given."
                )
                continue
            start[name] = float(row["start"])
        if "deviation" in row:
            if not _number(row["deviation"]) or row["deviation"] <= 0:
                errors.append(
                    f"[parameters] The `deviation` of `{key}`, the standard deviation that its start is known to, must "
                    f"be a positive number, but {row['deviation']!r} was given."
                )
                continue
            deviations[name] = float(row["deviation"])
        bounds[name], keys[name] = (float(limits[0]), float(limits[1])), key
    return bounds, start, deviations, keys


def _curves(tables, folder, errors):
    readings, predicted, files = {}, [], []
    if not isinstance(tables, list) or not tables:
        errors.append("A fit needs its measured discharges, each under its own [[curve]] with a `file`.")
        return readings, (), ()
    for number, table in enumerate(tables, 1):
        section = f"curve {number}"
        _known(section, table, _CURVE, errors)
        file, rate, use = table.get("file"), table.get("c_rate"), table.get("use", "fit")
        name = str(table.get("name", f"{rate:g}C" if _number(rate) else f"curve {number}"))
        if use not in _USES:
            errors.append(f"[{section}] `use` must be one of {', '.join(_USES)}, but {use!r} was given.")
        if not isinstance(file, str):
            errors.append(f"[{section}] needs a `file`.")
            continue
        if name in readings:
            errors.append(f"[{section}] Two curves are called `{name}`; give each a `name` of its own.")
            continue
        try:
            readings[name] = read_discharge(folder / file, rate, table.get("current_A"))
        except ValueError as error:
            errors.append(f"[{section}] {error}")
            continue
        files.append(str(folder / file))
        if use == "predict":
            predicted.append(name)
    if readings and len(predicted) == len(readings) and not errors:
        errors.append('At least one [[curve]] must have `use = "fit"`.')
    return readings, tuple(predicted), tuple(dict.fromkeys(files))


def read_discharge(path, c_rate=None, current=None) -> Reading:
    """The discharge in a file: Battery Data Format, or the columns time_s, current_A, voltage_V and, if there,
    cell_temperature_C; with a column c_rate, the rows of `c_rate`.

    Rows before the current flows give the voltage at rest; the first stretch of more than half of the largest current
    is the discharge. The sign of the current is not looked at, the voltage must fall.

    **Arguments:** `current`, A, where that of the file is not to be believed.

    **Raises:** `ValueError`, in one sentence.
    """
    path = pathlib.Path(path)
    columns = _columns(path, c_rate)
    time, volts, amperes = columns["time"], columns["voltage"], np.abs(columns["current"])
    warmth = columns.get("temperature")
    back = np.flatnonzero(np.diff(time) < 0)
    if back.size:
        k = int(back[0])
        raise ValueError(f"The time in `{path}` must rise, but {time[k + 1]:g} s follows {time[k]:g} s.")
    flowing = amperes > 0.5 * np.max(amperes)
    if not np.any(flowing) or np.max(amperes) <= 0:
        raise ValueError(f"No current flows in `{path}`.")
    first = int(np.argmax(flowing))
    last = first + int(np.argmin(np.append(flowing[first:], False)))
    rows = slice(first, last)
    spread = float(np.ptp(amperes[rows]) / np.median(amperes[rows]))
    if spread > 0.05:
        raise ValueError(f"The current in `{path}` varies by {100 * spread:.0f} %; a fit takes constant currents.")
    if volts[last - 1] >= volts[first]:
        raise ValueError(f"The voltage in `{path}` does not fall while the current flows; a fit takes discharges.")
    before = first - 1 if first else None
    start = time[first] if before is None else time[before]
    keep = np.concatenate([[False], np.diff(time[rows]) > 0]) if before is None else time[rows] > start
    keep &= np.concatenate([[True], np.diff(time[rows]) > 0])
    if keep.sum() < 4:
        raise ValueError(f"`{path}` holds fewer than four readings under current.")
    kelvin = None if warmth is None else warmth[rows][keep] + 273.15
    return Reading(
        time[rows][keep] - start,
        volts[rows][keep],
        kelvin,
        float(np.median(amperes[rows])) if current is None else float(current),
        None if before is None else float(volts[before]),
        None if before is None or warmth is None else float(warmth[before]) + 273.15,
    )


def _columns(path: pathlib.Path, c_rate) -> dict[str, np.ndarray]:
    rows = bdf.read_rows(path)
    head = [label.strip() for label in rows[0]] if rows else []
    if not {"time_s", "voltage_V", "current_A"} <= set(head):
        curve = bdf.read_bdf(path)
        found = {"time": curve.time, "voltage": curve.voltage, "current": curve.current}
        warm = curve.columns.get("Surface Temperature T1 / degC")
        return found if warm is None else found | {"temperature": warm}
    try:
        values = np.array(rows[1:], float)
    except ValueError as error:
        raise ValueError(f"The file `{path}` holds a row that is not {len(head)} numbers.") from error
    if values.ndim != 2 or values.shape[1] != len(head) or not np.all(np.isfinite(values)):
        raise ValueError(f"The file `{path}` holds a row that is not {len(head)} finite numbers.")
    if "c_rate" in head:
        rates = values[:, head.index("c_rate")]
        if c_rate is None or not np.any(np.isclose(rates, c_rate)):
            there = ", ".join(f"{r:g}" for r in np.unique(rates))
            asked = "no `c_rate` was given" if c_rate is None else f"`c_rate = {c_rate:g}` was given"
            raise ValueError(f"The file `{path}` holds the rates {there}, but {asked}.")
        values = values[np.isclose(rates, c_rate)]
    return {ours: values[:, head.index(theirs)] for theirs, ours in _TABLE.items() if theirs in head}


def _errors(table, errors) -> dict[str, float]:
    _known("errors", table, tuple(_ERRORS), errors)
    found = {}
    for key, value in (table if isinstance(table, Mapping) else {}).items():
        if key in _ERRORS:
            name, factor = _ERRORS[key]
            if not _number(value) or value < 0 or (value == 0 and not name.endswith("model")):
                errors.append(f"[errors] `{key}` must be a positive number, but {value!r} was given.")
            else:
                found[name] = factor * value
    return found


def _method(table, errors) -> dict:
    _known("method", table, tuple(_METHOD), errors)
    found = {"steps": 40, "tolerance": 1e-4, "means": 16, "confidence": 0.95, "mesh": None}
    for key, value in (table if isinstance(table, Mapping) else {}).items():
        if key not in _METHOD:
            continue
        low, high = _METHOD[key]
        whole = key in ("steps", "means", "mesh")
        values = value if key == "mesh" and isinstance(value, list) else [value]
        shaped = len(values) == (4 if key == "mesh" else 1)
        if not shaped or not all(_number(v) and low <= v <= high and (not whole or v == int(v)) for v in values):
            what = "four whole numbers" if key == "mesh" else "a whole number" if whole else "a number"
            errors.append(f"[method] `{key}` must be {what} between {low:g} and {high:g}, but {value!r} was given.")
        else:
            found[key] = value
    return found


def _candidates(table, errors) -> dict:
    _known("candidates", table, _CANDIDATES, errors)
    table = table if isinstance(table, Mapping) else {}
    rates = table.get("c_rates", [0.2, 1.0, 2.0])
    if not isinstance(rates, list) or not all(_number(r) and 1e-3 <= r <= 20 for r in rates):
        errors.append(f"[candidates] `c_rates` must be numbers between 0.001 and 20, but {rates!r} was given.")
        rates = []
    return {
        "c_rates": [float(r) for r in rates],
        "impedance": _flag(table, "impedance", errors),
        "pulse": _flag({"pulse": True} | dict(table), "pulse", errors),
    }
