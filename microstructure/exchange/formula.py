"""Formulas and tables of one variable as data: parsed and written, never run."""

import ast
import dataclasses
import math

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_FUNCTIONS = ("exp", "tanh", "cosh")  # what the BPX standard allows
_LONGEST = 20_000  # characters; the longest fits in use have 2,000
_DEEPEST = 150  # nested operations; each costs a few levels of Python's stack when it is evaluated
_LEVELS = {"+": 1, "-": 1, "*": 2, "/": 2, "**": 4}
_NEGATIVE, _ATOM = 3, 5  # how tightly a leading minus binds, and a name, a call or parentheses


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula of one variable as a tree of tuples: ("x",), ("number", v), ("+", a, b), ("exp", a)."""

    tree: tuple


@dataclasses.dataclass(frozen=True)
class Points:
    """A table of values, x increasing."""

    x: tuple[float, ...]
    y: tuple[float, ...]


def parse_formula(text: str) -> tuple:
    """The tree of a formula in x with + - * / **, numbers and exp, tanh, cosh; nothing else passes.

    Python's own grammar gives the precedence that the standard means; the text is parsed and never run.

    **Raises:** `ValueError`, in one sentence.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"The formula `{_short(text)}` is longer than {_LONGEST} characters.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"The formula `{_short(text)}` is not one of x.") from error
    return _node(tree.body, text, 0)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _node(node, text, depth):
    if depth > _DEEPEST:
        raise ValueError(f"The formula `{_short(text)}` nests more than {_DEEPEST} operations.")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) < 1e300:
        return ("number", float(node.value))
    if isinstance(node, ast.Name) and node.id == "x":
        return ("x",)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        operand = _node(node.operand, text, depth + 1)
        return ("number", -operand[1]) if operand[0] == "number" else ("*", ("number", -1.0), operand)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
        return _node(node.operand, text, depth + 1)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_node(side, text, depth + 1) for side in (node.left, node.right))
        if isinstance(node.op, ast.Pow) and right[0] == "number" and abs(right[1]) > 1000:
            raise ValueError(f"The formula `{_short(text)}` raises to the power {right[1]:g}, beyond 1000.")
        return (_OPERATORS[type(node.op)], left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        if len(node.args) == 1 and not node.keywords:
            return (node.func.id, _node(node.args[0], text, depth + 1))
    raise ValueError(f"The formula `{_short(text)}` may hold only x, numbers, + - * / ** and {', '.join(_FUNCTIONS)}.")


def formula_text(tree: tuple) -> str:
    """The text of a tree, which [`parse_formula`][] makes into one of the same values, bit by bit.

    Only what the standard allows is written: sqrt becomes a power, sinh two exponentials.

    **Raises:** `ValueError` for a function that the standard cannot express, or a number that is not finite.
    """
    return _written(tree)[0]


def _written(node) -> tuple[str, int]:
    head, *rest = node
    if head == "x":
        return "x", _ATOM
    if head == "number":
        value = float(rest[0])
        if not math.isfinite(value):
            raise ValueError(f"A formula cannot hold the number {value}.")
        text = str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        return text, _NEGATIVE if text.startswith("-") else _ATOM
    if head in _FUNCTIONS:
        return f"{head}({_written(rest[0])[0]})", _ATOM
    if head == "sqrt":
        return _written(("**", rest[0], ("number", 0.5)))
    if head == "sinh":
        opposite = ("exp", ("*", ("number", -1.0), rest[0]))
        return _written(("*", ("number", 0.5), ("-", ("exp", rest[0]), opposite)))
    if head not in _LEVELS:
        raise ValueError(f"BPX has no function `{head}`, so a formula that holds it cannot be written.")
    level = _LEVELS[head]
    # A chain of + - or of * / is read from the left, a chain of ** from the right.
    left = _wrapped(rest[0], level if head != "**" else _ATOM)
    right = _wrapped(rest[1], level + 1 if head != "**" else _NEGATIVE)
    if head in "+-" and right.startswith("-") and rest[1][0] == "number":
        head, right = "-+"["+-".index(head)], right[1:]
    return f"{left} {head} {right}", level


def _wrapped(node, least: int) -> str:
    text, level = _written(node)
    return text if level >= least else f"({text})"
