"""Coatings: what is made of a design, lithium and cut-off of the charged cell, N/P, and their derivatives."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from inverse.coatings import Coating, coated, coatings_of, leaf, n_to_p
from solver.cell.cell import open_circuit_voltage, theoretical_capacity
from solver.cell.library import chen2020

CELL = chen2020()
BASE = coatings_of(CELL)


def with_leaf(side, name, value):
    return eqx.tree_at(leaf(side, name).where, BASE, jnp.asarray(value))


def test_the_coatings_of_a_cell_make_it_again():
    made = coated(BASE, CELL)
    for name in ("thickness", "porosity", "active_fraction", "specific_area", "electrolyte_transport"):
        for side in ("negative", "positive"):
            was, now = (getattr(getattr(c, side), name) for c in (CELL, made))
            assert float(now) == pytest.approx(float(was), rel=1e-12)


def test_the_charged_cell_rests_at_its_cut_off_and_keeps_lithium():
    made = coated(with_leaf("negative", "thickness", 9.5e-5), CELL)
    assert float(open_circuit_voltage(made)) == pytest.approx(4.2, abs=1e-9)
    assert float(theoretical_capacity(made.negative)) == pytest.approx(float(theoretical_capacity(made.positive)))
    assert made.negative.stoichiometry_full < CELL.negative.stoichiometry_full  # the excess stays empty
    assert float(made.negative.stoichiometry_empty) == float(CELL.negative.stoichiometry_empty)
    ratio = float(n_to_p(with_leaf("negative", "thickness", 2 * BASE.negative.thickness), CELL) / n_to_p(BASE, CELL))
    assert 1.8 < ratio < 2.0  # more negative charges the positive a little further at the same cut-off


def test_errors_of_making():
    """3 % more solids in a coating 2 um thicker: mass is kept, and the pores take up the rest."""
    off = Coating(7e-5, 0.3, 5e-6, heavier=0.03, thicker=2e-6).put_on(CELL.positive)
    assert float(off.thickness) == pytest.approx(7.2e-5)
    assert float((1 - off.porosity) * off.thickness) == pytest.approx(0.7 * 1.03 * 7e-5, rel=1e-12)
    assert float(off.specific_area) == pytest.approx(3 * float(off.active_fraction) / 5e-6, rel=1e-12)
    designs = dataclasses.replace(BASE, positive=Coating(7e-5, 0.3, 5e-6, heavier=0.03, thicker=2e-6))
    assert designs.by_design.positive.thicker == 0 and designs.by_design.positive.heavier == 0
    assert designs.by_design.positive.porosity == designs.positive.porosity


@pytest.mark.parametrize("side", ["negative", "positive"])
@pytest.mark.parametrize("name", ["thickness", "porosity"])
def test_derivatives_through_the_cut_off(side, name):
    """The stoichiometry of the charged negative follows the ratio of the capacities: implicit, against differences."""

    def full(value):
        return coated(with_leaf(side, name, value), CELL).negative.stoichiometry_full

    value = leaf(side, name).read(BASE)
    step = 1e-4 * value
    difference = (full(value + step) - full(value - step)) / (2 * step)
    assert float(jax.grad(full)(value)) == pytest.approx(float(difference), rel=1e-6)


def test_a_coating_that_is_none():
    with pytest.raises(ValueError, match="`porosity`"):
        Coating(7e-5, 1.3, 5e-6)
