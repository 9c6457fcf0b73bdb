"""The film between collector and plate, in units of the mean radius and E*: contacts, bridges, their history."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from microstructure.packing import Packing
from solver.particles import bond, contact
from solver.particles.bond import Binder, Bridge, Flow
from solver.particles.contact import ContactLaw, Hertz
from solver.particles.friction import Grip
from solver.particles.neighbours import Pairs, relative_positions
from solver.particles.walls import collector_overlap, plate_overlap


class System(eqx.Module):
    """The film in units of the mean radius and E*: everything that stays the same while the plate moves.

    Contacts are in one list: P pairs, N with the collector, N with the plate. So are bridges: P pairs, N to the
    collector.

    **Arguments:** `law`, `conformed` (overlap of the dried film, which carries no force), (P + 2 N,); `bridge`, `rest`
    (vector at rest), (P + N, 3); with friction `grip`, (P + 2 N,), and `tie`, stiffness of what holds each particle and
    its rotation to where an increment takes it in the mean.
    """

    pairs: Pairs
    radii: Array
    lateral: Array
    law: Hertz
    conformed: Array
    bridge: Bridge
    rest: Array
    grip: Grip | None = None
    tie: Array | None = None


class History(eqx.Module):
    """Internal variables: `largest`, largest overlap so far (P + 2 N,); `bridges`, their flow (P + N); with friction
    `slip`, xi of the contacts (P + 2 N, 3), and `turned`, the sum of the rotations (N, 3)."""

    largest: Array
    bridges: Flow
    slip: Array | None = None
    turned: Array | None = None


class Stage(eqx.Module):
    """What one increment prescribes: the plate at `plate` where `held`, else under `pressure`."""

    held: Array
    plate: Array
    pressure: Array

    def driven(self, share):
        """The stage with what it prescribes moved on: the plate by `share`, or the pressure by that share of itself."""
        plate = self.plate + jnp.where(self.held, share, 0)
        return Stage(self.held, plate, self.pressure * (1 + jnp.where(self.held, 0, share)))


class Outcome(eqx.Module):
    """What the film shows at the end of an increment.

    **Arguments:** `push`, normal forces (P + 2 N,); `along`, (P,) force along axis 0 on the second particle of each
    contact; `pull`, (P + N, 3) forces of the bridges; `overlaps`, (P + 2 N,); `drawn`, elongations of the bridges
    (P + N, 3); `ratio`, with friction, (P + 2 N,) trial friction over its limit.
    """

    push: Array
    along: Array
    pull: Array
    overlaps: Array
    drawn: Array
    ratio: Array | None = None


def overlaps_of(positions, plate, pairs: Pairs, radii, lateral):
    """Vectors (P + N, 3) and overlaps (P + 2 N,) of all bridges and contacts."""
    relative = relative_positions(positions, lateral, pairs)
    total = radii[pairs.first] + radii[pairs.second]
    depth = positions[:, 0]
    planes = [collector_overlap(depth, radii), plate_overlap(depth, radii, plate)]
    overlaps = jnp.concatenate([total - jnp.sqrt(jnp.sum(relative**2, axis=1)), *planes])
    return jnp.concatenate([relative, positions]), overlaps


def film_at_rest(packing: Packing, pairs: Pairs, law: ContactLaw, binder: Binder, unit) -> System:
    """The film at rest."""
    stress = law.pair_modulus()
    radii, box, positions = packing.radii / unit, packing.box / unit, packing.positions / unit
    vectors, overlaps = overlaps_of(positions, box[0], pairs, radii, box[1:])
    first, second = radii[pairs.first], radii[pairs.second]
    count = radii.shape[0]
    plane = jnp.broadcast_to(law.plane_modulus(), (2 * count,))
    modulus = jnp.concatenate([jnp.broadcast_to(stress, first.shape), plane]) / stress
    reduced = jnp.concatenate([first * second / (first + second), radii, radii])
    laws = contact.constants(modulus, law.yield_pressure / stress, reduced)
    weight = pairs.bonded + binder.background * (pairs.listed - pairs.bonded)
    upright = jnp.broadcast_to(jnp.asarray([1.0, 0.0, 0.0]), positions.shape)
    relative = vectors[: first.shape[0]]
    direction = jnp.concatenate([relative / jnp.sqrt(jnp.sum(relative**2, axis=1))[:, None], upright])
    smaller = jnp.concatenate([jnp.minimum(first, second), radii])
    bare = jnp.concatenate([binder.background * pairs.listed, jnp.zeros_like(radii)])
    bridge = bond.bridges(binder, smaller, jnp.concatenate([weight, pairs.grounded]), direction, stress, bare)
    return System(pairs, radii, box[1:], laws, jnp.where(overlaps > 0, overlaps, 0), bridge, vectors)


def strains(state, system: System, stage: Stage):
    """Elongations of the bridges and overlaps of the contacts."""
    positions, plate = state
    plate = jnp.where(stage.held, stage.plate, plate)
    vectors, overlaps = overlaps_of(positions, plate, system.pairs, system.radii, system.lateral)
    return vectors, vectors - system.rest, overlaps - system.conformed


def virial(state, system: System, outcome: Outcome):
    """The stress along the thickness from every contact and bridge: sum of force times branch, over the volume."""
    positions, plate = state
    pairs, count = system.pairs.first.shape[0], system.radii.shape[0]
    depth, pulled = positions[:, 0], outcome.pull
    relative = relative_positions(positions, system.lateral, system.pairs)
    below = outcome.push[pairs : pairs + count] - pulled[pairs:, 0]
    total = jnp.sum((outcome.along - pulled[:pairs, 0]) * relative[:, 0]) + jnp.sum(below * depth)
    total = total + jnp.sum(outcome.push[pairs + count :] * (plate - depth))
    return total / (plate * jnp.prod(system.lateral))


def reduced_radii(system: System):
    """R* of every contact."""
    first, second = system.radii[system.pairs.first], system.radii[system.pairs.second]
    return jnp.concatenate([first * second / (first + second), system.radii, system.radii])


def coordination(state, system: System, history: History):
    """Contacts with other particles that carry force, a particle."""
    _, overlaps = overlaps_of(*state, system.pairs, system.radii, system.lateral)
    permanent = contact.permanent_overlap(history.largest, system.law)
    carrying = (overlaps - system.conformed > permanent)[: system.pairs.first.shape[0]]
    return 2 * jnp.sum(jnp.where(carrying, system.pairs.listed, 0)) / system.radii.shape[0]


def broken_share(system: System, history: History):
    """The share of the binder bridges, those to the collector too, that have broken by now; 0 without any."""
    flow, pairs = history.bridges, system.pairs
    there = jnp.concatenate([pairs.bonded, pairs.grounded])
    if flow.intact is None:
        return jnp.zeros(())
    return jnp.sum(there * (1 - flow.intact)) / jnp.maximum(jnp.sum(there), 1)
