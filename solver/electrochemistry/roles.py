"""What each phase of a structure does in a cell: conduct electrons, let ions through, hold lithium."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require

from ..numerics.real import real
from .intercalation import Intercalation
from .laws import Constant, Law


def _optional(value):
    return None if value is None else real(value)


class Role(eqx.Module):
    """What a phase does. `None` is what it does not do, and is decided before anything is computed.

    **Arguments:** `conductivity`, of electrons, S/m; `porosity`, share of the phase that is electrolyte; `transport`,
    its effective over free diffusivity; `material`, which it intercalates into; `stoichiometry`, of it at the start;
    `spreading`, a law of the stoichiometry that multiplies the material's diffusivity.
    """

    conductivity: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    porosity: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    transport: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    material: Intercalation | None = None
    stoichiometry: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    spreading: Law = eqx.field(default_factory=lambda: Constant(1.0))

    def __check_init__(self):
        if (self.porosity is None) != (self.transport is None):
            raise ValueError("Arguments `porosity` and `transport` of a phase must both be given or neither.")
        if self.material is not None and (self.conductivity is None or self.stoichiometry is None):
            raise ValueError("An active phase needs a `conductivity` and a `stoichiometry`.")
        if self.material is not None and self.porosity is not None:
            raise ValueError("An active phase holds no electrolyte: give its pores as a phase of their own.")
        for name, value, low, high, unit in (
            ("conductivity", self.conductivity, 1e-12, 1e9, "S/m"),
            ("porosity", self.porosity, 1e-6, 1.0, ""),
            ("transport", self.transport, 1e-12, 1.0, ""),
            ("stoichiometry", self.stoichiometry, 0.0, 1.0, ""),
        ):
            if value is not None:
                require(name, value, low, high, unit=unit)

    @property
    def electrons(self) -> bool:
        return self.conductivity is not None

    @property
    def ions(self) -> bool:
        return self.transport is not None

    def diffusivity(self, stoichiometry: Array, temperature: Array) -> Array:
        """Of lithium in the material, m2/s."""
        return self.material.diffusivity_at(temperature) * self.spreading(jnp.clip(stoichiometry, 0.0, 1.0))


def active(material: Intercalation, stoichiometry, conductivity) -> Role:
    """Particles of an insertion material, at a `stoichiometry`, with an electronic `conductivity` in S/m."""
    return Role(conductivity=conductivity, material=material, stoichiometry=stoichiometry)


def pores() -> Role:
    """Pores full of free electrolyte."""
    return Role(porosity=1.0, transport=1.0)


def carbon_binder(conductivity=100.0, porosity=0.47, transport=0.2) -> Role:
    """Carbon-binder with nanopores; the values, S/m and shares, are those of `solver.handover`."""
    return Role(conductivity=conductivity, porosity=porosity, transport=transport)


def inert() -> Role:
    """A phase that takes no part."""
    return Role()
