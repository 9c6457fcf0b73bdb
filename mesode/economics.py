"""Prices, emission factors and the making of a cell: the built-in tables, or a TOML file that replaces numbers."""

import dataclasses
import difflib
import math
import pathlib
import re
import tomllib
from collections.abc import Callable, Mapping

import equinox as eqx
import jax.numpy as jnp

from mesode.job import Job, JobError
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
    `dates`, of both tables; `sources`, of the numbers that were given, by the path `section.key`; `values`, all
    numbers in the units of the tables, by section.
    """

    making: Making
    prices: Items
    emissions: Items
    dates: Mapping[str, str]
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    @property
    def given(self) -> frozenset[str]:
        """The paths `section.key` that a file or a job replaced."""
        return frozenset(self.sources)


class _Given:
    """The numbers, dates and sources that tables give, and what is wrong with them; makes no arrays."""

    def __init__(self):
        self.values: dict[str, dict[str, float]] = {section: {} for section in SECTIONS}
        self.dates, self.sources, self.errors = dict(DATES), {}, []

    def take(self, table: Mapping, where: Callable[[str], str]) -> None:
        """Takes a table of sections over, later ones in place of earlier ones; `where` tells where a path stands."""
        for section, content in table.items():
            if section not in SECTIONS:
                self.errors.append(f"{where(section)}: {_unknown('section', section, SECTIONS)}")
            elif not isinstance(content, Mapping):
                self.errors.append(f"{where(section)}: `{section}` is a section and needs keys, as [{section}].")
            else:
                for name, value in content.items():
                    problem = self._take(section, name, value)
                    if problem:
                        self.errors.append(f"{where(f'{section}.{name}')}: {problem}")

    def _take(self, section, name, value) -> str | None:
        """Takes one key over, or says what is wrong with it."""
        if name == "date" and section in self.dates:
            if not isinstance(value, str):
                return f"Argument `{section}.date` must be a text in quotes, but {value!r} was given."
            self.dates[section] = value
            return None
        entries = {entry.name: entry for entry in SECTIONS[section]}
        if name not in entries:
            return _unknown(f"key of [{section}]", name, entries)
        entry, path = entries[name], f"{section}.{name}"
        value, source, problem = _unfolded(entry, path, value)
        if problem:
            return problem
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"Argument `{path}` must be a number, but {value!r} was given."
        if not (math.isfinite(value) and entry.low <= value <= entry.high):
            unit = f" {entry.unit}" if entry.unit else ""
            return (
                f"Argument `{path}` must lie between {entry.low:g} and {entry.high:g}{unit}, but {value:g} was given."
            )
        self.values[section][name], self.sources[path] = float(value), source
        return None


def _unfolded(entry: Entry, path: str, value) -> tuple[object, str, str | None]:
    """The number and the source of `{ value = 25.0, unit = "USD/kg", source = "..." }`, and what is wrong with it."""
    if not isinstance(value, Mapping):
        return value, "", None
    unknown = sorted(set(value) - {"value", "unit", "source"})
    form = f'{{ value = {entry.value:g}, unit = "{entry.unit}", source = "..." }}'
    if unknown or "value" not in value:
        return None, "", f"Argument `{path}` must be a number, or a table as {form}."
    if entry.unit and "unit" not in value:
        return None, "", f"Argument `{path}` has no unit; write {form}, or the number alone, which is in {entry.unit}."
    if value.get("unit", "") != entry.unit:
        wanted = f"in {entry.unit}" if entry.unit else "without a unit"
        return None, "", f"Argument `{path}` must be given {wanted}, but the unit is {value['unit']!r}."
    source = value.get("source", "")
    if not isinstance(source, str):
        return None, "", f"The source of `{path}` must be a text in quotes, but {source!r} was given."
    return value["value"], source, None


def errors_of(table: Mapping, where: Callable[[str], str]) -> list[str]:
    """A sentence for each mistake in the sections of a table."""
    given = _Given()
    given.take(table, where)
    return given.errors


def read_economics(path=None) -> Economics:
    """The built-in tables, with what a TOML file says in place of their numbers.

    **Raises:** [`JobError`][mesode.job.JobError] with every error found.
    """
    return _built([] if path is None else [_read(path)])


def parse_economics(text: str, source: str = "prices") -> Economics:
    """A checked [`Economics`][] from TOML text; `source` names it in messages."""
    return _built([_parsed(text, source)])


def economics_of(job: Job) -> Economics:
    """The tables of a job: the built-in ones, in their place those of its file, in theirs those in the job itself.

    **Raises:** [`JobError`][mesode.job.JobError] with every error found.
    """
    return _built(_layers(job))


def absorbed(job: Job) -> Job:
    """A job that holds the numbers of its file itself, each with its source, so that it stands alone; no arrays.

    **Raises:** [`JobError`][mesode.job.JobError] with every error found.
    """
    given, file = _collected(_layers(job)), pathlib.Path(str(job["economics.path"])).name
    content: dict[str, dict] = {}
    for section, values in given.values.items():
        units = {entry.name: entry.unit for entry in SECTIONS[section]}
        if given.dates.get(section) != DATES.get(section):
            content.setdefault(section, {})["date"] = given.dates[section]
        for name, value in values.items():
            here = name in job.economics.get(section, {})
            source = given.sources[f"{section}.{name}"] or ("given in the job" if here else f"given in {file}")
            unit = {"unit": units[name]} if units[name] else {}
            content.setdefault(section, {})[name] = {"value": value, **unit, "source": source}
    return dataclasses.replace(job, values={**job.values, "economics.path": ""}, economics=content)


def _layers(job: Job) -> list[tuple[Mapping, Callable[[str], str]]]:
    layers = [_read(job["economics.path"])] if job["economics.path"] else []
    layers.append((job.economics, lambda path: job.source))
    for table, where in layers:
        for name, key in (("solids_content", "recipe.solids_content"), ("carbon_share", "recipe.composition")):
            content = table.get("positive_slurry")
            if isinstance(content, Mapping) and name in content:
                path = f"positive_slurry.{name}"
                raise JobError([f"{where(path)}: `{path}` has no effect in a job; its `{key}` says it."])
    return layers


def _read(path) -> tuple[Mapping, Callable[[str], str]]:
    path = pathlib.Path(path)
    if not path.is_file():
        raise JobError([f"Price file `{path}` does not exist."])
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError([f"Price file `{path}` cannot be read as text."]) from error
    return _parsed(text, str(path))


def _parsed(text: str, source: str) -> tuple[Mapping, Callable[[str], str]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobError([f"{source}: not valid TOML: {error}."]) from error

    def where(path):
        section, _, name = path.rpartition(".")
        return _at(source, text, section, name)

    return table, where


def _collected(layers) -> _Given:
    given = _Given()
    for table, where in layers:
        given.take(table, where)
    if given.errors:
        raise JobError(given.errors)
    return given


def _built(layers) -> Economics:
    given = _collected(layers)
    values = given.values
    built_in = {section: {entry.name: entry.value for entry in entries} for section, entries in SECTIONS.items()}
    return Economics(
        making=Making(
            water_slurry(**values["negative_slurry"]),
            nmp_slurry(**values["positive_slurry"]),
            plant(**values["plant"]),
            Casing(**(built_in["casing"] | values["casing"])),
        ),
        prices=prices(**values["prices"]),
        emissions=emissions(**values["emissions"]),
        dates=given.dates,
        sources=given.sources,
        values={section: built_in[section] | values[section] for section in SECTIONS},
    )


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


def listed(tables: Economics, recipe: Mapping[str, float] | None = None) -> dict:
    """All numbers as columns for a run file: section, item, value, unit, source, and whether it is assumed or given.

    **Arguments:** `recipe`, numbers of the positive slurry that a recipe says, by key.
    """
    columns: dict = {name: [] for name in ("section", "item", "value", "unit", "standing", "source")}
    for section, entries in SECTIONS.items():
        for entry in entries:
            path, value = f"{section}.{entry.name}", tables.values[section][entry.name]
            source, standing = entry.source, "assumed" if entry.assumed else "published"
            if path in tables.sources:
                source, standing = tables.sources[path] or "given without a source", "given"
            elif section == "positive_slurry" and entry.name in (recipe or {}):
                value, source, standing = recipe[entry.name], "the recipe", "given"
            row = (section, entry.name, value, entry.unit, standing, source)
            for column, content in zip(columns.values(), row, strict=True):
                column.append(content)
    return columns


def figures(cell: Cell, energy, tables: Economics | None = None, densities: Densities | None = None) -> dict:
    """Cost and carbon per kWh, by item, for a command or a report.

    **Arguments:** `energy`, of a full discharge, J/m2, that both are divided by.
    """
    tables = tables or read_economics()
    found: dict = {"dates": dict(tables.dates)}
    both = _per_kWh(cell, jnp.asarray(energy), tables.prices, tables.emissions, tables.making, densities or Densities())
    for key, items in zip(("cost_USD_kWh", "carbon_kg_CO2e_kWh"), both, strict=True):
        found[f"{key}_by_item"] = {name: float(getattr(items, name)) for name in Items.__dataclass_fields__}
        found[key] = float(items.total)
    return found


@eqx.filter_jit
def _per_kWh(cell: Cell, energy, each_price: Items, factor: Items, making: Making, densities: Densities):
    kWh = energy / (1e3 * Wh)
    return (
        cost(cell, densities, making, each_price).per_energy(kWh),
        footprint(cell, densities, making, factor).per_energy(kWh),
    )
