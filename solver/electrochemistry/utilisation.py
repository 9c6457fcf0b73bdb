"""How much of each particle of a resolved electrode has been used; on the host, without derivatives."""

import dataclasses

import numpy as np

from .half_cell import HalfCell
from .resolved import ResolvedCell, Unknowns
from .structure import Particles

BINS = 10  # of depth and of size in a distribution


@dataclasses.dataclass(frozen=True)
class ParticleTable:
    """Particles of one active phase, as far as they take part; arrays of shape (n,).

    **Arguments:** `volume`, m3; `diameter`, m, of a sphere of that volume; `depth`, m, of the centre, from the
    collector; `area`, m2, that reacts; `state_of_charge`, mean of its voxels; `spread`, standard deviation of it over
    its voxels; `reaction`, A/m2, mean over its area.
    """

    volume: np.ndarray
    diameter: np.ndarray
    depth: np.ndarray
    area: np.ndarray
    state_of_charge: np.ndarray
    spread: np.ndarray
    reaction: np.ndarray

    @property
    def utilisation(self) -> np.ndarray:
        """The share of the charge of each particle that has been drawn."""
        return 1.0 - self.state_of_charge


def particle_table(cell: HalfCell, system: ResolvedCell, u: Unknowns, k: int, owner: np.ndarray, end) -> ParticleTable:
    """The [`ParticleTable`][] of active phase `k`.

    **Arguments:** `owner`, for each voxel of the electrode the number of the particle that it belongs to, from 0;
    `end`, the stoichiometry of a state of charge of zero.
    """
    p, role = system.structure.particles[k], system.active[k]
    nx = cell.phases.grid.shape[0]
    label, count = np.ravel(owner), int(owner.max()) + 1

    def summed(weight):
        return np.bincount(label, np.ravel(weight), count)

    volumes = np.asarray(p.storage)[:nx]
    start = float(role.stoichiometry)
    charge = (float(end) - np.asarray(u.filled[k])[:nx]) / (float(end) - start)
    depths = np.broadcast_to(((np.arange(nx) + 0.5) * float(cell.phases.grid.spacing[0]))[:, None, None], volumes.shape)
    volume = summed(volumes)
    there = volume > 0
    safe = np.where(there, volume, 1.0)
    mean = summed(volumes * charge) / safe
    variance = np.maximum(summed(volumes * (charge - mean[owner]) ** 2) / safe, 0.0)
    area, current = _interface(p, np.asarray(u.reaction[k])[:nx], nx, summed)
    return ParticleTable(
        volume=volume[there],
        diameter=(6.0 * volume[there] / np.pi) ** (1 / 3),
        depth=(summed(volumes * depths) / safe)[there],
        area=area[there],
        state_of_charge=mean[there],
        spread=np.sqrt(variance)[there],
        reaction=np.where(area > 0, current / np.where(area > 0, area, 1.0), 0.0)[there],
    )


def _interface(p: Particles, reaction: np.ndarray, nx: int, summed):
    """Reacting area, m2, and current, A, of each particle; what reacts in a voxel counts to its owner."""
    areas = np.asarray(p.area)[:nx]
    return summed(areas), summed(areas * reaction)


def distribution(values: np.ndarray, weights: np.ndarray, along: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Mean and standard deviation of `values` by `weights` in even `bins` of `along`; empty ones are left out.

    **Returns:** arrays by name: `along`, the centres of the bins, `mean`, `deviation` and `share` of the weight.
    """
    low, high = float(along.min()), float(along.max())
    place = np.clip(((along - low) / max(high - low, 1e-300) * bins).astype(int), 0, bins - 1)
    weight = np.bincount(place, weights, bins)
    there = weight > 0
    safe = np.where(there, weight, 1.0)
    mean = np.bincount(place, weights * values, bins) / safe
    variance = np.bincount(place, weights * (values - mean[place]) ** 2, bins) / safe
    centres = low + (np.arange(bins) + 0.5) * (high - low) / bins
    found = {"along": centres, "mean": mean, "deviation": np.sqrt(variance), "share": weight / weight.sum()}
    return {name: x[there] for name, x in found.items()}
