"""Insertion materials: what a particle holds, how fast it spreads there, and at what potential."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..numerics.real import real
from .kinetics import InsertionKinetics, arrhenius
from .laws import Constant, Law


class Intercalation(eqx.Module):
    """An insertion material.

    **Arguments:** `maximum_concentration`, mol/m3; `diffusivity`, m2/s; `open_circuit_potential`, a law of the
    stoichiometry, V against lithium; `kinetics`, its exchange-current density; `diffusivity_activation_energy`, J/mol;
    `reference_temperature`, K; `entropic_change`, dU/dT, a law of the stoichiometry, V/K.
    """

    maximum_concentration: Float[Array, ""] = eqx.field(converter=real)
    diffusivity: Float[Array, ""] = eqx.field(converter=real)
    open_circuit_potential: Law
    kinetics: InsertionKinetics
    diffusivity_activation_energy: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    reference_temperature: Float[Array, ""] = eqx.field(converter=real, default=298.15)
    entropic_change: Law = eqx.field(default_factory=lambda: Constant(0.0))

    def potential_at(self, stoichiometry: Array, temperature: Array) -> Array:
        """Open-circuit potential in V at a temperature in K."""
        warmer = temperature - self.reference_temperature
        return self.potential(stoichiometry) + warmer * self.entropic_change(stoichiometry)

    def potential(self, stoichiometry: Array) -> Array:
        """Open-circuit potential in V at the reference temperature, closed off by microvolts where full or empty.

        Fits of tanh and exp level off there, and without it a particle could be filled beyond what it holds.
        """
        width = 1e-3
        empty = jnp.logaddexp(0.0, (width - stoichiometry) / (0.1 * width))
        full = jnp.logaddexp(0.0, (stoichiometry - 1.0 + width) / (0.1 * width))
        return self.open_circuit_potential(stoichiometry) + 0.1 * (empty - full)

    def exchange_current_density(self, concentration: Array, stoichiometry: Array, temperature: Array) -> Array:
        """j0 in A/m2 at an electrolyte concentration in mol/m3, a surface stoichiometry and a temperature in K."""
        factor = arrhenius(self.kinetics.activation_energy, temperature, self.reference_temperature)
        return factor * self.kinetics(concentration, stoichiometry)

    def diffusivity_at(self, temperature: Array) -> Array:
        """Diffusivity in m2/s at a temperature in K."""
        return self.diffusivity * arrhenius(self.diffusivity_activation_energy, temperature, self.reference_temperature)


def sphere_modes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The discrete modes of diffusion in the unit sphere: decay rates and surface values.

    With c = sum_k q_k(t) f_k(r) the Galerkin equations are dq_k/dt = -(D/R^2) m_k q_k - (3 N/R) f_k(1), where N is the
    flux out. The f_k span the even polynomials of degree below 2 `count` and are orthonormal under the mean over the
    sphere; f_0 = 1, so q_0 is the mean and lithium is conserved to rounding. Constants of the method, made by numpy.

    **Returns:** m, shape (count,), ascending with m_0 = 0; f(1), shape (count,).
    """
    rates, values = _sphere_basis(count, np.ones(1))
    return rates, values[0]


def sphere_profile(amplitudes: Array, radii: np.ndarray) -> Array:
    """Concentration at relative radii from modal amplitudes of shape (count, n): shape (len(radii), n)."""
    _, values = _sphere_basis(amplitudes.shape[0], radii)
    return jnp.sum(jnp.asarray(values)[:, :, None] * amplitudes[None], axis=1)


def _sphere_basis(count, radii):
    nodes, weights = np.polynomial.legendre.leggauss(2 * count + 2)
    r, w = 0.5 * (nodes + 1.0), 0.5 * weights

    def even_legendre(x, derivative):
        columns = []
        for k in range(count):
            series = np.polynomial.legendre.Legendre.basis(2 * k)
            columns.append((series.deriv() if derivative else series)(x))
        return np.stack(columns, axis=1)

    values, slopes = even_legendre(r, False), even_legendre(r, True)
    mass = values.T @ (3 * r * r * w * values.T).T
    stiffness = slopes.T @ (3 * r * r * w * slopes.T).T
    factor = np.linalg.inv(np.linalg.cholesky(mass))
    rates, vectors = np.linalg.eigh(factor @ stiffness @ factor.T)
    modes = factor.T @ vectors
    rates[0], modes[:, 0] = 0.0, np.eye(count)[0]
    return rates, even_legendre(np.asarray(radii), False) @ modes
