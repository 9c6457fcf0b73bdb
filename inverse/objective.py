"""Figures of merit of a cell, as objects: what a design is asked for. All are maximised."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import is_concrete
from microstructure.units import Wh, litre, mAh_cm2
from solver import pipeline
from solver.cell.cell import Cell, theoretical_capacity
from solver.cell.performance import stack
from solver.numerics.real import real
from solver.numerics.solution import Result, raise_unless_successful
from solver.pipeline import Methods


class EnergyDensity(eqx.Module):
    """Energy of the stack over its volume in a discharge at `c_rate`, Wh/L."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=2.0)

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return energy_density(cell, run(cell, self.c_rate, methods).energy, methods)


class SpecificEnergy(eqx.Module):
    """Energy of the stack over its mass in a discharge at `c_rate`, Wh/kg."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=0.5)

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return stack(cell, methods.densities).specific_energy(run(cell, self.c_rate, methods).energy) / Wh


class ArealCapacity(eqx.Module):
    """Theoretical capacity of the positive electrode over its area, mAh/cm2."""

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return theoretical_capacity(cell.positive) / mAh_cm2


class CapacityRetention(eqx.Module):
    """Capacity at `c_rate` over that at the rate `slow`."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=2.0)
    slow: Float[Array, ""] = eqx.field(converter=real, default=0.5)

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return run(cell, self.c_rate, methods).capacity / run(cell, self.slow, methods).capacity


class AverageVoltage(eqx.Module):
    """Energy over charge in a discharge at `c_rate`, V."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=0.5)

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return run(cell, self.c_rate, methods).average_voltage


Objective = EnergyDensity | SpecificEnergy | ArealCapacity | CapacityRetention | AverageVoltage


def run(cell: Cell, c_rate, methods: Methods):
    """The discharge at a C-rate; where it fails, an error outside derivatives and an energy of NaN within them."""
    done = pipeline.discharge(cell, c_rate, methods)
    good = done.result == Result.successful
    if is_concrete(good):
        return raise_unless_successful(done, f"The discharge at {float(c_rate):g}C")
    return eqx.tree_at(lambda d: d.energy, done.value, jnp.where(good, done.value.energy, jnp.nan))


@eqx.filter_jit
def energy_density(cell: Cell, energy: Array, methods: Methods) -> Array:
    """Wh/L of the stack from J/m2."""
    return stack(cell, methods.densities).energy_density(energy) * litre / Wh
