"""Friction of spheres in motion: a tangential spring with history, cut at Coulomb's limit, and viscous damping."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require
from solver.particles.normal import Pair, Press


class Restitution(eqx.Module):
    """Viscous damping with the same coefficient of restitution at every speed.

    eta_n = 2 sqrt(5/6) beta sqrt(S_n m*) with S_n = 2 E* a and beta = -ln e / sqrt(ln^2 e + pi^2); exact for Hertz with
    the tensile force at the end of a contact kept. Along the surface eta_t = `share` eta_n, or, where `share` is
    `None`, 2 sqrt(5/6) beta sqrt(S_t m*) with S_t = 8 G* a.

    **Arguments:** `coefficient`, e; `share`; `clipped`, whether the normal force may not pull, which raises the
    effective coefficient.

    **Source:** Tsuji, Tanaka and Ishida 1992, doi 10.1016/0032-5910(92)88030-L; the closed form of Antypov and Elliott
    2011, doi 10.1209/0295-5075/94/50004 (unchecked).
    """

    coefficient: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    share: Float[Array, ""] | None = eqx.field(converter=lambda s: None if s is None else jnp.asarray(s), default=None)
    clipped: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        require("coefficient", self.coefficient, 1e-6, 1.0, hint="It is the coefficient of restitution.")

    def viscosities(self, press: Press, pair: Pair):
        """eta_n and eta_t, kg/s."""
        log = jnp.log(self.coefficient)
        beta = -log / jnp.sqrt(log**2 + jnp.pi**2)
        normal = 2 * jnp.sqrt(5 / 6) * beta * jnp.sqrt(2 * pair.modulus * press.radius * pair.mass)
        across = jnp.sqrt(4 * pair.shear / pair.modulus) if self.share is None else self.share
        return normal, across * normal


class Linear(eqx.Module):
    """Viscous damping in proportion to the reduced mass: eta = `rate` m*, and half of it along the surface.

    **Arguments:** `rate`, 1/s.

    **Source:** Silbert et al. 2001, doi 10.1103/PhysRevE.64.051302; LAMMPS' `gran/hertz/history` multiplies it by the
    contact radius sqrt(R* d), which `hertzian` does here, `rate` then being in 1/(s m).
    """

    rate: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    hertzian: bool = eqx.field(static=True, default=False)

    def viscosities(self, press: Press, pair: Pair):
        """eta_n and eta_t, kg/s."""
        normal = self.rate * pair.mass * (press.radius if self.hertzian else jnp.ones_like(press.radius))
        return normal, 0.5 * normal


class Mindlin(eqx.Module):
    """Tangential spring 8 G* a with history, cut at `friction` times the normal force.

    f = -8 G* a xi - eta_t v_t, |f| <= mu |F_n|; xi is the slip displacement, the integral of v_t, kept in the tangent
    plane with its length, and what gives the cut force while sliding. Memory: xi, (3, C), m, and, where `rescaled`,
    the contact radius at the last step: then xi shrinks with it on unloading, which creates no energy.

    **Arguments:** `friction`, mu; `rescaled`.

    **Source:** Mindlin and Deresiewicz 1953, doi 10.1115/1.4010702; rescaling Walton as in Thornton, Cummins and
    Cleary 2013, doi 10.1016/j.powtec.2012.08.012 (unchecked).
    """

    friction: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    rescaled: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        require("friction", self.friction, 0.0, 10.0)

    def fresh(self, count: int) -> Float[Array, "m c"]:
        """Contacts that never slid."""
        return jnp.zeros((4 if self.rescaled else 3, count))

    def drag(self, memory, normal, sliding, step, pushed, viscosity, press: Press, pair: Pair):
        """The force along the surface, N, and the memory after the step.

        **Arguments:** `normal`, (3, C); `sliding`, v_t (3, C), m/s; `step`, s; `pushed`, F_n with its damping (C,), N;
        `viscosity`, eta_t (C,).
        """
        stiffness = 8 * pair.shear * press.radius
        slip = memory[:3]
        if self.rescaled:
            shrinks = press.radius < memory[3]
            slip = jnp.where(shrinks, press.radius / jnp.where(shrinks, memory[3], 1), 1) * slip
        slip = turned(slip, normal) + step * sliding
        damping = viscosity * sliding
        force = -stiffness * slip - damping
        limit, size = self.friction * jnp.abs(pushed), jnp.sqrt(jnp.sum(force**2, axis=0))
        slides = size > limit
        force = jnp.where(slides, limit / jnp.where(slides, size, 1), 1) * force
        touching = press.radius > 0
        slip = jnp.where(slides & touching, -(force + damping) / jnp.where(touching, stiffness, 1), slip)
        memory = jnp.concatenate([slip, press.radius[None]]) if self.rescaled else slip
        return jnp.where(touching, force, 0), jnp.where(touching, memory, 0)


def turned(vector: Float[Array, "3 c"], normal: Float[Array, "3 c"]) -> Float[Array, "3 c"]:
    """`vector` brought into the plane across `normal`, its length kept."""
    flat = vector - jnp.sum(vector * normal, axis=0) * normal
    before, after = jnp.sum(vector**2, axis=0), jnp.sum(flat**2, axis=0)
    return jnp.where(after > 0, jnp.sqrt(before / jnp.where(after > 0, after, 1)), 1) * flat
