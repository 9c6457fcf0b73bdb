"""Binder at the temperature of the rolls: softer, and quicker to relax."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require

GAS_CONSTANT = 8.314462618  # J/(mol K), CODATA 2018


class Softening(eqx.Module):
    """How the moduli and relaxation times of a binder depend on temperature.

    E(T) = E(T_0) exp(-(T - T_0) / `span`), and so its yield stress and strengths, yield strain being about constant;
    relaxation times are multiplied by a_T = exp(Q / R (1 / T - 1 / T_0)), as crystalline relaxations of PVDF are.

    **Arguments:** `reference`, T_0, K, at which the binder's numbers hold; `span`, K; `activation`, Q, J/mol.

    **Source:** Callens, De Batist and Eersels 1976, Il Nuovo Cimento B 33, 434: the relaxation of crystalline PVDF
    between room temperature and melting is thermally activated with 1.4 to 2 eV (abstract; the lower one is taken
    here). `span` is recalled, not read: about 2.2 GPa at 23 C and half of it at 75 C in makers' data sheets of PVDF. No
    data of carbon-binder mixtures at roll temperature were found; calibrate before trusting more than the trend, which
    is that of calendering at 80 C (softer, less spring-back).
    """

    reference: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=296.15)
    span: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=75.0)
    activation: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=135e3)

    def __check_init__(self):
        require("reference", self.reference, 200.0, 500.0, unit="K")
        require("span", self.span, 1.0, 1e6, unit="K")
        require("activation", self.activation, 0.0, 1e6, unit="J/mol")

    def share(self, temperature):
        """E(T) / E(T_0)."""
        return jnp.exp(-(temperature - self.reference) / self.span)

    def shift(self, temperature):
        """a_T, by which relaxation times are multiplied."""
        return jnp.exp(self.activation / GAS_CONSTANT * (1 / temperature - 1 / self.reference))


def warmed(binder, temperature, softening: Softening | None = None):
    """The binder at the `temperature` of the rolls, K; differentiable in it and in `softening`.

    **Arguments:** `binder`, a [`solver.particles.bond.Binder`][], [`solver.particles.beam.Beam`][] or
    [`solver.particles.viscoelastic.ViscoelasticBinder`][], of the reference temperature.
    """
    softening = softening or Softening()
    require("temperature", temperature, 250.0, 440.0, unit="K", hint="PVDF melts near 440 K; 0 C is 273.15 K.")
    temperature = jnp.asarray(temperature)
    return binder.softened(softening.share(temperature), softening.shift(temperature))
