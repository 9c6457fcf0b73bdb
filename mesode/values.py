"""Values of keys checked one by one, and the sentences about wrong values and names."""

import dataclasses
import difflib
import math

from mesode.keys import BY_PATH, KEYS, SECTIONS, VARIABLES, Key


def no_variable(path: str) -> str:
    """Why a path cannot be varied."""
    if path in BY_PATH:
        return f"`{path}` is not offered as a variable; choose from {', '.join(VARIABLES)}."
    return f"`{path}` is no key of a job{nearest(path, VARIABLES)}."


def check_value(key: Key, value):
    """The value in the type of `key`, and the sentence that says what is wrong with it or `None`."""
    name = f"Argument `{key.path}`"
    if key.kind in ("float", "int"):
        return _check_number(key, value, name)
    if key.kind == "str":
        if not isinstance(value, str):
            return None, f"{name} must be a text in quotes, but {value!r} was given."
        if key.choices and value not in key.choices:
            return None, f"{name} must be one of {', '.join(key.choices)}, but {value!r} was given."
        return value, None
    if key.kind == "strings":
        good = isinstance(value, list) and all(isinstance(v, str) for v in value)
        return (list(value), None) if good else (None, f"{name} must be a list of texts, but {value!r} was given.")
    item = dataclasses.replace(key, kind="int" if key.kind == "shape" else "float")
    if not isinstance(value, list) or not value or (key.kind == "shape" and len(value) != 3):
        wanted = "three integers" if key.kind == "shape" else "at least one number"
        return None, f"{name} must be a list of {wanted}, but {value!r} was given."
    checked = [check_value(item, v) for v in value]
    problem = next((p for _, p in checked if p), None)
    return ([v for v, _ in checked], None) if problem is None else (None, problem)


def _check_number(key: Key, value, name: str):
    wanted = "an integer" if key.kind == "int" else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, f"{name} must be {wanted}, but {value!r} was given."
    if key.kind == "int" and not isinstance(value, int):
        return None, f"{name} must be {wanted}, but {value!r} was given."
    value = float(value) if key.kind == "float" else value
    unit = f" {key.unit}" if key.unit else ""
    if not (math.isfinite(value) and key.low <= value <= key.high):
        hint = _unit_hint(key, value)
        return None, f"{name} must lie between {key.low:g} and {key.high:g}{unit}, but {value:g}{unit} was given.{hint}"
    return value, None


def _unit_hint(key: Key, value: float) -> str:
    """A guess at a slip of units: the power of ten that brings the value nearest to the default."""
    if key.kind != "float" or not key.default or not math.isfinite(value) or value <= 0:
        return ""
    factors = (1e-9, 1e-6, 1e-3, 1e-2, 1e2, 1e3, 1e6, 1e9)
    good = [value * f for f in factors if key.low <= value * f <= key.high]
    if not good:
        return ""
    best = min(good, key=lambda v: abs(math.log(v / key.default)))
    unit = f"Is the unit {key.unit}? " if key.unit else ""
    return f" {unit}Did you mean {best:g}{' ' + key.unit if key.unit else ''}?"


def unknown(path: str) -> str:
    """What is wrong with a path that is no key."""
    section, _, name = path.rpartition(".")
    inside = [key.name for key in KEYS if key.section == section]
    if inside:
        home = [key.section for key in KEYS if key.name == name]
        if home:
            return f"`{name}` is no key of [{section}]; it belongs to [{home[0]}]."
        close = difflib.get_close_matches(name, inside, 1, 0.6)
        if close:
            return f"`{name}` is no key of [{section}]; did you mean `{close[0]}`?"
        return f"`{name}` is no key of [{section}]{nearest(path, BY_PATH)}."
    if any(s == path or s.startswith(path + ".") for s in SECTIONS):
        return f"`{path}` is a section and needs keys, as in [{path}]."
    close = difflib.get_close_matches(section or path, SECTIONS, 1, 0.5)
    if section and close:
        return f"[{section}] is no section of a job; did you mean [{close[0]}]?"
    return f"`{path}` is no key of a job{nearest(path, BY_PATH)}."


def nearest(name: str, known) -> str:
    """The end of a sentence about a name that is not known."""
    begun = [each for each in known if name and each.startswith(name)]
    close = begun or difflib.get_close_matches(name, list(known), 1, 0.4)
    return f"; the nearest known one is `{close[0]}`" if close else f"; known are {', '.join(list(known)[:6])}, ..."
