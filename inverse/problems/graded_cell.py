"""A positive electrode whose porosity changes through its thickness, in a full cell, against the best even one."""

import equinox as eqx
import jax.numpy as jnp

from inverse.challenge import Challenge, Variant
from inverse.plan import AtRate, plan_of, porosity_of
from inverse.problem import FigureProblem
from inverse.search import Climb
from inverse.space import Leaf, Space, Variable, profile
from microstructure.units import mAh_cm2
from solver.cell.library import chen2020
from solver.cell.method import DFN

SLABS = 8
RATES = (1.0, 3.0)
LOADING = 5.0 * mAh_cm2  # C/m2


def problem(c_rate: float, method=None, slabs: int = SLABS) -> FigureProblem:
    """The most stack energy by volume at a C-rate and a fixed loading, over the porosity of slabs of the positive.

    Slab 1 is at the separator, the last one at the collector. With no slabs one porosity holds through the thickness.
    """
    plan = eqx.tree_at(lambda p: p.capacity, plan_of(chen2020()), jnp.asarray(LOADING))
    if slabs:
        plan = eqx.tree_at(porosity_of, plan, jnp.full(slabs, 0.3))
        free = profile("porosity", "", 0.15, 0.7, 0.3, porosity_of, slabs)
    else:
        free = [Variable("porosity", "", 0.15, 0.7, 0.3, Leaf(porosity_of))]
    figures = AtRate(c_rate) if method is None else AtRate(c_rate, method)
    return FigureProblem(Space(plan, free), figures, "energy_Wh_L")


def challenge() -> Challenge:
    """The question at 2C, and at other rates."""
    return Challenge(
        "graded_cell",
        "How much more energy by volume does a cell give at 2C if the porosity of its positive changes through the "
        "thickness, the loading held?",
        problem(2.0),
        literature="Dai and Srinivasan 2016, doi 10.1149/2.0301603jes: marginal gains over the best even porosity.",
        uniform=problem(2.0, slabs=0),
        finer=problem(2.0, DFN()),
        along="C-rate",
        at=2.0,
        variants=tuple(Variant(rate, problem(rate)) for rate in RATES),
        shown=("positive_porosity", "energy_Wh_L"),
        starts=2,
        climb=Climb(steps=60, tolerance=1e-8),
    )
