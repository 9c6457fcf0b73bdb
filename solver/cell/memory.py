"""What a step remembers: how unknowns and past of a step enter its state and its equations, for the way back."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from microstructure.units import faraday

from .porous import PorousCell
from .single_particle import SingleParticle


class Memory(eqx.Module):
    """A step of a cell, linearised in its past.

    **Arguments:** by class, `relaxed`, what a step leaves of each amplitude, shape (modes, count); `supply`, what a
    reaction current takes from each, over its value at the surface and `relaxed`, stoichiometry m2/A, and
    `by_surface`, the derivative of what kinetics demands of psi in the stoichiometry at the surface, V, shape (count,).
    """

    relaxed: list[Array]
    supply: list[Array]
    by_surface: list[Array]

    def to_unknowns(self, layout: PorousCell, y_bar: Array) -> Array:
        """(dy/dw)^T y_bar."""
        parts = zip(layout.particles, layout.amplitudes(y_bar), self.relaxed, self.supply, strict=True)
        current = [-supply * jnp.sum(p.surface_values() * relaxed * q, axis=0) for p, q, relaxed, supply in parts]
        psi = jnp.zeros(layout.potentials) if layout.capacitance is None else y_bar[-layout.potentials :]
        return jnp.concatenate([y_bar[: layout.size], psi, *current])

    def to_past(self, layout: PorousCell, multiplier: Array, y_bar: Array) -> Array:
        """The cotangent of the past, of `multiplier` times the equations plus `y_bar` times the state."""
        n, m = layout.size, layout.potentials
        salt, charge, kinetics = multiplier[:n], multiplier[n : n + m], layout.by_class(multiplier[n + m :])
        parts = zip(layout.particles, layout.amplitudes(y_bar), self.relaxed, self.by_surface, kinetics, strict=True)
        filled = [(relaxed * (q - p.surface_values() * (by * k))).ravel() for p, q, relaxed, by, k in parts]
        past = [-layout.storage * salt, *filled]
        if layout.capacitance is not None:
            drawn = layout.capacitance * (salt / faraday + layout.spread(layout.by_electrode(charge)))
            past += [-drawn[e.first : e.first + e.count] for e in layout.electrodes]
        return jnp.concatenate(past)


def memory(system: PorousCell | SingleParticle, w: Array, past: Array, gamma: Array) -> Memory:
    """The [`Memory`][] of a step at its solution w."""
    layout = system.layout
    c, _, current = layout.unknowns(w)
    by_surface = []
    for p, j, (alpha, beta) in zip(layout.particles, current, layout.surfaces(past, gamma), strict=True):

        def law(x, p=p, j=j):
            return system.equilibrium(p, c, j, x)

        by_surface.append(jax.jvp(law, (alpha - beta * j,), (jnp.ones_like(j),))[1])
    relaxed = [p.relaxed(gamma, layout.temperature) for p in layout.particles]
    return Memory(relaxed, [gamma * p.gain for p in layout.particles], by_surface)
