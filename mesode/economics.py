"""Prices, emission factors and the making of a cell: the built-in tables, or a TOML file that replaces numbers."""

import dataclasses
import difflib
import math
import pathlib
import re
import tomllib
from collections.abc import Mapping

from mesode.job import JobError
from microstructure.units import Wh
from solver.cell.bill import Items
from solver.cell.carbon import EMISSIONS, EMISSIONS_DATE, emissions, footprint
from solver.cell.cell import Cell
from solver.cell.cost import PRICES, PRICES_DATE, cost, prices
from solver.cell.making import NMP_SLURRY, PLANT, WATER_SLURRY, Making, nmp_slurry, plant, water_slurry
from solver.cell.performance import Casing, Densities
from solver.cell.table import Entry

CASING = (
    Entry("mass_share", 0.0, "", "the stack alone", high=0.95),
    Entry("volume_share", 0.0, "", "the stack alone", high=0.95),
)
SECTIONS: dict[str, tuple[Entry, ...]] = {
    "prices": PRICES,
    "emissions": EMISSIONS,
    "plant": PLANT,
    "negative_slurry": WATER_SLURRY,
    "positive_slurry": NMP_SLURRY,
    "casing": CASING,
}
DATES = {"prices": PRICES_DATE, "emissions": EMISSIONS_DATE}


@dataclasses.dataclass(frozen=True)
class Economics:
    """What costs and emissions are reckoned from.

    **Arguments:** `making`, slurries, plant and casing; `prices`, USD, and `emissions`, kg CO2e, by item in SI units;
    `dates`, of both tables, and `given`, the paths `section.key` that a file replaced.
    """

    making: Making
    prices: Items
    emissions: Items
    dates: Mapping[str, str]
    given: frozenset[str] = frozenset()


def read_economics(path=None) -> Economics:
    """The built-in tables, with what a TOML file says in place of their numbers.

    **Raises:** [`JobError`][mesode.job.JobError] with every error found.
    """
    if path is None:
        return parse_economics("")
    path = pathlib.Path(path)
    if not path.is_file():
        raise JobError([f"Price file `{path}` does not exist."])
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError([f"Price file `{path}` cannot be read as text."]) from error
    return parse_economics(text, str(path))


def parse_economics(text: str, source: str = "prices") -> Economics:
    """A checked [`Economics`][] from TOML text; `source` names it in messages."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobError([f"{source}: not valid TOML: {error}."]) from error
    errors: list[str] = []
    values: dict[str, dict[str, float]] = {section: {} for section in SECTIONS}
    dates = dict(DATES)
    for section, content in table.items():
        if section not in SECTIONS:
            errors.append(f"{_at(source, text, '', section)}: {_unknown('section', section, SECTIONS)}")
        elif not isinstance(content, Mapping):
            errors.append(f"{_at(source, text, '', section)}: `{section}` is a section and needs keys, as [{section}].")
        else:
            for name, value in content.items():
                problem = _take(section, name, value, values, dates)
                if problem:
                    errors.append(f"{_at(source, text, section, name)}: {problem}")
    if errors:
        raise JobError(errors)
    casing = {entry.name: entry.value for entry in CASING} | values["casing"]
    return Economics(
        making=Making(
            water_slurry(**values["negative_slurry"]),
            nmp_slurry(**values["positive_slurry"]),
            plant(**values["plant"]),
            Casing(**casing),
        ),
        prices=prices(**values["prices"]),
        emissions=emissions(**values["emissions"]),
        dates=dates,
        given=frozenset(f"{section}.{name}" for section, given in values.items() for name in given),
    )


def _take(section, name, value, values, dates) -> str | None:
    """Takes one key over, or says what is wrong with it."""
    if name == "date" and section in dates:
        if not isinstance(value, str):
            return f"Argument `{section}.date` must be a text in quotes, but {value!r} was given."
        dates[section] = value
        return None
    entries = {entry.name: entry for entry in SECTIONS[section]}
    if name not in entries:
        return _unknown(f"key of [{section}]", name, entries)
    entry, path = entries[name], f"{section}.{name}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"Argument `{path}` must be a number, but {value!r} was given."
    if not (math.isfinite(value) and entry.low <= value <= entry.high):
        unit = f" {entry.unit}" if entry.unit else ""
        return f"Argument `{path}` must lie between {entry.low:g} and {entry.high:g}{unit}, but {value:g} was given."
    values[section][name] = float(value)
    return None


def _unknown(what: str, name: str, known) -> str:
    close = difflib.get_close_matches(name, list(known), 1, 0.4)
    hint = f"the nearest known one is `{close[0]}`" if close else f"known are {', '.join(known)}"
    return f"`{name}` is no {what}; {hint}."


def _at(source: str, text: str, section: str, name: str) -> str:
    """The source with the line of a key, where it can be found; tomllib does not tell."""
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
        here = header.group(1) if header else here
        key = re.match(r"\s*([\w-]+)\s*=", line)
        if (header and not section and here == name) or (key and here == section and key.group(1) == name):
            return f"{source}, line {number}"
    return source


def template() -> str:
    """The built-in tables as a TOML file, each number with its unit and source, to be changed and read again."""
    lines = []
    for section, entries in SECTIONS.items():
        lines.append(f"[{section}]")
        if section in DATES:
            lines.append(f'date = "{DATES[section]}"')
        for entry in entries:
            unit = f"{entry.unit}; " if entry.unit else ""
            lines.append(f"{entry.name} = {entry.value!r}  # {unit}{entry.source}")
        lines.append("")
    return "\n".join(lines)


def figures(cell: Cell, energy, tables: Economics | None = None, densities: Densities | None = None) -> dict:
    """Cost and carbon per kWh, by item, for a command or a report.

    **Arguments:** `energy`, of a full discharge, J/m2, that both are divided by.
    """
    tables = tables or read_economics()
    found: dict = {"dates": dict(tables.dates)}
    for key, function, each in (
        ("cost_USD_kWh", cost, tables.prices),
        ("carbon_kg_CO2e_kWh", footprint, tables.emissions),
    ):
        items = function(cell, densities, tables.making, each).per_energy(energy / (1e3 * Wh))
        found[key] = float(items.total)
        found[f"{key}_by_item"] = {name: float(getattr(items, name)) for name in Items.__dataclass_fields__}
    return found
