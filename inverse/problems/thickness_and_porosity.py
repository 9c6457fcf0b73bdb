"""Thickness and porosity of the electrodes for the most energy, against the C-rate at which it is wanted."""

from inverse.challenge import Challenge, Variant
from inverse.plan import AtRate, capacity_of, negative_porosity_of, plan_of, porosity_of
from inverse.problem import FigureProblem
from inverse.search import Climb
from inverse.space import Leaf, Logarithmic, Space, Variable
from microstructure.units import mAh_cm2
from solver.cell.library import chen2020
from solver.cell.method import DFN

RATES = (0.5, 1.0, 4.0)


def problem(c_rate: float, method=None) -> FigureProblem:
    """The most stack energy by mass at a C-rate, N/P held."""
    plan, area = plan_of(chen2020()), 4 * mAh_cm2
    free = (
        Variable("capacity", "C/m2", 0.1 * area, 3 * area, area, Leaf(capacity_of), Logarithmic()),
        Variable("porosity", "", 0.15, 0.7, 0.335, Leaf(porosity_of)),
        Variable("negative_porosity", "", 0.2, 0.7, 0.3, Leaf(negative_porosity_of)),
    )
    figures = AtRate(c_rate) if method is None else AtRate(c_rate, method)
    return FigureProblem(Space(plan, free), figures, "energy_Wh_kg")


def challenge() -> Challenge:
    """The question at 2C, and at other rates."""
    return Challenge(
        "thickness_and_porosity",
        "How thick and how porous should electrodes be for the most energy by mass, at the rate at which it is drawn?",
        problem(2.0),
        literature="Newman 1995, doi 10.1149/1.2043956: the faster the discharge, the thinner and the more porous.",
        finer=problem(2.0, DFN()),
        along="C-rate",
        at=2.0,
        variants=tuple(Variant(rate, problem(rate)) for rate in RATES),
        shown=("positive_thickness_um", "positive_porosity", "negative_porosity", "energy_Wh_kg"),
        starts=4,
        climb=Climb(steps=40, tolerance=1e-7),
    )
