"""The ratio of the active masses of the electrodes in cells designed for different rates."""

from inverse.challenge import Challenge, Variant
from inverse.plan import AtRate, capacity_of, n_to_p_of, negative_porosity_of, plan_of, porosity_of
from inverse.problem import Bound, FigureProblem
from inverse.search import Climb
from inverse.space import Leaf, Logarithmic, Space, Variable
from microstructure.units import mAh_cm2
from solver.cell.library import chen2020
from solver.cell.method import DFN

RATES = (0.5, 2.0)
FULLEST = 0.95  # of the negative's sites at the upper cut-off: lithium plates where it has no room


def problem(c_rate: float, method=None) -> FigureProblem:
    """The most stack energy by mass at a C-rate over both loadings and porosities, the negative never overfilled."""
    area = 4 * mAh_cm2
    free = (
        Variable("capacity", "C/m2", 0.2 * area, 2.5 * area, area, Leaf(capacity_of), Logarithmic()),
        Variable("n_to_p", "", 0.8, 1.6, 1.2, Leaf(n_to_p_of), Logarithmic()),
        Variable("porosity", "", 0.15, 0.7, 0.335, Leaf(porosity_of)),
        Variable("negative_porosity", "", 0.2, 0.7, 0.3, Leaf(negative_porosity_of)),
    )
    figures = AtRate(c_rate) if method is None else AtRate(c_rate, method)
    held = (Bound("negative_filling", high=FULLEST),)
    return FigureProblem(Space(plan_of(chen2020()), free), figures, "energy_Wh_kg", bounds=held)


def challenge() -> Challenge:
    """The question at 1C, and at other rates."""
    return Challenge(
        "active_mass_ratio",
        "Does the best ratio of the active masses of positive and negative depend on the rate of the discharge?",
        problem(1.0),
        literature="Xue et al. 2013, doi 10.1149/2.023308jes: optimal cells of LMO and MCMB share one ratio whatever "
        "the rate.",
        finer=problem(1.0, DFN()),
        along="C-rate",
        at=1.0,
        variants=tuple(Variant(rate, problem(rate)) for rate in RATES),
        shown=("active_mass_ratio", "positive_thickness_um", "energy_Wh_kg"),
        starts=4,
        climb=Climb(steps=40, tolerance=1e-7),
    )
