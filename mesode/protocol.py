"""Protocol files: TOML in, checked stages out. All errors are found at once, with step, line and the nearest key."""

import dataclasses
import difflib
import math
import pathlib
import re
import tomllib
from collections.abc import Mapping, Sequence

from mesode.sentences import End, Stage, checked, parse_sentence, side_of, within

MOST_STEPS = 100000
_TOP = ("step", "repeat", "state_of_charge")
_HELD = {  # what a step holds, positive on discharge: quantity
    "c_rate": "c_rate",
    "current_A": "current",
    "voltage_V": "voltage",
    "power_W": "power",
    "resistance_ohm": "resistance",
    "plating_V": "plating",
    "rest": "rest",
    "drive_cycle": "table",
}
_ENDS = {  # of `until_...`: name in front of a side, unit after it, quantity
    ("voltage", "_V"): "voltage",
    ("current", "_A"): "current",
    ("c_rate", ""): "c_rate",
    ("temperature", "_degC"): "temperature",
    ("plating", "_V"): "plating",
    ("capacity", "_Ah"): "capacity",
}
_SIDES = {"": "", "_above": "above", "_below": "below"}
_UNTIL = {
    f"until_{name}{side}{unit}": (quantity, word)
    for (name, unit), quantity in _ENDS.items()
    for side, word in _SIDES.items()
}
_STEP = ("do", "repeat", *_HELD, "duration_s", *_UNTIL)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Stages one after the other.

    **Arguments:** `stages`, without repeats; `order`, (cycle, index into `stages`) of every step that is taken, cycles
    counted from 1 in the innermost repeat; `state_of_charge` at the start, or `None` where nothing is said.
    """

    stages: tuple[Stage, ...]
    order: tuple[tuple[int, int], ...]
    state_of_charge: float | None = None


def protocol_of(sentences: Sequence[str], folder=".") -> Protocol:
    """A [`Protocol`][] of sentences alone; `ValueError` with a line for each that is not understood."""
    stages, errors = [], []
    for number, sentence in enumerate(sentences, 1):
        _try(lambda said=sentence: stages.append(_loaded(parse_sentence(said), folder)), f"step {number}", errors)
    if not sentences:
        errors.append("A protocol needs at least one step.")
    if errors:
        raise ValueError("\n".join(errors))
    return Protocol(tuple(stages), tuple((1, k) for k in range(len(stages))))


def read_protocol(path) -> Protocol:
    """Reads a protocol file; a drive cycle is looked for beside it. `ValueError` with every error found."""
    path = pathlib.Path(path)
    if path.suffix.lower() != ".toml":
        raise ValueError(f"Protocol `{path}` must have the extension `.toml`; a sentence is given by `--step`.")
    if not path.is_file():
        raise ValueError(f"Protocol `{path}` does not exist.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Protocol `{path}` cannot be read as text.") from error
    return parse_protocol(text, str(path), path.parent)


def parse_protocol(text: str, source: str = "protocol", folder=".") -> Protocol:
    """A checked [`Protocol`][] from TOML text; `source` names it in messages, tables lie in `folder`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{source}: not valid TOML: {error}.") from error
    errors = [f"{source}: `{key}` is no key of a protocol{_nearest(key, _TOP)}" for key in content if key not in _TOP]
    tables = content.get("step", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        errors.append(f"{source}: A protocol needs its steps as tables, each under its own [[step]].")
        tables = []
    lines = [k for k, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*step\s*\]\]", line)]
    stages, order = [], []
    for number, table in enumerate(tables, 1):
        where = f"{source}, line {lines[number - 1]}" if number <= len(lines) else f"{source}, step {number}"
        _try(lambda t=table, w=where: _take(t, w, folder, stages, order, errors), where, errors)
    charge = content.get("state_of_charge")
    _try(lambda: None if charge is None else _number(charge, "state_of_charge", 0.0, 1.0), source, errors)
    repeat = _try(lambda: _count(content.get("repeat", 1)), source, errors) or 1
    if len(order) * repeat > MOST_STEPS:
        errors.append(f"{source}: A protocol may have {MOST_STEPS} steps, but this one has {len(order) * repeat}.")
    if errors:
        raise ValueError("\n".join(errors))
    # An inner repeat counts by itself, the outer one where there is none.
    inner = any(cycle > 1 for cycle, _ in order)
    whole = [(cycle if inner else round_, k) for round_ in range(1, repeat + 1) for cycle, k in order]
    return Protocol(tuple(stages), tuple(whole), charge)


