"""Figures of a cell by its coatings: energy by volume in a discharge, and the time of a charge that does not plate.

Each is a callable for [`FigureProblem`][inverse.problem.FigureProblem], from [`Coatings`][inverse.coatings.Coatings].
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.units import Wh, hour, litre, minute, um
from solver.cell.cell import Cell, theoretical_capacity
from solver.cell.library import chen2020
from solver.cell.operation import fast_charge
from solver.cell.performance import Densities, stack
from solver.cell.protocol import DFN, discharge
from solver.numerics.real import real
from solver.numerics.solution import Result

from .coatings import Coatings, coated, n_to_p

ENERGY, RETENTION, RATIO, TIME = "energy_density_Wh_L", "capacity_retention", "n_to_p", "charging_time_min"


class DischargeFigures(eqx.Module):
    """A discharge at the current that is `c_rate` of the cell by design, whatever it is made like: Wh/L of the stack,
    the share of the theoretical capacity by design, the ratio N/P, and thickness of the stack, um.

    **Arguments:** `cell`, whose coatings are replaced; `method`; `c_rate`, 1/h; `densities`, for the foils.
    """

    cell: Cell = eqx.field(default_factory=chen2020)
    method: DFN = eqx.field(default_factory=DFN)
    c_rate: Float[Array, ""] = eqx.field(converter=real, default=2.0)
    densities: Densities = eqx.field(default_factory=Densities)

    def __call__(self, coatings: Coatings) -> dict[str, Array]:
        """All figures; NaN where the discharge fails."""
        made, meant = coated(coatings, self.cell), coated(coatings.by_design, self.cell)
        capacity = theoretical_capacity(meant.positive)
        done = discharge(made, self.c_rate * capacity / hour, self.method)
        run, pair = done.value, stack(made, self.densities)
        good = done.result == Result.successful
        return {
            ENERGY: jnp.where(good, pair.energy_density(run.energy) * litre / Wh, jnp.nan),
            RETENTION: jnp.where(good, run.capacity / capacity, jnp.nan),
            RATIO: n_to_p(coatings, self.cell),
            "thickness_um": pair.thickness / um,
        }


class ChargeFigures(eqx.Module):
    """The figures of a discharge, and the minutes from 10 to 80 % of charge without plating.

    **Arguments:** `discharge`; `c_rate`, the highest of the charge; `margin`, V, above which the plating potential
    stays.
    """

    discharge: DischargeFigures = eqx.field(default_factory=lambda: DischargeFigures(c_rate=1 / 3))
    c_rate: Float[Array, ""] = eqx.field(converter=real, default=4.0)
    margin: Float[Array, ""] = eqx.field(converter=real, default=0.01)

    def __call__(self, coatings: Coatings) -> dict[str, Array]:
        """All figures; NaN where the discharge or the charge fails."""
        made = coated(coatings, self.discharge.cell)
        current = self.c_rate * theoretical_capacity(made.positive) / hour
        done = fast_charge(made, current, self.discharge.method, margin=self.margin)
        time = jnp.where(done.result == Result.successful, done.value.time / minute, jnp.nan)
        return self.discharge(coatings) | {TIME: time}
