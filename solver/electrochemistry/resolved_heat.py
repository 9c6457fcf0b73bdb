"""Where a resolved cell makes heat."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .resolved import ResolvedCell, Unknowns
from .resolved_power import Power, power


class Heat(eqx.Module):
    """Heat made in each voxel, W, (nx, ny, nz): `ohmic`, in solid and electrolyte with its diffusion potential,
    `reaction`, of overpotentials, `reversible`, of entropy; that of the contact with the first slice, that of the
    lithium with the last one.

    **Source:** Rao and Newman 1997, doi 10.1149/1.1837884, without heat of mixing, as `solver.cell.heat` has it.
    """

    ohmic: Float[Array, "nx ny nz"]
    reaction: Float[Array, "nx ny nz"]
    reversible: Float[Array, "nx ny nz"]

    @property
    def total(self) -> Float[Array, "nx ny nz"]:
        return self.ohmic + self.reaction + self.reversible


def heat(system: ResolvedCell, u: Unknowns, taken: Power | None = None) -> Heat:
    """The [`Heat`][] of a resolved cell; `taken`, its power, if it is known."""
    taken = power(system, u) if taken is None else taken
    ohmic = taken.ohmic_solid + taken.ohmic_electrolyte + taken.concentration
    reversible = jnp.zeros_like(ohmic)
    for k, (p, j) in enumerate(zip(system.structure.particles, u.reaction, strict=True)):
        surface = jnp.where(p.area > 0, system.surface(k, system.read(k, u), j)[0], 0.5)
        change = system.active[k].material.entropic_change(surface)
        reversible = reversible + system.temperature * p.area * j * change
    return Heat(
        ohmic=ohmic.at[:1].add(taken.contact), reaction=taken.kinetic.at[-1:].add(taken.metal), reversible=reversible
    )
