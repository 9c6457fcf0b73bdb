"""Jobs of `mesode resolve`: TOML in, checked values out. All errors are found at once."""

import dataclasses
import pathlib
import tomllib
from collections.abc import Mapping, Sequence

from mesode.job import JobError, _line_numbers, _parse_setting, _toml, _where, job_text
from mesode.resolve_keys import BY_PATH, EFFECT, KEYS, PHASE_BY_NAME, SECTIONS
from mesode.values import check_value, nearest

CROP = "image.crop"  # the one key that is no single value: three pairs of voxels
_BESIDE = ("image.path", "image.run_file")  # files that are named as seen from the job
_RUN_PHASES = {  # of the structure in a run file, where the job names none
    "active": {"role": "active"},
    "binder": {"role": "binder"},
    "pore": {"role": "pore"},
}


@dataclasses.dataclass(frozen=True)
class ResolveJob:
    """A checked job.

    **Arguments:** `values`, by `section.key`, in the units of the keys; `phases`, by name, the keys that were given,
    with their `role`; `crop`, three pairs of voxels of the file, or `None`; `source`, where it came from; `given`, the
    paths that the user set.
    """

    values: Mapping[str, object]
    phases: Mapping[str, Mapping[str, object]]
    crop: tuple[tuple[int, int], ...] | None
    source: str
    given: frozenset[str]

    def __getitem__(self, path: str):
        return self.values[path]

    def si(self, path: str) -> float:
        """The value of a numeric key in SI units."""
        return float(self.values[path]) * BY_PATH[path].factor

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the job reads."""
        return tuple(str(self[path]) for path in _BESIDE if self[path])

    def text(self) -> str:
        """The job as TOML with every key resolved; reading it gives the same job."""
        lines = []
        for section in SECTIONS:
            lines.append(f"[{section}]")
            lines += [f"{key.name} = {_toml(self[key.path])}" for key in KEYS if key.section == section]
            if section == "image" and self.crop is not None:
                lines.append(f"crop = {_toml([list(pair) for pair in self.crop])}")
            lines.append("")
        for name, fields in self.phases.items():
            lines += [f"[phase.{_toml(name)}]", *(f"{key} = {_toml(value)}" for key, value in fields.items()), ""]
        return "\n".join(lines)


def read_resolve_job(path, settings: Sequence[str] = ()) -> ResolveJob:
    """Reads a job; the files that it names lie beside it. [`JobError`][] with every error found."""
    path = pathlib.Path(path)
    text = job_text(path)
    job = parse_resolve_job(text, str(path), settings)
    values = dict(job.values)
    for key in _BESIDE:
        name = str(values[key])
        if name and not pathlib.Path(name).exists() and (path.parent / name).exists():
            values[key] = str(path.parent / name)
    return dataclasses.replace(job, values=values)


def is_resolve_job(path) -> bool:
    """Whether a file is a job of `mesode resolve`, as far as can be seen: it has phases, or rates of a half-cell."""
    try:
        table = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False
    cell = table.get("cell", {})
    return "phase" in table or (isinstance(cell, Mapping) and "c_rates" in cell)


def parse_resolve_job(text: str, source: str = "job", settings: Sequence[str] = ()) -> ResolveJob:
    """A checked [`ResolveJob`][] from TOML text and settings."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobError([f"{source}: not valid TOML: {error}."]) from error
    lines, errors = _line_numbers(text), []
    entries = [(path, value, _where(source, path, lines)) for path, value in _flat(table)]
    for setting in settings:
        entry = _parse_setting(setting, errors)
        if entry:
            entries = [e for e in entries if e[0] != entry[0]] + [entry]
    return _checked(entries, errors, source)


def _flat(table: Mapping, prefix: str = ""):
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _checked(entries, errors: list[str], source: str) -> ResolveJob:
    values, given = {key.path: key.default for key in KEYS}, set()
    phases, crop = {}, None
    for path, value, where in entries:
        if path.startswith("phase."):
            _take_phase(path, value, where, phases, errors)
        elif path == CROP:
            crop = _crop(value, where, errors)
        elif path not in BY_PATH:
            errors.append(f"{where}: {_unknown(path)}")
        else:
            value, problem = check_value(BY_PATH[path], value)
            if problem:
                errors.append(f"{where}: {problem}")
            else:
                values[path] = value
                given.add(path)
    if not errors:
        errors += [f"{source}: {text}" for text in _together(values, phases, given)]
    if errors:
        raise JobError(errors)
    if not phases:
        phases = {name: dict(fields) for name, fields in _RUN_PHASES.items()}
    return ResolveJob(values, phases, crop, source, frozenset(given))


