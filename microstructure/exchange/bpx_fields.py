"""The fields of the BPX standard, checked one by one, so that each mistake is a sentence with the field's name.

Which fields there are and which must be given is asked of the `bpx` package; which values make sense stands here.
"""

import difflib
import math
import typing
import warnings

from microstructure.exchange.formula import Formula, Points, parse_formula

MODELS = ("DFN", "SPMe", "SPM", "Partial")
_UNIT = 1e-12, 1.0
_ANY = -math.inf, math.inf
_POSITIVE = "positive"
_TEMPERATURE = 200.0, 400.0
_RANGES = {
    "Thickness [m]": (1e-9, 1e-2),
    "Porosity": (1e-6, 1.0),
    "Transport efficiency": _UNIT,
    "Particle radius [m]": (1e-10, 1e-2),
    "Surface area per unit volume [m-1]": (1.0, 1e12),
    "Minimum stoichiometry": (0.0, 1.0),
    "Maximum stoichiometry": (0.0, 1.0),
    "Maximum concentration [mol.m-3]": (1.0, 1e6),
    "Reaction rate constant [mol.m-2.s-1]": _POSITIVE,
    "Diffusivity [m2.s-1]": _POSITIVE,
    "Conductivity [S.m-1]": _POSITIVE,
    "Cation transference number": (-5.0, 1.0),
    "Electrode area [m2]": _POSITIVE,
    "External surface area [m2]": _POSITIVE,
    "Volume [m3]": _POSITIVE,
    "Number of electrode pairs connected in parallel to make a cell": (1, 1e6),
    "Nominal cell capacity [A.h]": _POSITIVE,
    "Density [kg.m-3]": _POSITIVE,
    "Specific heat capacity [J.K-1.kg-1]": _POSITIVE,
    "Lower voltage cut-off [V]": (0.0, 6.0),
    "Upper voltage cut-off [V]": (0.0, 6.0),
    "Reference temperature [K]": _TEMPERATURE,
    "Initial temperature [K]": _TEMPERATURE,
    "Ambient temperature [K]": _TEMPERATURE,
    "Heat transfer coefficient [W.m-2.K-1]": (0.0, 1e6),
    "Initial state-of-charge": (0.0, 1.0),
    "Initial electrolyte concentration [mol.m-3]": _POSITIVE,
}
_SECTIONS = {  # our name, that of the standard, which models need it
    "cell": ("Cell", ("DFN", "SPMe", "SPM")),
    "electrolyte": ("Electrolyte", ("DFN", "SPMe")),
    "negative": ("Negative electrode", ("DFN", "SPMe", "SPM")),
    "positive": ("Positive electrode", ("DFN", "SPMe", "SPM")),
    "separator": ("Separator", ("DFN", "SPMe")),
}
_USER = "User-defined"


def standard():
    """The `bpx` package; it is heavy, needed only for files, and complains about its own parser as it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bpx
    return bpx


def major_version(version, name: str) -> int:
    """The major version of a `Header / BPX` field, 0 or 1."""
    try:
        number = -1 if isinstance(version, bool) else int(float(".".join(str(version).split(".")[:2])))
    except (ValueError, OverflowError):
        number = -1
    if number not in (0, 1):
        raise ValueError(
            f"Field `Header / BPX` of `{name}` must be a version of BPX, 0.x or 1.x, but {_shown(version)} was given."
        )
    return number


def checked(data: dict, name: str) -> dict:
    """The sections of a file of version 1, plain; `ValueError` with a sentence for each thing that is wrong.

    **Returns:** `header`, `cell`, `electrolyte`, `separator`, `initial`, `thermal`, `user_defined`, `validation`,
    `degradation` as mappings by the standard's names, and `negative` and `positive` with `layer` and `particles`.
    """
    schema = standard().schema
    check = _Check(name)
    found = {"header": check.header(data["Header"])}
    parts, model = data["Parameterisation"], found["header"]["Model"]
    check.known(data, ("Header", "Parameterisation", "State", "Validation"), "")
    check.known(parts, [title for title, _ in _SECTIONS.values()] + [_USER], "Parameterisation")
    kinds = {"cell": schema.Cell, "electrolyte": schema.Electrolyte, "separator": schema.Contact}
    for key, (title, needed) in _SECTIONS.items():
        if parts.get(title) is None:
            found[key] = None
            if model in needed:
                check.say(f"Section `{title}` is missing in `{name}`, which is of model {model}.")
        elif not isinstance(parts[title], dict):
            found[key] = check.say(f"Section `{title}` of `{name}` must hold fields.")
        elif key in kinds:
            found[key] = check.section(kinds[key], parts[title], title, needed=model != "Partial")
        else:
            found[key] = check.electrode(schema, parts[title], title, model)
    found["cell"] = found["cell"] or {}
    check.cut_offs(found["cell"])
    state = check.mapping(data.get("State"), "State")
    check.known(state, ("Initial conditions", "Thermal environment", "Degradation"), "State")
    for key, kind, title in (
        ("initial", schema.InitialConditions, "Initial conditions"),
        ("thermal", schema.ThermalState, "Thermal environment"),
        ("degradation", schema.Degradation, "Degradation"),
    ):
        section = check.mapping(state.get(title), f"State / {title}")
        found[key] = check.section(kind, section, f"State / {title}", needed=False) if section else {}
    found["user_defined"] = check.user_defined(check.mapping(parts.get(_USER), _USER), _USER)
    found["validation"] = check.validation(schema, check.mapping(data.get("Validation"), "Validation"))
    if check.wrong:
        raise ValueError("\n".join(check.wrong))
    return found


def number(value, what: str) -> float:
    """A finite number of a file as a float; `ValueError` otherwise. `what` begins the sentence."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} must be a number, but {_shown(value)} was given.")
    if not abs(value) < 1e300:
        raise ValueError(f"{what} must be finite, but {_shown(value)} was given.")
    return float(value)


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def function(value, what: str) -> float | Formula | Points:
    """A number, a formula or a table; a formula or table that is one number becomes it."""
    if isinstance(value, str):
        return _formula(value, what)
    if isinstance(value, dict):
        return _table(value, what)
    return number(value, f"{what}, which may also be a formula of x or a table of x and y,")


