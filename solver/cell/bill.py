"""What a pair of electrodes is made of, and what has to be bought and burnt to make it.

Per area of one electrode pair that is good at the end: a foil coated on both sides counts half. Losses of the process
divide by their yields, so that thick electrodes save separator, foil and process, and a wet slurry costs heat.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.real import real
from .cell import Cell, Electrode
from .making import Making
from .performance import Densities, coating_mass, stack


def _amount():
    return eqx.field(converter=real, default=0.0)


class Items(eqx.Module):
    """A number for each thing that goes into a cell: amounts, prices of each, costs, or emissions.

    As amounts, per area of pair: in kg/m2 all but `separator` and `process`, area by area, and `electricity` and
    `heat`, J/m2. The solvents are what is evaporated in a bill, and what is lost in purchases.
    """

    negative_active: Float[Array, ""] = _amount()
    negative_carbon: Float[Array, ""] = _amount()
    negative_binder: Float[Array, ""] = _amount()
    negative_solvent: Float[Array, ""] = _amount()
    negative_foil: Float[Array, ""] = _amount()
    separator: Float[Array, ""] = _amount()
    electrolyte: Float[Array, ""] = _amount()
    positive_foil: Float[Array, ""] = _amount()
    positive_active: Float[Array, ""] = _amount()
    positive_carbon: Float[Array, ""] = _amount()
    positive_binder: Float[Array, ""] = _amount()
    positive_solvent: Float[Array, ""] = _amount()
    casing: Float[Array, ""] = _amount()
    process: Float[Array, ""] = _amount()
    electricity: Float[Array, ""] = _amount()
    heat: Float[Array, ""] = _amount()

    @property
    def total(self) -> Array:
        """The sum of all items, which means something for costs and emissions."""
        return sum(jax.tree.leaves(self))

    def times(self, each: "Items") -> "Items":
        """Item by item, amounts times `each` price or factor."""
        return jax.tree.map(jnp.multiply, self, each)

    def per_energy(self, energy) -> "Items":
        """Costs or emissions over an energy, J/m2: per J; times 3.6e6 is per kWh."""
        return jax.tree.map(lambda item: item / energy, self)


def bill(cell: Cell, densities: Densities | None = None, making: Making | None = None) -> Items:
    """The amounts in a finished pair, which weigh what [`stack`][solver.cell.performance.stack] says, and what dries.

    What is neither active nor pore is carbon and binder, shared by the slurry's `carbon_share`.
    """
    d = Densities() if densities is None else densities
    making = Making() if making is None else making
    electrodes = {"negative": cell.negative, "positive": cell.positive}
    if not isinstance(cell.negative, Electrode):
        raise ValueError(
            "The bill of materials needs two porous electrodes, but the negative one is lithium metal, of which the "
            "cell does not say how thick it is. Give a full cell."
        )
    pores = cell.separator.thickness * cell.separator.porosity
    amounts = {"separator": jnp.ones_like(pores), "process": jnp.ones_like(pores)}
    for side, electrode in electrodes.items():
        slurry, active = getattr(making, side), getattr(d, f"{side}_active")
        solids = coating_mass(electrode, active, d.inactive)
        held = electrode.thickness * jnp.mean(electrode.active_fraction) * active
        amounts[f"{side}_active"] = held
        amounts[f"{side}_carbon"] = slurry.carbon_share * (solids - held)
        amounts[f"{side}_binder"] = (1.0 - slurry.carbon_share) * (solids - held)
        amounts[f"{side}_solvent"] = slurry.solvent(solids)
        amounts[f"{side}_foil"] = 0.5 * getattr(d, f"{side}_foil") * getattr(d, f"{side}_foil_thickness")
        pores = pores + electrode.thickness * jnp.mean(electrode.porosity)
    amounts["electrolyte"] = pores * d.electrolyte
    bare, cased = stack(cell, d), stack(cell, d, making.casing)
    return Items(**amounts, casing=cased.mass - bare.mass)


def purchases(contained: Items, making: Making | None = None) -> Items:
    """What is bought for a pair that is good: the bill over its yields, the solvent lost, and the energy.

    The dryers take the heat of all the solvent that is coated; electricity and dry rooms are by area.
    """
    making = Making() if making is None else making
    shop = making.plant
    shares = {"foil": shop.foil_yield, "separator": shop.separator_yield, "electrolyte": shop.electrolyte_yield}
    bought, heat = {}, shop.dry_room_heat
    for name in Items.__dataclass_fields__:
        side, _, part = name.partition("_")
        share = shares.get(part or name, shop.electrode_yield if part else 1.0)
        bought[name] = getattr(contained, name) / (share * shop.cell_yield)
        if part == "solvent":
            heat = heat + bought[name] * getattr(making, side).heat
            bought[name] = bought[name] * (1.0 - getattr(making, side).recovered)
    return Items(**bought | {"electricity": shop.electricity, "heat": heat})
