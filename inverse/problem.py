"""What a design problem is: a space, a sample to average over, an objective to descend, and metrics to look at."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from solver.numerics.real import real

from .space import Space


class Impossible(ValueError):
    """A design that cannot be made; the message says why. Descent steps back from it."""


class Problem(eqx.Module):
    """A problem to maximise.

    The objective, which is descended, is kept apart from the metrics, which are looked at. What is random is drawn in
    [`Problem.prepare`][] and held in the derivative: the same seed gives common random numbers at every design.
    """

    space: eqx.AbstractVar[Space]

    @abc.abstractmethod
    def prepare(self, x: Float[Array, " n"], seed: int) -> PyTree:
        """The sample of a seed at a design, outside `jit`; [`Impossible`][] where the design cannot be made."""

    @abc.abstractmethod
    def value(self, x: Float[Array, " n"], sample: PyTree) -> Array:
        """The objective at `x` of the unit box, to be maximised."""

    @abc.abstractmethod
    def value_and_grad(self, x: Float[Array, " n"], sample: PyTree) -> tuple[Array, Float[Array, " n"]]:
        """The objective and its derivative in `x`, the sample held."""

    @abc.abstractmethod
    def measure(self, x: Float[Array, " n"], seed: int) -> dict[str, float]:
        """Without derivative: the `objective` of a seed at a design, and metrics to look at, by name with unit."""


class Bound(eqx.Module):
    """A figure, by name, that is to stay between `low` and `high`, either of which may be infinite."""

    figure: str = eqx.field(static=True)
    low: Float[Array, ""] = eqx.field(converter=real, default=-jnp.inf)
    high: Float[Array, ""] = eqx.field(converter=real, default=jnp.inf)

    def __check_init__(self):
        low, high = float(self.low), float(self.high)
        if not low < high:
            raise ValueError(
                f"The bounds of `{self.figure}` must have low < high, but {low:g} and {high:g} were given."
            )

    @property
    def scale(self) -> float:
        """What a violation is a share of: the larger of the finite bounds, or 1 where they are zero."""
        finite = [abs(float(b)) for b in (self.low, self.high) if np.isfinite(b)]
        return max(finite, default=0.0) or 1.0

    def violation(self, value) -> float:
        """By what share of the bound a value lies outside; 0 inside."""
        return max(float(self.low) - float(value), float(value) - float(self.high), 0.0) / self.scale


class FigureProblem(Problem):
    """A problem without randomness: the best of one figure of what its space makes, others held within bounds.

    **Arguments:** `space`; `figures`, from what the space makes (any tree of numbers) to all figures by name, with the
    unit in the name; `objective`, the name of the one that is wanted large, or small with a `sense` of -1; `bounds`,
    [`Bound`][]s on others.
    """

    space: Space
    figures: Callable[[PyTree], dict[str, Array]]
    objective: str = eqx.field(static=True)
    sense: float = eqx.field(static=True, default=1.0)
    bounds: tuple[Bound, ...] = eqx.field(converter=tuple, default=())

    @property
    def wanted(self) -> tuple[str, ...]:
        """The objective and the figures that are held, in this order."""
        return (self.objective, *(b.figure for b in self.bounds))

    def prepare(self, x: Float[Array, " n"], seed: int) -> None:
        """Nothing to draw."""

    @eqx.filter_jit
    def value(self, x: Float[Array, " n"], sample: None = None) -> Array:
        """The objective at `x` of the unit box, to be maximised."""
        return self.sense * self.figures(self.space(x))[self.objective]

    @eqx.filter_jit
    def value_and_grad(self, x: Float[Array, " n"], sample: None = None) -> tuple[Array, Float[Array, " n"]]:
        """The objective, to be maximised, and its derivative in `x`."""
        return jax.value_and_grad(self.value)(x, sample)

    def held(self, x: Float[Array, " n"]) -> "FigureProblem":
        """The problem whose derivatives are those of its values near `x`: this one, in which nothing is drawn."""
        return self

    @eqx.filter_jit
    def look(self, x: Float[Array, " n"]) -> dict[str, Array]:
        """All figures at `x`."""
        return self.figures(self.space(x))

    def linearise(self, x: Float[Array, " n"]) -> tuple[dict[str, Array], Float[Array, "k n"]]:
        """All figures at `x`, and the derivatives of those of [`FigureProblem.wanted`][]: one run, side by side.

        What is compiled does not depend on which of them is the objective, nor on the bounds.
        """
        names = tuple(sorted(set(self.wanted)))
        figures, slopes = linearised(self.space, self.figures, names, x)
        return figures, slopes[np.asarray([names.index(name) for name in self.wanted])]

    def measure(self, x: Float[Array, " n"], seed: int = 0) -> dict[str, float]:
        """The `objective` and all figures at `x`, as numbers."""
        figures = {name: float(value) for name, value in self.look(jnp.asarray(x)).items()}
        return {"objective": figures[self.objective], **figures}


@eqx.filter_jit
def linearised(space: Space, figures: Callable, names: tuple[str, ...], x: Float[Array, " n"]):
    """All figures of what a space makes at `x`, and the derivatives of those of `names`, shape (k, n)."""

    def stacked(x):
        found = figures(space(x))
        return jnp.stack([found[name] for name in names]), found

    _, pull, found = jax.vjp(stacked, x, has_aux=True)
    return found, jax.vmap(pull)(jnp.eye(len(names), dtype=x.dtype))[0]