def _try(do, where: str, errors: list[str]):
    """What `do` returns, or `None` with its sentence among `errors`."""
    try:
        return do()
    except ValueError as error:
        errors.append(f"{where}: {error}")
        return None


def _take(table: Mapping, where: str, folder, stages: list, order: list, errors: list[str]) -> None:
    """Adds the stages of one [[step]], repeated."""
    unknown = [key for key in table if key not in _STEP]
    errors += [f"{where}: `{key}` is no key of a step{_nearest(key, _STEP)}" for key in unknown]
    if unknown:
        return
    repeat = _count(table.get("repeat", 1))
    if "do" in table:
        more = sorted(set(table) - {"do", "repeat"})
        if more:
            raise ValueError(f"`do` says all of a step, so that `{more[0]}` cannot stand beside it.")
        sentences = table["do"] if isinstance(table["do"], list) else [table["do"]]
        if not sentences:
            raise ValueError("`do` must be a sentence, or a list of at least one.")
        found = [_loaded(parse_sentence(sentence), folder) for sentence in sentences]
    else:
        found = [_loaded(_stage_of(table), folder)]
    first = len(stages)
    stages += found
    if len(found) * repeat > MOST_STEPS:
        raise ValueError(f"A protocol may have {MOST_STEPS} steps, but these are {len(found) * repeat}.")
    order += [(cycle, first + k) for cycle in range(1, repeat + 1) for k in range(len(found))]


def _stage_of(table: Mapping) -> Stage:
    """The stage of a [[step]] that is written by keys."""
    held = [key for key in _HELD if key in table]
    said = ", ".join(f"{key} = {value}" for key, value in table.items() if key != "repeat")
    if len(held) != 1:
        found = f"holds {' and '.join(f'`{key}`' for key in held)}" if held else "holds nothing"
        known = ", ".join(f"`{key}`" for key in _HELD)
        raise ValueError(f"A step is a sentence, `do`, or holds one of {known}; this one {found}.")
    key, quantity, value = held[0], _HELD[held[0]], table[held[0]]
    path = ""
    if quantity == "table":
        if not isinstance(value, str) or not value:
            raise ValueError(f"`drive_cycle` must be the path of a CSV in quotes, but {value!r} was given.")
        path, value = value, 0.0
    elif quantity == "rest":
        if value is not True:
            raise ValueError(f"`rest` can only be `true`, but {value!r} was given; its time is `duration_s`.")
        value = 0.0
    else:
        value = _number(value, key)
        if quantity in ("c_rate", "current") and value == 0.0:
            quantity = "rest"
        else:  # negative is a charge, where that has a meaning
            signed = quantity in ("c_rate", "current", "power")
            within(quantity, abs(value) if signed else value, said)
    ends = tuple(_end_of(name, table[name], quantity, value, said) for name in _UNTIL if name in table)
    duration = table.get("duration_s")
    if duration is not None:
        duration = within("duration", _number(duration, "duration_s"), said)
    return checked(Stage(said, quantity, value, ends, duration, path))


def _end_of(name: str, value, held: str, holding: float, said: str) -> End:
    quantity, side = _UNTIL[name]
    value = _number(value, name) + (273.15 if quantity == "temperature" else 0.0)
    return End(quantity, within(quantity, value, said), side_of(quantity, side, held, holding, said))


def _loaded(stage: Stage, folder) -> Stage:
    """The stage with its table read; it lasts as long as that, or shorter."""
    if stage.held != "table":
        return stage
    from mesode.drive_cycle import read_drive_cycle

    beside = pathlib.Path(folder) / stage.path
    table = read_drive_cycle(beside)
    longest = float(table.times[-1])
    if stage.duration is not None and stage.duration > longest:
        raise ValueError(
            f"`{stage.text}`: The drive cycle lasts {longest:g} s, but {stage.duration:g} s were asked for; repeat it."
        )
    return dataclasses.replace(stage, table=table, duration=stage.duration or longest)


def _number(value, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"Argument `{name}` must be a number, but {value!r} was given.")
    if not low <= value <= high:
        raise ValueError(f"Argument `{name}` must lie between {low:g} and {high:g}, but {value:g} was given.")
    return float(value)


def _count(value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_STEPS:
        raise ValueError(f"Argument `repeat` must be an integer between 1 and {MOST_STEPS}, but {value!r} was given.")
    return value


def _nearest(name: str, known) -> str:
    close = difflib.get_close_matches(name, list(known), 1, 0.5)
    some = ", ".join(f"`{key}`" for key in list(known)[:10])
    return f"; did you mean `{close[0]}`?" if close else f"; known are {some}{'.' if len(known) <= 10 else ', ...'}"
