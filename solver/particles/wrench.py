"""Force and moment of a contact with friction, and their exact derivatives, from the positions and turns of a step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import contact, friction
from .contact import Branch
from .friction import Grip


class Pair(eqx.Module):
    """What one increment takes as given at contacts of two particles, one row each.

    **Arguments:** `branch`, the normal law; `grip`, friction; `conformed`, overlap that carries no force (p,);
    `radii`, (p, 2); `before`, vector from the first to the second centre at the start of the increment (p, 3); `slip`,
    xi then (p, 3).
    """

    branch: Branch
    grip: Grip
    conformed: Array
    radii: Array
    before: Array
    slip: Array


class Plane(eqx.Module):
    """The same at contacts with a rigid plane whose normal, from the particle to it, is axis 0 times `side`.

    **Arguments:** `branch`, `grip`, `conformed`, `slip` as in [`Pair`][]; `radii`, (n,); `before`, positions (n, 3);
    `overlap`, then (n,); `side`, 1 or -1.
    """

    branch: Branch
    grip: Grip
    conformed: Array
    radii: Array
    before: Array
    overlap: Array
    slip: Array
    side: Array


def _length(v):
    return jnp.sqrt(jnp.sum(v**2, axis=-1))


def _half_way(length, given: Pair):
    """Arms (p, 2) half-way through the increment at whose end the centres are `length` apart."""
    total = jnp.sum(given.radii, axis=-1)
    return given.radii - 0.5 * (total - 0.5 * (length + _length(given.before)))[..., None]


def pair_slip(relative, turns, given: Pair):
    """Normal force (p,), unit vector (p, 3), trial slip (p, 3) and arms (p, 2) of contacts between particles.

    **Arguments:** `relative`, (p, 3) from the first to the second centre; `turns`, (p, 2, 3) rotations in the increment
    times the radius.
    """
    total = jnp.sum(given.radii, axis=-1)
    length, start = _length(relative), _length(given.before)
    normal, normal_before = relative / length[..., None], given.before / start[..., None]
    overlap = total - length - given.conformed
    push = contact.force(overlap, given.branch)
    # The slip is taken half-way through the increment: its arms add up to the mean distance, so rigid turns slip none.
    half_way = _half_way(length, given)
    turning = jnp.sum((half_way / given.radii)[..., None] * turns, axis=-2)
    slid = friction.rolled(normal_before, normal, jnp.sum(half_way, axis=-1), turning)
    elastic = overlap - given.branch.permanent
    share = friction.closed_share(elastic + length - start, elastic)
    slip = friction.turned(given.slip, normal_before, normal) + share[..., None] * slid
    return push, normal, slip, given.radii - 0.5 * (total - length)[..., None]


def pair_wrench(relative, turns, given: Pair, sharpness=1.0):
    """Minus the force on the first particle (p, 3), which is the force on the second, and minus the moments on both
    over their radii (p, 2, 3)."""
    push, normal, slip, arms = pair_slip(relative, turns, given)
    drag, _ = friction.limited(slip, push, given.grip, sharpness)
    # A pressed contact that turns pushes sideways, which may make the derivative indefinite.
    normal = friction.blunted(normal, sharpness)
    moment = jnp.cross(normal, drag)
    return push[..., None] * normal - drag, -(arms / given.radii)[..., None] * moment[..., None, :]


def pair_blocks(relative, turns, given: Pair, sharpness) -> Float[Array, "p 9 9"]:
    """The Jacobian of [`pair_wrench`][], force and both moments, by relative position and both turns."""

    def wrench(c):
        force, moments = pair_wrench(c[:, :3], jnp.stack([c[:, 3:], turns[:, 1]], axis=1), given, sharpness)
        return jnp.concatenate([force, moments.reshape(-1, 6)], axis=1)

    found = blocks(wrench, jnp.concatenate([relative, turns[:, 0]], axis=1))
    # Only the sum of the turns times their arms matters: the second turn does as the first, in that proportion.
    share = _half_way(_length(relative), given) / given.radii
    return jnp.concatenate([found, (share[:, 1] / share[:, 0])[:, None, None] * found[:, :, 3:]], axis=2)


def plane_slip(positions, turns, overlap, given: Plane):
    """Normal force (n,), normal (3,), trial slip (n, 3) and arm (n,) of contacts with a plane that does not turn."""
    normal = given.side * jnp.asarray([1.0, 0.0, 0.0])
    push = contact.force(overlap - given.conformed, given.branch)
    half_way = given.radii - 0.25 * (overlap + given.overlap)
    moved = given.before - positions - jnp.cross((half_way / given.radii)[..., None] * turns, normal)
    slid = moved * jnp.asarray([0.0, 1.0, 1.0])
    none = given.conformed + given.branch.permanent
    share = friction.closed_share(given.overlap - none, overlap - none)
    return push, normal, given.slip + share[..., None] * slid, given.radii - 0.5 * overlap


def plane_wrench(positions, turns, overlap, given: Plane, sharpness=1.0):
    """Minus the force on each particle (n, 3), and minus the moment over its radius (n, 3)."""
    push, normal, slip, arm = plane_slip(positions, turns, overlap, given)
    drag, _ = friction.limited(slip, push, given.grip, sharpness)
    return push[..., None] * normal - drag, -(arm / given.radii)[..., None] * jnp.cross(normal, drag)


def blocks(function, arguments) -> Float[Array, "*p out in"]:
    """The Jacobian of each row: d function(arguments)[..., o] / d arguments[..., i], for independent rows."""
    basis = jnp.eye(arguments.shape[-1])
    column = lambda e: jax.jvp(function, (arguments,), (jnp.broadcast_to(e, arguments.shape),))[1]  # noqa: E731
    return jnp.moveaxis(jax.vmap(column)(basis), 0, -1)
