"""What the inside of a film shows: stress of its particles, directions and areas of contacts, bridges that flowed."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from solver.particles import bond, contact, friction
from solver.particles.neighbours import relative_positions

from . import rough
from .calender import Press
from .film import History, Stage, System, broken_share, overlaps_of, reduced_radii


class Texture(eqx.Module):
    """A film from inside, at one state. Stresses are positive in compression; axis 0 is the thickness.

    **Arguments:** `stress`, (N, 3, 3), Pa, mean stress tensor in each particle; `film`, (3, 3), Pa, the same over the
    whole film; `touching`, (N,) contacts of each particle with others; `contacts`, number of contacts between
    particles; `fabric`, (3, 3), mean of n n^T over their directions, of trace 1, or 0 without any; `bridge_fabric`,
    the same of the whole bridges of binder between particles; `area`, of all those contacts over that of the film;
    `spot`, m2, mean area of one; `yielded` and `broken`, shares of the binder bridges, those to the collector too,
    that have flowed and that have broken.
    """

    stress: Array
    film: Array
    touching: Array
    contacts: Array
    fabric: Array
    bridge_fabric: Array
    area: Array
    spot: Array
    yielded: Array
    broken: Array

    @property
    def coordination(self) -> Float[Array, ""]:
        """Contacts with other particles, a particle."""
        return jnp.mean(self.touching)

    @property
    def mean_stress(self) -> Float[Array, " n"]:
        """A third of the trace of each particle's stress, Pa."""
        return jnp.trace(self.stress, axis1=1, axis2=2) / 3

    @property
    def von_mises(self) -> Float[Array, " n"]:
        """sqrt(3/2 s:s) of the deviator s of each particle's stress, Pa."""
        deviator = self.stress - self.mean_stress[:, None, None] * jnp.eye(3)
        squared = 1.5 * jnp.sum(deviator**2, axis=(1, 2))
        return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)

    @property
    def lateral_ratio(self) -> Float[Array, ""]:
        """Mean lateral stress of the film over that along the thickness; 0 where that is none."""
        across = self.film[0, 0]
        loaded = jnp.abs(across) > 0
        return jnp.where(loaded, 0.5 * (self.film[1, 1] + self.film[2, 2]) / jnp.where(loaded, across, 1), 0)


def texture(press: Press, carry, before=None) -> Texture:
    """The [`Texture`][] of a film in its calender after an increment, from the carry of [`advance`][] or of its start.

    The stress of a particle is the sum of arm times force over its contacts and bridges, over its volume. Arms end
    where a contact is, in the middle of a bridge and at the planes, so that the particles' volumes times their stresses
    add up to the stress of the film, whose component along the thickness is the pressure on the plate. Contacts are
    those that carry force; their area is pi R* (d - d_p), that of the elastic branch.

    Differentiable at the contact network as it is.

    **Arguments:** `before`, the carry before the increment: bridges that broke at its end still carried their force in
    its equilibrium, and only with it do the forces balance then.

    **Source:** stress of a particle: Bagi 1996, Mech. Mater. 22, 165, doi 10.1016/0167-6636(95)00044-5; fabric: Satake
    1982, IUTAM Symposium on Deformation and Failure of Granular Materials.
    """
    state, history, *_ = carry
    system = press.system
    vectors, overlaps = overlaps_of(*state, system.pairs, system.radii, system.lateral)
    pairs = system.pairs.first.shape[0]
    vectors = vectors[:pairs]
    distance = jnp.sqrt(jnp.sum(vectors**2, axis=1))
    direction = vectors / distance[:, None]
    elastic = overlaps - system.conformed - contact.permanent_overlap(history.largest, system.law)
    carrying = jnp.where(elastic[:pairs] > 0, system.pairs.listed, 0)
    spot = jnp.pi * reduced_radii(system)[:pairs] * jnp.where(elastic[:pairs] > 0, elastic[:pairs], 0) * carrying
    count = jnp.sum(carrying)
    acting = history if before is None else _still_bound(history, before[1])
    moments = particle_moments(state, acting, system)
    volume = state[1] * jnp.prod(system.lateral)
    own = 4 / 3 * jnp.pi * system.radii**3
    return Texture(
        moments / own[:, None, None] * press.stress,
        jnp.sum(moments, axis=0) / volume * press.stress,
        jnp.zeros_like(own).at[system.pairs.first].add(carrying).at[system.pairs.second].add(carrying),
        count,
        fabric(direction, carrying),
        fabric(direction, system.pairs.bonded * _whole(history)[:pairs]),
        jnp.sum(spot) / jnp.prod(system.lateral),
        jnp.sum(spot) / jnp.maximum(count, 1) * press.unit**2,
        yielded_share(system, history),
        broken_share(system, history),
    )


