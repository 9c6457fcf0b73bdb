"""The next batch of particles is larger: how to coat and press it so that the film stays what it was."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from inverse.challenge import Challenge
from inverse.objective import ArealCapacity, EnergyDensity, Objective, Porosity, TortuosityFactor
from inverse.problems.chain_figures import ChainFigures
from inverse.problems.energy_density import ChainProblem
from inverse.problems.full_chain import COMPOSITION, DENSITIES
from inverse.search import Climb
from inverse.space import Fraction, Leaf, Logarithmic, PressedPorosity, Space, Variable
from microstructure.recipe import Recipe
from microstructure.sizes import LogNormal
from microstructure.units import um
from solver.cell.cell import Cell
from solver.numerics.real import real
from solver.pipeline import Methods

PARTICLES, SHAPE, FINER_SHAPE = 240, (32, 24, 24), (48, 36, 36)
SEEDS, UNSEEN = (0, 1), tuple(range(1_000_000, 1_000_004))
BEFORE, AFTER = (3 * um, math.exp(0.2)), (3.3 * um, math.exp(0.3))  # median radius and spread of the two batches
TARGETS = {"areal_capacity_mAh_cm2": 2.82, "porosity": 0.33, "tortuosity_factor_x": 2.0}


class Mismatch(eqx.Module):
    """Sum of squared relative differences of figures and what they should be, in squared percent."""

    figures: tuple[Objective, ...]
    targets: Float[Array, " k"] = eqx.field(converter=real)

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        found = jnp.stack([figure(cell, methods) for figure in self.figures])
        return jnp.sum((100.0 * (found / self.targets - 1.0)) ** 2)


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


def problem(shape=SHAPE, seeds=SEEDS) -> ChainFigures:
    """The least mismatch of loading, porosity and tortuosity."""
    held = {
        "areal_capacity_mAh_cm2": ArealCapacity(),
        "porosity": Porosity(),
        "tortuosity_factor_x": TortuosityFactor(),
    }
    figures = {"mismatch": Mismatch(tuple(held.values()), [TARGETS[name] for name in held])}
    chain = ChainProblem(space(), particles=PARTICLES, shape=shape)
    return ChainFigures(chain, figures | held | {"energy_2C_Wh_L": EnergyDensity(2.0)}, "mismatch", -1.0, seeds=seeds)


def challenge() -> Challenge:
    """The question, judged on a finer grid with packings that the search has not seen."""
    return Challenge(
        "new_batch",
        "A batch of larger particles with more spread: how must a film be mixed, coated and pressed to stay as it was?",
        problem(),
        finer=problem(FINER_SHAPE, UNSEEN),
        climb=Climb(steps=12, tolerance=1e-4),
        others=("COBYQA",),
    )
