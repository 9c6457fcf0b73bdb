"""Where heat is made in the cell."""

from functools import singledispatch

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .porous import PorousCell, log_salt


class Heat(eqx.Module):
    """Heat made in the cell by its source, W/m2: `ohmic` (solid, electrolyte with its diffusion potential, contacts),
    `reaction` (overpotentials) and `reversible` (entropy)."""

    ohmic: Array
    reaction: Array
    reversible: Array

    @property
    def total(self) -> Array:
        return self.ohmic + self.reaction + self.reversible


@singledispatch
def heat(system: PorousCell, w: Array, past: Array, gamma: Array) -> Heat:
    """Heat after a step; another model of the cell registers its own.

    **Source:** Rao and Newman 1997, doi 10.1149/1.1837884, without heat of mixing.
    """
    c, psi, current = system.unknowns(w)
    _, ion, ionic = system.faces(c, system.spread(psi))
    log_c = log_salt(c)
    drop = ionic * ion - system.diffusion_potential * (log_c[1:] - log_c[:-1])
    ohmic = jnp.sum(ionic * drop) + jnp.sum((system.current - ionic) ** 2 * system.solid_resistance)
    ohmic = ohmic + system.current**2 * system.series_resistance
    reaction, reversible = jnp.zeros_like(ohmic), jnp.zeros_like(ohmic)
    for p, j, (alpha, beta) in zip(system.particles, current, system.surfaces(past, gamma), strict=True):
        surface = alpha - beta * j
        eta = p.overpotential(p.local(c), j, surface, system.temperature)
        reaction = reaction + jnp.sum(p.area * j * eta)
        entropy = p.material.entropic_change(surface)
        reversible = reversible + system.temperature * jnp.sum(p.area * j * entropy)
    if system.metal is not None:
        reaction = reaction + system.current * system.metal_drop(c)
    return Heat(ohmic, reaction, reversible)
