"""Cost and carbon per kWh, and a constraint on them, through the whole chain and through the cell alone."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.objective import Carbon, Constraint, Cost, PulseResistance
from inverse.problems.energy_density import ChainProblem
from inverse.space import Leaf, Space, Variable
from microstructure import sizes
from microstructure.recipe import Recipe
from solver import pipeline
from solver.cell.discretise import Mesh
from solver.cell.protocol import DFN
from solver.handover import CellDesign, Properties, electrode, full_cell
from solver.numerics.march import March
from solver.transport.conduct import Conduction

METHODS = pipeline.Methods(cell=DFN(Mesh(8, 4, 8, 8), March(tolerance=3e-6, max_steps=900)))
OBJECTIVES = {"cost": Cost(c_rate=1.0), "carbon": Carbon(c_rate=1.0), "pulse": PulseResistance()}
LEAVES = {"thickness": 46e-6, "porosity": 0.33, "active_fraction": 0.62, "electrolyte_transport": 0.15}


def made(values):
    """A cell around an electrode of four numbers, and the methods."""
    return _cell(values), METHODS


@eqx.filter_jit
def _cell(values):
    found = Properties(
        thickness=values[0], porosity=values[1], active_fraction=values[2], binder_fraction=jnp.asarray(0.08),
        specific_area=jnp.asarray(3.8e5), electrolyte_transport=values[3], electronic_conductivity=jnp.asarray(5.0),
    )  # fmt: skip
    return full_cell(electrode(found), jnp.asarray(1000.0), CellDesign())


@pytest.mark.slow  # compiles a cell backwards for each; the default suite has the constraint below
@pytest.mark.parametrize("name", ["cost", "carbon", "pulse"])
def test_gradient_in_the_structure(name):
    """By thickness, porosity, active fraction and transport, against differences with one Richardson step.

    The steps in time are chosen anew at each value, which leaves a noise of 1e-5 of it over a step of 1e-3.
    """
    start = jnp.asarray(list(LEAVES.values()))
    both = jax.value_and_grad(lambda x: OBJECTIVES[name](*made(x * start)))

    def value(x):
        return float(OBJECTIVES[name](*made(x * start)))

    at, slope = both(jnp.ones(4))
    for k in range(4):
        h = 1e-3
        one, two = (
            (value(jnp.ones(4).at[k].add(n * h)) - value(jnp.ones(4).at[k].add(-n * h))) / (2 * n * h) for n in (1, 2)
        )
        assert float(slope[k]) == pytest.approx((4 * one - two) / 3, rel=2e-4, abs=2e-5 * float(at))
    if name == "cost":  # thicker and denser in active material is cheaper
        assert 40.0 < float(at) < 200.0 and slope[0] < 0.0 and slope[2] < 0.0


def test_a_constraint_pulls_back_from_its_bound():
    """Zero between the bounds, a parabola outside of them, and no nan from bounds that are infinite."""
    held = Constraint("cost_USD_kWh", OBJECTIVES["cost"], high=80.0)
    assert float(held.penalty(79.0)) == 0.0
    assert float(held.penalty(88.0)) == pytest.approx(1e3 * 0.1**2, rel=1e-12)
    slope = jax.grad(held.penalty)
    assert float(slope(60.0)) == 0.0
    assert float(slope(88.0)) == pytest.approx(2 * 1e3 * 0.1 / 80.0, rel=1e-12)
    both = Constraint("areal_capacity_mAh_cm2", OBJECTIVES["cost"], low=0.0, high=4.0)
    assert float(both.penalty(-0.5)) == pytest.approx(1e3 * 0.5**2, rel=1e-12)


SHAPE, PARTICLES = (32, 24, 24), 240


def problem():
    recipe = Recipe(
        size=sizes.LogNormal(3e-6, math.exp(0.3)), composition=[0.96, 0.02, 0.02], densities=[4750.0, 1900.0, 1780.0],
        areal_loading=0.14, gap=52e-6,
    )  # fmt: skip
    space = Space(
        recipe,
        [
            Variable("gap", "m", 44e-6, 60e-6, 52e-6, Leaf(lambda r: r.gap)),
            Variable("loading", "kg/m2", 0.10, 0.18, 0.14, Leaf(lambda r: r.areal_loading)),
        ],
    )
    methods = eqx.tree_at(lambda m: m.conduction, METHODS, Conduction(energy_rtol=0.0, rtol=1e-8))
    held = Constraint("carbon_kg_CO2e_kWh", OBJECTIVES["carbon"], high=70.0)  # it is at work here
    return ChainProblem(space, OBJECTIVES["cost"], methods, PARTICLES, SHAPE, [held])


@pytest.mark.slow
def test_gradient_through_the_chain():
    """USD/kWh and its constraint on carbon by the gap, which sets thickness and porosity, and by the loading: at a

    fixed network of contacts, against central differences with one Richardson step.
    """
    design = problem()
    x = design.space.start
    sample = design.prepare(x, 0)
    value, slope = design.value_and_grad(x, sample)
    cell, methods, _ = design._cell(design.space(x), sample)
    price = float(design.objective(cell, methods))
    assert float(value) == pytest.approx(-price * (1.0 + float(design.constraints[0].penalty(
        design.constraints[0].figure(cell, methods)))), rel=1e-9)  # fmt: skip
    assert float(design.constraints[0].figure(cell, methods)) > 70.0
    widths = np.asarray([16e-6 / 52e-6, 0.08 / 0.14])  # from the unit box to relative steps
    for k in range(2):
        h = 3e-5 / widths[k]
        ends = [float(design.value(x.at[k].add(n * h), sample)) for n in (1, -1, 2, -2)]
        one, two = (ends[0] - ends[1]) / (2 * h), (ends[2] - ends[3]) / (4 * h)
        assert float(slope[k]) == pytest.approx((4 * one - two) / 3, rel=2e-3)
