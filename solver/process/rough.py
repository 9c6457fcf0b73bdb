"""Forces and moments of every particle of a film with friction, which need not balance."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from solver.particles import bond, contact, wrench
from solver.particles.contact import Branch
from solver.particles.neighbours import relative_positions

from .film import History, Stage, System, strains


class Given(eqx.Module):
    """What one increment takes as given: the state at its start.

    **Arguments:** `branch`, normal laws of the contacts by now (P + 2 N,); `history`; `positions`, (N, 3), `plate`, at
    the start; `guess`, (N, 3), those positions moved with the plate, to which faint ties hold.
    """

    branch: Branch
    history: History
    positions: Array
    plate: Array
    guess: Array


def levers(system: System):
    """Arms of the bridges over the particles' radii: from each centre to the middle of the bridge, (P + N, 2); the
    collector, a bridge's first end, has none."""
    pairs = system.pairs
    first, second = system.radii[pairs.first], system.radii[pairs.second]
    length = jnp.sqrt(jnp.sum(system.rest[: first.shape[0]] ** 2, axis=1))
    half_gap = jnp.where(pairs.listed > 0, 0.5 * (length - first - second), 0)
    inside = jnp.stack([1 + half_gap / first, 1 + half_gap / second], axis=1)
    ground = 0.5 + 0.5 * system.rest[first.shape[0] :, 0] / system.radii
    return jnp.concatenate([inside, jnp.stack([jnp.zeros_like(ground), ground], axis=1)])


def swing(turns, system: System):
    """What rotations (N, 3), times the radius, add to the elongations of the bridges (P + N, 3): their ends turn with
    the particles, n x (arms times rotations), about the directions at rest."""
    pairs, lever = system.pairs, levers(system)
    second = jnp.concatenate([turns[pairs.second], turns])
    first = jnp.concatenate([turns[pairs.first], jnp.zeros_like(turns)])
    return jnp.cross(system.bridge.direction, lever[:, :1] * first + lever[:, 1:] * second)


def twists(pull, system: System):
    """Minus the moments over the radius that the bridges' forces on their second ends, (P + N, 3), exert on both ends,
    (P + N, 2, 3): the transpose of [`swing`][]."""
    return -jnp.cross(system.bridge.direction, pull)[:, None] * levers(system)[:, :, None]


def elongations(state, args):
    """Elongations of the bridges at the end of the increment, (P + N, 3)."""
    system, given, stage = args
    _, moved, _ = strains((state[0], state[2]), system, stage)
    return moved + swing(given.history.turned + state[1], system)


def _take(tree, index):
    return jax.tree.map(lambda a: a[index], tree)


def given_pairs(system: System, given: Given, index) -> wrench.Pair:
    """The contacts `index` of the list of pairs."""
    pairs = system.pairs
    before = relative_positions(given.positions, system.lateral, pairs)[index]
    radii = jnp.stack([system.radii[pairs.first[index]], system.radii[pairs.second[index]]], axis=-1)
    branch, grip = _take((given.branch, system.grip), index)
    return wrench.Pair(branch, grip, system.conformed[index], radii, before, given.history.slip[index])


def given_plane(system: System, given: Given, side) -> wrench.Plane:
    """All contacts with the collector (`side` -1) or the plate (1)."""
    pairs, count = system.pairs.first.shape[0], system.radii.shape[0]
    index = slice(pairs, pairs + count) if side < 0 else slice(pairs + count, None)
    branch, grip = _take((given.branch, system.grip), index)
    depth, radii = given.positions[:, 0], system.radii
    overlap = radii - depth if side < 0 else depth + radii - given.plate
    return wrench.Plane(
        branch,
        grip,
        system.conformed[index],
        radii,
        given.positions,
        overlap,
        given.history.slip[index],
        jnp.asarray(float(side)),
    )


def _plate(state, stage: Stage):
    return jnp.where(stage.held, stage.plate, state[2])


def on_planes(columns, system: System, given: Given, sharpness=1.0):
    """[`wrench.plane_wrench`][] at collector and plate of the rows (position, turn, plate's height): (N, 12)."""
    positions, turns, plate = columns[:, :3], columns[:, 3:6], columns[:, 6]
    depth, radii = positions[:, 0], system.radii
    below = wrench.plane_wrench(positions, turns, radii - depth, given_plane(system, given, -1), sharpness)
    above = wrench.plane_wrench(positions, turns, depth + radii - plate, given_plane(system, given, 1), sharpness)
    return jnp.concatenate([*below, *above], axis=1)


