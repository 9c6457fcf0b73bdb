"""Job files: TOML in, a checked `Job` out. All errors are found at once, with line, allowed range and nearest key."""

import dataclasses
import math
import pathlib
import re
import tomllib
from collections.abc import Mapping, Sequence

from mesode.keys import BY_PATH, KEYS, MATERIAL_BY_NAME, OBJECTIVES, SECTIONS, SIZE_KINDS, VARIABLES
from mesode.values import check_value, nearest, no_variable, unknown

COMPOSITION_TOLERANCE = 1e-6


class JobError(ValueError):
    """All errors of a job file, one sentence each, in `errors`."""

    def __init__(self, errors: Sequence[str]):
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


@dataclasses.dataclass(frozen=True)
class Job:
    """A checked job.

    **Arguments:** `values`, by `section.key`, in the units of the keys; `given`, the paths that the user set;
    `materials`, by name, their given fields in the units of the keys; `variables`, the bounds (low, high) of each
    design variable by path, in the units of the keys; `constraints`, those of figures of a design; `economics`, tables
    of prices and the like as they stand in the job, by section; `source`, where it came from.
    """

    values: Mapping[str, object]
    given: frozenset[str] = frozenset()
    materials: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    variables: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    constraints: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    economics: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)
    source: str = "built-in example"

    def __getitem__(self, path: str):
        return self.values[path]

    def si(self, path: str) -> float:
        """The value of a numeric key in SI units."""
        return float(self.values[path]) * BY_PATH[path].factor

    def material_si(self, name: str) -> dict[str, float]:
        """The given fields of a material without their unit suffix values changed: SI numbers by key name."""
        return {k: v * MATERIAL_BY_NAME[k].factor for k, v in self.materials.get(name, {}).items()}

    @property
    def has_image(self) -> bool:
        """Whether the structure comes from an image."""
        return bool(self.values["image.path"])

    def text(self) -> str:
        """The job as TOML with every key resolved; reading it gives the same job."""
        lines = []
        for section in SECTIONS:
            lines.append(f"[{section}]")
            lines += [f"{key.name} = {_toml(self.values[key.path])}" for key in KEYS if key.section == section]
            lines.append("")
        for section, bounded in (("variables", self.variables), ("constraints", self.constraints)):
            if bounded:
                lines.append(f"[design.{section}]")
                lines += [f'"{path}" = {_toml(list(bounds))}' for path, bounds in bounded.items()]
                lines.append("")
        for section, content in self.economics.items():
            lines.append(f"[economics.{section}]")
            lines += [f"{name} = {_toml(value)}" for name, value in content.items()]
            lines.append("")
        for name, fields in self.materials.items():
            lines.append(f"[material.{_toml(name)}]")
            lines += [f"{key} = {_toml(value)}" for key, value in fields.items()]
            lines.append("")
        return "\n".join(lines)


def job_text(path: pathlib.Path) -> str:
    """What a job file holds. [`JobError`][] where there is none to be read."""
    if path.suffix.lower() != ".toml":
        raise JobError([f"Job file `{path}` must have the extension `.toml`."])
    if not path.is_file():
        raise JobError([f"Job file `{path}` does not exist."])
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError([f"Job file `{path}` cannot be read as text."]) from error


def read_job(path=None, settings: Sequence[str] = ()) -> Job:
    """Reads a job file, or the built-in example without one, and applies `--set section.key=value` settings.

    **Raises:** [`JobError`][] with every error found.
    """
    if path is None:
        return parse_job("", "built-in example", settings)
    path = pathlib.Path(path)
    text = job_text(path)
    job = parse_job(text, str(path), settings)
    for key in ("image.path", "economics.path"):
        name = str(job[key])
        if name and key in job.given and not pathlib.Path(name).is_absolute():
            beside = path.parent / name  # a job file names other files as seen from where it lies
            if beside.exists() and not pathlib.Path(name).exists():
                job = dataclasses.replace(job, values={**job.values, key: str(beside)})
    return job