def _formula(text, what):
    try:
        tree = parse_formula(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    try:
        standard().Function.validate(text)  # the grammar of the standard; it parses and does not run
    except Exception as error:  # of whatever kind the grammar's library raises
        raise ValueError(f"{what}: The formula `{_shown(text)}` is not in the grammar of BPX.") from error
    return tree[1] if tree[0] == "number" else Formula(tree)


def _table(table, what):
    if set(table) != {"x", "y"} or not all(isinstance(v, list) for v in table.values()):
        raise ValueError(f"{what} must be a table of two lists, `x` and `y`, but it holds {_shown(sorted(table))}.")
    x, y = ([number(v, f"Each `{axis}` in the table of {what[0].lower() + what[1:]}") for v in table[axis]]
            for axis in "xy")  # fmt: skip
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(
            f"{what} is a table that needs at least two points and as many `y` as `x`, but it has {len(x)} `x` and "
            f"{len(y)} `y`."
        )
    falling = x[1] < x[0]
    for i in range(1, len(x)):
        if x[i] == x[i - 1] or (x[i] < x[i - 1]) != falling:
            raise ValueError(
                f"{what} is a table that is not monotonic: its x must rise, or fall, from each point to the next, but "
                f"x = {x[i]:g} follows {x[i - 1]:g}."
            )
    if all(value == y[0] for value in y):
        return y[0]
    return Points(tuple(x[::-1] if falling else x), tuple(y[::-1] if falling else y))


class _Check:
    """Collects what is wrong with a file."""

    def __init__(self, name: str):
        self.name = name
        self.wrong: list[str] = []

    def say(self, sentence: str) -> None:
        self.wrong.append(sentence)

    def what(self, title: str, field: str) -> str:
        return f"Field `{title} / {field}` of `{self.name}`"

    def mapping(self, section, title) -> dict:
        if section is None:
            return {}
        if not isinstance(section, dict):
            self.say(f"Section `{title}` of `{self.name}` must hold fields.")
            return {}
        return section

    def known(self, section, names, title) -> None:
        for field in section:
            if field not in names:
                close = difflib.get_close_matches(field, names, 1, 0.6)
                hint = f"; did you mean `{close[0]}`?" if close else "."
                shown = f"{title} / {field}" if title else field
                self.say(f"Field `{shown}` of `{self.name}` is unknown to the BPX standard{hint}")

    def header(self, header) -> dict:
        self.known(header, ("BPX", "Title", "Description", "References", "Model"), "Header")
        if header.get("Model") not in MODELS:
            given = f"{header['Model']!r} was given" if "Model" in header else "it is missing"
            raise ValueError(
                "\n".join(
                    [*self.wrong, f"{self.what('Header', 'Model')} must be one of {', '.join(MODELS)}, but {given}."]
                )
            )
        for field in ("Title", "Description", "References"):
            if not isinstance(header.get(field) or "", str):
                self.say(f"{self.what('Header', field)} must be text.")
        return header

    def section(self, kind, values, title, *, needed, skip=(), optional=()) -> dict:
        """The fields of one section; `needed`, whether those that the standard wants must be there."""
        fields = {f.alias: f for f in kind.model_fields.values() if f.alias not in skip}
        self.known(values, [*fields, *skip], title)
        found = {}
        for alias, field in fields.items():
            if values.get(alias) is None:
                found[alias] = None
                if needed and field.is_required() and alias not in optional:
                    self.say(f"Field `{title} / {alias}` is missing in `{self.name}`.")
                continue
            try:
                found[alias] = self.value(field, alias, values[alias], self.what(title, alias))
            except ValueError as error:
                found[alias] = self.say(str(error))
        return found

    def value(self, field, alias, value, what):
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        if any(getattr(kind, "__name__", "") == "InterpolatedTable" for kind in kinds):
            found = function(value, what)
        elif isinstance(value, dict) and any(typing.get_origin(kind) is dict for kind in kinds):
            return {k: number(v, f"{what} for `{k}`") for k, v in value.items()}
        else:
            found = number(value, what)
        if isinstance(found, float):
            _within(found, alias, what)
        return found

    def electrode(self, schema, values, title, model) -> dict:
        needed = model != "Partial"
        blended, spm = values.get("Particle") is not None, model == "SPM"
        optional = ("Porosity", "Transport efficiency", "Conductivity [S.m-1]") if spm else ()
        particle = {f.alias for f in schema.Particle.model_fields.values()}
        whole = {k: v for k, v in values.items() if blended or k not in particle}
        layer = self.section(schema.Electrode, whole, title, needed=needed, skip=("Particle",), optional=optional)
        if not blended:
            only = {k: v for k, v in values.items() if k in particle}
            return {"layer": layer, "particles": {"": self.particle(schema, only, title, needed)}}
        classes = self.mapping(values["Particle"], f"{title} / Particle")
        if not classes:
            self.say(f"Section `{title} / Particle` of `{self.name}` must hold at least one class of particles.")
        return {
            "layer": layer,
            "particles": {
                name: self.particle(schema, self.mapping(part, f"{title} / {name}"), f"{title} / {name}", needed)
                for name, part in classes.items()
            },
        }

    def particle(self, schema, values, title, needed) -> dict:
        found = self.section(schema.Particle, values, title, needed=needed)
        low, high = found.get("Minimum stoichiometry"), found.get("Maximum stoichiometry")
        if low is not None and high is not None and not low < high:
            self.say(
                f"{self.what(title, 'Minimum stoichiometry')} must be below `Maximum stoichiometry`, {high:g}, but "
                f"{low:g} was given."
            )
        return found

    def cut_offs(self, cell) -> None:
        low, high = cell.get("Lower voltage cut-off [V]"), cell.get("Upper voltage cut-off [V]")
        if low is not None and high is not None and not low < high:
            self.say(
                f"{self.what('Cell', 'Lower voltage cut-off [V]')} must be below `Upper voltage cut-off [V]`, {high:g} "
                f"V, but {low:g} V was given."
            )
        pairs = "Number of electrode pairs connected in parallel to make a cell"
        if cell.get(pairs) is not None and cell[pairs] != int(cell[pairs]):
            self.say(f"{self.what('Cell', pairs)} must be a whole number, but {cell[pairs]:g} was given.")

    def user_defined(self, section, title) -> dict:
        found = {}
        for field, value in section.items():
            try:
                if field == "description":
                    found[field] = str(value)
                elif isinstance(value, dict) and set(value) != {"x", "y"}:
                    found[field] = self.user_defined(value, f"{title} / {field}")
                else:
                    found[field] = function(value, self.what(title, field))
            except ValueError as error:
                self.say(str(error))
        return found

    def validation(self, schema, section) -> dict:
        found = {}
        names = [f.alias for f in schema.Experiment.model_fields.values()]
        for curve, columns in section.items():
            title = f"Validation / {curve}"
            columns = self.mapping(columns, title)
            self.known(columns, names, title)
            try:
                found[curve] = {
                    field: [number(v, f"Each value of {self.what(title, field)}") for v in values]
                    for field, values in columns.items()
                    if isinstance(values, list)
                }
            except ValueError as error:
                self.say(str(error))
            if len({len(v) for v in found.get(curve, {}).values()}) > 1:
                self.say(f"The columns of `{title}` of `{self.name}` must be equally long.")
        return found


def _within(value, alias, what) -> None:
    bounds = _RANGES.get(alias, _ANY)
    if bounds == _POSITIVE:
        if not value > 0:
            raise ValueError(f"{what} must be positive, but {value:g} was given.")
    elif not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"{what} must lie between {bounds[0]:g} and {bounds[1]:g}, but {value:g} was given.")