def plane_columns(state, stage: Stage):
    """Rows (position, turn, plate's height) of all particles, (N, 7), for [`on_planes`][]."""
    positions, turns, _ = state
    plate = jnp.broadcast_to(_plate(state, stage), positions.shape[:1])
    return jnp.concatenate([positions, turns, plate[:, None]], axis=1)


def between(columns, given: wrench.Pair, sharpness=1.0):
    """[`wrench.pair_wrench`][] of the rows (relative position, both turns): (p, 9)."""
    turns = columns[:, 3:].reshape(-1, 2, 3)
    force, moments = wrench.pair_wrench(columns[:, :3], turns, given, sharpness)
    return jnp.concatenate([force, moments.reshape(-1, 6)], axis=1)


def pair_columns(state, system: System, index):
    """Rows (relative position, both turns) of the pairs `index`, (p, 9), for [`between`][]."""
    positions, turns, _ = state
    pairs = system.pairs
    relative = relative_positions(positions, system.lateral, pairs)[index]
    return jnp.concatenate([relative, turns[pairs.first[index]], turns[pairs.second[index]]], axis=1)


def residual(state, args):
    """Minus the force on each particle, minus the moment over its radius, and the balance of the plate.

    **Arguments:** `state`, positions (N, 3), rotations in the increment times the radius (N, 3), the plate's height;
    `args`, (System, Given, Stage).
    """
    system, given, stage = args
    positions, turns, _ = state
    pairs = system.pairs
    every = jnp.arange(pairs.first.shape[0])
    inside = between(pair_columns(state, system, every), given_pairs(system, given, every))
    planes = on_planes(plane_columns(state, stage), system, given)
    drawn = elongations(state, args)
    pulled = bond.forces(drawn, bond.flow(drawn, given.history.bridges, system.bridge), system.bridge)
    twist = twists(pulled, system)
    force = pulled[pairs.first.shape[0] :] + planes[:, :3] + planes[:, 6:9]
    force = force + system.tie * (positions - given.guess)
    pull = pulled[: pairs.first.shape[0]] - inside[:, :3]
    force = force.at[pairs.first].add(-pull).at[pairs.second].add(pull)
    number = pairs.first.shape[0]
    moment = planes[:, 3:6] + planes[:, 9:] + system.tie * turns + twist[number:, 1]
    moment = moment.at[pairs.first].add(inside[:, 3:6] + twist[:number, 0])
    moment = moment.at[pairs.second].add(inside[:, 6:] + twist[:number, 1])
    pushed = jnp.sum(planes[:, 6])
    area = jnp.prod(system.lateral)
    plate = jnp.where(stage.held, state[2] - stage.plate, stage.pressure * area - pushed)
    return force, moment, plate


def loaded(state, args, capacity):
    """Indices (capacity,) of the contacts between particles that carry force, and 1 for each of them, 0 for filling."""
    system, given, stage = args
    _, _, overlaps = strains((state[0], state[2]), system, stage)
    number = system.pairs.first.shape[0]
    push = contact.force(overlaps, given.branch)[:number]
    (index,) = jnp.nonzero(push > 0, size=capacity, fill_value=0)
    return index, (jnp.arange(capacity) < jnp.sum(push > 0)).astype(push.dtype)


def slips(state, args):
    """Trial slip (P + 2 N, 3), normal force (P + 2 N,) and direction (P, 3 of pairs only) of all contacts at the end
    of the increment."""
    system, given, stage = args
    positions, turns, _ = state
    every = jnp.arange(system.pairs.first.shape[0])
    columns = pair_columns(state, system, every)
    inside = wrench.pair_slip(columns[:, :3], columns[:, 3:].reshape(-1, 2, 3), given_pairs(system, given, every))
    depth, radii = positions[:, 0], system.radii
    below = wrench.plane_slip(positions, turns, radii - depth, given_plane(system, given, -1))
    above = wrench.plane_slip(positions, turns, depth + radii - _plate(state, stage), given_plane(system, given, 1))
    parts = (inside, below, above)
    return jnp.concatenate([p[2] for p in parts]), jnp.concatenate([p[0] for p in parts]), inside[1]
