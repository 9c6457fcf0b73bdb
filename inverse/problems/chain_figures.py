"""The whole chain as a problem of figures: their mean over packings of fixed seeds."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inverse.objective import Objective
from inverse.problem import Bound, Impossible
from inverse.problems.energy_density import ChainProblem, Sample
from inverse.space import Space
from solver.numerics.solution import SolveError


class ChainFigures(eqx.Module):
    """What a search asks of a [`FigureProblem`][inverse.problem.FigureProblem], of the chain, particles to cell.

    A design is packed anew from the same seeds each time it is evaluated, so that figures are a function of the design;
    derivatives hold the packing. Of designs that cannot be made all figures are NaN.

    **Arguments:** `chain`, whose own objective and constraints have no part here; `named`, figures by name with unit;
    `objective`, the name of the one wanted large, or small with a `sense` of -1; `bounds`, on others; `seeds`;
    `samples`, one a seed, to hold instead of packing each design anew.
    """

    chain: ChainProblem
    named: dict[str, Objective]
    objective: str = eqx.field(static=True)
    sense: float = eqx.field(static=True, default=1.0)
    bounds: tuple[Bound, ...] = eqx.field(converter=tuple, default=())
    seeds: tuple[int, ...] = eqx.field(static=True, converter=tuple, default=(0,))
    samples: tuple[Sample, ...] | None = None

    @property
    def space(self) -> Space:
        """The design space of the chain."""
        return self.chain.space

    @property
    def wanted(self) -> tuple[str, ...]:
        """The objective and the figures that are held, in this order."""
        return (self.objective, *(b.figure for b in self.bounds))

    def held(self, x: Float[Array, " n"]) -> "ChainFigures":
        """The problem with the packings of `x` held, whose derivatives are those of its values near there."""
        samples = tuple(self.chain.prepare(jnp.asarray(x), seed) for seed in self.seeds)
        return eqx.tree_at(lambda p: p.samples, self, samples, is_leaf=lambda v: v is None)

    def look(self, x: Float[Array, " n"]) -> dict[str, Array]:
        """All figures at `x`."""
        return self._mean([self._packed(x, k, derivatives=False) for k in range(len(self.seeds))])[0]

    def linearise(self, x: Float[Array, " n"]) -> tuple[dict[str, Array], Float[Array, "k n"]]:
        """All figures at `x`, and the derivatives of those that are wanted."""
        return self._mean([self._packed(x, k, derivatives=True) for k in range(len(self.seeds))])

    def _packed(self, x, k: int, *, derivatives: bool):
        """The figures of a packing as a vector, and the rows of derivatives."""
        missing = jnp.full(len(self.named), jnp.nan), jnp.full((len(self.wanted), x.shape[0]), jnp.nan)
        try:
            sample = self.chain.prepare(x, self.seeds[k]) if self.samples is None else self.samples[k]

            def stacked(x):
                found = self.chain.figures(x, sample, self.named)
                return jnp.stack([found[name] for name in self.wanted]), jnp.stack([found[n] for n in self.named])

            if not derivatives:
                return stacked(x)[1], missing[1]
            _, pull, values = jax.vjp(stacked, x, has_aux=True)
            return values, jnp.stack([pull(row)[0] for row in jnp.eye(len(self.wanted))])
        except (Impossible, SolveError):
            return missing

    def _mean(self, rows: Sequence):
        values, slopes = (np.mean([np.asarray(part) for part in parts], axis=0) for parts in zip(*rows, strict=True))
        return dict(zip(self.named, values, strict=True)), slopes
