"""From recipe and calendering to the energy of the stack at 2C, cost and thickness held: particles, voxels, cell."""

import math

from inverse.challenge import Challenge
from inverse.objective import CoatingThickness, Cost, EnergyDensity, Porosity, TortuosityFactor
from inverse.problem import Bound
from inverse.problems.chain_figures import ChainFigures
from inverse.problems.energy_density import ChainProblem
from inverse.search import Climb
from inverse.space import Fraction, Leaf, Logarithmic, PressedPorosity, Space, Variable
from microstructure.recipe import Recipe
from microstructure.sizes import LogNormal
from microstructure.units import um

PARTICLES, SHAPE, FINER_SHAPE = 240, (32, 24, 24), (48, 36, 36)
SEEDS, UNSEEN = (0,), tuple(range(1_000_000, 1_000_008))
MOST = 94.0  # USD/kWh, as much as the start costs
THICKEST = 48.0  # um, of the coating that a stack has room for
COMPOSITION, DENSITIES = [0.96, 0.02, 0.02], [4750.0, 1900.0, 1780.0]  # active material, carbon, binder; kg/m3


def space() -> Space:
    """What an electrode maker can turn."""
    recipe = Recipe(LogNormal(3e-6, math.exp(0.2)), COMPOSITION, DENSITIES, areal_loading=0.14, gap=44e-6)
    log = Logarithmic()
    return Space(
        recipe,
        (
            Variable("loading", "kg/m2", 0.10, 0.18, 0.14, Leaf(lambda r: r.areal_loading), log),
            Variable("radius", "m", 2.5 * um, 3.3 * um, 3 * um, Leaf(lambda r: r.size.median), log),
            Variable("carbon", "", 0.01, 0.04, 0.02, Fraction(1)),
            Variable("binder", "", 0.01, 0.04, 0.02, Fraction(2)),
            Variable("salt", "mol/m3", 600.0, 2000.0, 1000.0, Leaf(lambda r: r.salt), log),
            Variable("pressed_porosity", "", 0.18, 0.42, 0.33, PressedPorosity()),
        ),
    )


def problem(shape=SHAPE, seeds=SEEDS, most: float = MOST, thickest: float = THICKEST) -> ChainFigures:
    """The most energy by volume at 2C for at most so many USD/kWh and um of coating."""
    figures = {
        "energy_2C_Wh_L": EnergyDensity(2.0),
        "cost_USD_kWh": Cost(),
        "coating_thickness_um": CoatingThickness(),
        "porosity": Porosity(),
        "tortuosity_factor_x": TortuosityFactor(),
    }
    chain = ChainProblem(space(), particles=PARTICLES, shape=shape)
    bounds = Bound("cost_USD_kWh", high=most), Bound("coating_thickness_um", high=thickest)
    return ChainFigures(chain, figures, "energy_2C_Wh_L", bounds=bounds, seeds=seeds)


def challenge() -> Challenge:
    """The question, judged on a finer grid with eight packings that the search has not seen."""
    return Challenge(
        "full_chain",
        "Which recipe and porosity give most energy by volume at 2C, at 94 USD/kWh and 48 um of coating at most?",
        problem(),
        finer=problem(FINER_SHAPE, UNSEEN),
        climb=Climb(steps=8, tolerance=1e-4),
        others=("COBYQA",),
        more_random=10.0,
    )
