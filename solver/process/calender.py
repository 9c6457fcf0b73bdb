"""Calendering: a rigid plate compresses the dried film to a gap and lets go. Quasi-static, frictionless, with history."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require
from microstructure.packing import Packing
from solver.numerics.equilibrium import NewtonCG, equilibrium
from solver.numerics.solution import Result, Solution
from solver.particles import bond, contact
from solver.particles.bond import Binder, Bridge
from solver.particles.contact import ContactLaw, Hertz
from solver.particles.neighbours import (
    Pairs,
    block_operator,
    missed_contacts,
    relative_positions,
    second_derivative,
)
from solver.particles.walls import collector_overlap, plate_overlap


class Calendering(eqx.Module):
    """How the film is compressed.

    **Arguments:** `load`, increments of the plate from the film's thickness to the gap; `unload`, increments of falling
    pressure; `release`, plate pressure at the end, Pa, at which the thickness is read; `newton`, the search for each
    equilibrium, in units of the mean radius and of E*.
    """

    release: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e5)
    newton: NewtonCG = eqx.field(default_factory=lambda: NewtonCG(tolerance=1e-13))
    load: int = eqx.field(static=True, default=10)
    unload: int = eqx.field(static=True, default=3)


class Calendered(eqx.Module):
    """A calendered film. All pressures are frictionless, which is about 3.5 times too low (LAMMPS comparison, 30 %
    porosity), and are no design variable.

    **Arguments:** `packing`, after release, box[0] is its thickness; `loaded`, at the gap; `thickness`, (load + unload +
    1,), m, and `pressure`, same shape, Pa: the curve from no load to the gap and back; `springback`, recovered thickness
    over the gap; `coordination`, contacts a particle after release, planes left out; `overlap`, largest overlap at the
    gap over the reduced radius; `dissipated`, (load + unload,), plastic work of contacts by increment, J.
    """

    packing: Packing
    loaded: Packing
    thickness: Array
    pressure: Array
    springback: Array
    coordination: Array
    overlap: Array
    dissipated: Array


class System(eqx.Module):
    """The film in units of the mean radius and E*: everything that stays the same while the plate moves."""

    pairs: Pairs
    radii: Array
    lateral: Array
    law: Hertz
    plane: Hertz
    bridge: Bridge
    ground: Bridge
    rest: Array
    anchor: Array
    conformed: tuple[Array, Array, Array]


class History(eqx.Module):
    """Internal variables: largest overlaps so far of pairs (P,), collector (N,) and plate (N,), plastic elongation of
    bridges (P, 3) and of the bridges to the collector (N, 3)."""

    pair: Array
    collector: Array
    plate: Array
    bridge: Array
    ground: Array


def _system(packing: Packing, pairs: Pairs, law: ContactLaw, binder: Binder, unit) -> System:
    """The film at rest: overlaps that the dried film already has are conformed to and carry no force."""
    stress = law.pair_modulus()
    radii, box, positions = packing.radii / unit, packing.box / unit, packing.positions / unit
    first, second = radii[pairs.first], radii[pairs.second]
    relative = relative_positions(positions, box[1:], pairs)
    length = jnp.sqrt(jnp.sum(relative**2, axis=1))
    smaller = jnp.minimum(first, second)
    weight = pairs.bonded + binder.background * (pairs.listed - pairs.bonded)
    upright = jnp.broadcast_to(jnp.asarray([1.0, 0.0, 0.0]), positions.shape)
    depth = positions[:, 0]
    planes = (collector_overlap(depth, radii), plate_overlap(depth, radii, box[0]))
    return System(
        pairs,
        radii,
        box[1:],
        contact.constants(law.pair_modulus() / stress, law.yield_pressure / stress, first * second / (first + second)),
        contact.constants(law.plane_modulus() / stress, law.yield_pressure / stress, radii),
        bond.bridges(binder, smaller, weight, relative / length[:, None], stress),
        bond.bridges(binder, radii, pairs.grounded, upright, stress),
        relative,
        positions,
        tuple(jnp.where(d > 0, d, 0) for d in (first + second - length, *planes)),
    )


def _untouched(system: System) -> History:
    pair, single = jnp.zeros_like(system.rest[:, 0]), jnp.zeros_like(system.radii)
    return History(pair, single, single, jnp.zeros_like(system.rest), jnp.zeros_like(system.anchor))


def _overlaps(positions, plate, system):
    """Pair vectors, pair, collector and plate overlaps."""
    relative = relative_positions(positions, system.lateral, system.pairs)
    pair, collector, top = system.conformed
    total = system.radii[system.pairs.first] + system.radii[system.pairs.second]
    depth = positions[:, 0]
    return (
        relative,
        total - jnp.sqrt(jnp.sum(relative**2, axis=1)) - pair,
        collector_overlap(depth, system.radii) - collector,
        plate_overlap(depth, system.radii, plate) - top,
    )


def _film_energy(positions, plate, system: System, past: History):
    """The incremental energy: its gradient is the force of every law at the end of the increment."""
    relative, pair, collector, top = _overlaps(positions, plate, system)
    return (
        jnp.sum(contact.energy(pair, past.pair, system.law))
        + jnp.sum(contact.energy(collector, past.collector, system.plane))
        + jnp.sum(contact.energy(top, past.plate, system.plane))
        + jnp.sum(bond.energy(relative - system.rest, past.bridge, system.bridge))
        + jnp.sum(bond.energy(positions - system.anchor, past.ground, system.ground))
    )


def _film_model(positions, plate, system: System, past: History):
    """The Hessian without the softening by turning contacts, its preconditioner, and the stiffness of the plate."""
    relative, pair, collector, top = _overlaps(positions, plate, system)
    normal = relative / jnp.sqrt(jnp.sum(relative**2, axis=1))[:, None]
    stiff = second_derivative(lambda d: contact.energy(d, past.pair, system.law), pair)
    bonds = jax.vmap(jax.hessian(bond.energy))(relative - system.rest, past.bridge, _rows(system.bridge, normal))
    grounds = jax.vmap(jax.hessian(bond.energy))(positions - system.anchor, past.ground, _rows(system.ground, positions))
    below = second_derivative(lambda d: contact.energy(d, past.collector, system.plane), collector)
    above = second_derivative(lambda d: contact.energy(d, past.plate, system.plane), top)
    upright = jnp.diag(jnp.asarray([1.0, 0.0, 0.0]))
    blocks = stiff[:, None, None] * normal[:, :, None] * normal[:, None, :] + bonds
    apply, solve = block_operator(blocks, grounds + (below + above)[:, None, None] * upright, system.pairs)
    return apply, solve, above


def _rows(bridge: Bridge, like):
    """The bridge with its one number spread over the rows, for `vmap`."""
    return eqx.tree_at(lambda b: b.hardening, bridge, jnp.broadcast_to(bridge.hardening, like.shape[:1]))


def _held_energy(positions, args):
    system, past, plate = args
    return _film_energy(positions, plate, system, past)


def _held_model(positions, args):
    system, past, plate = args
    return _film_model(positions, plate, system, past)[:2]


def _pressed_energy(state, args):
    (positions, plate), (system, past, pressure) = state, args
    return _film_energy(positions, plate, system, past) + pressure * plate * jnp.prod(system.lateral)


def _pressed_model(state, args):
    (positions, plate), (system, past, _) = state, args
    apply, solve, above = _film_model(positions, plate, system, past)
    total = jnp.sum(above)

    def pressed(v):
        x, h = v
        pull = apply(x)
        return pull.at[:, 0].add(-above * h), total * h - jnp.sum(above * x[:, 0])

    safe = jnp.where(total > 0, total, 1)
    return pressed, lambda r: (solve(r[0]), r[1] / safe)


def _remember(positions, plate, system: System, past: History):
    """The history after an increment, the plate's force and the plastic work of contacts."""
    relative, pair, collector, top = _overlaps(positions, plate, system)
    after = History(
        jnp.maximum(past.pair, pair),
        jnp.maximum(past.collector, collector),
        jnp.maximum(past.plate, top),
        bond.yielded(relative - system.rest, past.bridge, system.bridge),
        bond.yielded(positions - system.anchor, past.ground, system.ground),
    )
    lost = jnp.sum(contact.dissipation(past.pair, after.pair, system.law))
    lost = lost + jnp.sum(contact.dissipation(past.collector, after.collector, system.plane))
    lost = lost + jnp.sum(contact.dissipation(past.plate, after.plate, system.plane))
    pushed = jnp.sum(contact.force(top, past.plate, system.plane))
    return after, pushed / jnp.prod(system.lateral), lost


