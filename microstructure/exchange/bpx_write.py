"""Cell parameters written in the Battery Parameter eXchange format (BPX), version 1.1 or 0.5."""

import json

from microstructure import store
from microstructure.exchange.bpx import STARTS_AT_LIMITS, BpxCell, BpxElectrode, parse_bpx
from microstructure.exchange.formula import Formula, Points, formula_text

VERSIONS = ("1.1", "0.5")
_HEADER = {"1.1": "1.1.0", "0.5": 0.5}  # 0.5 wants a number there, 1.1 a text
# Readers that turn the transport efficiency into Bruggeman's exponent divide by the logarithm of the porosity.
_POROUS = 1.0 - 1e-9


def write_bpx(path, source: BpxCell, version: str = "1.1") -> None:
    """Writes a BPX file, atomically, after it has been read back without complaint.

    What version 0.5 cannot say: the state of charge at the start (always 1), the heat transfer coefficient, and text
    in `User-defined`. A cell that starts at its stoichiometry limits is marked for our own reader; others, like PyBaMM,
    begin a file of 0.x at rest at the upper cut-off voltage.

    **Raises:** `ValueError` for a formula that the standard cannot express.
    """
    data = bpx_json(source, version)
    parse_bpx(data, str(path))
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    with store.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def bpx_json(source: BpxCell, version: str = "1.1") -> dict:
    """The content of a BPX file as JSON's own types."""
    if version not in VERSIONS:
        raise ValueError(f"Argument `version` must be one of {', '.join(VERSIONS)}, but {version!r} was given.")
    legacy = version == "0.5"
    header = {"BPX": _HEADER[version], "Title": source.title, "Description": source.description,
              "References": source.references, "Model": source.model}  # fmt: skip
    parts = {
        "Cell": _plain(source.cell),
        "Electrolyte": _section(source.electrolyte),
        "Negative electrode": _electrode(source.negative),
        "Positive electrode": _electrode(source.positive),
        "Separator": _section(source.separator),
        "User-defined": _user_defined(source, legacy),
    }
    data = {"Header": {k: v for k, v in header.items() if v}, "Parameterisation": {k: v for k, v in parts.items() if v}}
    if legacy:
        parts["Cell"]["Initial temperature [K]"] = source.temperature
        parts["Cell"]["Ambient temperature [K]"] = source.ambient_temperature
        if source.electrolyte is not None:
            parts["Electrolyte"]["Initial concentration [mol.m-3]"] = source.concentration
    else:
        data["State"] = _state(source)
    if source.validation:
        data["Validation"] = source.validation
    return data


def _state(source):
    start = {
        "Initial state-of-charge": source.state_of_charge,
        "Initial temperature [K]": source.temperature,
        "Initial electrolyte concentration [mol.m-3]": source.concentration,
    }
    around = {
        "Ambient temperature [K]": source.ambient_temperature,
        "Heat transfer coefficient [W.m-2.K-1]": source.heat_transfer_coefficient,
    }
    return {"Initial conditions": _plain(start), "Thermal environment": _plain(around)}


def _user_defined(source, legacy):
    found = _plain({k: v for k, v in source.user_defined.items() if k != STARTS_AT_LIMITS})
    if not legacy:
        return found
    found = {
        k: v for k, v in found.items() if k != "description" and not (isinstance(v, dict) and set(v) != {"x", "y"})
    }
    return found | ({STARTS_AT_LIMITS: 1.0} if source.state_of_charge is None else {})


def _section(values):
    return None if values is None else _porous(_plain(values))


def _electrode(electrode: BpxElectrode | None):
    if electrode is None:
        return None
    layer = _porous(_plain(electrode.layer))
    classes = {name: _plain(values) for name, values in electrode.particles.items()}
    return layer | (classes[""] if set(classes) == {""} else {"Particle": classes})


def _porous(values):
    return values | ({"Porosity": min(values["Porosity"], _POROUS)} if "Porosity" in values else {})


def _plain(values: dict) -> dict:
    return {name: _value(name, value) for name, value in values.items() if value is not None}


def _value(name, value):
    if isinstance(value, Formula):
        return formula_text(value.tree)
    if isinstance(value, Points):
        return {"x": list(value.x), "y": list(value.y)}
    if isinstance(value, dict):
        return _plain(value)
    if isinstance(value, str):
        return value
    return int(value) if name.startswith("Number of ") else float(value)
