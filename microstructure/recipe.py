"""How an electrode is made: the recipe, and the volumes and thicknesses that follow from it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .checks import is_concrete, require
from .sizes import Distribution

PARTS = ("active", "carbon", "binder")


def _optional(value):
    return None if value is None else jnp.asarray(value)


class Recipe(eqx.Module):
    """What goes into an electrode and what is done to it.

    **Arguments:** `composition`, shape (3,), masses of active material, carbon and binder; only their ratios count, so
    a derivative in one is at constant ratio of the others; `densities`, shape (3,), kg/m3; `size`, distribution of the
    particle radii, m; `areal_loading`, dry coating, kg/m2; `dried_porosity`, of the film after drying, binder nanopores
    included; `solids_content`, mass of solids over mass of slurry; `solvent_density`, kg/m3; `evaporation`, mass flux
    of solvent, kg/m2/s; `gap`, closest distance of plate and collector in calendering, m; `salt`, concentration in the
    electrolyte, mol/m3; `line_load`, N/m, or `plate_pressure`, Pa, of calendering in place of the gap, which is then
    the smallest that may be.
    """

    size: Distribution
    composition: Float[Array, "3"] = eqx.field(converter=jnp.asarray)
    densities: Float[Array, "3"] = eqx.field(converter=jnp.asarray)
    areal_loading: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    gap: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    dried_porosity: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.5)
    solids_content: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.7)
    solvent_density: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1028.0)  # NMP, 298 K, assumed
    evaporation: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    salt: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1000.0)
    line_load: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    plate_pressure: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)

    def __check_init__(self):
        require("composition", self.composition, 0.0)
        require("densities", self.densities, 100.0, 30000.0, unit="kg/m3")
        require("areal_loading", self.areal_loading, 1e-3, 5.0, unit="kg/m2")
        require("gap", self.gap, 1e-7, 1e-2, unit="m")
        require("dried_porosity", self.dried_porosity, 0.05, 0.95)
        require("solids_content", self.solids_content, 0.01, 0.999)
        require("evaporation", self.evaporation, 0.0, 1.0, unit="kg/m2/s")
        require("salt", self.salt, 1.0, 5000.0, unit="mol/m3")
        if self.line_load is not None and self.plate_pressure is not None:
            raise ValueError("Arguments `line_load` and `plate_pressure` must not both be given. Leave out one.")
        if is_concrete(self.composition) and not float(jnp.sum(self.composition)) > 0:
            raise ValueError("Argument `composition` must have a positive sum, but it is zero.")

    @property
    def mass_fractions(self) -> Float[Array, "3"]:
        """Of active material, carbon and binder in the dry coating."""
        return self.composition / jnp.sum(self.composition)

    @property
    def solid_thickness(self) -> Float[Array, "3"]:
        """Volume of active material, carbon and binder per area, m: loading times mass fraction over density."""
        return self.areal_loading * self.mass_fractions / self.densities

    @property
    def dried_thickness(self) -> Array:
        """Of the film after drying, m: volume of solids per area over (1 - porosity)."""
        return jnp.sum(self.solid_thickness) / (1 - self.dried_porosity)

    def box(self, radii: Float[Array, " n"]) -> Float[Array, "3"]:
        """The box, (thickness, y, z) in m, that holds particles of `radii` at the loading of the dried film.

        The number of particles is fixed, so the loading sets how wide the piece of electrode is.
        """
        side = jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / self.solid_thickness[0])
        return jnp.stack([self.dried_thickness, side, side])