def _worse(a, b):
    return Result.where(a == Result.successful, b, a)


def _load(system, start, gap, method):
    """Holds the plate at equal steps from its start to the gap."""
    shares = jnp.arange(1.0, method.load + 1) / method.load

    def increment(carry, share):
        positions, plate, past, worst = carry
        target = start[1] + share * (gap - start[1])
        guess = positions * jnp.stack([target / plate, 1.0, 1.0])
        solution = equilibrium(_held_energy, guess, (system, past, target), method.newton, _held_model)
        past, pressure, lost = _remember(solution.value, target, system, past)
        row = (target, pressure, lost, solution.stats["steps"], solution.stats["inner"])
        return (solution.value, target, past, _worse(worst, solution.result)), row

    first = (*start, _untouched(system), Result.successful)
    return lax.scan(increment, first, shares)


def _unload(system, state, pressure, method):
    """Lets the plate rise while its pressure falls geometrically to that of release."""
    lowest = jnp.minimum(method.release, pressure)
    ratio = lowest / jnp.where(pressure > 0, pressure, 1)
    shares = jnp.arange(1.0, method.unload + 1) / method.unload

    def increment(carry, share):
        positions, plate, past, worst = carry
        target = jnp.where(pressure > 0, pressure * jnp.where(ratio > 0, ratio, 1) ** share, 0)
        guess = (positions, plate)
        solution = equilibrium(_pressed_energy, guess, (system, past, target), method.newton, _pressed_model)
        positions, plate = solution.value
        past, _, lost = _remember(positions, plate, system, past)
        row = (plate, target, lost, solution.stats["steps"], solution.stats["inner"])
        return (positions, plate, past, _worse(worst, solution.result)), row

    return lax.scan(increment, state, shares)


