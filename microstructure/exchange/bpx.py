"""Cell parameters in the Battery Parameter eXchange format (BPX), read: 0.x and 1.x, any of its models."""

import dataclasses
import json
import pathlib

from microstructure.exchange import bpx_fields

_LARGEST = 50_000_000  # bytes; a parameter file is kilobytes
_LEGACY_MOVED = {  # fields of 0.x in `Cell` that 1.x keeps elsewhere, or not at all
    "Ambient temperature [K]",
    "Initial temperature [K]",
    "Thermal conductivity [W.m-1.K-1]",
}
# In `User-defined`: the file means its stoichiometry limits where 0.x, which has no state, means the cut-off at rest.
STARTS_AT_LIMITS = "Mesode full at the stoichiometry limits"


@dataclasses.dataclass(frozen=True)
class BpxElectrode:
    """An electrode of a BPX file.

    `layer` holds what the electrode has as a whole (thickness, porosity, transport efficiency, conductivity);
    `particles`, for each class of particles by its name, what one active material has. An electrode that is no blend
    has one class without a name. Values as in [`BpxCell`][]; what the file does not give is `None`.
    """

    layer: dict
    particles: dict[str, dict]


@dataclasses.dataclass(frozen=True)
class BpxCell:
    """What a BPX file says, in SI units.

    `cell`, `electrolyte`, `separator` and those of the electrodes map the names of the standard, units included, to
    numbers, formulas and tables (`formula.Formula`, `formula.Points`), or `None` for an optional field that is absent.
    A section that is absent is `None`, as an SPM file has neither electrolyte nor separator. `user_defined` holds
    numbers, formulas, tables, nested mappings of them, and text under "description". `state_of_charge` is the initial
    one, or `None`: then the cell starts at its stoichiometry limits. `temperature` (K) and `concentration` (mol/m3) are
    those at the start, `ambient_temperature` (K) and `heat_transfer_coefficient` (W/m2/K, or `None`) those of the
    surroundings. `validation` maps names to measured curves, field to list. `notes` are remarks for the user.
    """

    title: str
    cell: dict
    electrolyte: dict | None
    negative: BpxElectrode | None
    positive: BpxElectrode | None
    separator: dict | None
    temperature: float
    concentration: float
    state_of_charge: float | None = None
    ambient_temperature: float = 298.15
    heat_transfer_coefficient: float | None = None
    user_defined: dict = dataclasses.field(default_factory=dict)
    validation: dict = dataclasses.field(default_factory=dict)
    model: str = "DFN"
    description: str = ""
    references: str = ""
    name: str = "cell"
    notes: tuple[str, ...] = ()


def read_bpx(path) -> BpxCell:
    """Reads and validates a BPX file, formulas as data and never as code.

    The names, sections and versions are those of the `bpx` package. Its own check of the stoichiometry limits is not
    used: it writes the potentials into a Python file and runs it.

    **Raises:** `ValueError`, one sentence a line, for a file that is missing or is no valid BPX.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"The file `{path}` does not exist.")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"The file `{path}` is larger than {_LARGEST} bytes, which no BPX file is.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise ValueError(f"The file `{path}` is no valid BPX: it is not text in UTF-8.") from error
    except RecursionError as error:
        raise ValueError(f"The file `{path}` is no valid BPX: its JSON nests too deeply.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"The file `{path}` is no valid BPX: its JSON breaks off at line {error.lineno}.") from error
    except ValueError as error:
        raise ValueError(f"The file `{path}` is no valid BPX: {error}") from error
    return parse_bpx(data, str(path))


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"the field `{twice}` is given twice in one section.")
    return found


def parse_bpx(data: dict, name: str = "cell") -> BpxCell:
    """What the JSON of a BPX file says. **Arguments:** `data`; `name`, of the file, for messages.

    **Raises:** `ValueError` with one sentence a line.
    """
    if not isinstance(data, dict) or not isinstance(data.get("Header"), dict):
        raise ValueError(f"The file `{name}` is no valid BPX: it lacks the section `Header`.")
    if not isinstance(data.get("Parameterisation"), dict):
        raise ValueError(f"The file `{name}` is no valid BPX: it lacks the section `Parameterisation`.")
    major = bpx_fields.major_version(data["Header"].get("BPX"), name)
    legacy = major == 0
    if legacy:
        _check_legacy(data, name)
        data = bpx_fields.standard().convert_v0_to_v1(data)
    found = bpx_fields.checked(data, name)
    start, around = found["initial"], found["thermal"]
    reference = found["cell"].get("Reference temperature [K]") or 298.15
    at_limits = start.get("Initial state-of-charge") is None or found["user_defined"].get(STARTS_AT_LIMITS) == 1.0
    temperature = _first(start.get("Initial temperature [K]"), reference)
    source = BpxCell(
        title=found["header"].get("Title") or pathlib.Path(name).stem,
        cell=found["cell"],
        electrolyte=found["electrolyte"],
        negative=_electrode(found["negative"]),
        positive=_electrode(found["positive"]),
        separator=found["separator"],
        temperature=temperature,
        concentration=_first(start.get("Initial electrolyte concentration [mol.m-3]"), 1000.0),
        state_of_charge=None if at_limits else start["Initial state-of-charge"],
        ambient_temperature=_first(around.get("Ambient temperature [K]"), temperature),
        heat_transfer_coefficient=around.get("Heat transfer coefficient [W.m-2.K-1]"),
        user_defined=found["user_defined"],
        validation=found["validation"],
        model=found["header"]["Model"],
        description=found["header"].get("Description") or "",
        references=found["header"].get("References") or "",
        name=name,
    )
    return dataclasses.replace(source, notes=tuple(_notes(source, legacy, found)))


def _first(value, default: float) -> float:
    return default if value is None else float(value)


def _electrode(found) -> BpxElectrode | None:
    return None if found is None else BpxElectrode(found["layer"], found["particles"])


def _check_legacy(data, name):
    """The values of 0.x that the conversion moves or drops must be numbers, or it would fail without a sentence."""
    parts = data["Parameterisation"]
    for section in ("Cell", "Electrolyte"):
        if section in parts and not isinstance(parts[section], dict):
            raise ValueError(f"Section `{section}` of `{name}` must hold fields.")
    for field in _LEGACY_MOVED & set(parts.get("Cell", {})):
        bpx_fields.number(parts["Cell"][field], f"Field `Cell / {field}` of `{name}`")


def _notes(source, legacy, found):
    if legacy and source.state_of_charge is not None:
        yield f"`{source.name}` is BPX 0.x: it starts at rest at its upper cut-off voltage, as readers of 1.x take it."
    if source.model != "DFN":
        yield f"`{source.name}` is of model {source.model}; where it suffices for a DFN, it is run as one."
    if source.ambient_temperature != source.temperature:
        yield (
            f"`{source.name}` has an initial temperature of {source.temperature:g} K and surroundings of "
            f"{source.ambient_temperature:g} K; an isothermal cell stays at the first."
        )
    if found["degradation"]:
        yield f"The section `State / Degradation` of `{source.name}` is not used: the cell is taken as new."
    for side, electrode in (("Negative", source.negative), ("Positive", source.positive)):
        for values in () if electrode is None else electrode.particles.values():
            branches = [k for k in ("OCP (lithiation) [V]", "OCP (delithiation) [V]") if values.get(k) is not None]
            if branches:
                yield f"`{side} electrode / {branches[0]}` is not used: the potential is `OCP [V]`, without hysteresis."
