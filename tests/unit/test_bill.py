"""The bill of materials: it weighs what the stack weighs, yields divide, solvent is dried, and derivatives hold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.bill import Items, bill, purchases
from solver.cell.carbon import EMISSIONS, emissions, footprint
from solver.cell.cost import PRICES, cost, prices
from solver.cell.library import chen2020, half_cell
from solver.cell.making import Making, nmp_slurry, plant, water_slurry
from solver.cell.performance import Casing, Densities, stack

KG = ("active", "carbon", "binder", "foil")
ENERGY = 6.5e5  # J/m2, near that of the LG M50 at C/10


@pytest.fixture(scope="module")
def cell():
    """Chen 2020 with a little of each electrode made carbon and binder."""
    both = (lambda c: c.negative.active_fraction, 0.71), (lambda c: c.positive.active_fraction, 0.62)
    chen = chen2020()
    for leaf, value in both:
        chen = eqx.tree_at(leaf, chen, jnp.asarray(value))
    return chen


@pytest.fixture(scope="module")
def making():
    return Making(casing=Casing(0.25, 0.2))


def test_the_bill_weighs_what_the_stack_weighs(cell, making):
    items = bill(cell, making=making)
    densities = Densities()
    held = sum(float(getattr(items, f"{side}_{part}")) for side in ("negative", "positive") for part in KG)
    separator = float(cell.separator.thickness * (1 - cell.separator.porosity) * densities.separator)
    whole = held + separator + float(items.electrolyte) + float(items.casing)
    assert whole == pytest.approx(float(stack(cell, densities, making.casing).mass), rel=1e-14)
    assert float(items.casing) == pytest.approx(0.25 * whole, rel=1e-14)


def test_solvent_and_drying_heat(cell):
    """At 70 % solids 3/7 kg of NMP a kg of coating; latent and sensible heat times the overhead; 10 kWh/kg or so."""
    items, making = bill(cell), Making()
    solids = sum(float(getattr(items, f"positive_{part}")) for part in ("active", "carbon", "binder"))
    assert float(items.positive_solvent) == pytest.approx(solids * 3 / 7, rel=1e-14)
    slurry = making.positive
    assert float(slurry.heat) == pytest.approx((569e3 + 1.7e3 * 100) * 45, rel=1e-14)
    assert 8.0 < float(slurry.heat) / 3.6e6 < 11.0  # kWh/kg
    assert 0.05 < float(making.negative.heat / slurry.heat) < 0.2  # a tenth for water
    bought = purchases(items, making)
    scale = float(making.plant.electrode_yield * making.plant.cell_yield)
    dried = float(items.positive_solvent * slurry.heat + items.negative_solvent * making.negative.heat) / scale
    assert float(bought.heat) == pytest.approx(float(making.plant.dry_room_heat) + dried, rel=1e-14)
    assert float(bought.positive_solvent) == pytest.approx(0.005 * float(items.positive_solvent) / scale, rel=1e-12)


def test_a_perfect_plant_buys_the_bill(cell):
    ideal = dict.fromkeys(("electrode_yield", "foil_yield", "separator_yield", "electrolyte_yield", "cell_yield"), 1.0)
    making = Making(water_slurry(recovered=1.0), nmp_slurry(recovered=1.0), plant(**ideal))
    items = bill(cell, making=making)
    bought = purchases(items, making)
    for name in Items.__dataclass_fields__:
        if name not in ("negative_solvent", "positive_solvent", "electricity", "heat"):
            assert float(getattr(bought, name)) == pytest.approx(float(getattr(items, name)), rel=1e-15), name


def test_prices_are_linear(cell, making):
    """One more dollar a kilogram of active material costs what is bought of it; the total is the sum of its items."""
    bought = purchases(bill(cell, making=making), making)
    one, two = cost(cell, making=making), cost(cell, making=making, each=prices(positive_active=23.0))
    assert float(two.total - one.total) == pytest.approx(float(bought.positive_active), rel=1e-12)
    assert float(one.total) == pytest.approx(sum(float(x) for x in jax.tree.leaves(one)), rel=1e-15)
    assert float(one.per_energy(2.0).total) == pytest.approx(0.5 * float(one.total), rel=1e-15)


def test_energy_prices_in_si():
    assert float(prices().electricity) == pytest.approx(0.0806 / 3.6e6, rel=1e-15)
    assert float(emissions().heat) == pytest.approx(0.2027 / 3.6e6, rel=1e-15)


@pytest.mark.parametrize("table", [PRICES, EMISSIONS])
def test_each_number_names_its_source(table):
    assert [entry.name for entry in table] == list(Items.__dataclass_fields__)
    assert all(len(entry.source) > 5 and entry.low <= entry.value <= entry.high for entry in table)


def test_gradients_of_cost_and_carbon(cell, making):
    """Per energy, in structure, recipe, yield and price, against central differences."""

    def leaves(tree):
        c, m, p = tree
        return (
            c.positive.thickness, c.positive.porosity, c.negative.active_fraction, c.separator.thickness,
            m.positive.solids_content, m.positive.overhead, m.plant.cell_yield, m.casing.mass_share, p.positive_active,
        )  # fmt: skip

    start = (cell, making, prices())

    @jax.jit
    def value(x):
        c, m, p = eqx.tree_at(leaves, start, tuple(x))
        return jnp.stack(
            [each.per_energy(ENERGY).total for each in (cost(c, making=m, each=p), footprint(c, making=m))]
        )

    x = jnp.stack(leaves(start))
    found = np.asarray(jax.jacrev(value)(x))
    for k in range(x.shape[0]):
        step = jnp.zeros_like(x).at[k].set(1e-5 * x[k])
        difference = np.asarray(value(x + step) - value(x - step)) / (2e-5 * float(x[k]))
        assert found[:, k] == pytest.approx(difference, rel=1e-6, abs=1e-18)
    assert np.all(np.abs(found[:, :8]).max(axis=0) > 0)


def test_bad_input(cell):
    with pytest.raises(ValueError, match="Argument `solids_content` must lie between 0.01 and 1, but 70 was given."):
        nmp_slurry(solids_content=70.0)
    with pytest.raises(ValueError, match="Argument `cell_yield` must lie between 0.01 and 1, but 0 was given."):
        plant(cell_yield=0.0)
    with pytest.raises(ValueError, match="needs two porous electrodes, but the negative one is lithium metal"):
        bill(half_cell(cell.positive, cell.electrolyte))
