"""The graded linear electrode that must hold as much active material as an even one."""

import equinox as eqx
from jaxtyping import Array

from inverse.challenge import Challenge, Variant
from inverse.problem import Bound, FigureProblem
from inverse.problems import linear_porous_electrode as linear
from inverse.search import Climb
from inverse.space import Space, profile

LAYERS = 16
POROSITIES = (0.2, 0.4)


def figures(electrode: linear.LinearElectrode) -> dict[str, Array]:
    """Resistance, share of solid, and by how much the resistance lies below that of as much solid evenly."""
    found = linear.figures(electrode)
    mean = 1.0 - found["solid_fraction"]
    even = 1e4 * linear.closed_form(eqx.tree_at(lambda e: e.porosity, electrode, mean))
    return found | {"gain_percent": 100.0 * (1.0 - found["resistance_ohm_cm2"] / even)}


def graded(porosity: float, layers: int = LAYERS) -> FigureProblem:
    """The least resistance over the porosity of the layers, the solid held at that of an even `porosity`."""
    base = linear.layers_of(layers, porosity=porosity)
    free = profile("porosity", "", 0.05, 0.9, porosity, linear.porosity_of, layers)
    held = (Bound("solid_fraction", low=1.0 - porosity),)
    return FigureProblem(Space(base, free), figures, "resistance_ohm_cm2", -1.0, held)


def challenge() -> Challenge:
    """The question; the start is the even electrode, which the solid leaves no choice."""
    return Challenge(
        "graded_fixed_mass",
        "How much less resistance has a graded electrode than the even one with as much active material in the same "
        "thickness?",
        graded(0.3),
        literature="Resistances 15 to 33 % lower were published for a fixed mass (Ramadesigan et al. 2010, doi "
        "10.1149/1.3495992), against base cases that were not the best.",
        along="mean porosity",
        at=0.3,
        variants=tuple(Variant(p, graded(p)) for p in POROSITIES),
        shown=("gain_percent",),
        climb=Climb(steps=300, tolerance=1e-13),
    )
