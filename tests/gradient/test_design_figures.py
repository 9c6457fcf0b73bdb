"""Figures of designs through the whole cell: derivatives against differences, and a worst case of a few copies."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.cell_figures import ENERGY, RATIO, TIME, ChargeFigures, DischargeFigures
from inverse.coatings import coatings_of, leaf
from inverse.problem import Bound, FigureProblem
from inverse.robust import design_of, judge, worst_form
from inverse.scatter import Deviation, Scatter, corners
from inverse.search import Climb, Log
from inverse.space import Logarithmic, Space, Variable
from inverse.tolerance import elasticities, spreads
from solver.cell.cell import theoretical_capacity
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020
from solver.cell.operation import fast_charge
from solver.cell.protocol import DFN
from solver.numerics.march import March

COARSE = DFN(Mesh(8, 4, 8, 8), March(tolerance=1e-3))
FREE = [
    Variable("negative_thickness", "m", 4e-5, 1.4e-4, 8.0e-5, leaf("negative", "thickness"), Logarithmic()),
    Variable("positive_thickness", "m", 4e-5, 1.4e-4, 6.8e-5, leaf("positive", "thickness"), Logarithmic()),
    Variable("positive_porosity", "", 0.15, 0.5, 0.3, leaf("positive", "porosity")),
]
SPACE = Space(coatings_of(chen2020()), FREE)
SCATTER = Scatter(
    [
        Deviation("loading", "", 0.02, leaf("positive", "heavier")),
        Deviation("thickness", "m", 2e-6, leaf("positive", "thicker")),
    ],
    corners(2),
)


@pytest.mark.slow
def test_elasticities_of_charging_time_and_energy_against_differences():
    """At a step tolerance of 1e-4. What is left, 0.1 % of the largest, is that the steps in time of two runs differ."""
    method = DFN(Mesh(8, 4, 8, 8), March(tolerance=1e-4, max_steps=400))
    problem = FigureProblem(
        SPACE, ChargeFigures(DischargeFigures(chen2020(), method, 1 / 3)), ENERGY, bounds=[Bound(TIME)]
    )
    found, at = elasticities(problem, SPACE.start), np.asarray(SPACE.values(SPACE.start))
    for i, value in enumerate(at):
        up, down = (
            problem.measure(SPACE.locate(SPACE.insert(jnp.asarray(at * (1 + h * (np.arange(3) == i))))))
            for h in (1e-3, -1e-3)
        )
        for k, name in enumerate(found.figures):
            difference = (up[name] - down[name]) / (2e-3 * value)
            close = 1e-3 * np.max(np.abs(found.slopes[k] * at)) / value
            assert found.slopes[k, i] == pytest.approx(difference, abs=close)


@pytest.mark.slow
def test_a_fast_charge_ends_where_it_should_and_never_plates():
    cell = chen2020()
    current = 4.0 * theoretical_capacity(cell.positive) / 3600
    found = eqx.filter_jit(lambda margin: fast_charge(cell, current, COARSE, margin=margin).value)
    held, free = found(jnp.asarray(0.01)), found(jnp.asarray(-1.0))
    assert 40 * 60 < held.time < 46 * 60 and held.plating_margin > 0.01 - 1e-6
    assert free.time < held.time and free.plating_margin < 0
    assert held.time > 0.7 / 4 * 3600


@pytest.mark.slow
def test_a_robust_cell_beats_the_best_by_design_in_the_worst_case():
    """At 2C the salt runs out of a positive that is a little too dense: the best by design stands at that edge."""
    problem = FigureProblem(SPACE, DischargeFigures(chen2020(), COARSE), ENERGY, bounds=[Bound(RATIO, low=1.05)])
    nominal = Climb(60, 1e-9)(Log(problem))
    form = worst_form(problem, SCATTER, 300.0, 900.0)
    robust = Climb(60, 1e-9)(Log(form), np.append(nominal.x, 0.0))
    before, after = judge(problem, SCATTER, nominal.x), judge(problem, SCATTER, design_of(robust.x))
    assert after[f"{ENERGY} worst"] == pytest.approx(robust.figures["level"], rel=1e-6)
    assert after[f"{ENERGY} worst"] > before[f"{ENERGY} worst"] + 50
    assert 0 < before[ENERGY] - after[ENERGY] < 60  # the price
    assert before["yield"] < 1 and after["yield"] == 1
    first, _ = spreads(problem, SCATTER, design_of(robust.x))
    assert first.value == pytest.approx(after[ENERGY], rel=1e-9)
