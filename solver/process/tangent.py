"""The exact derivative of the balance of forces and moments of a film with friction, and its block-Jacobi inverse."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from solver.particles import bond, wrench

from . import rough


class Tangent(eqx.Module):
    """The derivative, block by block, in units of (N, 6) rows (force, moment) and columns (position, turn).

    **Arguments:** `first`, `second`, (M,) particles of the pairs that carry force or are bridged; `pairs`, (M, 9, 9),
    of rows (force on the first, moments on both) and columns (relative position, both turns); `own`, (N, 6, 6) of
    planes, bridges to the collector and ties; `column`, `row`, (N, 6), and `corner` of the plate's height.
    """

    first: Array
    second: Array
    pairs: Array
    own: Array
    column: Array
    row: Array
    corner: Array


def assemble(state, args, sharpness) -> Tangent:
    """The [`Tangent`][] at `state`; with `sharpness` 0 the secant of friction in place of its derivative."""
    system, given, stage = args
    index, listed = rough.active(state, args)
    near = rough.given_pairs(system, given, index)
    columns = rough.pair_columns(state, system, index)
    contacts = wrench.pair_blocks(columns[:, :3], columns[:, 3:].reshape(-1, 2, 3), near, sharpness)
    bridges = _bridges(*rough.bridged(state, args, index), rough.levers(system, index), sharpness)
    bridges = bridges * jnp.asarray([-1.0] * 3 + [1.0] * 6)[:, None]  # the force on the first, not the second
    planes = wrench.blocks(lambda c: rough.on_planes(c, system, given, sharpness), rough.plane_columns(state, stage))
    both = planes[:, :6] + planes[:, 6:]
    ground = _bridges(*rough.grounded(state, args), rough.ground_levers(system)[:, None], sharpness)
    return Tangent(
        system.pairs.first[index],
        system.pairs.second[index],
        (contacts + bridges) * listed[:, None, None],
        both[:, :, :6] + ground + system.tie * jnp.eye(6),
        jnp.where(stage.held, 0, both[:, :, 6]),
        jnp.where(stage.held, 0, -planes[:, 6, :6]),
        jnp.where(stage.held, 1, -jnp.sum(planes[:, 6, 6])),
    )


def _bridges(drawn, past, bridge, lever, sharpness):
    """The derivative of what bridges do to their second ends and the moments on both, by relative position and turns
    of those ends whose `lever` (p, ends) is given, (p, 3 + 3 ends, 3 + 3 ends)."""
    stiff = bond.stiffness(drawn, past, bridge, sharpness)
    across = jnp.cross(bridge.direction[:, None, :], jnp.eye(3)[None]).swapaxes(1, 2)  # v -> n x v
    unit = jnp.broadcast_to(jnp.eye(3), across.shape)
    ends = jnp.concatenate([unit, *(lever[:, k, None, None] * across for k in range(lever.shape[1]))], axis=2)
    return jnp.einsum("pai,paj->pij", ends, jnp.einsum("pab,pbj->paj", stiff, ends))


def _times(blocks, v):
    return jnp.sum(blocks * v[:, None, :], axis=-1)


def apply(tangent: Tangent, v):
    """The tangent times `v`, a tree like the unknowns."""
    x, t, h = v
    first, second = tangent.first, tangent.second
    w = _times(tangent.pairs, jnp.concatenate([x[second] - x[first], t[first], t[second]], axis=1))
    own = _times(tangent.own, jnp.concatenate([x, t], axis=1)) + tangent.column * h
    own = own.at[first].add(w[:, :6]).at[second].add(jnp.concatenate([-w[:, :3], w[:, 6:]], axis=1))
    height = tangent.corner * h + jnp.sum(tangent.row[:, :3] * x) + jnp.sum(tangent.row[:, 3:] * t)
    return own[:, :3], own[:, 3:], height


def diagonal(tangent: Tangent):
    """The (N, 6, 6) blocks that tie each particle to itself."""
    # The first end sees minus the relative position; the force on the second end is minus that on the first.
    flip = jnp.asarray([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0])
    ends = jnp.asarray([0, 1, 2, 6, 7, 8])
    at_first = tangent.pairs[:, :6, :6] * flip
    at_second = tangent.pairs[:, ends][:, :, ends] * flip[:, None]
    return tangent.own.at[tangent.first].add(at_first).at[tangent.second].add(at_second)


def model(state, args, sharpness):
    """(apply, solve): the tangent and its block-Jacobi inverse, both linear maps on trees like `state`."""
    tangent = assemble(state, args, sharpness)
    inverse = jnp.linalg.inv(diagonal(tangent))
    safe = jnp.where(jnp.abs(tangent.corner) > 0, tangent.corner, 1)

    def solve(r):
        z = _times(inverse, jnp.concatenate([r[0], r[1]], axis=1))
        return z[:, :3], z[:, 3:], r[2] / safe

    return (lambda v: apply(tangent, v)), solve
