"""The particles of an electrode on the mesh: diffusion eliminated from a time step, and potential at the surface."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.units import faraday, gas_constant

from ..electrochemistry.intercalation import Intercalation, sphere_modes
from ..electrochemistry.kinetics import overpotential, smooth_positive


class Particles(eqx.Module):
    """One class of particles in the cells of an electrode.

    **Arguments:** `area`, reacting area of a cell per electrode area, a h, shape (count,); `radius`, R, shape (count,),
    m; `gain`, 3 / (F R c_max), stoichiometry per A/m2 and s, shape (count,); `material`;
    `electrode`, its number; `first`, index of its first cell; `count`, of its cells; `modes`, in each.
    """

    area: Float[Array, " count"]
    radius: Float[Array, " count"]
    gain: Float[Array, " count"]
    material: Intercalation
    electrode: int = eqx.field(static=True)
    first: int = eqx.field(static=True)
    count: int = eqx.field(static=True)
    modes: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Modal amplitudes of all cells."""
        return self.modes * self.count

    def local(self, values: Array) -> Array:
        """The entries of the electrode's cells, of values on the whole mesh."""
        return values[self.first : self.first + self.count]

    def surface_values(self) -> Array:
        """The modes at the surface, shape (modes, 1)."""
        return jnp.asarray(sphere_modes(self.modes)[1])[:, None]

    def _slowed(self, gamma: Array, temperature: Array) -> Array:
        """1 + gamma D m_k / R^2, shape (modes, count)."""
        rates = jnp.asarray(sphere_modes(self.modes)[0])[:, None]
        return 1.0 + gamma * rates * self.material.diffusivity_at(temperature) / self.radius**2

    def surface(self, past: Array, gamma: Array, temperature: Array) -> tuple[Array, Array]:
        """alpha and beta, shape (count,), of the surface stoichiometry alpha - beta j after a step."""
        shape = self.surface_values() / self._slowed(gamma, temperature)
        beta = gamma * self.gain * jnp.sum(self.surface_values() * shape, axis=0)
        return jnp.sum(shape * past, axis=0), beta

    def relaxed(self, gamma: Array, temperature: Array) -> Array:
        """What a step leaves of each amplitude, shape (modes, count)."""
        return 1.0 / self._slowed(gamma, temperature)

    def amplitudes(self, past: Array, gamma: Array, current: Array, temperature: Array) -> Array:
        """Modal amplitudes after a step, shape (modes, count)."""
        supply = gamma * self.gain * self.surface_values() * current[None]
        return (past - supply) / self._slowed(gamma, temperature)

    def equilibrium(self, concentration: Array, current: Array, surface: Array, temperature: Array) -> Array:
        """The phi_s - phi_e at which `current` flows, U(x, T) + eta(j, c, x, T), in V."""
        return self.material.potential_at(surface, temperature) + self.overpotential(
            concentration, current, surface, temperature
        )

    def overpotential(self, concentration: Array, current: Array, surface: Array, temperature: Array) -> Array:
        """eta(j, c, x, T), in V."""
        salt = smooth_positive(concentration, 0.1)
        exchange = self.material.exchange_current_density(salt, surface, temperature)
        return overpotential(current, exchange, gas_constant * temperature / faraday)