def parse_job(text: str, source: str = "job", settings: Sequence[str] = ()) -> Job:
    """A checked [`Job`][] from TOML text and settings; `source` names it in messages."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobError([f"{source}: not valid TOML: {error}."]) from error
    lines = _line_numbers(text)
    table, economics = _without_economics(table)
    entries = [(path, value, _where(source, path, lines)) for path, value in _flatten(table)]
    errors: list[str] = []
    for setting in settings:
        entry = _parse_setting(setting, errors)
        if entry and entry[0].startswith("economics.") and entry[0].count(".") == 2:
            _, section, name = entry[0].split(".")
            economics = {**economics, section: {**_table(economics.get(section)), name: entry[1]}}
        elif entry:
            entries = [e for e in entries if e[0] != entry[0]] + [entry]
    if economics:
        from mesode.economics import errors_of  # imports the solver, which most jobs do not need yet

        errors += errors_of(economics, lambda path: _where(source, f"economics.{path}", lines))
    return _check(entries, errors, source, economics)


def _without_economics(table: Mapping) -> tuple[dict, dict]:
    """A job without its tables of prices and the like, and these; `economics = "prices.toml"` is short for the path."""
    rest, inline = dict(table), {}
    given = rest.pop("economics", {})
    if isinstance(given, Mapping):
        inline = {name: content for name, content in given.items() if name != "path"}
        given = given.get("path")
    return rest if given is None else rest | {"economics": {"path": given}}, inline


def _table(content) -> Mapping:
    return content if isinstance(content, Mapping) else {}


def _check(entries, errors: list[str], source: str, economics: Mapping) -> Job:
    values = {key.path: key.default for key in KEYS}
    given, places, materials, variables, constraints = set(), {}, {}, {}, {}
    for path, value, where in entries:
        if path.startswith("material."):
            _take_material(path, value, where, materials, errors)
        elif path.startswith("design.variables."):
            _take_variable(path.removeprefix("design.variables."), value, where, variables, errors)
        elif path.startswith("design.constraints."):
            _take_constraint(path.removeprefix("design.constraints."), value, where, constraints, errors)
        elif path not in BY_PATH:
            errors.append(f"{where}: {unknown(path)}")
        else:
            value, problem = check_value(BY_PATH[path], value)
            if problem:
                errors.append(f"{where}: {problem}")
            else:
                values[path] = value
                given.add(path)
            places[path] = where
    _check_together(values, given, places, materials, variables, source, errors)
    if errors:
        raise JobError(errors)
    return Job(values, frozenset(given), materials, variables, constraints, economics, source)


def _check_together(values, given, places, materials, variables, source, errors) -> None:
    parts = [f"recipe.composition.{name}" for name in ("active", "carbon", "binder")]
    bad = any(p in places and p not in given for p in parts)
    total = math.fsum(values[p] for p in parts)
    if not bad and abs(total - 1.0) > COMPOSITION_TOLERANCE:
        where = next((places[p] for p in parts if p in places), source)
        listed = " + ".join(f"{p.rsplit('.', 1)[1]} {values[p]:g}" for p in parts)
        errors.append(f"{where}: The mass fractions in [recipe.composition] must sum to 1, but {listed} = {total:.6g}.")
    low, high = values["cell.lower_cutoff_V"], values["cell.upper_cutoff_V"]
    if low >= high:
        where = places.get("cell.lower_cutoff_V", places.get("cell.upper_cutoff_V", source))
        errors.append(f"{where}: `cell.lower_cutoff_V` ({low:g} V) must be below `cell.upper_cutoff_V` ({high:g} V).")
    labels = [values[f"image.labels.{name}"] for name in ("pore", "active", "binder")]
    if len(set(labels)) < 3:
        errors.append(f"{source}: The labels in [image.labels] must differ, but {labels} were given.")
    _check_sizes(values, given, places, variables, source, errors)
    for path in values["gradient.variables"]:
        if path not in VARIABLES:
            errors.append(f"{places.get('gradient.variables', source)}: {no_variable(path)}")
    for path, (lower, upper) in variables.items():
        if not lower <= values[path] <= upper:
            errors.append(
                f"{source}: The start `{path}` = {values[path]:g} must lie within its bounds {lower:g} to {upper:g}."
            )


def _check_sizes(values, given, places, variables, source, errors) -> None:
    """What the keys of the distributions and of grading must fulfil together."""
    for section in ("recipe.size", "recipe.second.size"):
        kind = values[f"{section}.kind"]
        for other, names in SIZE_KINDS.items():
            for path in (f"{section}.{name}" for name in names if other != kind):
                if path in given and values[path] != BY_PATH[path].default:
                    errors.append(f"{places[path]}: `{path}` has no effect, because `{section}.kind` is {kind}.")
        diameters, shares = values[f"{section}.diameters_um"], values[f"{section}.diameter_shares"]
        where = places.get(f"{section}.diameters_um", places.get(f"{section}.diameter_shares", source))
        if len(diameters) != len(shares) or len(shares) < 2:
            errors.append(
                f"{where}: `diameters_um` and `diameter_shares` of [{section}] must be lists of one length, at least "
                f"2, but have {len(diameters)} and {len(shares)} entries."
            )
        elif any(b <= a for row in (diameters, shares) for a, b in zip(row, row[1:], strict=False)):
            errors.append(f"{where}: `diameters_um` and `diameter_shares` of [{section}] must increase.")
    if not values["recipe.second.volume_share"]:
        idle = [p for p in given if p.startswith("recipe.second.") or p == "grading.second_amount"]
        errors += [
            f"{places[p]}: `{p}` has no effect without `recipe.second.volume_share`."
            for p in sorted(idle)
            if values[p] != BY_PATH[p].default
        ]
    for path in ("grading.amount", "grading.second_amount"):
        if not max(values[path]):
            errors.append(f"{places.get(path, source)}: `{path}` must be positive somewhere, but is zero everywhere.")
    median = "recipe.size.median_radius_um"
    if values["recipe.size.kind"] != "log-normal" and median in (*variables, *values["gradient.variables"]):
        errors.append(f"{source}: `{median}` is a variable only where `recipe.size.kind` is log-normal.")


def _take_material(path, value, where, materials, errors) -> None:
    parts = path.split(".")
    name, field = ".".join(parts[1:-1]), parts[-1]
    if not name:
        errors.append(f"{where}: A material needs a name, as in [material.NMC811].")
        return
    key = MATERIAL_BY_NAME.get(field)
    if key is None:
        errors.append(f"{where}: `{field}` is no key of [material.{name}]{nearest(field, MATERIAL_BY_NAME)}.")
        return
    value, problem = check_value(dataclasses.replace(key, section=f"material.{name}"), value)
    if problem:
        errors.append(f"{where}: {problem}")
    else:
        materials.setdefault(name, {})[field] = value


def _take_variable(path, value, where, variables, errors) -> None:
    if path not in VARIABLES:
        errors.append(f"{where}: {no_variable(path)}")
        return
    if not (isinstance(value, list) and len(value) == 2):
        errors.append(f"{where}: The bounds of `{path}` must be a list of two numbers, as in [30.0, 60.0].")
        return
    bounds, problems = zip(*(check_value(BY_PATH[path], v) for v in value), strict=True)
    problem = next((p for p in problems if p), None)
    if problem:
        errors.append(f"{where}: {problem}")
    elif bounds[0] >= bounds[1]:
        errors.append(f"{where}: The lower bound of `{path}` must be below the upper one, but {value} was given.")
    else:
        variables[path] = (bounds[0], bounds[1])


def _take_constraint(name, value, where, constraints, errors) -> None:
    numbers = isinstance(value, list) and len(value) == 2 and all(_is_number(v) for v in value)
    if name not in OBJECTIVES:
        errors.append(f"{where}: `{name}` is no figure of a design{nearest(name, OBJECTIVES)}.")
    elif not numbers or not value[0] < value[1]:
        errors.append(
            f"{where}: The bounds of `{name}` must be a list of two rising numbers, as in [0.0, 80.0] or [3.0, inf], "
            f"but {value!r} was given."
        )
    else:
        constraints[name] = (float(value[0]), float(value[1]))


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _parse_setting(setting: str, errors: list[str]):
    path, equals, text = setting.partition("=")
    path, where = path.strip(), f"--set {setting}"
    if not equals or not path:
        errors.append(f"{where}: A setting has the form section.key=value, as in calendering.gap_um=45.")
        return None
    try:
        value = tomllib.loads(f"x = {text.strip()}")["x"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # an unquoted text, as the shell hands it over
    return path, value, where


def _flatten(table: Mapping, prefix: str = ""):
    for name, value in table.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{path}.")
        elif not isinstance(value, Mapping):
            yield path, value
        elif path not in SECTIONS and not any(
            s.startswith(path + ".") for s in (*SECTIONS, "material.", "design.v", "design.c")
        ):
            yield path, value  # an empty table of an unknown name is an error as well


def _line_numbers(text: str) -> dict[str, int]:
    """The line of every `section.key`; tomllib does not tell."""
    lines, section = {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\[\]]+?)\s*\]+", line)
        if header and "=" not in line.split("]")[0]:
            section = _plain(header.group(1)) + "."
            lines.setdefault(section[:-1], number)
            continue
        entry = re.match(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""", line)
        if entry:
            lines.setdefault(section + _plain(entry.group(1)), number)
    return lines


def _plain(dotted: str) -> str:
    return re.sub(r"\s*\.\s*", ".", dotted).replace('"', "").replace("'", "").strip()


def _where(source: str, path: str, lines: Mapping[str, int]) -> str:
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        number = lines.get(".".join(parts[:count]))
        if number is not None:
            return f"{source}, line {number}"
    return source


def _toml(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(v)}" for name, v in value.items()) + " }"
    return repr(value)
