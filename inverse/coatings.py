"""A cell as its coatings: a design that a coater and a calender make, with their errors as leaves, zero by design."""

import dataclasses
import operator

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require
from microstructure.units import faraday
from solver.cell.cell import Cell, Electrode, full_at_upper_cutoff, theoretical_capacity
from solver.numerics.real import real

from .space import Leaf

BRUGGEMAN = 1.5  # exponent of the porosity in the effective transport, Chen et al. 2020, doi 10.1149/1945-7111/ab9050


class Coating(eqx.Module):
    """One side of an electrode as it is made.

    **Arguments:** `thickness`, m, and `porosity`, by design; `particle_radius`, m; what making adds: `heavier`, the
    share by which the loading of solids exceeds that of the design, and `thicker`, m, by which the calender leaves the
    coating thicker. Pores take up what both leave: porosity = 1 - (1 - porosity by design) (1 + heavier) L / (L +
    thicker).
    """

    thickness: Float[Array, ""] = eqx.field(converter=real)
    porosity: Float[Array, ""] = eqx.field(converter=real)
    particle_radius: Float[Array, ""] = eqx.field(converter=real)
    heavier: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    thicker: Float[Array, ""] = eqx.field(converter=real, default=0.0)

    def __check_init__(self):
        require("thickness", self.thickness, 1e-9, 1e-2, unit="m")
        require("porosity", self.porosity, 1e-6, 1.0)
        require("particle_radius", self.particle_radius, 1e-10, 1e-2, unit="m")

    def put_on(self, electrode: Electrode) -> Electrode:
        """`electrode` with this geometry: the solids mixed as in it, spheres, Bruggeman's law for the pores."""
        thickness = self.thickness + self.thicker
        solid = (1.0 - self.porosity) * (1.0 + self.heavier) * self.thickness / thickness
        active = solid * electrode.active_fraction / (1.0 - electrode.porosity)
        return dataclasses.replace(
            electrode,
            thickness=thickness,
            porosity=1.0 - solid,
            active_fraction=active,
            specific_area=3.0 * active / self.particle_radius,
            particle_radius=self.particle_radius,
            electrolyte_transport=(1.0 - solid) ** BRUGGEMAN,
        )


class Coatings(eqx.Module):
    """The two coatings of a cell."""

    negative: Coating
    positive: Coating

    @property
    def by_design(self) -> "Coatings":
        """The same without what making adds to loading and thickness."""
        errors = lambda c: (c.negative.heavier, c.negative.thicker, c.positive.heavier, c.positive.thicker)  # noqa: E731
        return eqx.tree_at(errors, self, tuple(map(jnp.zeros_like, errors(self))))


def leaf(side: str, name: str) -> Leaf:
    """The leaf `name` of one side, `negative` or `positive`: for variables and deviations."""
    return Leaf(operator.attrgetter(f"{side}.{name}"))


def coatings_of(cell: Cell) -> Coatings:
    """The coatings that a cell has."""
    return Coatings(*(Coating(e.thickness, e.porosity, e.particle_radius) for e in (cell.negative, cell.positive)))


def coated(coatings: Coatings, cell: Cell) -> Cell:
    """`cell` with other coatings, charged to its upper cut-off at rest.

    Discharged, both electrodes are at their empty stoichiometries, so that what the negative has in excess stays empty.
    """
    negative, positive = coatings.negative.put_on(cell.negative), coatings.positive.put_on(cell.positive)
    charge = theoretical_capacity(positive)
    sites = faraday * negative.material.maximum_concentration * negative.active_fraction * negative.thickness
    charged = negative.stoichiometry_empty + charge / sites
    negative = eqx.tree_at(lambda e: e.stoichiometry_full, negative, charged)
    return full_at_upper_cutoff(dataclasses.replace(cell, negative=negative, positive=positive), reach=0.25)


def n_to_p(coatings: Coatings, cell: Cell) -> Array:
    """Usable capacity of the negative, between the full and empty stoichiometries of `cell`, over that of the positive
    of the charged cell."""
    made = coated(coatings, cell)
    most = eqx.tree_at(lambda e: e.stoichiometry_full, made.negative, cell.negative.stoichiometry_full)
    return theoretical_capacity(most) / theoretical_capacity(made.positive)
