"""What moves and what acts on it: grains, their surroundings, and their state at one instant."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require
from solver.particles.bonds import Bonds, Memory
from solver.particles.cells import Near
from solver.particles.forces import Contact
from solver.particles.plates import Plane, Roll


class Grains(eqx.Module):
    """Elastic spheres: what does not change while they move.

    **Arguments:** `radii` (N,), m; `mass` (N,), kg; `compliance` (N,), (1 - nu^2) / E, 1/Pa; `shear` (N,), (2 - nu) /
    G, 1/Pa, so that 1/E* and 1/G* of two add.
    """

    radii: Float[Array, " n"]
    mass: Float[Array, " n"]
    compliance: Float[Array, " n"]
    shear: Float[Array, " n"]


def grains(radii, modulus, poisson, density, mass_scale=1.0) -> Grains:
    """[`Grains`][] of `radii` (N,), m, and of Young's `modulus`, Pa, Poisson's ratio and `density`, kg/m3, all () or
    (N,).

    **Arguments:** `mass_scale`, factor on the masses: quasi-static motion is the same with a larger one, in larger
    time steps.
    """
    radii = jnp.asarray(radii, float)
    require("radii", radii, 1e-12, 1.0, unit="m")
    require("modulus", modulus, 1e3, 1e13, unit="Pa")
    require("poisson", poisson, 0.0, 0.5)
    require("density", density, 1.0, 1e5, unit="kg/m3")
    require("mass_scale", mass_scale, 1e-3, 1e12)
    mass = mass_scale * density * 4 / 3 * jnp.pi * radii**3
    compliance = jnp.broadcast_to((1 - jnp.asarray(poisson) ** 2) / modulus, radii.shape)
    shear = jnp.broadcast_to((2 - jnp.asarray(poisson)) * 2 * (1 + poisson) / jnp.asarray(modulus), radii.shape)
    return Grains(radii, mass, compliance, shear)


def rayleigh_time(radius, modulus, poisson, density):
    """The time that a Rayleigh wave takes across a sphere, s: a time step should be a tenth to a fifth of it.

    **Source:** Li, Xu and Thornton 2005, doi 10.1016/j.powtec.2005.09.002 (unchecked).
    """
    shear = modulus / (2 * (1 + poisson))
    return jnp.pi * radius * jnp.sqrt(density / shear) / (0.1631 * poisson + 0.8766)


class Scene(eqx.Module):
    """What acts on the grains.

    **Arguments:** `grains`; `lateral` (2,), periods along axes 1 and 2, m; `step`, s; `walls`, any number of rigid
    bodies; `contact`, law between particles, and `wall_contact` with the bodies; `bonds`, of binder, or `None`;
    `gravity` (3,), m/s2; `drag`, 1/s, a background damping of translation and rotation; `skin`, m: pairs whose surfaces
    are nearer are listed; `turning`, whether particles may turn.
    """

    grains: Grains
    lateral: Float[Array, " 2"] = eqx.field(converter=jnp.asarray)
    step: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    walls: tuple[Plane | Roll, ...] = ()
    contact: Contact = eqx.field(default_factory=Contact)
    wall_contact: Contact = eqx.field(default_factory=Contact)
    bonds: Bonds | None = None
    gravity: Float[Array, " 3"] = eqx.field(converter=jnp.asarray, default=(0.0, 0.0, 0.0))
    drag: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    skin: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-6)
    turning: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        require("step", self.step, 1e-18, 1.0, unit="s")
        require("lateral", self.lateral, 1e-12, 1e3, unit="m")
        require("drag", self.drag, 0.0, unit="1/s")
        require("skin", self.skin, 1e-15, 1.0, unit="m")


class Walls(eqx.Module):
    """The rigid bodies now: `height` (W,), m; `speed` (W,), m/s; `force` (3, W) on them, N."""

    height: Float[Array, " w"]
    speed: Float[Array, " w"]
    force: Float[Array, "3 w"]


class State(eqx.Module):
    """Grains in motion: all that a later step needs, so that a run can stop and go on anywhere.

    **Arguments:** `time`, s; `positions`, `velocities` (3, N), m and m/s, unwrapped; `spins` (3, N), rad/s; `force`,
    N, and `torque`, N m (3, N); `walls`; `near`, the list; `memory` and `wall_memory`, of its contacts and of each
    body's (N,); `strain`, what the bonds remember.
    """

    time: Float[Array, ""]
    positions: Float[Array, "3 n"]
    velocities: Float[Array, "3 n"]
    spins: Float[Array, "3 n"]
    force: Float[Array, "3 n"]
    torque: Float[Array, "3 n"]
    walls: Walls
    near: Near
    memory: tuple
    wall_memory: tuple
    strain: Memory | None
