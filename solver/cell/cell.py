"""The cell as values: electrodes, separator, electrolyte, cut-offs."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require
from microstructure.units import faraday

from ..electrochemistry.electrolyte import Electrolyte
from ..electrochemistry.intercalation import Intercalation
from ..electrochemistry.kinetics import MetalKinetics
from ..numerics.real import real


def _optional(value):
    return None if value is None else real(value)


def _check_double_layer(value):
    if value is not None:
        require("double_layer", value, 1e-9, 1e4, unit="F/m2", hint="`None` is a surface without a double layer.")


class ParticleClass(eqx.Module):
    """Particles of one size and material in an electrode: a size class of a distribution, or one part of a blend.

    **Arguments:** `active_fraction`, share of the electrode's volume; `specific_area`, reacting area per volume of the
    electrode, 1/m; `particle_radius`, m; `material`; `stoichiometry_full` and `stoichiometry_empty`, of the charged
    and of the discharged cell. The first three may be profiles, as in [`Electrode`][].
    """

    active_fraction: Float[Array, "..."] = eqx.field(converter=real)
    specific_area: Float[Array, "..."] = eqx.field(converter=real)
    particle_radius: Float[Array, "..."] = eqx.field(converter=real)
    material: Intercalation
    stoichiometry_full: Float[Array, ""] = eqx.field(converter=real)
    stoichiometry_empty: Float[Array, ""] = eqx.field(converter=real)

    def __check_init__(self):
        require("active_fraction", self.active_fraction, 1e-6, 1.0)
        require("specific_area", self.specific_area, 1.0, 1e12, unit="1/m")
        require("particle_radius", self.particle_radius, 1e-10, 1e-2, unit="m")
        require("stoichiometry_full", self.stoichiometry_full, 0.0, 1.0)
        require("stoichiometry_empty", self.stoichiometry_empty, 0.0, 1.0)


class Electrode(eqx.Module):
    """A porous insertion electrode, homogenised over its thickness or graded through it.

    **Arguments:** `thickness`, m; `porosity`, pore volume filled by electrolyte, binder nanopores included, as a share
    of the volume; `active_fraction`, share of active material; `specific_area`, reacting area per volume, 1/m;
    `particle_radius`, m; `electrolyte_transport`, effective over free diffusivity, porosity over tortuosity factor;
    `electronic_conductivity`, effective, S/m; `material`; `stoichiometry_full` and `stoichiometry_empty`, of the
    charged and of the discharged cell; `others`, further [`ParticleClass`][]es in the same pores; `double_layer`,
    capacitance per reacting area, F/m2, or `None` for a surface without.

    Porosity, fraction, area, radius, transport and conductivity are scalars, or profiles: shape (k,), the means over k
    slabs of equal thickness, in the direction of x, from the negative collector to the positive one.

    Lithium balances in a sphere model when `specific_area` is 3 `active_fraction` / `particle_radius`; they are
    separate so that each has its own derivative.
    """

    thickness: Float[Array, ""] = eqx.field(converter=real)
    porosity: Float[Array, "..."] = eqx.field(converter=real)
    active_fraction: Float[Array, "..."] = eqx.field(converter=real)
    specific_area: Float[Array, "..."] = eqx.field(converter=real)
    particle_radius: Float[Array, "..."] = eqx.field(converter=real)
    electrolyte_transport: Float[Array, "..."] = eqx.field(converter=real)
    electronic_conductivity: Float[Array, "..."] = eqx.field(converter=real)
    material: Intercalation
    stoichiometry_full: Float[Array, ""] = eqx.field(converter=real)
    stoichiometry_empty: Float[Array, ""] = eqx.field(converter=real)
    others: tuple[ParticleClass, ...] = ()
    double_layer: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)

    def __check_init__(self):
        _check_double_layer(self.double_layer)
        require("thickness", self.thickness, 1e-9, 1e-2, unit="m")
        require("porosity", self.porosity, 1e-6, 1.0)
        require("active_fraction", self.active_fraction, 1e-6, 1.0)
        require("specific_area", self.specific_area, 1.0, 1e12, unit="1/m")
        require("particle_radius", self.particle_radius, 1e-10, 1e-2, unit="m")
        require("electrolyte_transport", self.electrolyte_transport, 1e-12, 1.0)
        require("electronic_conductivity", self.electronic_conductivity, 1e-12, 1e9, unit="S/m")
        require("stoichiometry_full", self.stoichiometry_full, 0.0, 1.0)
        require("stoichiometry_empty", self.stoichiometry_empty, 0.0, 1.0)

    @property
    def classes(self) -> tuple[ParticleClass, ...]:
        """All classes of particles, its own first."""
        own = ParticleClass(
            self.active_fraction,
            self.specific_area,
            self.particle_radius,
            self.material,
            self.stoichiometry_full,
            self.stoichiometry_empty,
        )
        return own, *self.others


class LithiumMetal(eqx.Module):
    """A flat electrode of lithium metal, potential zero: the counter electrode of a half-cell.

    **Arguments:** `kinetics`, its exchange-current density on the geometric area; `double_layer`, capacitance per area
    of the cell, F/m2, or `None`: impedance knows it, and in time the surface follows at once.
    """

    kinetics: MetalKinetics
    double_layer: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)

    def __check_init__(self):
        _check_double_layer(self.double_layer)


class Separator(eqx.Module):
    """A porous separator: `thickness`, m; `porosity`; `electrolyte_transport`, effective over free diffusivity."""

    thickness: Float[Array, ""] = eqx.field(converter=real)
    porosity: Float[Array, ""] = eqx.field(converter=real)
    electrolyte_transport: Float[Array, ""] = eqx.field(converter=real)

    def __check_init__(self):
        require("thickness", self.thickness, 1e-9, 1e-2, unit="m")
        require("porosity", self.porosity, 1e-6, 1.0)
        require("electrolyte_transport", self.electrolyte_transport, 1e-12, 1.0)


class Thermal(eqx.Module):
    """C dT/dt = q - h (T - T_ambient), all per electrode area.

    **Arguments:** `heat_capacity`, C, J/m2/K; `cooling`, h, W/m2/K of electrode area: coefficient times cooled surface
    over electrode area; `ambient`, K.
    """

    heat_capacity: Float[Array, ""] = eqx.field(converter=real)
    cooling: Float[Array, ""] = eqx.field(converter=real)
    ambient: Float[Array, ""] = eqx.field(converter=real, default=298.15)

    def __check_init__(self):
        require("heat_capacity", self.heat_capacity, 1e-3, 1e9, unit="J/m2/K")
        require("cooling", self.cooling, 0.0, 1e9, unit="W/m2/K")
        require("ambient", self.ambient, 200.0, 400.0, unit="K")


class Cell(eqx.Module):
    """A cell, or a half-cell where `negative` is [`LithiumMetal`][].

    **Arguments:** `negative`, `separator`, `positive`, `electrolyte`; `temperature`, K, uniform, constant without a
    thermal model; `area`, of all electrode pairs together, m2; `lower_cutoff` and `upper_cutoff`, V;
    `contact_resistance`, of all contacts of electrons in series, ohm m2; `thermal`, the lumped thermal model, without
    which the temperature stays.
    """

    negative: Electrode | LithiumMetal
    separator: Separator
    positive: Electrode
    electrolyte: Electrolyte
    temperature: Float[Array, ""] = eqx.field(converter=real, default=298.15)
    area: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    lower_cutoff: Float[Array, ""] = eqx.field(converter=real, default=2.5)
    upper_cutoff: Float[Array, ""] = eqx.field(converter=real, default=4.2)
    contact_resistance: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    thermal: Thermal | None = None

    def __check_init__(self):
        if isinstance(self.negative, Electrode) and (self.negative.double_layer is None) != (
            self.positive.double_layer is None
        ):
            raise ValueError("Argument `double_layer` must be given for both porous electrodes or for neither.")
        require("contact_resistance", self.contact_resistance, 0.0, 10.0, unit="ohm m2")
        require("temperature", self.temperature, 200.0, 400.0, unit="K")
        require("area", self.area, 0.0, unit="m2")
        require("lower_cutoff", self.lower_cutoff, 0.0, 6.0, unit="V")
        require("upper_cutoff", self.upper_cutoff, 0.0, 6.0, unit="V")


def theoretical_capacity(electrode: Electrode) -> Array:
    """Charge per area between full and empty, F c_max eps_act L |x_full - x_empty| over all classes, in C/m2."""
    return sum(_content(kind, electrode) * _window(kind) for kind in electrode.classes)


def _content(kind: ParticleClass, electrode: Electrode) -> Array:
    """Charge per area of all sites of a class, C/m2."""
    return faraday * kind.material.maximum_concentration * jnp.mean(kind.active_fraction) * electrode.thickness


def _window(kind) -> Array:
    return jnp.abs(kind.stoichiometry_full - kind.stoichiometry_empty)


def balanced_negative(negative: Electrode, positive: Electrode, n_to_p) -> Electrode:
    """`negative` with the thickness that gives its theoretical capacity `n_to_p` times that of `positive`."""
    scale = n_to_p * theoretical_capacity(positive) / theoretical_capacity(negative)
    return eqx.tree_at(lambda e: e.thickness, negative, negative.thickness * scale)


def stoichiometry_at(electrode: Electrode | ParticleClass, state_of_charge) -> Array:
    """The stoichiometry at a state of charge between 0 (empty) and 1 (full)."""
    full, empty = electrode.stoichiometry_full, electrode.stoichiometry_empty
    return empty + state_of_charge * (full - empty)


def stoichiometries_at(cell: Cell, state_of_charge) -> list[Array]:
    """Of all classes of particles, from the negative collector on. Those of a blend follow their own windows in
    proportion; between full and empty they then differ in potential, and share lithium when at rest."""
    electrodes = [layer for layer in (cell.negative, cell.positive) if isinstance(layer, Electrode)]
    return [stoichiometry_at(kind, state_of_charge) for electrode in electrodes for kind in electrode.classes]


def open_circuit_voltage(cell: Cell, state_of_charge=1.0) -> Array:
    """Voltage at rest, U_p - U_n, in V."""
    voltage = cell.positive.material.potential(stoichiometry_at(cell.positive, state_of_charge))
    if isinstance(cell.negative, Electrode):
        voltage = voltage - cell.negative.material.potential(stoichiometry_at(cell.negative, state_of_charge))
    return voltage


def full_at_upper_cutoff(cell: Cell, reach: float = 0.1) -> Cell:
    """`cell` with its full state moved, at constant lithium, to where the voltage at rest is the upper cut-off.

    Charge q leaves one electrode, or lithium metal, for the other: stoichiometries move by q over F c_max eps_act L.
    Found by bisection within `reach` of the theoretical capacity; the derivative is that of the root, by one Newton
    step.
    """
    sides = [side for side in ("negative", "positive") if isinstance(getattr(cell, side), Electrode)]
    electrodes = tuple(getattr(cell, side) for side in sides)
    held = lax.stop_gradient(electrodes)
    capacity = theoretical_capacity(held[-1])

    def moved(charge, *electrodes):
        """The full stoichiometries once `charge` has left the negative electrode, or the lithium, for the positive."""
        steps = [charge * _window(e) / theoretical_capacity(e) for e in electrodes]
        signs = {"negative": -1.0, "positive": 1.0}
        parts = zip(sides, electrodes, steps, strict=True)
        return tuple(e.stoichiometry_full + signs[side] * step for side, e, step in parts)

    def above(charge, *electrodes):
        potential = [e.material.potential(x) for e, x in zip(electrodes, moved(charge, *electrodes), strict=True)]
        return potential[-1] - sum(potential[:-1]) - cell.upper_cutoff

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        up = lax.stop_gradient(above(middle, *held)) > 0
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    ends = lax.stop_gradient(jax.jit(lambda: lax.fori_loop(0, 60, halve, (-reach * capacity, reach * capacity)))())
    charge = 0.5 * (ends[0] + ends[1])
    slope = lax.stop_gradient(jax.grad(above)(charge, *held))
    lacking = above(charge, *electrodes)
    # Zero in value, so that what is not found within `reach` stays where the bisection left it.
    charge = charge - (lacking - lax.stop_gradient(lacking)) / slope
    full = moved(charge, *electrodes)
    return eqx.tree_at(lambda c: [getattr(c, side).stoichiometry_full for side in sides], cell, full)


def covered(cell: Cell, negative, positive) -> Cell:
    """`cell` with double layers of these capacitances on its electrodes, F/m2 of their surface, or `None`."""
    sides = (cell.negative, negative), (cell.positive, positive)
    below, above = (dataclasses.replace(side, double_layer=capacitance) for side, capacitance in sides)
    return dataclasses.replace(cell, negative=below, positive=above)


def warmed(cell: Cell, thermal: Thermal) -> Cell:
    """`cell` with a thermal model, at its ambient temperature."""
    return eqx.tree_at(
        lambda c: (c.thermal, c.temperature), cell, (thermal, thermal.ambient), is_leaf=lambda x: x is None
    )
