"""Where the voltage of a resolved cell goes, by cause and place, with the names of `solver.cell.losses`.

Local overpotentials are averaged by the current that they drive, so that each part times the current is the power that
it takes (`resolved_power`). The voltage at rest is that at the mean stoichiometry of each active phase; from there to
the surfaces there are two steps, from the mean of the phase to that of each particle and from there to its surface.

**Source:** Nyman, Zavalis, Elger, Behm and Lindbergh 2010, J. Electrochem. Soc. 157, A1236, for the averages by local
current.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .resolved import ResolvedCell, Unknowns
from .resolved_power import power
from .structure import Particles

PLACES = ("negative", "separator", "positive")  # lithium is the negative, as is a second electrode
CAUSES = ("ohmic_solid", "ohmic_electrolyte", "concentration", "kinetic", "solid_diffusion", "uneven_use")


class ResolvedLosses(eqx.Module):
    """The losses at a moment, V, positive where they lower the voltage of a discharge.

    **Arguments:** `open_circuit`, voltage at rest at the mean stoichiometries, active phases averaged by their current;
    `voltage`, at the terminals; `parts`, rows in the order of `CAUSES`, columns in that of `PLACES`; `contact`, between
    the electrode and the terminal.
    """

    open_circuit: Float[Array, ""]
    voltage: Float[Array, ""]
    parts: Float[Array, "6 3"]
    contact: Float[Array, ""]

    @property
    def total(self) -> Array:
        """The sum of all parts, V, which is `open_circuit` - `voltage`."""
        return jnp.sum(self.parts, axis=(-2, -1)) + self.contact


def losses(system: ResolvedCell, u: Unknowns, owners: Sequence[Int[Array, "nx ny nz"]]) -> ResolvedLosses:
    """The losses at the end of a step under a current.

    **Arguments:** `owners`, for each active phase the number of the particle that each voxel belongs to, from 0, shape
    (nx, ny, nz) with the layers of the separator.
    """
    taken, slices = power(system, u), system.structure.slices
    positive, negative = (_particles(system, u, owners, grounded=side) for side in (False, True))
    by_voxel = taken.ohmic_solid, taken.ohmic_electrolyte, taken.concentration
    rows = [_by_place(x, slices) for x in by_voxel]
    rows.append(_by_place(taken.kinetic, slices) + jnp.zeros(3).at[0].set(jnp.sum(taken.metal)))
    nil = jnp.zeros(())
    rows += [jnp.stack([negative[k], nil, positive[k]]) * system.current for k in (1, 2)]
    return ResolvedLosses(
        positive[0] + negative[0],
        u.voltage,
        jnp.stack(rows) / system.current,
        jnp.sum(taken.contact) / system.current,
    )


def _by_place(x: Array, slices: tuple[int, int, int]) -> Float[Array, "3"]:
    """The sums over negative, separator and positive."""
    positive, separator, _ = slices
    ends = x[:positive], x[positive : positive + separator], x[positive + separator :]
    return jnp.stack([jnp.sum(part) for part in ends[::-1]])


def particle_means(particles: Particles, filled: Array, owner: Array) -> Array:
    """The mean stoichiometry of the particle that each voxel belongs to, shape (nx, ny, nz).

    **Arguments:** `owner`, numbers from 0, below the number of voxels.
    """
    room, label = particles.storage.size, jnp.ravel(owner)

    def summed(x):
        return jax.ops.segment_sum(jnp.ravel(x), label, num_segments=room)

    volume, content = summed(particles.storage), summed(particles.storage * filled)
    mean = jnp.where(volume > 0, content / jnp.where(volume > 0, volume, 1.0), 0.5)
    return jnp.reshape(mean[label], filled.shape)


def _particles(system: ResolvedCell, u: Unknowns, owners, *, grounded: bool) -> tuple[Array, Array, Array]:
    """What one electrode adds to the voltage at rest, V, what is lost from the means of its particles to their
    surfaces, and by uneven use."""
    overall, at_means, at_surfaces = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
    for k, (p, j, owner) in enumerate(zip(system.structure.particles, u.reaction, owners, strict=True)):
        if p.grounded != grounded:
            continue
        material, weight = system.active[k].material, -p.area * j / system.current

        def averaged(x, material=material, weight=weight, there=p.area > 0):
            potential = material.potential_at(jnp.where(there, x, 0.5), system.temperature)
            return jnp.sum(jnp.where(there, weight * potential, 0.0))

        mean = jnp.sum(p.storage * u.filled[k]) / jnp.sum(p.storage)
        overall = overall + jnp.sum(weight) * material.potential_at(mean, system.temperature)
        at_means = at_means + averaged(p.solid.read(particle_means(p, u.filled[k], owner), system.structure.periodic))
        at_surfaces = at_surfaces + averaged(system.surface(k, system.read(k, u), j)[0])
    return overall, at_means - at_surfaces, overall - at_means
