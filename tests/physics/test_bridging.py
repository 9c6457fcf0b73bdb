"""The porous electrode of what is measured on the voxels of a resolved half-cell."""

import jax.numpy as jnp
import pytest

from benchmarks import half_cells
from solver.bridging import effective, porous
from tests.resolved_block import SPACING, labels


@pytest.fixture(scope="module")
def measured():
    cell = half_cells.image(labels(), SPACING)
    return cell, effective(cell)


def test_shares_and_area_are_those_that_take_part(measured):
    cell, found = measured
    made = cell.resolved(1.0).structure
    n, volume = cell.phases.grid.shape[0], float(cell.phases.grid.volume)
    assert float(found.active_fraction) == pytest.approx(float(jnp.sum(made.particles[0].storage)) / volume, rel=1e-12)
    assert float(found.porosity) == pytest.approx(float(jnp.sum(made.storage[:n])) / volume, rel=1e-12)
    assert 0.0 < float(found.electrolyte_transport) < float(found.porosity)


def test_both_radii_keep_lithium_and_exchange_current(measured):
    cell, found = measured
    by_area, by_diffusion = (porous(cell, found, 0.9, radius).positive for radius in ("area", "diffusion"))
    for e in (by_area, by_diffusion):
        held = float(jnp.mean(e.specific_area) * e.particle_radius / 3.0)
        assert held == pytest.approx(float(found.active_fraction), rel=1e-12)
    rates = [float(jnp.mean(e.specific_area) * e.material.kinetics.rate) for e in (by_area, by_diffusion)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


def test_an_unknown_radius_is_refused_in_a_sentence(measured):
    with pytest.raises(ValueError, match="`radius` must be .* but is 'chord'"):
        porous(*measured, 0.9, "chord")
