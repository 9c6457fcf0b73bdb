"""The electrolyte: a binary salt in concentrated solution."""

import equinox as eqx
from jaxtyping import Array, Float

from ..numerics.real import real
from .kinetics import arrhenius, smooth_positive, thermal_voltage
from .laws import Law

_FLOOR = 1e-3  # mol/m3, below which transport coefficients stop following the concentration: no salt, no singularity


class Electrolyte(eqx.Module):
    """Transport of a binary salt: N = -D grad c + t+ i/F and i = kappa (-grad phi + 2 RT/F (1 - t+) X grad ln c).

    **Arguments:** `initial_concentration`, mol/m3; `diffusivity` and `conductivity`, laws of the concentration in
    mol/m3, in m2/s and S/m; `transference_number`, t+; `thermodynamic_factor`, X = 1 + dln f/dln c;
    `diffusivity_activation_energy` and `conductivity_activation_energy`, J/mol; `reference_temperature`, K.

    **Source:** Newman and Thomas-Alyea 2004, Electrochemical Systems, chapter 12, isbn 978-0471477563.
    """

    initial_concentration: Float[Array, ""] = eqx.field(converter=real)
    diffusivity: Law
    conductivity: Law
    transference_number: Float[Array, ""] = eqx.field(converter=real)
    thermodynamic_factor: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    diffusivity_activation_energy: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    conductivity_activation_energy: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    reference_temperature: Float[Array, ""] = eqx.field(converter=real, default=298.15)

    def diffusion_potential(self, temperature: Array) -> Array:
        """2 (1 - t+) X RT/F, V for each unit of ln c, at a temperature in K."""
        return 2.0 * (1.0 - self.transference_number) * self.thermodynamic_factor * thermal_voltage(temperature)

    def transport(self, concentration: Array, temperature: Array) -> tuple[Array, Array]:
        """Diffusivity in m2/s and conductivity in S/m of the free electrolyte at a concentration in mol/m3."""
        c = smooth_positive(concentration, _FLOOR)
        diffusivity = self.diffusivity(c) * arrhenius(
            self.diffusivity_activation_energy, temperature, self.reference_temperature
        )
        conductivity = self.conductivity(c) * arrhenius(
            self.conductivity_activation_energy, temperature, self.reference_temperature
        )
        return diffusivity, conductivity
