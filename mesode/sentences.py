"""Sentences that say what a step of a protocol does: "Discharge at 1C until 2.5 V", "Rest for 1 hour"."""

import dataclasses
import difflib
import math
import re

import numpy as np

FORMS = (
    "Discharge at 1C until 2.5 V",
    "Discharge at C/10 for 10 hours or until 3.3 V",
    "Charge at 0.5C until 4.2 V",
    "Charge at 5 A until 10 mV plating",
    "Discharge at 10 W for 30 minutes",
    "Charge at 10 W until 4.2 V",
    "Discharge at 2 ohm until 2.5 V",
    "Hold at 4.2 V until C/50",
    "Hold at 4.2 V for 1 hour or until 50 mA",
    "Hold plating at 10 mV until 4.2 V",
    "Discharge at 1C until 2.5 Ah",
    "Charge at 1C until 4.2 V or 45 degC",
    "Rest for 1 hour",
    "Rest for 1 hour or until 30 degC",
    "Run drive_cycle.csv until 2.5 V",
)


@dataclasses.dataclass(frozen=True)
class End:
    """What ends a step: a `quantity` of `BOUNDS` that falls below `value`, or rises `above` it, in the unit there."""

    quantity: str
    value: float
    above: bool


@dataclasses.dataclass(frozen=True)
class Table:
    """What a drive cycle asks for: `values`, A or W, positive on discharge, at `times`, s, both of shape (n,)."""

    times: np.ndarray
    values: np.ndarray
    power: bool = False


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step as the user said it, checked by itself, before anything is known of the cell.

    **Arguments:** `text`; `held`, one of `BOUNDS`, "rest" or "table"; `value`, in the unit of `BOUNDS`, positive on
    discharge; `ends`; `duration`, s, or `None`; `path` of a drive cycle, and its `table` once it has been read.
    """

    text: str
    held: str
    value: float = 0.0
    ends: tuple[End, ...] = ()
    duration: float | None = None
    path: str = ""
    table: Table | None = None


BOUNDS = {  # of each quantity: name, lowest, highest, unit
    "c_rate": ("C-rate", 1e-3, 100.0, ""),
    "current": ("current", 1e-9, 1e6, "A"),
    "voltage": ("voltage", 0.0, 6.0, "V"),
    "power": ("power", 1e-9, 1e7, "W"),
    "resistance": ("resistance", 1e-9, 1e9, "ohm"),
    "plating": ("plating potential", -1.0, 1.0, "V"),
    "temperature": ("temperature", 200.0, 400.0, "K"),
    "capacity": ("capacity", 1e-9, 1e6, "Ah"),
    "duration": ("duration", 1e-3, 1e9, "s"),
}
_HINTS = {
    "c_rate": " It is a multiple of the nominal capacity per hour, no charge in coulombs and no current in amperes.",
    "duration": " Time goes forward.",
}
_UNITS = {  # as written: quantity, factor to the unit of BOUNDS
    "C": ("c_rate", 1.0),
    "A": ("current", 1.0),
    "mA": ("current", 1e-3),
    "V": ("voltage", 1.0),
    "mV": ("voltage", 1e-3),
    "W": ("power", 1.0),
    "mW": ("power", 1e-3),
    "kW": ("power", 1e3),
    "ohm": ("resistance", 1.0),
    "mohm": ("resistance", 1e-3),
    "Ah": ("capacity", 1.0),
    "mAh": ("capacity", 1e-3),
    "degC": ("temperature", 1.0),
    "K": ("temperature", 1.0),
    **{name: ("duration", 1.0) for name in ("s", "sec", "second", "seconds")},
    **{name: ("duration", 60.0) for name in ("min", "minute", "minutes")},
    **{name: ("duration", 3600.0) for name in ("h", "hr", "hour", "hours")},
    **{name: ("duration", 86400.0) for name in ("d", "day", "days")},
}
_SAME = {"°C": "degC", "oC": "degC", "celsius": "degC", "Ω": "ohm", "mΩ": "mohm", "ohms": "ohm", "Ohms": "ohm"}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_END = re.compile(
    r"(?:(?P<name>voltage|current|temperature|capacity|plating)(?: potential)?\s+)?"
    r"(?P<side>above|below|over|under|<|>)?\s*"
    rf"(?P<value>C\s*/\s*{_NUMBER}|{_NUMBER}\s*[^\s\d]*?)(?P<plating>\s+plating(?: potential)?)?",
    re.IGNORECASE,
)
# What ends a step that holds each of these, where "above" and "below" are not said.
_SIDE = {"temperature": True, "capacity": True, "plating": False, "current": False, "c_rate": False}


def parse_sentence(text: str) -> Stage:
    """The [`Stage`][] that a sentence asks for, or a `ValueError` that names the closest known form."""
    if not isinstance(text, str):
        raise ValueError(f"A step must be a sentence, but {text!r} was given.")
    said = " ".join(text.split()).rstrip(".")
    if "period)" in said:
        raise ValueError(f"`{said}` names a period, which is not needed: every step of the solver is recorded.")
    alternatives = re.split(r",?\s+(?:or\s+)?(?=(?:until|for)\s)|,\s*(?:or\s+)?|\s+or\s+", said, flags=re.IGNORECASE)
    held, value, path = _parse_head(alternatives[0], said)
    ends, duration = [], None
    for part in alternatives[1:]:
        word, _, rest = part.partition(" ")
        if word.lower() == "for":
            if duration is not None:
                raise ValueError(f"`{said}` names two durations.")
            duration = _measure(rest, said, ("duration",))[1]
        else:
            ends.append(_parse_end(rest if word.lower() == "until" else part, held, value, said))
    return checked(Stage(said, held, value, tuple(ends), duration, path))


def _parse_head(head: str, said: str) -> tuple[str, float, str]:
    """What is held, its value and the path of a table, from all before `for` and `until`."""
    verb, _, rest = head.partition(" ")
    verb, rest = verb.lower(), rest.strip()
    if verb == "rest" and not rest:
        return "rest", 0.0, ""
    if verb == "run" and rest:
        return "table", 0.0, rest.strip("\"'")
    match = re.fullmatch(r"(?:(plating)(?: potential)?\s+)?at\s+(.+)", rest, re.IGNORECASE)
    if match is None or (match[1] and verb != "hold") or verb not in ("charge", "discharge", "hold"):
        raise _unknown(said)
    if verb == "hold":
        quantity, value = _measure(match[2], said, ("voltage",), plating=bool(match[1]))
        return quantity, value, ""
    quantity, value = _measure(match[2], said, ("c_rate", "current", "power", "resistance"))
    if quantity == "resistance" and verb == "charge":
        raise ValueError(f"`{said}`: A resistance only discharges a cell; charge at a C-rate, a current or a power.")
    return quantity, value if verb == "discharge" else -value, ""


def _parse_end(text: str, held: str, value: float, said: str) -> End:
    match = _END.fullmatch(text.strip())
    if match is None:
        raise _unknown(said)
    named = "plating" if match["plating"] else (match["name"] or "").lower()
    known = ("voltage", "current", "c_rate", "temperature", "capacity")
    quantity, number = _measure(match["value"], said, known, plating=named == "plating")
    if named not in ("", quantity) and not (named == "current" and quantity == "c_rate"):
        raise ValueError(f"`{said}`: `{text}` says {named}, but its unit is that of a {BOUNDS[quantity][0]}.")
    side = (match["side"] or "").lower()
    return End(quantity, number, side_of(quantity, side, held, value, said))


def side_of(quantity: str, side: str, held: str, value: float, said: str) -> bool:
    """Whether an end lies above: as said by `side`, or as the step goes."""
    if side:
        return side in ("above", "over", ">")
    if quantity == "voltage":
        if held == "rest":
            raise ValueError(f"`{said}`: A rest ends above or below a voltage; write `until above 3.5 V` or `below`.")
        return held == "plating" or value < 0
    return _SIDE[quantity] and not (quantity == "temperature" and held == "rest")  # at rest a cell cools


def _measure(text: str, said: str, allowed: tuple[str, ...], plating: bool = False) -> tuple[str, float]:
    """The quantity of a number with its unit, and its value in the unit of `BOUNDS`."""
    text = text.strip()
    share = re.fullmatch(rf"[Cc]\s*/\s*({_NUMBER})", text)
    match = re.fullmatch(rf"({_NUMBER})\s*(\S*)", text)
    wanted = _wanted(allowed)
    if share is None and match is None:
        raise _unknown(said)
    if share:
        quantity, value = "c_rate", math.inf if float(share[1]) == 0 else 1.0 / float(share[1])
    else:
        unit = _unit(match[2])
        if not unit:
            raise ValueError(f"`{said}`: The unit of `{text}` is missing; write {wanted}.")
        if unit not in _UNITS:
            raise ValueError(f"`{said}`: `{match[2]}` is no unit that is known here; write {wanted}.")
        quantity, factor = _UNITS[unit]
        value = float(match[1]) * factor + (273.15 if unit == "degC" else 0.0)
    if quantity not in allowed:
        raise ValueError(f"`{said}`: `{text}` is a {BOUNDS[quantity][0]}; write {wanted}.")
    quantity = "plating" if plating and quantity == "voltage" else quantity
    return quantity, within(quantity, value, said)


def _wanted(allowed: tuple[str, ...]) -> str:
    examples = {"c_rate": "1C", "current": "1 A", "power": "1 W", "resistance": "1 ohm", "voltage": "4.2 V"}
    examples |= {"temperature": "45 degC", "capacity": "1 Ah", "duration": "1 hour"}
    *first, last = [f"`{examples[name]}`" for name in allowed]
    return f"{', '.join(first)} or {last}" if first else last


def _unit(text: str) -> str:
    """A unit as it stands in `_UNITS`; the case does not matter but for a prefix, m or M."""
    text = _SAME.get(text, text)
    if text in _UNITS or text.startswith("M"):
        return text
    return next((name for name in (*_UNITS, *_SAME) if name.lower() == text.lower()), text)


def within(quantity: str, value: float, said: str) -> float:
    """The value, or a `ValueError` where it lies outside of `BOUNDS`."""
    name, low, high, unit = BOUNDS[quantity]
    if not (math.isfinite(value) and low <= value <= high):
        unit = f" {unit}" if unit else ""
        backwards = value < 0 < low and quantity in ("c_rate", "current", "power")
        hint = " Write Charge or Discharge for its direction." if backwards else _HINTS.get(quantity, "")
        raise ValueError(
            f"`{said}`: A {name} must lie between {low:g} and {high:g}{unit}, but {value:g}{unit} was given.{hint}"
        )
    return value


def checked(stage: Stage) -> Stage:
    """The stage, or a `ValueError` where it would not end, or by what it holds."""
    said = stage.text
    if stage.duration is None and not stage.ends and stage.held != "table":
        raise ValueError(f"`{said}` has no end; say `for` how long, or `until` what.")
    fixed = {"rest": ("current", "c_rate"), "current": ("current", "c_rate"), "c_rate": ("current", "c_rate")}
    for end in stage.ends:
        if end.quantity in fixed.get(stage.held, (stage.held,)):
            hint = " Degrees are written degC." if end.quantity == "c_rate" else ""
            raise ValueError(f"`{said}`: It holds the {BOUNDS[end.quantity][0]} and cannot end by it.{hint}")
    return stage


def _unknown(said: str) -> ValueError:
    close = difflib.get_close_matches(said.lower(), [form.lower() for form in FORMS], 1, 0.0)
    form = next(form for form in FORMS if form.lower() == close[0])
    return ValueError(f"`{said}` is no sentence that is known here; the closest known form is `{form}`.")
