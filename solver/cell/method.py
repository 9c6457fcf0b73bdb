"""Which model of the cell: porous electrodes, or single particles with or without the electrolyte."""

import equinox as eqx
from jaxtyping import Array

from ..numerics.march import March
from .cell import Cell
from .discretise import Mesh, build
from .porous import PorousCell
from .single_particle import SingleParticle, single_particle


class DFN(eqx.Module):
    """The porous-electrode model with concentrated electrolyte and spherical particles.

    **Arguments:** `mesh`, a [`Mesh`][]; `march`, how time is stepped.

    **Source:** Doyle, Fuller and Newman 1993, doi 10.1149/1.2221597.
    """

    mesh: Mesh = eqx.field(default_factory=Mesh)
    march: March = eqx.field(default_factory=March)

    def system(self, cell: Cell, current: Array) -> PorousCell:
        """`cell` under `current` in A/m2, positive on discharge."""
        return build(cell, current, self.mesh)


class SPMe(eqx.Module):
    """The single-particle model with electrolyte: the reaction is even through each electrode, the salt is not.

    One particle for each class of an electrode; the salt by its diffusion on the mesh, D at the local concentration;
    the voltage with averaged kinetics and the ohmic and diffusion losses of the even reaction, kappa at the local
    concentration. The error in the voltage is of second order in the current where potentials are straight in the
    stoichiometry; over real ones it falls more slowly (docs/cell.md).

    **Arguments:** `mesh`, of the salt, and the modes in each particle; `march`, how time is stepped.

    **Source:** Marquis et al. 2019, doi 10.1149/2.0341915jes; Brosa Planella, Sheikh and Widanage 2021,
    doi 10.1016/j.electacta.2021.138524.
    """

    mesh: Mesh = eqx.field(default_factory=Mesh)
    march: March = eqx.field(default_factory=March)

    def system(self, cell: Cell, current: Array) -> SingleParticle:
        """`cell` under `current` in A/m2, positive on discharge."""
        return single_particle(cell, current, self.mesh, polarised=True)


class SPM(eqx.Module):
    """The single-particle model: one particle for each class of an electrode, no loss in electrolyte and solid.

    **Arguments:** `modes`, in each particle; `march`, how time is stepped.

    **Source:** Marquis et al. 2019, doi 10.1149/2.0341915jes, the leading order.
    """

    modes: int = eqx.field(static=True, default=14)
    march: March = eqx.field(default_factory=March)

    @property
    def mesh(self) -> Mesh:
        """One cell in each layer: the salt stays as it is."""
        return Mesh(1, 1, 1, self.modes)

    def system(self, cell: Cell, current: Array) -> SingleParticle:
        """`cell` under `current` in A/m2, positive on discharge."""
        return single_particle(cell, current, self.mesh, polarised=False)


Method = DFN | SPMe | SPM