def _unknown(path: str) -> str:
    section, _, name = path.rpartition(".")
    inside = [key.name for key in KEYS if key.section == section]
    if inside:
        return f"`{name}` is no key of [{section}]{nearest(name, inside)}."
    return f"`{path}` is no key of a resolved job{nearest(path, BY_PATH)}."


def _take_phase(path, value, where, phases, errors) -> None:
    name, _, field = path.removeprefix("phase.").rpartition(".")
    if not name:
        errors.append(f"{where}: A phase needs a name, as in [phase.active].")
        return
    if field not in PHASE_BY_NAME:
        errors.append(f"{where}: `{field}` is no key of [phase.{name}]{nearest(field, PHASE_BY_NAME)}.")
        return
    value, problem = check_value(dataclasses.replace(PHASE_BY_NAME[field], section=f"phase.{name}"), value)
    phases.setdefault(name, {})
    if problem:
        errors.append(f"{where}: {problem}")
    else:
        phases[name][field] = value


def _crop(value, where, errors):
    pairs = value if isinstance(value, list) else []
    whole = all(
        isinstance(n, int) and not isinstance(n, bool) for pair in pairs if isinstance(pair, list) for n in pair
    )
    if len(pairs) != 3 or not all(isinstance(p, list) and len(p) == 2 for p in pairs) or not whole:
        errors.append(
            f"{where}: Argument `{CROP}` must be three pairs of voxels, as in [[0, 64], [0, 32], [0, 32]], but "
            f"{value!r} was given."
        )
        return None
    if any(not 0 <= low < high for low, high in pairs):
        errors.append(
            f"{where}: Each pair of `{CROP}` must be a first voxel and one after it, but {value!r} was given."
        )
        return None
    return tuple((low, high) for low, high in pairs)


def _together(values, phases, given) -> list[str]:
    """What the keys must fulfil together."""
    errors = []
    image, run_file = bool(values["image.path"]), bool(values["image.run_file"])
    if image == run_file:
        said = "both were given" if image else "neither was given"
        errors.append(f"A structure is either `image.path` or `image.run_file`, but {said}.")
    if image and not phases:
        errors.append('An image needs its phases, as in [phase.active] with `label = 1` and `role = "active"`.')
    depths = values["output.depths_of_discharge"]
    if any(b <= a for a, b in zip(depths, depths[1:], strict=False)):
        errors.append(f"`output.depths_of_discharge` must increase, but {depths} was given.")
    rates = values["cell.c_rates"]
    if len(set(rates)) < len(rates):
        errors.append(f"`cell.c_rates` must differ from each other, but {rates} was given.")
    for name, fields in phases.items():
        errors += _phase_errors(name, fields, image)
    if image and not errors:
        labels = [fields["label"] for fields in phases.values()]
        if len(set(labels)) < len(labels):
            errors.append(f"The labels of the phases must differ, but {labels} were given.")
    if phases and not errors:
        for roles, what in ((("active",), "holds lithium"), (("pore", "binder"), "lets ions through")):
            if not any(fields["role"] in roles for fields in phases.values()):
                errors.append(f'No phase has `role = "{roles[0]}"`, so nothing {what}; give one.')
    return errors


def _phase_errors(name, fields, image: bool) -> list[str]:
    if "role" not in fields:
        return [f"[phase.{name}] needs a `role`, one of {', '.join(EFFECT)}."]
    errors, role = [], fields["role"]
    if image and "label" not in fields:
        errors.append(f"[phase.{name}] needs the `label` that it has in the image.")
    if not image and name not in _RUN_PHASES:
        errors.append(f"[phase.{name}] is none of the phases of a run file, {', '.join(_RUN_PHASES)}.")
    if not image and "label" in fields:
        errors.append(f"`label` of [phase.{name}] has no effect, because the structure comes from a run file.")
    idle = [key for key in fields if key not in EFFECT[role]]
    if idle:
        listed = ", ".join(f"`{key}`" for key in idle)
        errors.append(
            f'{listed} of [phase.{name}] has no effect in the role "{role}"; it takes {", ".join(EFFECT[role])}.'
        )
    return errors
