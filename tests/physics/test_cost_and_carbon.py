"""Cost and carbon of whole cells against published totals. These scatter widely: the ranges are the sources'."""

import equinox as eqx
import jax.numpy as jnp
import pytest

from microstructure.units import Wh, mAh_cm2
from solver.cell.bill import bill, purchases
from solver.cell.carbon import emissions, footprint
from solver.cell.cost import cost, prices
from solver.cell.library import chen2020
from solver.cell.making import Making
from solver.cell.performance import Casing, Densities

kWh = 1e3 * Wh
MAKING = Making(casing=Casing(mass_share=0.15))
# Materials of the public code BattModels/BatteryCost, 2020: NMC622 of 171 mAh/g and graphite of 350 mAh/g.
DENSITIES = Densities(
    positive_active=4800.0, negative_active=2240.0, inactive=1770.0, electrolyte=1200.0, separator=1200.0,
    negative_foil=8920.0, negative_foil_thickness=8e-6, positive_foil_thickness=15e-6,
)  # fmt: skip
# Knehr, Kubal and Ahmed 2024, Argonne, slide 9, the year 2019: NMC622, graphite, 15 USD/L of electrolyte.
PRICES_2019 = {
    "positive_active": 21.0, "negative_active": 14.0, "electrolyte": 12.5, "separator": 1.10, "positive_binder": 10.0,
}  # fmt: skip


def _filled(electrode, capacity, specific, active_density, porosity):
    """The electrode with 94 % of active material in its mass, at an areal capacity, C/m2, and specific one, C/kg."""
    share = (0.94 / active_density) / (0.94 / active_density + 0.06 / 1770.0) * (1 - porosity)
    thickness = capacity / specific / active_density / share
    return eqx.tree_at(
        lambda e: (e.thickness, e.porosity, e.active_fraction),
        electrode,
        tuple(jnp.asarray(x) for x in (thickness, porosity, share)),
    )


@pytest.fixture(scope="module")
def nmc622():
    """NMC622 against graphite, 3 mAh/cm2 at N/P 1.15 and 3.6 V: the cell and its energy, J/m2."""
    chen, capacity = chen2020(), 3.0 * mAh_cm2
    positive = _filled(chen.positive, capacity, 171 * 3600.0, 4800.0, 0.2)
    negative = _filled(chen.negative, 1.15 * capacity, 350 * 3600.0, 2240.0, 0.3)
    cell = eqx.tree_at(lambda c: (c.positive, c.negative), chen, (positive, negative))
    cell = eqx.tree_at(
        lambda c: (c.separator.thickness, c.separator.porosity), cell, (20e-6, 0.4), is_leaf=eqx.is_array
    )
    return cell, capacity * 3.6


def test_cost_of_nmc622(nmc622):
    """Between the mean price of cells for electric cars in 2023, 89 USD/kWh (BloombergNEF), and that of a pack in 2022,

    153 USD/kWh usable (DOE with BatPaC); two thirds and more of it materials, as in every such study.
    """
    cell, energy = nmc622
    items = cost(cell, DENSITIES, MAKING, prices(**PRICES_2019)).per_energy(energy / kWh)
    assert 89.0 < float(items.total) < 153.0
    made = float(items.process + items.electricity + items.heat)
    assert 0.15 < made / float(items.total) < 0.34
    assert float(items.positive_active) == max(float(x) for x in vars(items).values())


def test_carbon_of_nmc622(nmc622):
    """Xu et al. 2022, doi 10.1016/j.resconrec.2022.106606: 41 to 89 kg/kWh in 2020, 33 to 70 % of it the cathode.

    GREET 2024 has 63.5 kg/kWh for a pack of NMC622 (50.5 of materials, 12.9 of assembly).
    """
    cell, energy = nmc622
    items = footprint(cell, DENSITIES, MAKING).per_energy(energy / kWh)
    assert 41.0 < float(items.total) < 89.0
    assert 0.33 < float(items.positive_active) / float(items.total) < 0.70


def test_energy_of_the_plant(nmc622):
    """20 to 38 kWh/kWh in Degen et al. 2023, doi 10.1038/s41560-023-01355-z, 47 in Dai et al. 2019, up to 65 in

    Davidsson Kurland 2019; drying the electrodes a fifth of it or so (Bryntesen et al. 2021, doi 10.3390/en14051406).
    """
    cell, energy = nmc622
    bought = purchases(bill(cell, DENSITIES, MAKING), MAKING)
    total = float(bought.electricity + bought.heat)
    assert 20.0 < total / energy < 65.0
    assert 0.1 < float(bought.heat - MAKING.plant.dry_room_heat) / total < 0.5


def test_lg_m50():
    """NMC811 at 182.58 Wh/m2: 59, 74 and 115 kg/kWh are the 5th, 50th and 95th percentiles of Peiseler et al. 2024,

    doi 10.1038/s41467-024-54634-y; Xu et al. begin at 41. Its cost is that of a thick-coated cell at prices of 2024.
    """
    chen, energy = chen2020(), 182.58 * Wh
    assert 41.0 < float(footprint(chen).per_energy(energy / kWh).total) < 115.0
    assert 50.0 < float(cost(chen).per_energy(energy / kWh).total) < 100.0


def test_the_kind_of_graphite_moves_the_footprint():
    """Old inventories of graphite against those of industry: 58 and 93 kg/kWh (KIT, publikationen 1000192012)."""
    chen, energy = chen2020(), 182.58 * Wh
    low, high = (
        float(footprint(chen, each=emissions(negative_active=x)).per_energy(energy / kWh).total) for x in (4.9, 43.9)
    )
    assert 20.0 < high - low < 50.0
