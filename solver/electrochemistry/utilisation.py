"""How much of each particle of a resolved electrode has been used; on the host, without derivatives."""

import dataclasses

import numpy as np

from .resolved import ResolvedCell, Unknowns

BINS = 10  # of depth and of size in a distribution


@dataclasses.dataclass(frozen=True)
class ParticleTable:
    """Particles of one active phase, as far as they take part; arrays of shape (n,).

    **Arguments:** `volume`, m3; `diameter`, m, of a sphere of that volume; `depth`, m, of the centre, from the
    collector; `area`, m2, that reacts, each voxel's counted to its owner; `state_of_charge`, mean of its voxels;
    `spread`, standard deviation of it over its voxels; `reaction`, A/m2, mean over its area.
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


def particle_table(system: ResolvedCell, u: Unknowns, k: int, owner: np.ndarray, end) -> ParticleTable:
    """The [`ParticleTable`][] of active phase `k`.

    **Arguments:** `owner`, for each voxel of its electrode the number of the particle that it belongs to, from 0, in
    the order of the cell; `end`, the stoichiometry of a state of charge of zero.
    """
    p, role, s = system.structure.particles[k], system.active[k], system.structure
    own = slice(s.shape[0] - s.slices[2], None) if p.grounded else slice(None, s.slices[0])
    label, count = np.ravel(owner), int(owner.max()) + 1

    def summed(weight):
        return np.bincount(label, np.ravel(weight), count)

    volumes = np.asarray(p.storage)[own]
    start = float(role.stoichiometry)
    charge = (float(end) - np.asarray(u.filled[k])[own]) / (float(end) - start)
    widths = np.asarray(s.widths)[own]
    places = np.cumsum(widths) - 0.5 * widths
    places = widths.sum() - places if p.grounded else places
    depths = np.broadcast_to(places[:, None, None], volumes.shape)
    volume = summed(volumes)
    there = volume > 0
    safe = np.where(there, volume, 1.0)
    mean = summed(volumes * charge) / safe
    variance = np.maximum(summed(volumes * (charge - mean[owner]) ** 2) / safe, 0.0)
    areas = np.asarray(p.area)[own]
    area, current = summed(areas), summed(areas * np.asarray(u.reaction[k])[own])
    return ParticleTable(
        volume=volume[there],
        diameter=(6.0 * volume[there] / np.pi) ** (1 / 3),
        depth=(summed(volumes * depths) / safe)[there],
        area=area[there],
        state_of_charge=mean[there],
        spread=np.sqrt(variance)[there],
        reaction=np.where(area > 0, current / np.where(area > 0, area, 1.0), 0.0)[there],
    )


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
