"""What the structure hands to the cell: right in itself, and each quantity of it felt by the voltage curve."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.grid import Grid
from microstructure.voxel import from_labels
from solver import handover, pipeline
from solver.cell.cell import open_circuit_voltage, theoretical_capacity
from solver.handover import CellDesign, PhaseProperties, Properties
from solver.pipeline import Methods

# A calendered electrode of the built-in example, rounded.
FOUND = Properties(*(jnp.asarray(x, float) for x in (46.9e-6, 0.331, 0.604, 0.1226, 3.8e5, 0.151, 5.85)))

# Each quantity as if the structure had not been looked at, and by how much that moves the voltage at 2C, mV rms.
SWITCHED_OFF = {
    "thickness": (75.6e-6, 277.3),  # that of Chen 2020, at the same current
    "porosity": (1 - 0.604, 0.742),  # carbon-binder takes no room: only the salt in the pores changes
    "active_fraction": (0.665, 80.5),  # Chen 2020
    "specific_area": (3 * 0.604 / 5.22e-6, 44.1),  # separate spheres of Chen 2020
    "particle_radius": (5.22e-6, 18.0),  # Chen 2020
    "electrolyte_transport": (0.331**1.5, 3.61),  # Bruggeman
    "electronic_conductivity": (0.01 * 0.604**1.5, 179.6),  # active material alone, Bruggeman
}


@eqx.filter_jit
def _discharge(positive, current):
    cell = handover.full_cell(positive, jnp.asarray(1000.0, float), CellDesign())
    capacity = theoretical_capacity(cell.positive)
    return cell, capacity, pipeline.protocol.discharge(cell, current, Methods().cell).value


@pytest.fixture(scope="module")
def base():
    positive = jax.jit(handover.electrode)(FOUND)
    return positive, _discharge(positive, jnp.asarray(56.0, float))


def test_charged_discharged_and_balanced(base):
    _, (cell, capacity, run) = base
    assert float(open_circuit_voltage(cell)) == pytest.approx(4.2, abs=1e-9)
    assert float(open_circuit_voltage(cell, 0.0)) == pytest.approx(2.5, abs=1e-5)
    usable = theoretical_capacity(cell.negative)  # of the window in use: as much as the positive can take
    assert float(usable) == pytest.approx(float(capacity), rel=1e-12)
    whole = usable * (29866 / 33133 - cell.negative.stoichiometry_empty)
    whole = whole / (cell.negative.stoichiometry_full - cell.negative.stoichiometry_empty)
    chen = pipeline.handover.library.chen_positive()
    window = float(chen.stoichiometry_empty - chen.stoichiometry_full)
    designed = float(capacity) * window / float(cell.positive.stoichiometry_empty - cell.positive.stoichiometry_full)
    assert float(whole) / designed == pytest.approx(1.10, rel=1e-12)
    assert run.capacity < capacity


def test_no_discharge_exceeds_the_theoretical_capacity(base):
    positive, (_, capacity, _) = base
    _, _, slow = _discharge(positive, capacity / 3600 / 50)  # C/50
    assert 0.985 < float(slow.capacity / capacity) < 1.0


def test_lithium_balances():
    positive = handover.electrode(FOUND)
    sphere = 3 * positive.active_fraction / positive.particle_radius
    assert float(sphere) == pytest.approx(float(positive.specific_area), rel=1e-14)


def test_properties_of_a_known_structure():
    labels = np.zeros((6, 6, 10), np.uint8)
    labels[:, :, 2:8], labels[:, :, 8:] = 1, 2
    grid = Grid(labels.shape, jnp.full(3, 1e-6))
    phases = from_labels(labels, grid, {0: "pore", 1: "active", 2: "binder"})
    made_of = PhaseProperties(nanoporosity=0.4)
    found = jax.jit(handover.properties)(phases, made_of, jnp.asarray(0.1), jnp.asarray(1.0))
    assert float(found.thickness) == pytest.approx(6e-6, rel=1e-12)
    assert float(found.porosity) == pytest.approx(0.2 + 0.4 * 0.2, rel=1e-6)
    assert float(found.active_fraction) == pytest.approx(0.6, rel=1e-6)
    assert float(found.specific_area) == pytest.approx(2 / 10e-6, rel=1e-4)  # two planes, one of them with the binder
    assert made_of.for_electrolyte(phases).tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert made_of.for_electrons(phases).tolist() == pytest.approx([0.0, 0.01, 100.0])


def _moved(base, run):
    """The rms difference of two voltage curves at equal times up to the earlier end, mV."""
    end = min(float(base.end_time), float(run.end_time))
    times = jnp.linspace(0.0, 0.99, 100) * end
    return 1e3 * float(jnp.sqrt(jnp.mean((_at(run, times) - _at(base, times)) ** 2)))


_at = jax.jit(lambda run, times: run.voltage_at(times))


@pytest.mark.parametrize("name", SWITCHED_OFF)
def test_each_quantity_moves_the_voltage_curve(base, name):
    value, stated = SWITCHED_OFF[name]
    positive, (_, _, run) = base
    changed = eqx.tree_at(lambda e: getattr(e, name), positive, jnp.asarray(value, float))
    _, _, without = _discharge(changed, jnp.asarray(56.0, float))
    assert _moved(run, without) == pytest.approx(stated, rel=0.01)


def test_every_quantity_of_an_electrode_is_switched():
    """None is forgotten: what is left of `Electrode` is electrochemistry."""
    fields = set(handover.electrode(FOUND).__dataclass_fields__)
    assert fields - set(SWITCHED_OFF) == {
        "material",
        "stoichiometry_full",
        "stoichiometry_empty",
        "others",
        "double_layer",
    }
    assert set(Properties.__dataclass_fields__) - {"binder_fraction"} == set(SWITCHED_OFF) - {"particle_radius"}