def calender(
    packing: Packing,
    pairs: Pairs,
    gap,
    law: ContactLaw | None = None,
    binder: Binder | None = None,
    method: Calendering | None = None,
) -> Solution:
    """Compresses a dried film to `gap` by a rigid plate and releases it.

    At every increment the positions minimise an incremental energy of contacts ([`ContactLaw`][]: pairs, collector,
    plate) and binder bridges ([`Binder`][]); then largest overlaps and plastic elongations are updated. Frictionless,
    without rotation. A gap at or above the film's thickness compresses nothing and returns the film as it is.
    Differentiable in `packing` (positions, radii, box), `gap`, `law` and `binder`; `pairs` is held.

    **Arguments:** `packing`, the dried film; `pairs`, from `candidate_pairs` of the settled film; `gap`, m.

    **Returns:** a `Solution` with [`Calendered`][]; `over_capacity` when a pair outside the list came to touch. Stats:
    `steps` and `inner` by increment, `missed`.
    """
    law, binder, method = law or ContactLaw(), binder or Binder(), method or Calendering()
    gap = jnp.asarray(gap)
    require("gap", gap, 2e-9, 1e-2, unit="m")
    unit = lax.stop_gradient(jnp.mean(packing.radii))
    # Only the size of the numbers in the search depends on this unit, so it needs no derivative.
    stress = law.pair_modulus()
    system = _system(packing, pairs, law, binder, unit)
    top = packing.box[0] / unit
    compressed = gap < packing.box[0]
    held = (packing.positions / unit, top)
    scaled = eqx.tree_at(lambda m: m.release, method, method.release / stress)
    loaded, down = _load(system, held, jnp.minimum(gap / unit, top), scaled)
    released, up = _unload(system, loaded, down[1][-1], scaled)

    def si(positions, plate):
        keep = jnp.where(compressed, plate, top)
        positions = jnp.where(compressed, positions, held[0])
        return Packing(positions * unit, packing.radii, jnp.concatenate([(keep * unit)[None], packing.box[1:]]))

    thickness, pressure, lost, steps, inner = (jnp.concatenate(both) for both in zip(down, up, strict=True))
    after, at_gap = si(*released[:2]), si(*loaded[:2])
    _, pair, _, _ = _overlaps(*released[:2], system)
    _, tight, _, _ = _overlaps(*loaded[:2], system)
    first, second = system.radii[pairs.first], system.radii[pairs.second]
    value = Calendered(
        after,
        at_gap,
        jnp.concatenate([packing.box[:1], thickness * unit]),
        jnp.concatenate([jnp.zeros((1,)), pressure * stress]),
        jnp.where(compressed, after.box[0] / at_gap.box[0] - 1, 0.0),
        2 * jnp.sum(jnp.where(pair > contact.permanent_overlap(released[2].pair, system.law), pairs.listed, 0))
        / system.radii.shape[0],
        jnp.max((tight + system.conformed[0]) / (first * second / (first + second))),
        lost * stress * unit**3,
    )
    missed = lax.stop_gradient(missed_contacts(at_gap, pairs))
    result = Result.where(missed > 0, Result.over_capacity, released[3])
    return Solution(value, result, {"steps": steps, "inner": inner, "missed": missed})
