"""What a cell emits before it leaves the factory: materials by mass and yield, electricity, heat; cradle to gate.

The numbers scatter by factors of two and more with the mine, the mill and the year; those marked as assumed were chosen
within published ranges and stand for no source.
"""

from .bill import Items, bill, purchases
from .cell import Cell
from .making import Making
from .performance import Densities
from .table import Entry, filled

EMISSIONS_DATE = "2024"

_kWh = 3.6e6  # J

EMISSIONS = (
    # Istrate et al. 2024, Joule, have 10.6 for natural and 43.9 for synthetic graphite; older inventories 2 to 5.
    Entry("negative_active", 13.8, "kg/kg", "synthetic graphite, Surovtseva et al. 2022, doi 10.1111/jiec.13234"),
    Entry("negative_carbon", 2.5, "kg/kg", "carbon black, assumed"),
    Entry("negative_binder", 4.0, "kg/kg", "CMC and SBR, assumed"),
    Entry("negative_solvent", 0.0, "kg/kg", "water, assumed to be free"),
    Entry("negative_foil", 6.0, "kg/kg", "copper and its rolling, assumed"),
    Entry("separator", 0.05, "kg/m2", "some 10 g/m2 of coated polyethylene, assumed"),
    Entry("electrolyte", 5.0, "kg/kg", "carbonates with 12 % of LiPF6, assumed"),
    Entry("positive_foil", 18.0, "kg/kg", "primary aluminium, mean of the world, European Aluminium 2018"),
    Entry("positive_active", 20.0, "kg/kg", "NMC811 and NMC622, assumed: 15 to 30 with the sources of Ni and Li"),
    Entry("positive_carbon", 2.5, "kg/kg", "carbon black, assumed"),
    Entry("positive_binder", 10.0, "kg/kg", "PVDF, assumed"),
    Entry("positive_solvent", 5.0, "kg/kg", "NMP, assumed"),
    Entry("casing", 8.0, "kg/kg", "steel, aluminium and laminate, assumed"),
    Entry("process", 0.0, "kg/m2", "assumed none: machines and halls are left out"),
    Entry("electricity", 0.390, "kg/kWh", "0.86 lb/kWh, USA 2022, EIA state electricity profiles", 1.0 / _kWh),
    Entry("heat", 0.2027, "kg/kWh", "natural gas, net, UK DESNZ 2024 conversion factors", 1.0 / _kWh),
)


def emissions(**given: float) -> Items:
    """The factors of the table `EMISSIONS` in SI units, kg of CO2e, with `given` ones, in its units, in their place."""
    return filled(Items, EMISSIONS, given)


def footprint(
    cell: Cell, densities: Densities | None = None, making: Making | None = None, each: Items | None = None
) -> Items:
    """What a good pair has emitted, item by item, in kg CO2e/m2; `.per_energy(energy)` in kg/J, times 3.6e6 in kg/kWh.

    **Arguments:** `each`, emission factors, by default [`emissions`][]().
    """
    each = emissions() if each is None else each
    return purchases(bill(cell, densities, making), making).times(each)
