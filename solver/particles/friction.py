"""Friction of contacts by increments: elastic slip with history, cut at Coulomb's limit, and particles that turn."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require

from .contact import ContactLaw


class Friction(eqx.Module):
    """Mindlin's friction without partial slip: the tangential force is 8 G* a xi, at most mu times the normal force.

    xi is the slip displacement since the contact closed, carried with the contact as it turns; a is the Hertz radius
    of the elastic branch on which the contact is. A contact that slides keeps the xi that gives the force at the limit;
    one that opens forgets it.

    **Arguments:** `coefficient`, mu between particles; `plane`, mu against collector and plate.

    **Source:** Mindlin 1949, J. Appl. Mech. 16, 259; Mindlin and Deresiewicz 1953, J. Appl. Mech. 20, 327, of which
    partial slip is left out, as is usual in discrete elements (LAMMPS `granular`, tangential `mindlin`).
    """

    coefficient: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    plane: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)

    def __check_init__(self):
        require("coefficient", self.coefficient, 0.0, 10.0)
        require("plane", self.plane, 0.0, 10.0)


def pair_shear_modulus(law: ContactLaw):
    """G* of two such spheres, Pa: 1 / G* = 2 (2 - nu) / G."""
    return law.modulus / (4 * (1 + law.poisson) * (2 - law.poisson))


def plane_shear_modulus(law: ContactLaw):
    """G* of such a sphere on a rigid plane, Pa: G / (2 - nu)."""
    return law.modulus / (2 * (1 + law.poisson) * (2 - law.poisson))


class Grip(eqx.Module):
    """The constants of friction, one per contact, in any consistent units.

    **Arguments:** `stiffness`, 8 G* sqrt(R*), so that it times sqrt(d - d_p) is the tangential stiffness; `hertz`,
    4/3 E* sqrt(R*); `coefficient`, mu.
    """

    stiffness: Array
    hertz: Array
    coefficient: Array


def grip(shear_modulus, hertz, radius, coefficient) -> Grip:
    """[`Grip`][] from G*, 4/3 E* sqrt(R*), R* and mu (arrays that broadcast)."""
    return Grip(8 * shear_modulus * jnp.sqrt(radius), hertz, jnp.broadcast_to(coefficient, hertz.shape))


def tangential_stiffness(push, law: Grip):
    """8 G* a at the normal force `push`: on every elastic branch a = sqrt(R* (d - d_p)) and F = 4/3 E* sqrt(R*)
    (d - d_p)^1.5, so that a follows from F."""
    loaded = push > 0
    return jnp.where(loaded, law.stiffness * jnp.cbrt(jnp.where(loaded, push, 1) / law.hertz), 0)


def limited(slip: Float[Array, "*p 3"], push: Float[Array, "*p"], law: Grip, sharpness=1.0):
    """The return mapping: the tangential force at the trial slip and normal force, cut to mu F, and the slip kept.

    **Arguments:** `sharpness`, share of the derivative of the limit and of the stiffness that derivatives of the
    result keep: 1 is exact, 0 gives the secant, with which a search survives far from the answer.

    **Returns:** (force, slip), each (..., 3); both vanish where the contact is open.
    """
    stiff = blunted(tangential_stiffness(push, law), sharpness)
    trial = stiff[..., None] * slip
    squared = jnp.sum(trial**2, axis=-1)
    cap = law.coefficient * push
    # Equality counts as sliding, so that a contact without friction or load has neither force nor stiffness.
    sliding = (squared >= cap**2) | (push <= 0)
    size = jnp.sqrt(jnp.where(sliding & (squared > 0), squared, 1))
    share = blunted(jnp.where(push > 0, jnp.where(sliding, cap / size, 1), 0), sharpness)[..., None]
    return share * trial, share * slip


def blunted(x, sharpness):
    """`x` with its derivative times `sharpness`."""
    return lax.stop_gradient(x) + sharpness * (x - lax.stop_gradient(x))


def load_ratio(slip, push, law: Grip):
    """The trial force over mu F: below 1 the contact sticks, from 1 on it slides; 0 where open or without friction."""
    trial = tangential_stiffness(push, law) * jnp.sqrt(jnp.sum(slip**2, axis=-1))
    cap = law.coefficient * push
    return jnp.where(cap > 0, trial / jnp.where(cap > 0, cap, 1), 0)


def turned(vector: Float[Array, "*p 3"], before: Float[Array, "*p 3"], after: Float[Array, "*p 3"]):
    """`vector`, normal to the unit vector `before`, carried along as `before` turns to `after` by the shortest way:
    v - (after . v) (before + after) / (1 + before . after). Its length is kept."""
    lean = jnp.sum(after * vector, axis=-1) / (1 + jnp.sum(before * after, axis=-1))
    return vector - lean[..., None] * (before + after)


def rolled(before, after, length, turns):
    """How far the second surface slides over the first while a contact moves, (..., 3), normal to `after`.

    L (n' - n) - (a_i theta_i + a_j theta_j) x (n + n') / 2: the turning of the line of centres less what the rotations
    make up for. Exactly zero when the pair turns as one rigid body (theta = 2 tan(angle / 2) about the axis) and when
    the spheres roll on each other.

    **Arguments:** `before`, `after`, n and n', unit vectors from the first to the second centre; `length`, L, the
    distance of the centres, a_i + a_j; `turns`, a_i theta_i + a_j theta_j.
    """
    moved = length[..., None] * (after - before) - jnp.cross(turns, 0.5 * (before + after))
    return moved - jnp.sum(moved * after, axis=-1)[..., None] * after


def closed_share(before, after):
    """The share of the increment in which a contact was closed, if its elastic overlap went evenly from `before` to
    `after`: slip before a contact closes does not count."""
    closing = (before < 0) & (after > before)
    return jnp.where(closing, jnp.clip(after / jnp.where(closing, after - before, 1), 0, 1), 1)
