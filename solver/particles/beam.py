"""Binder bonds of particles in motion as beams that carry tension, shear, bending and torsion, and break."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require
from solver.particles.ends import Ends, Size
from solver.particles.forces import cross
from solver.particles.tangential import turned


class Strain(eqx.Module):
    """What beams remember: `shear` (3, B), m; `bend` (3, B) and `twist` (B,), rad; `intact` (B,), 1 or 0."""

    shear: Float[Array, "3 b"]
    bend: Float[Array, "3 b"]
    twist: Float[Array, " b"]
    intact: Float[Array, " b"]


class Beam(eqx.Module):
    """A cylinder of binder that is glued to two particles, with springs at its middle.

    With area A = pi r^2, I = pi r^4 / 4, J = 2 I and length L at rest: tension c E A (l - L) / L; shear G A / L,
    bending E I / L and torsion G J / L times the relative displacement or rotation. It breaks when tension + bending,
    F_n / A + |M_b| r / I, reaches `tensile_strength`, when shear + torsion, |F_s| / A + |M_t| r / J, reaches
    `shear_strength`, or when (l - L) / L reaches `fracture_strain`.

    **Arguments:** `modulus`, E, Pa; `poisson`; `confinement`, c, 1 for a free beam and (1 - nu) / ((1 + nu) (1 - 2
    nu)) for a flat one that cannot narrow; `tensile_strength`, `shear_strength`, Pa; `fracture_strain`; infinite is
    unbreakable.

    **Source:** Potyondy and Cundall 2004, doi 10.1016/j.ijrmms.2004.09.011, equations 12 to 19. Numbers: Lundkvist et
    al. 2024, doi 10.1016/j.powtec.2024.119873, E = 2 GPa, nu = 0.3; strengths are to be calibrated.
    """

    modulus: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=2e9)
    poisson: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    confinement: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    tensile_strength: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=50e6)
    shear_strength: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=50e6)
    fracture_strain: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=jnp.inf)

    def __check_init__(self):
        require("modulus", self.modulus, 1.0, 1e13, unit="Pa")
        require("poisson", self.poisson, -0.99, 0.5)
        require("confinement", self.confinement, 1e-3, 1e3)

    def fresh(self, size: Size) -> Strain:
        """Beams as they were glued."""
        zero = jnp.zeros((3, size.length.shape[0]))
        return Strain(zero, zero, zero[0], size.held)

    def softened(self, share, shift) -> "Beam":
        """The beam with `share` of its modulus and strengths; elastic, it has no relaxation times to `shift`."""
        stiff = (self.modulus, self.tensile_strength, self.shear_strength)
        return eqx.tree_at(
            lambda b: (b.modulus, b.tensile_strength, b.shear_strength), self, tuple(share * v for v in stiff)
        )

    def load(self, size: Size, at: Ends, past: Strain, step):
        """See [`solver.particles.bonds.load`][]."""
        shear_modulus = self.modulus / (2 * (1 + self.poisson))
        relative, velocity, spins = at.relative, at.velocity, at.spins
        length = jnp.sqrt(jnp.sum(relative**2, axis=0))
        normal = relative / length
        turning, slide = spins[0] - spins[1], velocity + cross(0.5 * length * (spins[0] + spins[1]), normal)
        twisting = jnp.sum(turning * normal, axis=0)
        shear = turned(past.shear, normal) + step * (slide - jnp.sum(slide * normal, axis=0) * normal)
        bend = turned(past.bend, normal) + step * (turning - twisting * normal)
        twist = past.twist + step * twisting
        area, inertia = jnp.pi * size.radius**2, jnp.pi * size.radius**4 / 4
        strain = length / size.length - 1
        tension = self.confinement * self.modulus * area * strain
        across = -shear_modulus * area / size.length * shear
        bending = -self.modulus * inertia / size.length * bend
        torsion = -2 * shear_modulus * inertia / size.length * twist
        norm = lambda v: jnp.sqrt(jnp.sum(v**2, axis=0))  # noqa: E731
        tensile = tension / area + norm(bending) * size.radius / inertia
        shearing = norm(across) / area + jnp.abs(torsion) * size.radius / (2 * inertia)
        holds = (tensile < self.tensile_strength) & (shearing < self.shear_strength) & (strain < self.fracture_strain)
        intact = jnp.where(holds, past.intact, 0)
        force = jnp.where(intact > 0, tension * normal + across, 0)
        moment = jnp.where(intact > 0, torsion * normal + bending, 0)
        lever = cross(0.5 * length * normal, force)
        return force, lever + moment, lever - moment, Strain(shear, bend, twist, intact)
