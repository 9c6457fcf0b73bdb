"""The cheapest cell that still gives most of its capacity at 2C."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inverse.challenge import Challenge, Variant
from inverse.plan import (
    Plan,
    capacity_of,
    coarse,
    described,
    drawn,
    n_to_p_of,
    negative_porosity_of,
    plan_of,
    porosity_of,
)
from inverse.problem import Bound, FigureProblem
from inverse.search import Climb
from inverse.space import Leaf, Logarithmic, Space, Variable, profile
from microstructure.units import Wh, litre, mAh_cm2
from solver.cell.bill import Items
from solver.cell.cost import cost, prices
from solver.cell.library import chen2020
from solver.cell.method import DFN
from solver.cell.performance import Densities, stack
from solver.numerics.real import real

RETENTIONS = (0.7, 0.9)
SLABS = 4


class CostAndRate(eqx.Module):
    """Figures of a plan at a slow and a fast rate, run side by side: `c_rates`, shape (2,); `prices`, of the table."""

    c_rates: Float[Array, "2"] = eqx.field(converter=real, default=(0.5, 2.0))
    method: DFN = eqx.field(default_factory=coarse)
    densities: Densities = eqx.field(default_factory=Densities)
    prices: Items = eqx.field(default_factory=prices)

    def __call__(self, plan: Plan) -> dict[str, Array]:
        """Cost over energy at the slow rate, capacity at the fast rate over that at the slow one, what the cell is."""
        cell = plan.cell()
        runs = jax.vmap(lambda rate: drawn(cell, rate, self.method))(self.c_rates)
        slow, size = runs.energy[0], stack(cell, self.densities)
        each = cost(cell, self.densities, None, self.prices)
        retention = jnp.where(jnp.isfinite(runs.energy[1]), runs.capacity[1] / runs.capacity[0], jnp.nan)
        return {
            "cost_USD_kWh": each.per_energy(slow / (1e3 * Wh)).total,
            "capacity_retention_2C": retention,
            "energy_Wh_L": size.energy_density(slow) * litre / Wh,
            **described(cell, self.densities),
        }


def problem(retention: float, method=None, slabs: int = SLABS) -> FigureProblem:
    """The least cost over energy with at least so much of the capacity kept at 2C, the negative never overfilled.

    Over loading, N/P, and the porosities of the slabs of both electrodes; with no slabs, one porosity of each.
    """
    area, plan = 4 * mAh_cm2, plan_of(chen2020())
    sides = (("porosity", porosity_of, 0.15), ("negative_porosity", negative_porosity_of, 0.2))
    free = [
        Variable("capacity", "C/m2", 0.25 * area, 2.5 * area, area, Leaf(capacity_of), Logarithmic()),
        Variable("n_to_p", "", 0.95, 1.6, 1.2, Leaf(n_to_p_of), Logarithmic()),
    ]
    for name, where, low in sides:
        if slabs:
            plan = eqx.tree_at(where, plan, jnp.full(slabs, 0.35))
            free += profile(name, "", low, 0.7, 0.35, where, slabs)
        else:
            free.append(Variable(name, "", low, 0.7, 0.35, Leaf(where)))
    figures = CostAndRate() if method is None else CostAndRate(method=method)
    held = (Bound("capacity_retention_2C", low=retention), Bound("negative_filling", high=0.95))
    return FigureProblem(Space(plan, free), figures, "cost_USD_kWh", -1.0, held)


def challenge() -> Challenge:
    """The question for four fifths at 2C, and for other shares."""
    return Challenge(
        "cheapest_at_rate",
        "What is the least that a kilowatt-hour of cells costs if four fifths of the capacity are to be there at 2C?",
        problem(0.8),
        uniform=problem(0.8, slabs=0),
        finer=problem(0.8, DFN()),
        along="capacity retention at 2C",
        at=0.8,
        variants=tuple(Variant(share, problem(share)) for share in RETENTIONS),
        shown=("cost_USD_kWh", "areal_capacity_mAh_cm2", "positive_porosity"),
        starts=1,
        climb=Climb(steps=40, tolerance=1e-6),
    )