def _whole(history: History):
    """1 for each bridge that is whole, 0 for one that has broken, (P + N,)."""
    flow = history.bridges
    return jnp.ones_like(flow.along) if flow.intact is None else flow.intact


def _still_bound(history: History, before: History) -> History:
    """The history with the bridges that were whole at the start of the increment."""
    if history.bridges.intact is None:
        return history
    return eqx.tree_at(lambda h: h.bridges.intact, history, before.bridges.intact)


def fabric(direction: Float[Array, "p 3"], weight: Float[Array, " p"]) -> Float[Array, "3 3"]:
    """The mean of n n^T over unit vectors with weights; of trace 1, a third of the unit tensor where no direction is
    preferred, and 0 where all weights are."""
    total = jnp.sum(weight)
    outer = direction[:, :, None] * direction[:, None, :]
    return jnp.sum(weight[:, None, None] * outer, axis=0) / jnp.where(total > 0, total, 1)


def yielded_share(system: System, history: History) -> Float[Array, ""]:
    """The share of the binder bridges that have flowed, along or across, by now; 0 without any."""
    there = jnp.concatenate([system.pairs.bonded, system.pairs.grounded])
    flowed = jnp.sum(history.bridges.plastic**2, axis=1) > 0
    return jnp.sum(jnp.where(flowed, there, 0)) / jnp.maximum(jnp.sum(there), 1)


def particle_moments(state, history: History, system: System) -> Float[Array, "n 3 3"]:
    """The volume times the stress of each particle, in the units of the system, from the state after an increment."""
    positions, plate = state
    relative = relative_positions(positions, system.lateral, system.pairs)
    number, count = relative.shape[0], system.radii.shape[0]
    first, second = system.pairs.first, system.pairs.second
    push, pull = forces(state, history, system)
    length = jnp.sqrt(jnp.sum(relative**2, axis=1))
    # A contact is in the middle of the overlap, a bridge in the middle of the gap at rest: each a share of the way.
    contact_share = 0.5 + 0.5 * (system.radii[first] - system.radii[second]) / length
    rest = jnp.sqrt(jnp.sum(system.rest[:number] ** 2, axis=1))
    bridge_share = 0.5 + 0.5 * (system.radii[first] - system.radii[second]) / rest
    at_contact = relative[:, :, None] * push[:number, None, :]
    at_bridge = -relative[:, :, None] * pull[:number, None, :]
    on_first = contact_share[:, None, None] * at_contact + bridge_share[:, None, None] * at_bridge
    moments = jnp.zeros((count, 3, 3)).at[first].add(on_first)
    moments = moments.at[second].add(at_contact + at_bridge - on_first)
    # The planes are at x = 0 and at the plate.
    upright = jnp.asarray([1.0, 0.0, 0.0])
    below = -positions[:, :1] * upright
    above = (plate - positions[:, :1]) * upright
    on_collector = push[number : number + count] + pull[number:]
    moments = moments + below[:, :, None] * on_collector[:, None, :]
    return moments + above[:, :, None] * push[number + count :, None, :]


def forces(state, history: History, system: System):
    """(P + 2 N, 3) force of each contact on its second particle, on collector and plate, and (P + N, 3) pull of each
    bridge on its first particle or on the collector."""
    vectors, overlaps = overlaps_of(*state, system.pairs, system.radii, system.lateral)
    number, count = system.pairs.first.shape[0], system.radii.shape[0]
    push = contact.force(overlaps - system.conformed, contact.branch(history.largest, system.law))
    relative = vectors[:number]
    normal = relative / jnp.sqrt(jnp.sum(relative**2, axis=1))[:, None]
    upright = jnp.broadcast_to(jnp.asarray([1.0, 0.0, 0.0]), (count, 3))
    normal = jnp.concatenate([normal, -upright, upright])
    on_second = push[:, None] * normal
    drawn = vectors - system.rest
    if history.slip is not None:
        on_second = on_second - friction.tangential_stiffness(push, system.grip)[:, None] * history.slip
        drawn = rough.elongations(*still(state, history, system))
    return on_second, bond.forces(drawn, history.bridges, system.bridge)


def still(state, history: History, system: System):
    """The unknowns and given values of [`rough.residual`][] for an increment from the state after the last, with the
    plate held, in which nothing has moved yet."""
    positions, plate = state
    given = rough.Given(contact.branch(history.largest, system.law), history, positions, plate, positions)
    stage = Stage(jnp.asarray(True), plate, jnp.zeros_like(plate))
    return (positions, jnp.zeros_like(positions), plate), (system, given, stage)
