"""Formulas as data: written and parsed again, and accepted by the grammar of the standard."""

import operator

import numpy as np
import pytest

from microstructure.exchange.bpx_fields import standard
from microstructure.exchange.formula import formula_text, parse_formula

VALUES = {"exp": np.exp, "tanh": np.tanh, "cosh": np.cosh, "+": operator.add, "-": operator.sub, "*": operator.mul,
          "/": operator.truediv, "**": operator.pow}  # fmt: skip
X, TWO, MINUS = ("x",), ("number", 2.0), ("number", -3e-7)


def value(tree, x):
    head, *rest = tree
    if head in ("x", "number"):
        return x if head == "x" else np.float64(rest[0])
    return VALUES[head](*(value(r, x) for r in rest))


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (("-", X, ("-", TWO, X)), "x - (2 - x)"),
        (("/", ("*", TWO, X), ("*", X, X)), "2 * x / (x * x)"),
        (("**", ("+", X, TWO), ("number", -1.5)), "(x + 2) ** -1.5"),
        (("**", MINUS, TWO), "(-3e-07) ** 2"),
        (("**", X, ("**", X, TWO)), "x ** x ** 2"),
        (("**", ("**", X, X), TWO), "(x ** x) ** 2"),
        (("+", X, MINUS), "x - 3e-07"),
        (("tanh", ("*", MINUS, ("-", X, TWO))), "tanh(-3e-07 * (x - 2))"),
    ],
)
def test_text_of_a_tree(tree, text):
    assert formula_text(tree) == text
    assert standard().Function.validate(text) == text
    assert formula_text(parse_formula(text)) == text


def test_any_tree_survives():
    """Trees at random: the text of what was parsed is the text, and its value is that of the tree, bit by bit."""
    generator = np.random.default_rng(3)

    def grown(depth):
        if depth == 0 or generator.random() < 0.2:
            return X if generator.random() < 0.5 else ("number", float(generator.normal()))
        head = str(generator.choice(list(VALUES)))
        if head in ("exp", "tanh", "cosh"):
            return (head, grown(depth - 1))
        return (head, grown(depth - 1), ("number", 3.0) if head == "**" else grown(depth - 1))

    for _ in range(300):
        tree = grown(4)
        text = formula_text(tree)
        parsed = parse_formula(text)
        assert formula_text(parsed) == text
        with np.errstate(all="ignore"):
            first, second = (value(t, np.float64(0.7)) for t in (tree, parsed))
        assert first == second or np.isnan(first)


@pytest.mark.parametrize(
    ("tree", "function"),
    [
        (("sqrt", ("+", X, TWO)), lambda x: np.sqrt(x + 2)),
        (("sinh", ("*", TWO, X)), lambda x: np.sinh(2 * x)),
        (("sinh", ("-", X, TWO)), lambda x: np.sinh(x - 2)),
    ],
)
def test_functions_that_the_standard_lacks_are_written_with_those_it_has(tree, function):
    text = formula_text(tree)
    assert standard().Function.validate(text) == text
    assert value(parse_formula(text), np.float64(0.3)) == pytest.approx(function(0.3), rel=1e-14)


def test_what_cannot_be_written():
    with pytest.raises(ValueError, match="no function `log`"):
        formula_text(("log", X))
    with pytest.raises(ValueError, match="nan"):
        formula_text(("number", float("nan")))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x ** 1e9", "beyond 1000"),
        ("1e999 * x", "may hold only"),
        ("(" * 300 + "x" + ")" * 300, "formula"),
        ("+".join(["x"] * 200), "nests more than"),
        ("x + " * 10000 + "x", "longer than"),
        ("sin(x)", "exp, tanh, cosh"),
        ("exit(1)", "may hold only"),
    ],
)
def test_formulas_that_would_hurt_are_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_formula(text)
