"""Figures of merit of a cell, as objects: what a design is asked for, or held to.

`sense` is 1 where more is better and -1 where less is; a problem maximises `sense` times the figure.
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import is_concrete
from microstructure.units import Wh, cm, hour, litre, mAh_cm2, um
from solver import pipeline
from solver.cell.bill import Items
from solver.cell.carbon import emissions, footprint
from solver.cell.cell import Cell, theoretical_capacity
from solver.cell.cost import cost, prices
from solver.cell.operation import pulse
from solver.cell.performance import stack
from solver.numerics.real import real
from solver.numerics.solution import Result, raise_unless_successful
from solver.pipeline import Methods


class EnergyDensity(eqx.Module):
    """Energy of the stack over its volume in a discharge at `c_rate`, Wh/L."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=2.0)
    sense: ClassVar[float] = 1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return energy_density(cell, run(cell, self.c_rate, methods).energy, methods)


class SpecificEnergy(eqx.Module):
    """Energy of the stack over its mass in a discharge at `c_rate`, Wh/kg."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    sense: ClassVar[float] = 1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        energy = run(cell, self.c_rate, methods).energy
        return stack(cell, methods.densities, methods.making.casing).specific_energy(energy) / Wh


class ArealCapacity(eqx.Module):
    """Theoretical capacity of the positive electrode over its area, mAh/cm2."""

    sense: ClassVar[float] = 1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return theoretical_capacity(cell.positive) / mAh_cm2


class Porosity(eqx.Module):
    """Porosity of the positive electrode, nanopores of the binder included."""

    sense: ClassVar[float] = 1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return cell.positive.porosity


class TortuosityFactor(eqx.Module):
    """Tortuosity factor of the pores of the positive electrode through its thickness."""

    sense: ClassVar[float] = -1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return cell.positive.porosity / cell.positive.electrolyte_transport


class CoatingThickness(eqx.Module):
    """Thickness of the positive electrode without its foil, um."""

    sense: ClassVar[float] = -1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return cell.positive.thickness / um


class CapacityRetention(eqx.Module):
    """Capacity at `c_rate` over that at the rate `slow`."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=2.0)
    slow: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    sense: ClassVar[float] = 1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return run(cell, self.c_rate, methods).capacity / run(cell, self.slow, methods).capacity


class AverageVoltage(eqx.Module):
    """Energy over charge in a discharge at `c_rate`, V."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    sense: ClassVar[float] = 1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return run(cell, self.c_rate, methods).average_voltage


class Cost(eqx.Module):
    """What the cell costs over its energy in a discharge at `c_rate`, USD/kWh, from `prices` and `methods.making`."""

    prices: Items = eqx.field(default_factory=prices)
    c_rate: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    sense: ClassVar[float] = -1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return _cost(cell, run(cell, self.c_rate, methods).energy, self.prices, methods)


class Carbon(eqx.Module):
    """What the cell has emitted over its energy in a discharge at `c_rate`, kg CO2e/kWh, from `factors`."""

    factors: Items = eqx.field(default_factory=emissions)
    c_rate: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    sense: ClassVar[float] = -1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return _carbon(cell, run(cell, self.c_rate, methods).energy, self.factors, methods)


class PulseResistance(eqx.Module):
    """Resistance after a discharge of `duration`, s, at `c_rate` from rest at `state_of_charge`, ohm cm2."""

    c_rate: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    state_of_charge: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    duration: Float[Array, ""] = eqx.field(converter=real, default=10.0)
    sense: ClassVar[float] = -1.0

    def __call__(self, cell: Cell, methods: Methods) -> Array:
        """The figure of a cell."""
        return _pulse(cell, self.c_rate, self.state_of_charge, self.duration, methods) / cm**2


Objective = (
    EnergyDensity
    | SpecificEnergy
    | ArealCapacity
    | CapacityRetention
    | AverageVoltage
    | Cost
    | Carbon
    | PulseResistance
    | Porosity
    | CoatingThickness
    | TortuosityFactor
)


class Constraint(eqx.Module):
    """A figure that is to stay between `low` and `high`, either of which may be infinite.

    It is held by a penalty, `weight` times the square of what is lacking over the bound. Where x percent of the
    objective trade for one percent of the figure, the best design oversteps the bound by x / (2 weight): 0.05 % of it
    for x = 1, 0.5 % for x = 10.
    """

    name: str = eqx.field(static=True)
    figure: Objective
    low: Float[Array, ""] = eqx.field(converter=real, default=-jnp.inf)
    high: Float[Array, ""] = eqx.field(converter=real, default=jnp.inf)
    weight: Float[Array, ""] = eqx.field(converter=real, default=1e3)

    def penalty(self, value) -> Array:
        """The penalty of a value, as a share of the objective where it is small; zero between the bounds."""
        return self.weight * (_lacking(value, self.low, 1.0) ** 2 + _lacking(value, self.high, -1.0) ** 2)


def _lacking(value, bound, side):
    """By what share of the bound a value lies outside of it."""
    given = jnp.isfinite(bound)
    safe = jnp.where(given, bound, 0.0)
    scale = jnp.where(safe == 0.0, 1.0, jnp.abs(safe))
    return jnp.where(given, jnp.maximum(side * (safe - value) / scale, 0.0), 0.0)


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
    return stack(cell, methods.densities, methods.making.casing).energy_density(energy) * litre / Wh


@eqx.filter_jit
def _cost(cell: Cell, energy: Array, each: Items, methods: Methods) -> Array:
    return cost(cell, methods.densities, methods.making, each).per_energy(energy / (1e3 * Wh)).total


@eqx.filter_jit
def _carbon(cell: Cell, energy: Array, each: Items, methods: Methods) -> Array:
    return footprint(cell, methods.densities, methods.making, each).per_energy(energy / (1e3 * Wh)).total


@eqx.filter_jit
def _pulse(cell: Cell, c_rate, state_of_charge, duration, methods: Methods) -> Array:
    current = c_rate * theoretical_capacity(cell.positive) / hour
    found = pulse(cell, current, state_of_charge, duration, method=methods.cell)
    return jnp.where(found.reached, found.resistance, jnp.nan)
