"""The next batch of particles is larger: how to coat and press it so that the film stays what it was."""

import math
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from inverse.challenge import Challenge
from inverse.objective import ArealCapacity, EnergyDensity, Porosity, TortuosityFactor
from inverse.problem import Bound
from inverse.problems.chain_figures import ChainFigures
from inverse.problems.energy_density import ChainProblem
from inverse.problems.full_chain import COMPOSITION, DENSITIES
from inverse.search import Climb
from inverse.space import Fraction, Leaf, Logarithmic, PressedPorosity, Space, Variable
from microstructure.recipe import Recipe
from microstructure.sizes import LogNormal
from microstructure.units import um
from solver.numerics.real import real

PARTICLES, SHAPE, FINER_SHAPE = 240, (32, 24, 24), (48, 36, 36)
SEEDS, UNSEEN = (0, 1), tuple(range(1_000_000, 1_000_004))
BEFORE, AFTER = (3 * um, math.exp(0.2)), (3.3 * um, math.exp(0.3))  # median radius and spread of the two batches
TARGETS = {"areal_capacity_mAh_cm2": 2.82, "porosity": 0.33, "tortuosity_factor_x": 2.05}


class OnTarget(eqx.Module):
    """What a search asks of a problem whose only aim is to bring the figures of another one to their targets.

    `mismatch` is the sum of squared relative differences, in squared percent, of figures that are means over packings:
    single packings scatter around their mean, which is no fault of a design.

    **Arguments:** `figures`, a [`ChainFigures`][inverse.problems.chain_figures.ChainFigures] that wants the ones with
    targets; `targets`, in the order of its `wanted`.
    """

    figures: ChainFigures
    targets: Float[Array, " k"] = eqx.field(converter=real)
    bounds: ClassVar[tuple] = ()
    objective: ClassVar[str] = "mismatch"
    wanted: ClassVar[tuple[str, ...]] = ("mismatch",)
    sense: ClassVar[float] = -1.0

    @property
    def space(self) -> Space:
        """The design space of the chain."""
        return self.figures.space

    def held(self, x: Float[Array, " n"]) -> "OnTarget":
        """The problem with the packings of `x` held."""
        return OnTarget(self.figures.held(x), self.targets)

    def look(self, x: Float[Array, " n"]) -> dict[str, Array]:
        """All figures at `x`."""
        found = self.figures.look(x)
        return {"mismatch": jnp.sum(self._misses(found) ** 2)} | found

    def linearise(self, x: Float[Array, " n"]) -> tuple[dict[str, Array], Float[Array, "1 n"]]:
        """All figures at `x`, and the derivative of the mismatch."""
        found, slopes = self.figures.linearise(x)
        misses = self._misses(found)
        return {"mismatch": jnp.sum(misses**2)} | found, (2.0 * misses * 100.0 / self.targets @ slopes)[None]

    def _misses(self, found: dict[str, Array]) -> Float[Array, " k"]:
        """Percent by which each figure is off."""
        return 100.0 * (jnp.stack([found[name] for name in self.figures.wanted]) / self.targets - 1.0)


def recipe(batch=AFTER) -> Recipe:
    """The film as it was made of the batch before, from particles of `batch`."""
    return Recipe(LogNormal(*batch), COMPOSITION, DENSITIES, areal_loading=0.14, gap=44 * um)


def space() -> Space:
    """What coating and calendering can still turn when the particles are what they are."""
    log, made = Logarithmic(), recipe()
    return Space(
        made,
        (
            Variable("loading", "kg/m2", 0.12, 0.16, 0.14, Leaf(lambda r: r.areal_loading), log),
            Variable("binder", "", 0.005, 0.05, 0.02, Fraction(2)),
            Variable("pressed_porosity", "", 0.18, 0.42, float(PressedPorosity().read(made)), PressedPorosity()),
        ),
    )


def problem(shape=SHAPE, seeds=SEEDS) -> OnTarget:
    """The least mismatch of loading, porosity and tortuosity."""
    figures = {
        "areal_capacity_mAh_cm2": ArealCapacity(),
        "porosity": Porosity(),
        "tortuosity_factor_x": TortuosityFactor(),
        "energy_2C_Wh_L": EnergyDensity(2.0),
    }
    first, *others = TARGETS
    chain = ChainProblem(space(), particles=PARTICLES, shape=shape)
    film = ChainFigures(chain, figures, first, bounds=[Bound(name) for name in others], seeds=seeds)
    return OnTarget(film, list(TARGETS.values()))


def challenge() -> Challenge:
    """The question, judged on a finer grid with packings that the search has not seen."""
    return Challenge(
        "new_batch",
        "A batch of larger particles with more spread: how must a film be mixed, coated and pressed to stay as it was?",
        problem(),
        finer=problem(FINER_SHAPE, UNSEEN),
        hold=True,
        climb=Climb(steps=15, tolerance=1e-4),
        others=("COBYQA",),
    )
