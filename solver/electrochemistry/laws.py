"""Functions of one variable as values: what open-circuit potentials and transport coefficients are made of."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.real import real


class Law(eqx.Module):
    """A scalar function of one variable, evaluated element by element; its numbers are leaves and have derivatives."""

    def __call__(self, x: Array) -> Array:
        raise NotImplementedError


class Constant(Law):
    """f(x) = value."""

    value: Float[Array, ""] = eqx.field(converter=real)

    def __call__(self, x):
        return jnp.broadcast_to(self.value, jnp.shape(x))


class ExponentialTanh(Law):
    """f(x) = constant + slope x + sum_i a_i exp(b_i x) + sum_k A_k tanh(B_k (x - C_k)), the usual potential fit.

    **Arguments:** `constant`, `slope`, scalars; `exponentials`, shape (n, 2), rows (a, b); `steps`, shape (m, 3), rows
    (A, B, C).
    """

    constant: Float[Array, ""] = eqx.field(converter=real)
    slope: Float[Array, ""] = eqx.field(converter=real)
    exponentials: Float[Array, "n 2"] = eqx.field(converter=real)
    steps: Float[Array, "m 3"] = eqx.field(converter=real)

    def __call__(self, x):
        rows = (1,) * jnp.ndim(x)
        a, b = (self.exponentials[:, i].reshape(-1, *rows) for i in range(2))
        height, rate, centre = (self.steps[:, i].reshape(-1, *rows) for i in range(3))
        x1 = jnp.asarray(x)[None]
        bends = jnp.sum(a * jnp.exp(b * x1), axis=0) + jnp.sum(height * jnp.tanh(rate * (x1 - centre)), axis=0)
        return self.constant + self.slope * x + bends


class PowerSum(Law):
    """f(x) = sum_i a_i (x / scale)^p_i, for a positive x.

    **Arguments:** `coefficients`, shape (n,), in the unit of f; `scale`, in the unit of x; `powers`, n numbers.
    """

    coefficients: Float[Array, " n"] = eqx.field(converter=real)
    scale: Float[Array, ""] = eqx.field(converter=real)
    powers: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, x):
        ratio = x / self.scale
        terms = (_power(ratio, p) for p in self.powers)
        return sum(a * term for a, term in zip(self.coefficients, terms, strict=True))


def _power(x: Array, p: float) -> Array:
    """x^p of a positive x; a half of an odd number by a square root, which is ten times as fast."""
    if p == int(p):
        return x ** int(p)
    return x ** int(p - 0.5) * jnp.sqrt(x) if 2 * p == int(2 * p) and p > 0 else jnp.power(x, p)


class Exponential(Law):
    """f(x) = amplitude exp(rate x)."""

    amplitude: Float[Array, ""] = eqx.field(converter=real)
    rate: Float[Array, ""] = eqx.field(converter=real)

    def __call__(self, x):
        return self.amplitude * jnp.exp(self.rate * x)


class Table(Law):
    """Linear interpolation between the points (x, y), with the end segments continued straight.

    **Arguments:** `x`, shape (n,), increasing; `y`, shape (n,).
    """

    x: Float[Array, " n"] = eqx.field(converter=real)
    y: Float[Array, " n"] = eqx.field(converter=real)

    def __call__(self, x):
        i = jnp.clip(jnp.searchsorted(self.x, x), 1, self.x.shape[0] - 1)
        slope = (self.y[i] - self.y[i - 1]) / (self.x[i] - self.x[i - 1])
        return self.y[i - 1] + slope * (x - self.x[i - 1])


_FUNCTIONS = {"exp": jnp.exp, "tanh": jnp.tanh, "cosh": jnp.cosh, "sinh": jnp.sinh, "log": jnp.log, "sqrt": jnp.sqrt}


class Expression(Law):
    """A formula given as a tree of tuples, ("+", left, right), ("exp", argument), ("x",) or ("number", value).

    The tree is data, so a formula from a file is never executed as code; `microstructure.exchange.formula` makes it.
    Its numbers are leaves, in the order of writing, and have derivatives; powers that are numbers are not.

    **Arguments:** `tree`. **Fields:** `numbers`, shape (n,); `form`, the tree with ("number", i) for the i-th of them.
    """

    numbers: Float[Array, " n"]
    form: tuple = eqx.field(static=True)

    def __init__(self, tree: tuple):
        numbers = []
        self.form = _form(tree, numbers)
        self.numbers = real(jnp.asarray(numbers, float))

    def __call__(self, x):
        return jnp.broadcast_to(_evaluate(self.form, self.numbers, jnp.asarray(x)), jnp.shape(x))

    @property
    def tree(self) -> tuple:
        """The formula with its numbers, which must not be traced."""
        return _filled(self.form, self.numbers.tolist())


def _form(node, numbers):
    """The tree with the places of its numbers in `numbers`, which it extends."""
    head, *rest = node
    if head == "number":
        numbers.append(float(rest[0]))
        return ("number", len(numbers) - 1)
    if head == "**" and rest[1][0] == "number":
        return ("power", _form(rest[0], numbers), float(rest[1][1]))
    return (head, *(_form(child, numbers) for child in rest))


def _filled(node, numbers):
    head, *rest = node
    if head == "number":
        return ("number", numbers[rest[0]])
    if head == "power":
        return ("**", _filled(rest[0], numbers), ("number", rest[1]))
    return (head, *(_filled(child, numbers) for child in rest))


def _evaluate(node, numbers, x):
    head, *rest = node
    if head == "x":
        return x
    if head == "number":
        return numbers[rest[0]]
    if head == "power":
        base, power = _evaluate(rest[0], numbers, x), rest[1]
        return base ** int(power) if power == int(power) else jnp.power(base, power)
    arguments = [_evaluate(child, numbers, x) for child in rest]
    if head in _FUNCTIONS:
        return _FUNCTIONS[head](*arguments)
    left, right = arguments
    return {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left / right,
            "**": lambda: left**right}[head]()  # fmt: skip
