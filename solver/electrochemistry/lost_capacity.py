"""What of its electrodes a resolved discharge can never draw: found from the structure, before any solve."""

import dataclasses

import numpy as np

from .domains import reached
from .resolved import ResolvedCell
from .structure import Particles
from .voxel_cell import VoxelCell


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


def lost_capacity(cell: VoxelCell, system: ResolvedCell, ends) -> LostCapacity:
    """The [`LostCapacity`][] of a cell, both electrodes together, on the host.

    **Arguments:** `ends`, for each active phase the stoichiometry of a state of charge of zero.
    """
    total = isolated = unwetted = dead = wet = 0.0
    particles, ends = iter(system.structure.particles), iter(ends)
    for part in cell.parts:
        grid, own = part.phases.grid, slice(part.first, part.first + part.phases.grid.shape[0])
        volume = float(np.prod(np.asarray(grid.spacing, float)))
        for name, share in zip(part.phases.names, np.asarray(part.phases.fractions, float), strict=True):
            role, all_of_it = part.roles[name], share.sum() * volume
            if role.ions:
                wet += all_of_it * float(role.porosity)
                dead += volume * float(role.porosity) * share[np.asarray(cell.domains.dead)[own]].sum()
            if role.material is not None:
                p, end = next(particles), next(ends)
                room = float(role.material.maximum_concentration) * abs(float(end) - float(role.stoichiometry))
                there = np.asarray(p.storage)[own]
                total += room * all_of_it
                isolated += room * (all_of_it - there.sum())
                unwetted += room * there[~_fed(p, own)].sum()
    return LostCapacity(float(isolated / total), float(unwetted / total), float(dead / wet))


def _fed(p: Particles, own: slice) -> np.ndarray:
    """The voxels of an active phase that lithium reaches from where it reacts."""
    filled, area = np.asarray(p.storage)[own] > 0, np.asarray(p.area)[own]
    # Lithium enters the voxel of the interface, or neighbours that lie deeper.
    start = (area > 0) & filled
    for axis, weight in enumerate(p.solid.weights):
        weight = np.asarray(weight)[own]
        start |= np.roll((area > 0) & (weight > 0), 1, axis) | np.roll((area > 0) & (weight < 0), -1, axis)
    return reached(filled, tuple(np.asarray(g)[own] for g in p.links), start & filled)
