"""Figures that a cell designer asks for, per area of one electrode pair."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require

from ..numerics.real import real
from .cell import Cell, Electrode, LithiumMetal, theoretical_capacity


class Densities(eqx.Module):
    """Densities in kg/m3, and foil thicknesses in m.

    **Arguments:** `negative_active`, `positive_active`, `inactive` (carbon and binder, what is neither active nor
    pore), `electrolyte`, `separator` (its solid), `negative_foil`, `positive_foil`, `negative_foil_thickness`,
    `positive_foil_thickness`.

    **Source:** on the line of each default.
    """

    negative_active: Float[Array, ""] = eqx.field(converter=real, default=2260.0)  # graphite, CRC Handbook
    positive_active: Float[Array, ""] = eqx.field(converter=real, default=4750.0)  # NMC, assumed: 4.7 to 4.8e3
    inactive: Float[Array, ""] = eqx.field(converter=real, default=1800.0)  # PVDF 1780, carbon black 1800 to 2000
    electrolyte: Float[Array, ""] = eqx.field(converter=real, default=1200.0)  # 1 M LiPF6 in EC:EMC, assumed
    separator: Float[Array, ""] = eqx.field(converter=real, default=900.0)  # polypropylene and -ethylene
    negative_foil: Float[Array, ""] = eqx.field(converter=real, default=8960.0)  # copper, CRC Handbook
    positive_foil: Float[Array, ""] = eqx.field(converter=real, default=2700.0)  # aluminium, CRC Handbook
    negative_foil_thickness: Float[Array, ""] = eqx.field(converter=real, default=1.2e-5)  # Chen et al. 2020
    positive_foil_thickness: Float[Array, ""] = eqx.field(converter=real, default=1.6e-5)  # Chen et al. 2020


class Casing(eqx.Module):
    """What a cell weighs and takes up beside its stack, as shares of the whole cell; none by default.

    **Arguments:** `mass_share` and `volume_share`, of can or pouch, tabs, and room left empty.
    """

    mass_share: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    volume_share: Float[Array, ""] = eqx.field(converter=real, default=0.0)

    def __check_init__(self):
        require("mass_share", self.mass_share, 0.0, 0.95)
        require("volume_share", self.volume_share, 0.0, 0.95)


class Stack(eqx.Module):
    """One electrode pair, its separator and half of each foil: `mass`, kg/m2, and `thickness`, m; or a cased cell."""

    mass: Float[Array, ""]
    thickness: Float[Array, ""]

    def specific_energy(self, energy) -> Array:
        """J/kg from J/m2; divide by 3600 for Wh/kg."""
        return energy / self.mass

    def energy_density(self, energy) -> Array:
        """J/m3 from J/m2; divide by 3.6e6 for Wh/L."""
        return energy / self.thickness


def stack(cell: Cell, densities: Densities | None = None, casing: Casing | None = None) -> Stack:
    """Mass and thickness per area: mass = sum L [eps_act rho_act + (1 - eps - eps_act) rho_inactive + eps rho_el] + ...

    Electrolyte fills all pores. Half of each foil is counted, since foils are coated on both sides. Lithium metal
    counts its foil only. With a `casing` both are those of the whole cell, as a thickness of the same area.
    """
    d = Densities() if densities is None else densities
    separator = cell.separator
    pores = separator.porosity
    mass = separator.thickness * ((1.0 - pores) * d.separator + pores * d.electrolyte)
    thickness = separator.thickness
    for layer, active in ((cell.negative, d.negative_active), (cell.positive, d.positive_active)):
        if isinstance(layer, Electrode):
            mass = (
                mass
                + coating_mass(layer, active, d.inactive)
                + layer.thickness * jnp.mean(layer.porosity) * d.electrolyte
            )
            thickness = thickness + layer.thickness
    foils = 0.5 * (d.negative_foil * d.negative_foil_thickness + d.positive_foil * d.positive_foil_thickness)
    thickness = thickness + 0.5 * (d.negative_foil_thickness + d.positive_foil_thickness)
    c = Casing() if casing is None else casing
    return Stack(mass=(mass + foils) / (1.0 - c.mass_share), thickness=thickness / (1.0 - c.volume_share))


def areal_capacity(cell: Cell) -> Array:
    """The theoretical capacity of the positive electrode, C/m2, to which 1C refers; over 36000 for mAh/cm2."""
    return theoretical_capacity(cell.positive)


def coating_mass(electrode: Electrode, active_density, inactive_density) -> Array:
    """Dry mass per area of a coating, kg/m2; what is neither active nor pore is carbon and binder."""
    active = sum(jnp.mean(kind.active_fraction) for kind in electrode.classes)
    inactive = jnp.maximum(1.0 - jnp.mean(electrode.porosity) - active, 0.0)
    solid = active * active_density + inactive * inactive_density
    return electrode.thickness * solid


def capacity_retention(capacity, reference) -> Array:
    """The share of a reference capacity that is still delivered, for example at 2C of that at C/10."""
    return capacity / reference


def n_to_p_ratio(cell: Cell, full=None) -> Array:
    """Theoretical capacity of the negative electrode over that of the positive; infinite for lithium metal.

    **Arguments:** `full`, the stoichiometry up to which the negative could be filled, where the charged cell leaves
    some of it empty; by default that of the charged cell.
    """
    if isinstance(cell.negative, LithiumMetal):
        return jnp.asarray(jnp.inf)
    negative = cell.negative
    if full is not None:
        negative = eqx.tree_at(lambda e: e.stoichiometry_full, negative, jnp.asarray(full))
    return theoretical_capacity(negative) / theoretical_capacity(cell.positive)
