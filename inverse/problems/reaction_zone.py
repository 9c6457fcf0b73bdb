"""An electrode design with a known answer: the ohmically limited reaction-zone electrode."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inverse.problem import Problem
from inverse.space import Space


class ReactionZone(eqx.Module):
    """An electrode in which a sharp reaction zone moves away from the separator, limited by the electrolyte.

    Discharged in time t at the current i = q (1 - eps) L / t, the mean voltage is V = U - i L / (2 kappa eps^b). The
    energy per area q (1 - eps) L V is largest at eps = b / (1 + b) and L = sqrt(2 kappa eps^b U t / (3 q (1 - eps))),
    where V = 2 U / 3.

    **Arguments:** `porosity`, eps; `thickness`, L, m; `exponent`, b of Bruggeman; `conductivity`, kappa, S/m; `charge`,
    q, of the solid, C/m3; `time`, t, s; `voltage`, U, V.

    **Source:** derived from the assumptions of Newman 1995, doi 10.1149/1.2043956: fast kinetics, no concentration
    gradients, a solid that conducts well.
    """

    porosity: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    thickness: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    exponent: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.5)
    conductivity: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    charge: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=2e9)
    time: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3600.0)
    voltage: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3.8)

    @property
    def mean_voltage(self) -> Array:
        """Mean voltage of the discharge, V."""
        current = self.charge * (1 - self.porosity) * self.thickness / self.time
        return self.voltage - current * self.thickness / (2 * self.conductivity * self.porosity**self.exponent)

    @property
    def energy(self) -> Array:
        """Energy per area, J/m2."""
        return self.charge * (1 - self.porosity) * self.thickness * self.mean_voltage


class ReactionZoneProblem(Problem):
    """The largest energy per area of a [`ReactionZone`][], which is the base of `space`. It has no randomness."""

    space: Space

    def prepare(self, x: Float[Array, " n"], seed: int) -> None:
        """Nothing to draw."""

    def value(self, x: Float[Array, " n"], sample: None) -> Array:
        """Energy per area, J/m2."""
        return self.space(x).energy

    @eqx.filter_jit
    def value_and_grad(self, x: Float[Array, " n"], sample: None) -> tuple[Array, Float[Array, " n"]]:
        """Energy per area and its derivative in the unit box."""
        return jax.value_and_grad(self.value)(x, sample)

    def measure(self, x: Float[Array, " n"], seed: int) -> dict[str, float]:
        """Energy per area, J/m2, and mean voltage, V."""
        zone = self.space(x)
        return {"objective": float(zone.energy), "mean_voltage_V": float(zone.mean_voltage)}
