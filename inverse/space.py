"""Design spaces: which numbers of a recipe are free, between which bounds, and how a unit box maps onto them."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import expit, logit
from jaxtyping import Array, Float, PyTree

from microstructure.checks import require
from microstructure.recipe import PARTS
from solver.numerics.real import real


class Affine(eqx.Module):
    """value = low + (high - low) u."""

    def value(self, u, low, high) -> Array:
        """From the unit interval to the bounds."""
        return low + (high - low) * u

    def unit(self, value, low, high) -> Array:
        """From the bounds to the unit interval."""
        return (value - low) / (high - low)


class Logarithmic(eqx.Module):
    """ln value = ln low + (ln high - ln low) u, for what is positive and spans a factor rather than a distance."""

    def value(self, u, low, high) -> Array:
        """From the unit interval to the bounds."""
        return low * jnp.exp(jnp.log(high / low) * u)

    def unit(self, value, low, high) -> Array:
        """From the bounds to the unit interval."""
        return jnp.log(value / low) / jnp.log(high / low)


class Logit(eqx.Module):
    """logit value = logit low + (logit high - logit low) u, for shares that come near to zero or to one."""

    def value(self, u, low, high) -> Array:
        """From the unit interval to the bounds."""
        low, high = logit(low), logit(high)
        return expit(low + (high - low) * u)

    def unit(self, value, low, high) -> Array:
        """From the bounds to the unit interval."""
        return (logit(value) - logit(low)) / (logit(high) - logit(low))


class Leaf(eqx.Module):
    """A variable that is one scalar leaf: `where(recipe)` is that leaf, as `equinox.tree_at` wants it."""

    where: Callable = eqx.field(static=True)

    def read(self, recipe) -> Array:
        """The value of the leaf."""
        return self.where(recipe)

    def write(self, recipe, value):
        """The recipe with the leaf at `value`."""
        return eqx.tree_at(self.where, recipe, value)


class Entry(eqx.Module):
    """A variable that is one entry of a profile: `where(recipe)` is a leaf of shape (k,), `index` the entry."""

    where: Callable = eqx.field(static=True)
    index: int = eqx.field(static=True)

    def read(self, recipe) -> Array:
        """The value of the entry."""
        return self.where(recipe)[self.index]

    def write(self, recipe, value):
        """The recipe with the entry at `value`."""
        return eqx.tree_at(self.where, recipe, self.where(recipe).at[self.index].set(value))


class Fraction(eqx.Module):
    """A variable that is a mass fraction of a recipe: active material 0, carbon 1, binder 2.

    The parts that are no variables share what is left in the ratio they have, so the fractions always sum to one.
    """

    index: int = eqx.field(static=True)

    def read(self, recipe) -> Array:
        """The mass fraction."""
        return recipe.mass_fractions[self.index]


class PressedPorosity(eqx.Module):
    """A variable that is the porosity at the gap; the gap follows from it, so that it comes after the loading."""

    def read(self, recipe) -> Array:
        """The porosity."""
        return 1.0 - jnp.sum(recipe.solid_thickness) / recipe.gap

    def write(self, recipe, value):
        """The recipe with the gap that gives a porosity."""
        return eqx.tree_at(lambda r: r.gap, recipe, jnp.sum(recipe.solid_thickness) / (1.0 - value))


class Variable(eqx.Module):
    """A free number of a recipe.

    **Arguments:** `name`; `unit`, of the numbers here, SI; `low`, `high`, bounds; `start`, between them; `place`, a
    [`Leaf`][], [`Entry`][], [`Fraction`][] or [`PressedPorosity`][]; `transform`, [`Affine`][], [`Logarithmic`][] or
    [`Logit`][].
    """

    name: str = eqx.field(static=True)
    unit: str = eqx.field(static=True)
    low: Float[Array, ""] = eqx.field(converter=real)
    high: Float[Array, ""] = eqx.field(converter=real)
    start: Float[Array, ""] = eqx.field(converter=real)
    place: Leaf | Entry | Fraction | PressedPorosity
    transform: Affine | Logarithmic | Logit = eqx.field(default_factory=Affine)

    def __check_init__(self):
        require(f"{self.name}.low", self.low, unit=self.unit)
        require(f"{self.name}.high", self.high, unit=self.unit)
        low, high, start = float(self.low), float(self.high), float(self.start)
        unit = f" {self.unit}" if self.unit else ""
        if not low < high:
            raise ValueError(f"Variable `{self.name}` must have low < high, but {low:g} and {high:g}{unit} were given.")
        if isinstance(self.transform, Logarithmic) and low <= 0:
            raise ValueError(
                f"Variable `{self.name}` is logarithmic and must have a positive lower bound, but {low:g} was given."
            )
        if isinstance(self.transform, Logit) and not 0 < low < high < 1:
            raise ValueError(
                f"Variable `{self.name}` is a share on a logit scale and must be bounded inside 0 and 1, but "
                f"{low:g} to {high:g} were given."
            )
        require(f"start of {self.name}", start, low, high, unit=self.unit, hint="Widen the bounds or move the start.")
        if isinstance(self.place, Fraction) and not (0 <= low and high < 1):
            raise ValueError(
                f"Variable `{self.name}` is a mass fraction and must be bounded within 0 and 1, but "
                f"{low:g} to {high:g} were given."
            )

    def value(self, u) -> Array:
        """The value at `u` of the unit interval."""
        return self.transform.value(u, self.low, self.high)

    def to_unit(self, value) -> Array:
        """Where in the unit interval a value lies."""
        return self.transform.unit(value, self.low, self.high)


def profile(name: str, unit: str, low, high, start, where: Callable, entries: int, transform=None) -> list[Variable]:
    """A [`Variable`][] for each entry of a profile of `entries`, named `name_1` and on, in the direction of x."""
    kind = Affine() if transform is None else transform
    return [Variable(f"{name}_{k + 1}", unit, low, high, start, Entry(where, k), kind) for k in range(entries)]


class Space(eqx.Module):
    """The box of all [`Variable`][]s of a base recipe: a vector of the unit box in, a recipe out.

    **Arguments:** `base`, whose other numbers are kept; `variables`.
    """

    base: PyTree
    variables: tuple[Variable, ...] = eqx.field(converter=tuple)

    def __check_init__(self):
        names = self.names
        if not names:
            raise ValueError("A design space must have at least one variable, but none was given.")
        if len(set(names)) < len(names):
            raise ValueError(f"The variables of a design space must differ, but {', '.join(names)} were given.")
        fractions = [v for v in self.variables if isinstance(v.place, Fraction)]
        if len(fractions) == len(PARTS):
            raise ValueError(
                "At most two of the three mass fractions can be variables, since they sum to one, but three were given."
            )
        if fractions and sum(float(v.high) for v in fractions) >= 1:
            raise ValueError("The upper bounds of the mass fractions must sum to less than 1, but they do not.")

    def __call__(self, x: Float[Array, " n"]):
        """The recipe at `x`, shape (n,), of the unit box."""
        return self.insert(self.values(x))

    def insert(self, values: Float[Array, " n"]):
        """The recipe with the given values of the variables, in SI units: mass fractions first, the others in order."""
        pairs = list(zip(self.variables, values, strict=True))
        parts = [(v.place.index, value) for v, value in pairs if isinstance(v.place, Fraction)]
        recipe = with_fractions(self.base, *zip(*parts, strict=True)) if parts else self.base
        for variable, value in pairs:
            if not isinstance(variable.place, Fraction):
                recipe = variable.place.write(recipe, value)
        return recipe

    def values(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The values of the variables at `x`, in SI units."""
        return jnp.stack([v.value(x[i]) for i, v in enumerate(self.variables)])

    def locate(self, recipe) -> Float[Array, " n"]:
        """Where in the unit box a recipe lies; outside of it for values outside of the bounds."""
        return jnp.stack([v.to_unit(v.place.read(recipe)) for v in self.variables])

    @property
    def start(self) -> Float[Array, " n"]:
        """The start in the unit box."""
        return jnp.stack([v.to_unit(v.start) for v in self.variables])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the variables."""
        return tuple(v.name for v in self.variables)

    def at_bounds(self, x, margin: float = 1e-3) -> dict[str, str]:
        """Which variables lie at a bound, and at which: `low` or `high`."""
        x = np.asarray(x)
        sides = {n: "low" if u <= margin else "high" for n, u in zip(self.names, x, strict=True)}
        return {n: sides[n] for n, u in zip(self.names, x, strict=True) if u <= margin or u >= 1 - margin}


def with_fractions(recipe, indices: Sequence[int], fractions: Sequence[Array]):
    """The recipe with some mass fractions set, the other parts sharing the rest in the ratio they have."""
    old = recipe.mass_fractions
    free = np.isin(np.arange(len(PARTS)), indices)
    chosen = jnp.stack([jnp.asarray(f) for f in fractions])
    others = jnp.where(free, 0.0, old)
    composition = others * ((1 - jnp.sum(chosen)) / jnp.sum(others))
    composition = composition.at[np.asarray(indices)].set(chosen)
    return eqx.tree_at(lambda r: r.composition, recipe, composition)
