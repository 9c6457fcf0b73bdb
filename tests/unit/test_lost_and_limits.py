"""What a resolved electrode cannot give: isolated particles, dead pores, and more current than the salt carries."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import voxel
from microstructure.grid import Grid
from microstructure.units import faraday
from solver.cell import library
from solver.electrochemistry.conductors import SeparatorStack
from solver.electrochemistry.half_cell import half_cell
from solver.electrochemistry.laws import Constant
from solver.electrochemistry.lost_capacity import lost_capacity
from solver.electrochemistry.roles import active, carbon_binder, inert, pores
from solver.electrochemistry.salt_limit import drops, salt_limit

NAMES = {0: "pore", 1: "nmc", 2: "cbd", 3: "wall"}


def _cell(labels, spacing=1e-6, stack=None, lyte=None):
    grid = Grid(labels.shape, jnp.full(3, spacing))
    phases = voxel.from_labels(labels, grid, NAMES, dtype=jnp.float64)
    roles = {
        "pore": pores(), "nmc": active(library.chen_nmc(), 0.27, 0.18), "cbd": carbon_binder(), "wall": inert(),
    }  # fmt: skip
    lyte = library.nyman_electrolyte() if lyte is None else lyte
    cell = half_cell(phases, roles, lyte, library.xu_lithium().kinetics, stack)
    return cell, eqx.filter_jit(lambda cell: cell.resolved(1.0))(cell)


def test_what_is_lost_is_counted_by_voxels():
    labels = np.zeros((12, 9, 9), int)
    labels[:4] = 1  # 324 voxels on the collector
    labels[7:9, 2:4, 2:4] = 1  # 8 voxels in the middle of the pores
    labels[6:9, 5:8, 5:8] = 3
    labels[7, 6, 6] = 0  # a pore within a wall
    labels[:4, 7:, 7:] = 3  # between it and the block another wall
    labels[:3, 8, 8] = 1  # a rod of 3 voxels on the collector that no electrolyte reaches
    cell, system = _cell(labels)
    lost = lost_capacity(cell, system, (0.85,))
    total = (labels == 1).sum()
    assert lost.isolated == pytest.approx(8 / total, rel=1e-9)
    assert lost.unwetted == pytest.approx(3 / total, rel=1e-9)
    assert lost.total == pytest.approx(11 / total, rel=1e-9)
    assert lost.dead_pores == pytest.approx(1 / (labels == 0).sum(), rel=1e-9)


def test_the_limit_of_a_slab_is_that_of_a_layer_of_electrolyte():
    """A slab, pores beside it and free electrolyte: salt piles up at the lithium to twice what it was."""
    labels = np.zeros((40, 1, 1), int)
    labels[:4] = 1
    lyte = eqx.tree_at(lambda e: e.diffusivity, library.nyman_electrolyte(), Constant(3e-10))
    cell, system = _cell(labels, stack=SeparatorStack(20e-6, 1.0, 1.0, (1.0,) * 20), lyte=lyte)
    length, share = 36e-6 + 20e-6, 1 - float(lyte.transference_number)
    wanted = 2 * faraday * 3e-10 * 1000.0 / (share * length)
    found = salt_limit(cell, system) / float(cell.section)
    assert found == pytest.approx(wanted, rel=0.03)  # the surface is read half a voxel away
    fall = drops(system, jnp.ones(system.structure.shape[0])).value[1]
    assert float(fall * cell.section) == pytest.approx(length, rel=0.03)


def test_a_part_of_the_electrode_is_served_by_more():
    """An even bed: the less of it reacts, near the separator, the more current the salt carries there."""
    labels = np.zeros((24, 2, 2), int)
    labels[:, 0, 0] = 1
    cell, system = _cell(labels, stack=SeparatorStack(40e-6, 1.0, 1.0, (1.0,) * 12))
    limits = [salt_limit(cell, system, share) for share in (1.0, 0.5, 0.25)]
    assert limits[0] < limits[1] < limits[2]
    with pytest.raises(ValueError, match="`share` must lie above 0"):
        salt_limit(cell, system, 0.0)
