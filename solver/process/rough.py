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


def levers(system: System, index):
    """Arms of the bridges `index` over the particles' radii: from each centre to the middle of the bridge, (p, 2)."""
    pairs = system.pairs
    first, second = system.radii[pairs.first[index]], system.radii[pairs.second[index]]
    length = jnp.sqrt(jnp.sum(system.rest[index] ** 2, axis=1))
    half_gap = jnp.where(pairs.listed[index] > 0, 0.5 * (length - first - second), 0)
    return jnp.stack([1 + half_gap / first, 1 + half_gap / second], axis=1)


def ground_levers(system: System):
    """The same of the bridges to the collector, which does not turn, (N,)."""
    return 0.5 + 0.5 * system.rest[system.pairs.first.shape[0] :, 0] / system.radii


def follow(pull, system: System, index):
    """What forces `pull` (p, 3) of the bridges `index` on their second ends do, as rows like those of [`between`][]:
    on the first particle, and minus the moments over the radii, the arms being along the directions at rest."""
    twist = -jnp.cross(system.bridge.direction[index], pull)
    lever = levers(system, index)
    return jnp.concatenate([-pull, lever[:, :1] * twist, lever[:, 1:] * twist], axis=1)


def _take(tree, index, total):
    """The rows `index` of every array of `total` rows."""
    return jax.tree.map(lambda a: a[index] if a.shape[:1] == (total,) else a, tree)


def bridged(state, args, index):
    """Elongations (p, 3), flow and constants of the bridges `index` between particles: their ends turn with the
    particles, n x (arms times rotations), about the directions at rest."""
    system, given, _ = args
    pairs, total = system.pairs, system.rest.shape[0]
    turned, lever = given.history.turned + state[1], levers(system, index)
    swing = lever[:, :1] * turned[pairs.first[index]] + lever[:, 1:] * turned[pairs.second[index]]
    moved = relative_positions(state[0], system.lateral, pairs)[index] - system.rest[index]
    drawn = moved + jnp.cross(system.bridge.direction[index], swing)
    return drawn, *_take((given.history.bridges, system.bridge), index, total)


def grounded(state, args):
    """The same of the bridges to the collector."""
    system, given, _ = args
    number, total = system.pairs.first.shape[0], system.rest.shape[0]
    swing = ground_levers(system)[:, None] * (given.history.turned + state[1])
    drawn = state[0] - system.rest[number:] + jnp.cross(system.bridge.direction[number:], swing)
    return drawn, *_take((given.history.bridges, system.bridge), slice(number, None), total)


def elongations(state, args):
    """Elongations of all bridges at the end of the increment, (P + N, 3)."""
    every = jnp.arange(args[0].pairs.first.shape[0])
    return jnp.concatenate([bridged(state, args, every)[0], grounded(state, args)[0]])


def given_pairs(system: System, given: Given, index) -> wrench.Pair:
    """The contacts `index` of the list of pairs."""
    pairs = system.pairs
    before = relative_positions(given.positions, system.lateral, pairs)[index]
    radii = jnp.stack([system.radii[pairs.first[index]], system.radii[pairs.second[index]]], axis=-1)
    branch, grip = _take((given.branch, system.grip), index, system.conformed.shape[0])
    return wrench.Pair(branch, grip, system.conformed[index], radii, before, given.history.slip[index])


def given_plane(system: System, given: Given, side) -> wrench.Plane:
    """All contacts with the collector (`side` -1) or the plate (1)."""
    pairs, count = system.pairs.first.shape[0], system.radii.shape[0]
    index = slice(pairs, pairs + count) if side < 0 else slice(pairs + count, None)
    branch, grip = _take((given.branch, system.grip), index, system.conformed.shape[0])
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
    index, listed = active(state, args)
    first, second = system.pairs.first[index], system.pairs.second[index]
    inside = between(pair_columns(state, system, index), given_pairs(system, given, index))
    drawn, past, bridge = bridged(state, args, index)
    inside = (inside + follow(bond.forces(drawn, bond.flow(drawn, past, bridge), bridge), system, index)) * listed[
        :, None
    ]
    planes = on_planes(plane_columns(state, stage), system, given)
    own = planes[:, :6] + planes[:, 6:] + system.tie * jnp.concatenate([positions - given.guess, turns], axis=1)
    drawn, past, bridge = grounded(state, args)
    pulled = bond.forces(drawn, bond.flow(drawn, past, bridge), bridge)
    own = own + jnp.concatenate([pulled, -ground_levers(system)[:, None] * jnp.cross(bridge.direction, pulled)], axis=1)
    own = own.at[first].add(inside[:, :6]).at[second].add(jnp.concatenate([-inside[:, :3], inside[:, 6:]], axis=1))
    area = jnp.prod(system.lateral)
    plate = jnp.where(stage.held, state[2] - stage.plate, stage.pressure * area - jnp.sum(planes[:, 6]))
    return own[:, :3], own[:, 3:], plate


def capacity(system: System) -> int:
    """How many pairs may carry force or be bridged: eight a particle."""
    return min(8 * system.radii.shape[0], system.pairs.first.shape[0])


def _carrying(state, args):
    """Which pairs carry force or are bridged, (P,)."""
    system, given, stage = args
    _, _, overlaps = strains((state[0], state[2]), system, stage)
    number = system.pairs.first.shape[0]
    return (contact.force(overlaps, given.branch)[:number] > 0) | (system.bridge.along[:number] > 0)


def active(state, args):
    """Indices (capacity,) of the pairs that carry force or are bridged, and 1 for each of them, 0 for filling."""
    carrying, room = _carrying(state, args), capacity(args[0])
    (index,) = jnp.nonzero(carrying, size=room, fill_value=0)
    return index, (jnp.arange(room) < jnp.sum(carrying)).astype(state[0].dtype)


def crowded(state, args):
    """Whether more pairs carry force or are bridged than there is room for."""
    return jnp.sum(_carrying(state, args)) > capacity(args[0])


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
