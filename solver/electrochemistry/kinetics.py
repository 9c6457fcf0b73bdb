"""Charge transfer between an electrode and the electrolyte."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.units import faraday, gas_constant

from ..numerics.real import real


def smooth_positive(x: Array, width: float) -> Array:
    """x where x is well above `width`, and a small positive number below: (x + sqrt(x^2 + 4 width^2)) / 2."""
    root = jnp.sqrt(x * x + 4.0 * width * width)
    # The same below zero, where the sum would be lost to rounding.
    return jnp.where(x > 0, 0.5 * (x + root), 2.0 * width * width / (root + jnp.abs(x)))


def arrhenius(activation_energy: Array, temperature: Array, reference_temperature: Array) -> Array:
    """exp(E/R (1/T_ref - 1/T)), the factor of a thermally activated coefficient; E in J/mol, temperatures in K."""
    return jnp.exp(activation_energy / gas_constant * (1.0 / reference_temperature - 1.0 / temperature))


class InsertionKinetics(eqx.Module):
    """Exchange-current density of insertion, j0 = F k sqrt((c/c_ref) x (1 - x)), with equal transfer coefficients.

    **Arguments:** `rate`, k in mol/m2/s; `reference_concentration`, c_ref in mol/m3; `activation_energy`, J/mol.

    **Source:** Doyle, Fuller and Newman 1993, doi 10.1149/1.2221597, in the normalisation of the BPX standard 0.1.
    """

    rate: Float[Array, ""] = eqx.field(converter=real)
    reference_concentration: Float[Array, ""] = eqx.field(converter=real, default=1000.0)
    activation_energy: Float[Array, ""] = eqx.field(converter=real, default=0.0)

    def __call__(self, concentration: Array, stoichiometry: Array) -> Array:
        """j0 in A/m2 at the reference temperature; it stays positive beyond full and empty, by a floor of 1e-6."""
        occupied = smooth_positive(stoichiometry, 1e-6)
        vacant = smooth_positive(1.0 - stoichiometry, 1e-6)
        return faraday * self.rate * jnp.sqrt(concentration / self.reference_concentration * occupied * vacant)


class MetalKinetics(eqx.Module):
    """Exchange-current density of lithium metal, j0 = j_ref (c/c_ref)^n.

    **Arguments:** `exchange_current_density`, j_ref in A/m2; `exponent`, n; `reference_concentration`, c_ref in mol/m3.
    """

    exchange_current_density: Float[Array, ""] = eqx.field(converter=real)
    exponent: Float[Array, ""] = eqx.field(converter=real, default=0.5)
    reference_concentration: Float[Array, ""] = eqx.field(converter=real, default=1000.0)

    def __call__(self, concentration: Array) -> Array:
        """j0 in A/m2."""
        return self.exchange_current_density * (concentration / self.reference_concentration) ** self.exponent


def overpotential(current: Array, exchange_current: Array, thermal_voltage: Array) -> Array:
    """The Butler-Volmer overpotential, eta = 2 RT/F asinh(j / (2 j0)), in V.

    **Arguments:** `current`, j in A/m2, positive for oxidation; `exchange_current`, j0; `thermal_voltage`, RT/F in V.

    **Source:** Newman and Thomas-Alyea 2004, Electrochemical Systems, equation 8.24 with both coefficients one half.
    """
    return 2.0 * thermal_voltage * jnp.arcsinh(0.5 * current / exchange_current)
