"""Cell parameters in the Battery Parameter eXchange format (BPX)."""

import ast
import dataclasses
import pathlib
import warnings

_LARGEST = 50_000_000  # bytes; a parameter file is kilobytes
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_FUNCTIONS = ("exp", "tanh", "cosh")  # what the BPX standard allows


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula of one variable as a tree of tuples: ("x",), ("number", v), ("+", a, b), ("exp", a)."""

    tree: tuple


@dataclasses.dataclass(frozen=True)
class Points:
    """A table of values, x increasing."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class BpxCell:
    """What a BPX file says, in SI units.

    `cell`, `electrolyte`, `negative`, `positive` and `separator` map the names of the standard, units included, to
    numbers, [`Formula`][] or [`Points`][]. `state_of_charge`, `temperature` (K) and `concentration` (mol/m3) are those
    at the start; `notes`, what the reader of the standard remarked.
    """

    title: str
    cell: dict
    electrolyte: dict
    negative: dict
    positive: dict
    separator: dict
    state_of_charge: float
    temperature: float
    concentration: float
    notes: tuple[str, ...]


def read_bpx(path) -> BpxCell:
    """Reads and validates a BPX file of a DFN model with the `bpx` package, formulas as data and never as code.

    **Raises:** `ValueError`, in one sentence, for a file that is missing, is no BPX, or is not of a DFN.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"The file `{path}` does not exist.")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"The file `{path}` is larger than {_LARGEST} bytes, which no BPX file is.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import bpx  # heavy, and needed only here

        try:
            content = bpx.parse_bpx_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the validator raises many kinds; all of them mean the same to the user
            reason = str(error).strip().splitlines()
            detail = " ".join(line.strip() for line in reason[:3])
            raise ValueError(f"The file `{path}` is no valid BPX: {detail}.") from error
    return _checked(content, path, tuple(str(w.message) for w in caught if w.category is UserWarning))


def _checked(content, path, notes):
    parts = content.parameterisation
    names = ("cell", "electrolyte", "negative_electrode", "separator", "positive_electrode")
    missing = [name.replace("_", " ") for name in names if getattr(parts, name, None) is None]
    if content.header.model != "DFN" or missing:
        lacks = f", and lacks {', '.join(missing)}" if missing else ""
        raise ValueError(f"The file `{path}` is of model {content.header.model}{lacks}; a DFN is needed.")
    for name in ("negative_electrode", "positive_electrode"):
        if hasattr(getattr(parts, name), "particle"):
            raise ValueError(f"The file `{path}` has a blended {name.replace('_', ' ')}; one material is needed.")
    start = getattr(content.state, "initial_conditions", None)

    def initial(name, default):
        value = getattr(start, name, None)
        return default if value is None else float(value)

    return BpxCell(
        title=content.header.title or path.stem,
        cell=_plain(parts.cell),
        electrolyte=_plain(parts.electrolyte),
        negative=_plain(parts.negative_electrode),
        positive=_plain(parts.positive_electrode),
        separator=_plain(parts.separator),
        state_of_charge=initial("initial_soc", 1.0),
        temperature=initial("initial_temperature", float(parts.cell.reference_temperature or 298.15)),
        concentration=initial("initial_electrolyte_concentration", 1000.0),
        notes=notes,
    )


def _plain(section):
    fields = type(section).model_fields
    return {field.alias: _value(getattr(section, name)) for name, field in fields.items()}


def _value(value):
    if value is None or isinstance(value, int | float):
        return None if value is None else float(value)
    if isinstance(value, str):
        return Formula(parse_formula(value))
    rows = sorted(zip(value.x, value.y, strict=True))
    return Points(tuple(float(x) for x, _ in rows), tuple(float(y) for _, y in rows))


def parse_formula(text: str) -> tuple:
    """The tree of a formula in x with + - * / **, numbers and exp, tanh, cosh; nothing else passes.

    Python's own grammar gives the precedence that the standard means; the text is parsed and never run.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"The formula `{text}` is not one of x.") from error
    return _node(tree.body, text)


def _node(node, text):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return ("number", float(node.value))
    if isinstance(node, ast.Name) and node.id == "x":
        return ("x",)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        operand = _node(node.operand, text)
        return ("number", -operand[1]) if operand[0] == "number" else ("*", ("number", -1.0), operand)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
        return _node(node.operand, text)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return (_OPERATORS[type(node.op)], _node(node.left, text), _node(node.right, text))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        if len(node.args) == 1 and not node.keywords:
            return (node.func.id, _node(node.args[0], text))
    raise ValueError(f"The formula `{text}` may hold only x, numbers, + - * / ** and {', '.join(_FUNCTIONS)}.")
