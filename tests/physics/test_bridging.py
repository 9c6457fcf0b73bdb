"""The porous electrode of what is measured on the voxels of a resolved half-cell."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import half_cells
from solver.bridging import effective, nearest, porous
from solver.bridging import measured as measured_of
from solver.cell.discretise import Mesh
from solver.cell.protocol import DFN, discharge
from solver.closures import CLOSURES, of_area, of_diffusion, size_classes
from solver.numerics.march import March
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


def test_what_an_even_reaction_meets(measured):
    """Of the order of what two plates meet: dead ends make it less, pores that open to the separator more."""
    _, found = measured
    assert 0.5 < float(found.electrode_transport / found.electrolyte_transport) < 1.3


@pytest.mark.slow
def test_derivative_of_what_is_measured():
    """Of the electrode transport and of two sizes of spheres as all surfaces of a packing move out, against central
    differences: as close as solves to 1e-6 let them be."""
    level, film = half_cells.levels(12)
    base = half_cells.of_levels(level, film)

    @eqx.filter_jit
    def numbers(out):
        cell = half_cells.of_levels(level - 1e-7 * out, film - 1e-7 * out, found=base.domains)
        found = measured_of(cell).value
        classes = size_classes(found.uptake_radii)
        return jnp.stack([found.electrode_transport, *(1e6 * classes.radii), classes.shares[0]])

    at, step = jnp.zeros(()), 1e-2
    slopes = eqx.filter_jit(jax.jacrev(numbers))(at)
    differences = (numbers(at + step) - numbers(at - step)) / (2.0 * step)
    assert np.asarray(slopes) == pytest.approx(np.asarray(differences), rel=2e-3)


def test_all_closures_keep_lithium_and_exchange_current(measured):
    cell, found = measured
    kept = float(found.specific_area * cell.roles["active"].material.kinetics.rate)
    for closure in CLOSURES.values():
        classes = porous(cell, found, 0.9, closure).positive.classes
        held = sum(float(e.specific_area * e.particle_radius / 3.0) for e in classes)
        assert held == pytest.approx(float(found.active_fraction), rel=1e-12)
        rate = sum(float(e.specific_area * e.material.kinetics.rate) for e in classes)
        assert rate == pytest.approx(kept, rel=1e-12)


def test_the_nearest_closure_is_the_one_a_discharge_was_made_with(measured):
    """A discharge of one closure, in the place of a resolved one: that closure is off by nothing but the reading."""
    cell, found = measured
    current = 2.0 * cell.theoretical_capacity(0.9) / 3600.0
    method = DFN(Mesh(1, 6, 8, 8), March(tolerance=1e-3, max_steps=100))
    other = eqx.filter_jit(discharge)(porous(cell, found, 0.9, of_diffusion), current / cell.section, method).value
    run = SimpleNamespace(time=other.time, voltage=other.voltage, current=current, capacity=current * other.end_time)
    closures = {"area": of_area, "diffusion": of_diffusion}
    name, every = nearest(cell, found, 0.9, [run], closures, method)
    assert name == "diffusion" and set(every) == set(closures)
    assert every[name][0].voltage < 1e-3 < every["area"][0].voltage
    assert every[name][0].capacity == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="must hold one each, but hold 0, 2"):
        nearest(cell, found, 0.9, [], closures)


def test_an_unknown_closure_is_refused_in_a_sentence(measured):
    with pytest.raises(ValueError, match="`closure` must be a function .* but is 'chord'"):
        porous(*measured, 0.9, "chord")
