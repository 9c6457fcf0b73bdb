"""What a design problem is: a space, a sample to average over, an objective to descend, and metrics to look at."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, PyTree

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
