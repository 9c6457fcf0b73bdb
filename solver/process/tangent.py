"""The exact derivative of the balance of forces and moments of a film with friction, and its block-Jacobi inverse."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from solver.particles import bond, wrench

from . import rough
from .film import System


class Tangent(eqx.Module):
    """The derivative, block by block, in units of (N, 6) rows (force, moment) and columns (position, turn).

    **Arguments:** `first`, `second`, (M,) particles of the contacts that carry force; `contacts`, (M, 9, 9); `bridges`,
    (P + N, 3, 3); `own`, (N, 6, 6) of planes and ties; `column`, `row`, (N, 6), and `corner` of the plate's height.
    """

    first: Array
    second: Array
    contacts: Array
    bridges: Array
    own: Array
    column: Array
    row: Array
    corner: Array


def capacity(system: System) -> int:
    """How many contacts between particles may carry force: six a particle, a coordination of 12."""
    return min(6 * system.radii.shape[0], system.pairs.first.shape[0])


def assemble(state, args, sharpness) -> Tangent:
    """The [`Tangent`][] at `state`; with `sharpness` 0 the secant of friction in place of its derivative."""
    system, given, stage = args
    index, listed = rough.loaded(state, args, capacity(system))
    near = rough.given_pairs(system, given, index)
    contacts = wrench.blocks(lambda c: rough.between(c, near, sharpness), rough.pair_columns(state, system, index))
    planes = wrench.blocks(lambda c: rough.on_planes(c, system, given, sharpness), rough.plane_columns(state, stage))
    both = planes[:, :6] + planes[:, 6:]
    return Tangent(
        system.pairs.first[index],
        system.pairs.second[index],
        contacts * listed[:, None, None],
        bond.stiffness(rough.elongations(state, args), given.history.bridges, system.bridge, sharpness),
        both[:, :, :6] + system.tie * jnp.eye(6),
        jnp.where(stage.held, 0, both[:, :, 6]),
        jnp.where(stage.held, 0, -planes[:, 6, :6]),
        jnp.where(stage.held, 1, -jnp.sum(planes[:, 6, 6])),
    )


def _times(blocks, v):
    return jnp.sum(blocks * v[:, None, :], axis=-1)


def apply(tangent: Tangent, system: System, v):
    """The tangent times `v`, a tree like the unknowns."""
    x, t, h = v
    pairs, number = system.pairs, system.pairs.first.shape[0]
    first, second = tangent.first, tangent.second
    w = _times(tangent.contacts, jnp.concatenate([x[second] - x[first], t[first], t[second]], axis=1))
    drawn = jnp.concatenate([x[pairs.second] - x[pairs.first], x]) + rough.swing(t, system)
    pull = _times(tangent.bridges, drawn)
    twist = rough.twists(pull, system)
    own = _times(tangent.own, jnp.concatenate([x, t], axis=1)) + tangent.column * h
    own = own + jnp.concatenate([pull[number:], twist[number:, 1]], axis=1)
    pull, twist = pull[:number], twist[:number]
    own = own.at[pairs.first].add(jnp.concatenate([-pull, twist[:, 0]], axis=1))
    own = own.at[pairs.second].add(jnp.concatenate([pull, twist[:, 1]], axis=1))
    own = own.at[first].add(w[:, :6]).at[second].add(jnp.concatenate([-w[:, :3], w[:, 6:]], axis=1))
    height = tangent.corner * h + jnp.sum(tangent.row[:, :3] * x) + jnp.sum(tangent.row[:, 3:] * t)
    return own[:, :3], own[:, 3:], height


def diagonal(tangent: Tangent, system: System):
    """The (N, 6, 6) blocks that tie each particle to itself."""
    pairs, number = system.pairs, system.pairs.first.shape[0]
    lever = rough.levers(system)
    n = system.bridge.direction
    across = jnp.cross(n[:, None, :], jnp.eye(3)[None]).swapaxes(1, 2)  # v -> n x v
    unit = jnp.broadcast_to(jnp.eye(3), across.shape)

    def bridged(end, sign):
        ends = jnp.concatenate([sign * unit, lever[:, end, None, None] * across], axis=2)
        return jnp.einsum("pai,pab,pbj->pij", ends, tangent.bridges, ends)

    at_second = bridged(1, 1.0)
    total = tangent.own + at_second[number:]
    total = total.at[pairs.first].add(bridged(0, -1.0)[:number]).at[pairs.second].add(at_second[:number])
    # The first end sees minus the relative position; the force on the second end is minus that on the first.
    flip = jnp.asarray([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0])
    ends = jnp.asarray([0, 1, 2, 6, 7, 8])
    at_first = tangent.contacts[:, :6, :6] * flip
    at_second = tangent.contacts[:, ends][:, :, ends] * flip[:, None]
    return total.at[tangent.first].add(at_first).at[tangent.second].add(at_second)


def model(state, args, sharpness):
    """(apply, solve): the tangent and its block-Jacobi inverse, both linear maps on trees like `state`."""
    system = args[0]
    tangent = assemble(state, args, sharpness)
    inverse = jnp.linalg.inv(diagonal(tangent, system))
    safe = jnp.where(jnp.abs(tangent.corner) > 0, tangent.corner, 1)

    def solve(r):
        z = _times(inverse, jnp.concatenate([r[0], r[1]], axis=1))
        return z[:, :3], z[:, 3:], r[2] / safe

    return (lambda v: apply(tangent, system, v)), solve
