"""Binder bonds of particles in motion: beams that carry tension, shear, bending and torsion, and break."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from microstructure.checks import require
from solver.particles.cells import incidence
from solver.particles.forces import cross
from solver.particles.tangential import turned


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
    al. 2024 (Powder Technology 443, 119873), E = 2 GPa, nu = 0.3; strengths are to be calibrated.
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


class Bonds(eqx.Module):
    """Which particles are bonded, a list that does not change: `first`, `second`, (B,) indices; `image`, (2, B) lateral
    periods to add to the second; `length`, L, and `radius`, r, (B,), m; `law`, [`Beam`][]; `slots`, (K, N), entry of
    each bond of a particle, plus B where the particle is the second, 2 B for none.
    """

    first: Int[Array, " b"]
    second: Int[Array, " b"]
    image: Float[Array, "2 b"]
    length: Float[Array, " b"]
    radius: Float[Array, " b"]
    slots: Int[Array, "k n"]
    law: Beam = eqx.field(default_factory=Beam)


class Strain(eqx.Module):
    """What bonds remember: `shear` (3, B), m; `bend` (3, B) and `twist` (B,), rad; `intact` (B,), 1 or 0."""

    shear: Float[Array, "3 b"]
    bend: Float[Array, "3 b"]
    twist: Float[Array, " b"]
    intact: Float[Array, " b"]


def glued(positions, radii, lateral, pairs, law: Beam | None = None, radius: float = 0.7) -> Bonds:
    """[`Bonds`][] at rest between the particles of `pairs`, from centre to centre. Host only.

    **Arguments:** `positions` (3, N), m; `radii` (N,), m; `lateral` (2,), m; `pairs`, (first (B,), second (B,), image
    (2, B)); `radius`, of a bond over the smaller of its particles.
    """
    first, second, image = (np.asarray(p, t) for p, t in zip(pairs, (np.int32, np.int32, float), strict=True))
    require("radius", radius, 1e-3, 3.0)
    positions, radii, count = np.asarray(positions), np.asarray(radii), len(radii)
    relative = positions[:, second] - positions[:, first]
    relative[1:] += image * np.asarray(lateral)[:, None]
    slots = max(int(np.bincount(np.concatenate([first, second]), minlength=count).max()), 1)
    table, _ = incidence(jnp.asarray(first), jnp.asarray(second), jnp.ones(len(first), bool), count, slots)
    thin = radius * np.minimum(radii[first], radii[second])
    length = np.linalg.norm(relative, axis=0)
    return Bonds(*map(jnp.asarray, (first, second, image, length, thin)), table, law or Beam())


def unstrained(bonds: Bonds) -> Strain:
    """Bonds as they were glued."""
    zero = jnp.zeros((3, bonds.length.shape[0]))
    return Strain(zero, zero, zero[0], zero[0] + 1)


def load(bonds: Bonds, relative, velocity, spins, past: Strain, step):
    """Forces and moments of bonds and what they remember after a step of `step`, s.

    **Arguments:** `relative` (3, B), from the first to the second, m; `velocity` (3, B), of the first against the
    second, m/s; `spins`, a pair of (3, B), rad/s.

    **Returns:** force (3, B) on the first, N, moment (3, B) on the first and that on the second, N m, and [`Strain`][].
    """
    law, shear_modulus = bonds.law, bonds.law.modulus / (2 * (1 + bonds.law.poisson))
    length = jnp.sqrt(jnp.sum(relative**2, axis=0))
    normal = relative / length
    turning, slide = spins[0] - spins[1], velocity + cross(0.5 * length * (spins[0] + spins[1]), normal)
    twisting = jnp.sum(turning * normal, axis=0)
    shear = turned(past.shear, normal) + step * (slide - jnp.sum(slide * normal, axis=0) * normal)
    bend = turned(past.bend, normal) + step * (turning - twisting * normal)
    twist = past.twist + step * twisting
    area, inertia = jnp.pi * bonds.radius**2, jnp.pi * bonds.radius**4 / 4
    strain = length / bonds.length - 1
    tension = law.confinement * law.modulus * area * strain
    across = -shear_modulus * area / bonds.length * shear
    bending = -law.modulus * inertia / bonds.length * bend
    torsion = -2 * shear_modulus * inertia / bonds.length * twist
    norm = lambda v: jnp.sqrt(jnp.sum(v**2, axis=0))  # noqa: E731
    tensile = tension / area + norm(bending) * bonds.radius / inertia
    shearing = norm(across) / area + jnp.abs(torsion) * bonds.radius / (2 * inertia)
    holds = (tensile < law.tensile_strength) & (shearing < law.shear_strength) & (strain < law.fracture_strain)
    intact = jnp.where(holds, past.intact, 0)
    force = jnp.where(intact > 0, tension * normal + across, 0)
    moment = jnp.where(intact > 0, torsion * normal + bending, 0)
    lever = cross(0.5 * length * normal, force)
    return force, lever + moment, lever - moment, Strain(shear, bend, twist, intact)
