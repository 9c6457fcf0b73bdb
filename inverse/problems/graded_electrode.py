"""The linear porous electrode with a porosity that changes through its thickness, against the best even one."""

from inverse.challenge import Challenge, Variant
from inverse.problem import FigureProblem
from inverse.problems.linear_porous_electrode import (
    LinearElectrode,
    even_problem,
    figures,
    layers_of,
    optimum,
    porosity_of,
)
from inverse.search import Climb
from inverse.space import Entry, Space, Variable, profile

LAYERS = 16
ALONG = (2, 4, 8, 32)


def graded(layers: int, electrode: LinearElectrode | None = None) -> FigureProblem:
    """The least resistance over the porosity of `layers` layers; of two, also over where they meet."""
    electrode = LinearElectrode() if electrode is None else electrode
    base = layers_of(layers, electrode, optimum(electrode)["porosity"])
    free = profile("porosity", "", 0.05, 0.9, base.porosity[0], porosity_of, layers)
    if layers == 2:
        free.append(Variable("first_layer_over_second", "", 0.1, 10.0, 1.0, Entry(lambda e: e.shares, 0)))
    return FigureProblem(Space(base, free), figures, "resistance_ohm_cm2", sense=-1.0)


def challenge() -> Challenge:
    """The question; the search starts at the best even electrode."""
    return Challenge(
        "graded_electrode",
        "How much less resistance has a porous electrode whose porosity changes through its thickness than the best "
        "even one, in two layers and in many?",
        graded(LAYERS),
        literature="Qi et al. 2017 found 5.1164 against 5.3510 ohm cm2, 4.4 % less, for two layers with parameters of "
        "their own; Dai and Srinivasan 2016, doi 10.1149/2.0301603jes, only marginal gains over the best even one.",
        uniform=even_problem(),
        along="layers",
        at=float(LAYERS),
        variants=tuple(Variant(float(n), graded(n)) for n in ALONG),
        shown=("resistance_ohm_cm2",),
        climb=Climb(steps=300, tolerance=1e-13),
    )
