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
        terms = (jnp.power(ratio, p) if p != int(p) else ratio ** int(p) for p in self.powers)
        return sum(a * term for a, term in zip(self.coefficients, terms, strict=True))


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
    """

    tree: tuple = eqx.field(static=True)

    def __call__(self, x):
        return jnp.broadcast_to(_evaluate(self.tree, jnp.asarray(x)), jnp.shape(x))


def _evaluate(node, x):
    head, *rest = node
    if head == "x":
        return x
    if head == "number":
        return jnp.asarray(rest[0], x.dtype)
    if head == "**" and rest[1][0] == "number":
        base, power = _evaluate(rest[0], x), rest[1][1]
        return base ** int(power) if power == int(power) else jnp.power(base, power)
    arguments = [_evaluate(child, x) for child in rest]
    if head in _FUNCTIONS:
        return _FUNCTIONS[head](*arguments)
    left, right = arguments
    return {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left / right,
            "**": lambda: left**right}[head]()  # fmt: skip
