"""What of an electrode a resolved discharge can never draw: found from the structure, before any solve."""

import dataclasses

import numpy as np

from .domains import reached
from .half_cell import HalfCell
from .resolved import ResolvedCell


@dataclasses.dataclass(frozen=True)
class LostCapacity:
    """Shares of the capacity of all active material.

    **Arguments:** `isolated`, in material without a path of electrons to the collector; `unwetted`, in material that
    has one, but no surface on electrolyte, nor a path of lithium to one; `dead_pores`, share of the electrolyte of the
    electrode that no path of ions joins to the separator, which costs no capacity by itself.
    """

    isolated: float
    unwetted: float
    dead_pores: float

    @property
    def total(self) -> float:
        """Share of the capacity that cannot be drawn."""
        return self.isolated + self.unwetted


def lost_capacity(cell: HalfCell, system: ResolvedCell, ends) -> LostCapacity:
    """The [`LostCapacity`][] of a half-cell, on the host.

    **Arguments:** `ends`, for each active phase the stoichiometry of a state of charge of zero.
    """
    grid, phases = cell.phases.grid, cell.phases
    nx, volume = grid.shape[0], float(np.prod(np.asarray(grid.spacing, float)))
    names = [name for name in phases.names if cell.roles[name].material is not None]
    total = isolated = unwetted = 0.0
    for name, p, end in zip(names, system.structure.particles, ends, strict=True):
        role = cell.roles[name]
        room = float(role.material.maximum_concentration) * abs(float(end) - float(role.stoichiometry))
        there = np.asarray(p.storage)[:nx]
        all_of_it = np.asarray(phases.fractions[phases.index(name)], float) * volume
        touched = _fed(p, nx)
        total += room * all_of_it.sum()
        isolated += room * (all_of_it.sum() - there.sum())
        unwetted += room * there[~touched].sum()
    pores = sum(
        np.asarray(phases.fractions[phases.index(name)], float) * float(cell.roles[name].porosity)
        for name in phases.names
        if cell.roles[name].ions
    )
    dead = pores[np.asarray(cell.domains.dead)[:nx]].sum()
    return LostCapacity(float(isolated / total), float(unwetted / total), float(dead / pores.sum()))


def _fed(p, nx: int) -> np.ndarray:
    """The voxels of an active phase that lithium reaches from where it reacts."""
    filled = np.asarray(p.storage)[:nx] > 0
    area = np.asarray(p.area)[:nx]
    weights = [np.asarray(w)[:nx] for w in p.solid.weights]
    # Lithium enters the voxel of the interface, or neighbours that lie deeper.
    start = (area > 0) & filled
    for axis, weight in enumerate(weights):
        start |= np.roll((area > 0) & (weight > 0), 1, axis) | np.roll((area > 0) & (weight < 0), -1, axis)
    return reached(filled, tuple(np.asarray(g)[:nx] for g in p.links), start & filled)
