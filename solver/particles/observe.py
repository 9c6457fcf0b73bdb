"""What a packing in motion shows: stress, pressure on its walls, contacts, energies, and how far it is from rest."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from solver.particles.dynamics import contacts, tied
from solver.particles.scene import Scene, State


class Observed(eqx.Module):
    """A packing at one instant.

    **Arguments:** `stress` (3, 3), from the forces of contacts and bonds between particles over the volume between
    lowest and highest body, Pa, pressure positive; `pressure` (W,), of each body's force along the thickness over the
    area, Pa; `coordination`, contacts with other particles of each particle, mean; `fabric` (3, 3), mean of n n over
    the contacts; `kinetic`, energy of translation and rotation, J; `elastic`, energy of the normal forces between
    particles, J, of laws that unload as Hertz.
    """

    stress: Float[Array, "3 3"]
    pressure: Float[Array, " w"]
    coordination: Float[Array, ""]
    fabric: Float[Array, "3 3"]
    kinetic: Float[Array, ""]
    elastic: Float[Array, ""]


@eqx.filter_jit
def observe(scene: Scene, state: State, depth) -> Observed:
    """See [`Observed`][].

    **Arguments:** `depth`, m, of the volume that the stress is taken over.
    """
    pushed, relative, overlap, pair = contacts(scene, state)
    touching = (overlap > 0).astype(overlap.dtype)
    area = jnp.prod(scene.lateral)
    count = jnp.sum(touching)
    normal = relative / jnp.sqrt(jnp.sum(relative**2, axis=0))
    g = scene.grains
    turning = 0.4 * g.radii**2 * jnp.sum(state.spins**2, axis=0)
    kinetic = 0.5 * jnp.sum(g.mass * (jnp.sum(state.velocities**2, axis=0) + turning))
    # F = 4/3 E* a d_e, and the energy of a Hertz branch is 2/5 F d_e.
    spring = 4 / 3 * pair.modulus * jnp.sqrt(pair.radius)
    elastic = 0.4 * jnp.sum(touching * jnp.maximum(pushed.elastic, 0) ** (5 / 3) / spring ** (2 / 3))
    virial = -jnp.einsum("ac,bc->ab", pushed.force, relative)
    if scene.bonds is not None:
        # At this instant: no time passes for what the bonds remember.
        force, _, _, _, across = tied(eqx.tree_at(lambda s: s.step, scene, jnp.asarray(0.0)), state)
        virial = virial - jnp.einsum("ac,bc->ab", force, across)
    return Observed(
        virial / (area * depth),
        jnp.abs(state.walls.force[0]) / area,
        2 * count / g.radii.shape[0],
        jnp.einsum("c,ac,bc->ab", touching, normal, normal) / jnp.maximum(count, 1),
        kinetic,
        elastic,
    )


def inertial_number(strain_rate, diameter, density, pressure):
    """I = strain rate * d * sqrt(rho / P): below 1e-3 the motion is quasi-static.

    **Source:** GDR MiDi 2004, doi 10.1140/epje/i2003-10153-0.
    """
    return strain_rate * diameter * jnp.sqrt(density / pressure)
