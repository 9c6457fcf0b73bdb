"""The force of each contact of a packing in motion: normal law, damping and friction put together."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from solver.particles.normal import Hertz, Luding, MasterCurve, Pair, Plastic, ThorntonNing, fresh
from solver.particles.tangential import Linear, Mindlin, Restitution


class Contact(eqx.Module):
    """A contact law: a normal law, damping and friction, each of which may be left out but the first.

    **Arguments:** `normal`; `damping`, or `None`; `friction`, or `None`.
    """

    normal: Hertz | Plastic | ThorntonNing | MasterCurve | Luding = eqx.field(default_factory=Hertz)
    damping: Restitution | Linear | None = eqx.field(default_factory=Restitution)
    friction: Mindlin | None = eqx.field(default_factory=Mindlin)

    def fresh(self, count: int):
        """The memory of `count` contacts that never were."""
        return fresh(self.normal, count), None if self.friction is None else self.friction.fresh(count)


class Kinematics(eqx.Module):
    """How two surfaces meet: `overlap` (C,), m; `normal` (3, C), from first to second; `velocity` (3, C) of the first
    against the second at the contact, m/s.
    """

    overlap: Array
    normal: Array
    velocity: Array


class Push(eqx.Module):
    """Of each contact: `force` (3, C) on the first, N; `elastic` (C,), the normal force without damping, N."""

    force: Float[Array, "3 c"]
    elastic: Float[Array, " c"]


def push(law: Contact, at: Kinematics, memory, pair: Pair, step):
    """The [`Push`][] of each contact and its memory after a step of `step`, s."""
    pressed, slid = memory
    press = law.normal.press(at.overlap, pressed, pair)
    approach = jnp.sum(at.velocity * at.normal, axis=0)
    zero = jnp.zeros_like(approach)
    viscous, across = (zero, zero) if law.damping is None else law.damping.viscosities(press, pair)
    normal = press.force + viscous * approach
    if law.damping is not None and getattr(law.damping, "clipped", False):
        normal = jnp.maximum(normal, 0)
    normal = jnp.where(at.overlap > 0, normal, 0)
    force = -normal * at.normal
    if law.friction is not None:
        sliding = at.velocity - approach * at.normal
        drag, slid = law.friction.drag(slid, at.normal, sliding, step, normal, across, press, pair)
        force = force + drag
    return Push(force, press.force), (press.memory, slid)


def cross(a: Float[Array, "3 c"], b: Float[Array, "3 c"]) -> Float[Array, "3 c"]:
    """The cross product over the first axis."""
    return jnp.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
