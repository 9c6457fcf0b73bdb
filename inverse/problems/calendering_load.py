"""How hard to press a film: the line load of a calender for the most energy at a rate."""

import math

from inverse.challenge import Challenge, Variant
from inverse.objective import CapacityRetention, EnergyDensity, Porosity, TortuosityFactor
from inverse.problems.chain_figures import ChainFigures
from inverse.problems.energy_density import ChainProblem
from inverse.problems.full_chain import COMPOSITION, DENSITIES
from inverse.search import Climb
from inverse.space import Leaf, Logarithmic, Space, Variable
from microstructure.recipe import Recipe
from microstructure.sizes import LogNormal
from microstructure.units import N_mm, um
from solver.particles.friction import Friction
from solver.pipeline import Methods
from solver.process.calender import Calendering

PARTICLES, SHAPE, FINER_SHAPE = 200, (24, 20, 20), (40, 32, 32)
SEEDS, UNSEEN = (0,), (1_000_000, 1_000_001)
RATE, OTHERS = 2.0, (0.5, 3.0)
LOWEST, HIGHEST, START = 50 * N_mm, 1500 * N_mm, 200 * N_mm  # 1550 N/mm is where the film has no room left
NARROWEST = 38 * um  # gap that is tried: pores of 0.18 under the rolls
FRICTION = 0.3  # without it the loads are several times too low


def problem(c_rate: float = RATE, shape=SHAPE, seeds=SEEDS) -> ChainFigures:
    """The most energy by volume at a C-rate, over the load on rolls of 0.8 m."""
    size = LogNormal(3 * um, math.exp(0.2))
    recipe = Recipe(size, COMPOSITION, DENSITIES, areal_loading=0.14, gap=NARROWEST, line_load=START)
    load = Variable("line_load", "N/m", LOWEST, HIGHEST, START, Leaf(lambda r: r.line_load), Logarithmic())
    press = Methods(friction=Friction(FRICTION, FRICTION), calendering=Calendering(load=6, unload=2))
    chain = ChainProblem(Space(recipe, (load,)), methods=press, particles=PARTICLES, shape=shape)
    figures = {
        "energy_Wh_L": EnergyDensity(c_rate),
        "energy_05C_Wh_L": EnergyDensity(0.5),
        "capacity_retention": CapacityRetention(c_rate),
        "porosity": Porosity(),
        "tortuosity_factor_x": TortuosityFactor(),
    }
    return ChainFigures(chain, figures, "energy_Wh_L", seeds=seeds)


def challenge() -> Challenge:
    """The question at 2C, and at other rates."""
    return Challenge(
        "calendering_load",
        "How hard should a calender press for the most energy by volume, at the rate at which it is drawn?",
        problem(),
        literature="Meyer et al. 2017, doi 10.1016/j.jmatprotec.2017.05.031: pores close exponentially with the load.",
        finer=problem(shape=FINER_SHAPE, seeds=UNSEEN),
        along="C-rate",
        at=RATE,
        variants=tuple(Variant(rate, problem(rate)) for rate in OTHERS),
        shown=("energy_Wh_L", "porosity", "tortuosity_factor_x", "capacity_retention"),
        climb=Climb(steps=3, tolerance=1e-3),
        others=("COBYQA",),
    )
