"""Energy by volume against the time from 10 to 80 % of charge without plating."""

import equinox as eqx
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
from inverse.space import Leaf, Logarithmic, Space, Variable
from microstructure.units import Wh, hour, litre, mAh_cm2, minute
from solver.cell.cell import Cell, theoretical_capacity
from solver.cell.control import constant_current, constant_voltage, limits, plating_limit
from solver.cell.cycle import Step, cycle
from solver.cell.library import chen2020
from solver.cell.method import DFN
from solver.cell.performance import Densities, stack
from solver.numerics.real import real
from solver.numerics.solution import Result

TIMES = (20.0, 45.0, 60.0)  # min
LOW, HIGH = 0.1, 0.8


def charging_time(cell: Cell, c_rate, method: DFN, low=LOW, high=HIGH) -> Array:
    """The least time from rest at one state of charge to another, s, where lithium never plates; NaN if it fails.

    At `c_rate` until the plating potential falls to zero, then held at zero, then at the upper cut-off: the shortest
    charge that keeps to these three limits. It ends in the step in which the charge is in, and is differentiable
    through the ends of all three.

    **Source:** the control of Sieg et al. 2019, doi 10.1016/j.jpowsour.2019.04.047, by a reference electrode.
    """
    capacity = theoretical_capacity(cell.positive)
    whole = -(high - low) * capacity
    longest = 10.0 * hour
    top = (None, cell.upper_cutoff)
    steps = [
        Step(constant_current(-c_rate * capacity / hour), limits(voltage=top, plating=(0.0, None), drawn=(whole, None)),
             longest),
        Step(plating_limit(0.0), limits(voltage=top, drawn=(whole, None)), longest),
        Step(constant_voltage(cell.upper_cutoff), limits(drawn=(whole, None)), longest),
    ]  # fmt: skip
    done = cycle(cell, steps, method, state_of_charge=low)
    arrived = (done.result == Result.successful) & (jnp.sum(done.value.charge) <= 0.999 * whole)
    return jnp.where(arrived, jnp.sum(done.value.duration), jnp.nan)


class ChargeAndDraw(eqx.Module):
    """Figures of a plan that is charged fast and discharged at leisure: `charge_rate` at most, `c_rate`, `method`."""

    charge_rate: Float[Array, ""] = eqx.field(converter=real, default=4.0)
    c_rate: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    method: DFN = eqx.field(default_factory=lambda: coarse(3e-4))  # three steps in a row: errors add up
    densities: Densities = eqx.field(default_factory=Densities)

    def __call__(self, plan: Plan) -> dict[str, Array]:
        """Energy of the stack, the charging time, and what the cell is."""
        cell = plan.cell()
        run, size = drawn(cell, self.c_rate, self.method), stack(cell, self.densities)
        return {
            "energy_Wh_L": size.energy_density(run.energy) * litre / Wh,
            "energy_Wh_kg": size.specific_energy(run.energy) / Wh,
            "charging_time_10_80_min": charging_time(cell, self.charge_rate, self.method) / minute,
            **described(cell, self.densities),
        }


def problem(longest: float, method=None) -> FigureProblem:
    """The most stack energy by volume with a charging time of at most `longest`, min."""
    area = 2 * mAh_cm2
    free = (
        Variable("capacity", "C/m2", 0.25 * area, 3 * area, area, Leaf(capacity_of), Logarithmic()),
        Variable("n_to_p", "", 0.9, 1.6, 1.2, Leaf(n_to_p_of), Logarithmic()),
        Variable("porosity", "", 0.15, 0.6, 0.335, Leaf(porosity_of)),
        Variable("negative_porosity", "", 0.2, 0.6, 0.35, Leaf(negative_porosity_of)),
    )
    figures = ChargeAndDraw() if method is None else ChargeAndDraw(method=method)
    held = (Bound("charging_time_10_80_min", high=longest), Bound("negative_filling", high=0.95))
    return FigureProblem(Space(plan_of(chen2020()), free), figures, "energy_Wh_L", bounds=held)


def challenge() -> Challenge:
    """The question for half an hour, and for other times."""
    return Challenge(
        "fast_charge",
        "How much energy by volume must a cell give up to be charged from 10 to 80 % in half an hour without plating?",
        problem(30.0),
        finer=problem(30.0, DFN()),
        along="charging time / min",
        at=30.0,
        variants=tuple(Variant(time, problem(time)) for time in TIMES),
        shown=("energy_Wh_L", "positive_thickness_um", "negative_porosity"),
        starts=1,
        climb=Climb(steps=40, tolerance=1e-6),
    )
