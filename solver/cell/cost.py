"""What a cell costs: materials by mass and yield, process by area, energy; from a dated table of prices.

**Source:** the form of BatPaC, Knehr et al. 2022, ANL/CSE-22/1; without its pack, overheads of scale and profit.
"""

from .bill import Items, bill, purchases
from .cell import Cell
from .making import Making
from .performance import Densities
from .table import Entry, filled

PRICES_DATE = "2024-08-19"

# Both tables were read as quoted in a public compilation that took them from slide and supplement; every number agrees.
# Argonne's are what its cost model assumes for 2024; the market of May 2022 had NMC811 at 60.09 USD/kg (Baars et al.).
_ARGONNE = "Knehr, Kubal and Ahmed 2024, Estimated Cost of EV Batteries 2019-2024, Argonne, slide 9"
_BAARS = "Baars, Cerdas and Heidrich 2023, doi 10.1021/acs.est.2c04080, table S3, market of 13 May 2022"
_kWh = 3.6e6  # J

PRICES = (
    Entry("negative_active", 9.50, "USD/kg", f"graphite, {_ARGONNE}"),
    Entry("negative_carbon", 3.60, "USD/kg", f"carbon black, {_BAARS}"),
    Entry("negative_binder", 5.00, "USD/kg", f"CMC and SBR, {_BAARS}"),
    Entry("negative_solvent", 0.0, "USD/kg", "water, assumed to be free"),
    Entry("negative_foil", 14.15, "USD/kg", f"copper, 8 to 14 um, {_BAARS}"),
    Entry("separator", 1.00, "USD/m2", _ARGONNE),
    Entry("electrolyte", 11.67, "USD/kg", f"14 USD/L, {_ARGONNE}; over an assumed 1.2 kg/L"),
    Entry("positive_foil", 5.35, "USD/kg", f"aluminium, 15 to 18 um, {_BAARS}"),
    Entry("positive_active", 22.00, "USD/kg", f"NMC811, {_ARGONNE}"),
    Entry("positive_carbon", 3.60, "USD/kg", f"carbon black, {_BAARS}"),
    Entry("positive_binder", 15.00, "USD/kg", f"PVDF, {_ARGONNE}"),
    Entry("positive_solvent", 3.10, "USD/kg", f"NMP, {_ARGONNE}"),
    Entry("casing", 3.00, "USD/kg", f"cell container of BatPaC 5, {_BAARS}"),
    # BatPaC 4's plant of 6 GWh a year (BattModels/BatteryCost: 540,000 h of labour at 18 USD, 115 MUSD of equipment,
    # 13,925 m2 and the overheads on them, over 67.7e6 m2) comes to 0.97 USD/m2, at 19 USD of equipment for each kWh a
    # year. Plants have cost twice that and more since (36 in C&EN 2023, volume 101, issue 4), so it is doubled.
    Entry("process", 2.00, "USD/m2", "assumed: twice the 0.97 of BatPaC 4's plant of 6 GWh a year"),
    Entry("electricity", 0.0806, "USD/kWh", "industry in the USA, 2023, EIA", 1.0 / _kWh),
    Entry("heat", 0.016, "USD/kWh", "natural gas, assumed: 4.6 USD/MMBtu", 1.0 / _kWh),
)


def prices(**given: float) -> Items:
    """The prices of the table `PRICES` in SI units, with `given` ones, in the table's units, in place of its own."""
    return filled(Items, PRICES, given)


def cost(
    cell: Cell, densities: Densities | None = None, making: Making | None = None, each: Items | None = None
) -> Items:
    """What a good pair costs, item by item, in USD/m2; `.per_energy(energy)` in USD/J, times 3.6e6 in USD/kWh.

    **Arguments:** `each`, prices, by default [`prices`][]().
    """
    each = prices() if each is None else each
    return purchases(bill(cell, densities, making), making).times(each)
