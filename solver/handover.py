"""What the structure hands to the cell, in one place. The table of it is in `docs/architecture.md`."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure import measure
from microstructure.voxel import Phases
from solver.cell import library
from solver.cell.cell import Cell, Electrode, ParticleClass, balanced_negative, full_at_upper_cutoff
from solver.numerics.real import real


class PhaseProperties(eqx.Module):
    """What the phases are made of, as far as transport goes. All assumed, none measured on the electrode at hand.

    **Arguments:** `active_conductivity` and `binder_conductivity`, electronic, S/m, of active material and of
    carbon-binder with its nanopores; `nanoporosity`, of the carbon-binder; `nanopore_diffusivity`, effective over free
    diffusivity of the electrolyte in them.
    """

    active_conductivity: Float[Array, ""] = eqx.field(converter=real, default=0.01)  # NMC, assumed
    binder_conductivity: Float[Array, ""] = eqx.field(converter=real, default=100.0)  # carbon-binder, assumed
    nanoporosity: Float[Array, ""] = eqx.field(converter=real, default=0.47)  # as the ARTISTIC scripts state it
    nanopore_diffusivity: Float[Array, ""] = eqx.field(converter=real, default=0.2)  # assumed, 0.05 to 0.3 in use

    def of(self, phases: Phases, **values) -> Float[Array, " phases"]:
        """`values` by phase name in the order of `phases`, zero for those not named."""
        return jnp.stack([jnp.asarray(values.get(name, 0.0), jnp.result_type(float)) for name in phases.names])

    def for_electrolyte(self, phases: Phases) -> Float[Array, " phases"]:
        """Relative diffusivity by phase: the electrolyte lives in pores and nanopores."""
        return self.of(phases, pore=1.0, binder=self.nanopore_diffusivity)

    def for_electrons(self, phases: Phases) -> Float[Array, " phases"]:
        """Electronic conductivity by phase, S/m: electrons live in active material and carbon-binder."""
        return self.of(phases, active=self.active_conductivity, binder=self.binder_conductivity)


class Properties(eqx.Module):
    """The electrode as the cell sees it.

    **Arguments:** `thickness`, m; `porosity`, nanopores included; `active_fraction`; `binder_fraction`, nanopores
    included; `specific_area`, of active material against pore or carbon-binder, 1/m; `electrolyte_transport`, effective
    over free diffusivity through the thickness; `electronic_conductivity`, effective, through the thickness, S/m.
    """

    thickness: Array
    porosity: Array
    active_fraction: Array
    binder_fraction: Array
    specific_area: Array
    electrolyte_transport: Array
    electronic_conductivity: Array


def properties(phases: Phases, made_of: PhaseProperties, electrolyte_transport, electronic_conductivity) -> Properties:
    """The [`Properties`][] of a structure whose effective transport is known."""
    float64 = jnp.result_type(float)
    share = dict(zip(phases.names, measure.volume_fractions(phases).astype(float64), strict=True))
    area = dict(zip(phases.names, measure.specific_surface_area(phases).astype(float64), strict=True))
    return Properties(
        thickness=phases.grid.size[0],
        porosity=share["pore"] + made_of.nanoporosity * share["binder"],
        active_fraction=share["active"],
        binder_fraction=share["binder"],
        specific_area=area["active"],
        electrolyte_transport=electrolyte_transport,
        electronic_conductivity=electronic_conductivity,
    )


def electrode(found: Properties) -> Electrode:
    """A positive electrode with the structure of `found` and the electrochemistry of Chen 2020.

    The particle radius is 3 active_fraction / specific_area, so that a sphere of it has the electrode's own area per
    volume and lithium balances.
    """
    chen = library.chen_positive()
    return Electrode(
        thickness=found.thickness,
        porosity=found.porosity,
        active_fraction=found.active_fraction,
        specific_area=found.specific_area,
        particle_radius=3 * found.active_fraction / found.specific_area,
        electrolyte_transport=found.electrolyte_transport,
        electronic_conductivity=found.electronic_conductivity,
        material=chen.material,
        stoichiometry_full=chen.stoichiometry_full,
        stoichiometry_empty=chen.stoichiometry_empty,
    )


def diffusing(electrode: Electrode, radius) -> Electrode:
    """`electrode` with spheres that fill as slowly as its solid does, and that react as fast as its surface does: one
    class of [`sized`][].

    **Arguments:** `radius`, m, from [`solver.transport.uptake.diffusion_radius`][].
    """
    return sized(electrode, (1.0,), (radius,))


def sized(electrode: Electrode, shares, radii) -> Electrode:
    """`electrode` with its active material in classes of spheres that together react as fast as its surface does.

    A class of the share p and the radius R has the area 3 p active_fraction / R, so that lithium balances, and the rate
    constant of all falls or rises by as much as area was gained or lost, so that exchange current per volume stays that
    of the area given.

    **Arguments:** `shares` of the active volume, which add up to one, and `radii`, m, one for each class.

    **Raises:** `ValueError` where the electrode has several classes already.
    """
    if electrode.others:
        raise ValueError(
            f"Argument `electrode` must have one class of particles, but has {1 + len(electrode.others)}. Size its "
            "solid before other classes are added."
        )
    fractions = [share * electrode.active_fraction for share in shares]
    areas = [3.0 * fraction / radius for fraction, radius in zip(fractions, radii, strict=True)]
    rate = electrode.material.kinetics.rate * jnp.mean(electrode.specific_area) / sum(jnp.mean(a) for a in areas)
    material = eqx.tree_at(lambda m: m.kinetics.rate, electrode.material, rate)
    window = electrode.stoichiometry_full, electrode.stoichiometry_empty
    classes = [ParticleClass(*of, material, *window) for of in zip(fractions, areas, radii, strict=True)]
    first, *others = classes
    return dataclasses.replace(
        electrode,
        active_fraction=first.active_fraction,
        specific_area=first.specific_area,
        particle_radius=first.particle_radius,
        material=material,
        others=tuple(others),
    )


class CellDesign(eqx.Module):
    """The cell around the electrode.

    **Arguments:** `n_to_p`, usable areal capacity of negative over positive, at least 1; `lower_cutoff` and
    `upper_cutoff`, V.
    """

    n_to_p: Float[Array, ""] = eqx.field(converter=real, default=1.10)
    lower_cutoff: Float[Array, ""] = eqx.field(converter=real, default=2.5)
    upper_cutoff: Float[Array, ""] = eqx.field(converter=real, default=4.2)


def full_cell(positive: Electrode, salt, design: CellDesign) -> Cell:
    """A full cell against the homogenised graphite-silicon electrode of Chen 2020, charged.

    The negative has `n_to_p` times the usable capacity of the positive, and its excess stays empty: discharged, both
    electrodes are at their empty stoichiometries (2.5 V at rest); charged, the cell is at rest at the upper cut-off. So
    the theoretical capacity between the two is the most that a discharge to 2.5 V can give, and what 1C refers to. With
    the excess filled instead, as the charged negative of Chen 2020 is, the positive would be discharged past its empty
    stoichiometry and give 8 % more at C/2 than its capacity.

    **Arguments:** `salt`, concentration of the electrolyte, mol/m3.
    """
    negative = balanced_negative(library.chen_negative(), positive, design.n_to_p)
    used = (negative.stoichiometry_full - negative.stoichiometry_empty) / design.n_to_p
    negative = eqx.tree_at(lambda e: e.stoichiometry_full, negative, negative.stoichiometry_empty + used)
    cell = Cell(
        negative=negative,
        separator=library.chen_separator(),
        positive=positive,
        electrolyte=library.nyman_electrolyte(salt),
        lower_cutoff=design.lower_cutoff,
        upper_cutoff=design.upper_cutoff,
    )
    return full_at_upper_cutoff(cell, reach=0.25)
