"""Calendering: a rigid plate compresses the dried film to a gap and lets go. Quasi-static, frictionless, with
history."""

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
from solver.particles.bond import Binder, Bridge, Flow
from solver.particles.contact import ContactLaw, Hertz
from solver.particles.neighbours import Pairs, contact_operator, missed_contacts, relative_positions
from solver.particles.walls import collector_overlap, plate_overlap


class Calendering(eqx.Module):
    """How the film is compressed.

    **Arguments:** `load`, increments of the plate from the film's thickness to the gap; `unload`, increments of falling
    pressure; `release`, plate pressure at the end, Pa, at which the thickness is read; `newton`, the search for each
    equilibrium, in units of the mean radius and of E*.
    """

    release: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e5)
    newton: NewtonCG = eqx.field(default_factory=lambda: NewtonCG(tolerance=1e-13, steps=200))
    load: int = eqx.field(static=True, default=10)
    unload: int = eqx.field(static=True, default=3)


class Calendered(eqx.Module):
    """A calendered film. All pressures are frictionless, which is about 3.5 times too low (LAMMPS comparison, 30 %
    porosity), and are no design variable.

    **Arguments:** `packing`, after release, box[0] is its thickness; `loaded`, at the gap; `thickness`, (load +
    unload + 1,), m, and `pressure`, same shape, Pa: the curve from no load to the gap and back; `springback`,
    recovered thickness over the gap; `coordination`, contacts a particle after release, planes left out; `overlap`,
    largest overlap at the gap over the reduced radius; `dissipated`, (load + unload,), plastic work of contacts by
    increment, J; `virial`, same shape, the same pressure from all forces inside the film, Pa.
    """

    packing: Packing
    loaded: Packing
    thickness: Array
    pressure: Array
    springback: Array
    coordination: Array
    overlap: Array
    dissipated: Array
    virial: Array


class System(eqx.Module):
    """The film in units of the mean radius and E*: everything that stays the same while the plate moves.

    Contacts are in one list: P pairs, N with the collector, N with the plate. So are bridges: P pairs, N to the
    collector.

    **Arguments:** `law`, `conformed` (overlap of the dried film, which carries no force), (P + 2 N,); `bridge`, `rest`
    (vector at rest), (P + N, 3).
    """

    pairs: Pairs
    radii: Array
    lateral: Array
    law: Hertz
    conformed: Array
    bridge: Bridge
    rest: Array


class History(eqx.Module):
    """Internal variables: `largest`, largest overlap so far (P + 2 N,); `bridges`, their flow (P + N)."""

    largest: Array
    bridges: Flow


class Stage(eqx.Module):
    """What one increment prescribes: the plate at `plate` where `held`, else under `pressure`."""

    held: Array
    plate: Array
    pressure: Array


def _overlaps(positions, plate, pairs: Pairs, radii, lateral):
    """Vectors (P + N, 3) and overlaps (P + 2 N,) of all bridges and contacts."""
    relative = relative_positions(positions, lateral, pairs)
    total = radii[pairs.first] + radii[pairs.second]
    depth = positions[:, 0]
    planes = [collector_overlap(depth, radii), plate_overlap(depth, radii, plate)]
    overlaps = jnp.concatenate([total - jnp.sqrt(jnp.sum(relative**2, axis=1)), *planes])
    return jnp.concatenate([relative, positions]), overlaps


def _system(packing: Packing, pairs: Pairs, law: ContactLaw, binder: Binder, unit) -> System:
    """The film at rest."""
    stress = law.pair_modulus()
    radii, box, positions = packing.radii / unit, packing.box / unit, packing.positions / unit
    vectors, overlaps = _overlaps(positions, box[0], pairs, radii, box[1:])
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
    bridge = bond.bridges(binder, smaller, jnp.concatenate([weight, pairs.grounded]), direction, stress)
    return System(pairs, radii, box[1:], laws, jnp.where(overlaps > 0, overlaps, 0), bridge, vectors)


def _strains(state, system: System, stage: Stage):
    """Elongations of the bridges and overlaps of the contacts."""
    positions, plate = state
    plate = jnp.where(stage.held, stage.plate, plate)
    vectors, overlaps = _overlaps(positions, plate, system.pairs, system.radii, system.lateral)
    return vectors, vectors - system.rest, overlaps - system.conformed


def _energy(state, args):
    """The incremental energy: its gradient is the force of every law at the end of the increment."""
    system, branch, flow, stage = args
    _, elongations, overlaps = _strains(state, system, stage)
    inside = jnp.sum(contact.energy(overlaps, branch)) + jnp.sum(bond.energy(elongations, flow, system.bridge))
    # A held plate has an unknown too, with an energy of its own, so that one search serves both kinds of increment.
    plate = jnp.where(
        stage.held, 0.5 * (state[1] - stage.plate) ** 2, stage.pressure * jnp.prod(system.lateral) * state[1]
    )
    return inside + plate


def _model(state, args, positive):
    """The Hessian of [`_energy`][], or a positive surrogate, and a preconditioner."""
    system, branch, flow, stage = args
    vectors, elongations, overlaps = _strains(state, system, stage)
    pairs, count = system.pairs.first.shape[0], system.radii.shape[0]
    stiff, push = contact.stiffness(overlaps, branch), contact.force(overlaps, branch)
    bonds = bond.stiffness(elongations, flow, system.bridge)
    below, above = stiff[pairs : pairs + count], stiff[pairs + count :]
    upright = jnp.diag(jnp.asarray([1.0, 0.0, 0.0]))
    diagonal = bonds[pairs:] + (below + above)[:, None, None] * upright
    inside = (vectors[:pairs], stiff[:pairs], push[:pairs], bonds[:pairs])
    apply, solve = contact_operator(*inside, diagonal, system.pairs, positive)
    coupling = jnp.where(stage.held, 0, above)
    plate = jnp.where(stage.held, 1, jnp.sum(above))
    safe = jnp.where(plate > 0, plate, 1)

    def hessian(v):
        x, h = v
        return apply(x).at[:, 0].add(-coupling * h), plate * h - jnp.sum(coupling * x[:, 0])

    return hessian, lambda r: (solve(r[0]), r[1] / safe)


def _increment(system: System, method: Calendering, carry, stage: Stage):
    """One equilibrium, then the history after it."""
    (positions, plate), past, peak, worst = carry
    # The falling pressures are geometric between the peak and the release.
    lowest = jnp.minimum(method.release, peak)
    ratio = jnp.where(peak > 0, lowest / jnp.where(peak > 0, peak, 1), 1)
    stage = Stage(stage.held, stage.plate, peak * ratio**stage.pressure)
    guess = positions * jnp.stack([jnp.where(stage.held, stage.plate / plate, 1.0), 1.0, 1.0])
    start = (guess, jnp.where(stage.held, stage.plate, plate))
    now = contact.branch(past.largest, system.law)
    solution = equilibrium(_energy, start, (system, now, past.bridges, stage), method.newton, _model)
    _, elongations, overlaps = _strains(solution.value, system, stage)
    after = History(jnp.maximum(past.largest, overlaps), bond.flow(elongations, past.bridges, system.bridge))
    lost = jnp.sum(contact.dissipation(past.largest, after.largest, system.law))
    pushed = contact.force(overlaps, now)
    pressure = jnp.sum(pushed[-system.radii.shape[0] :]) / jnp.prod(system.lateral)
    plate = jnp.where(stage.held, stage.plate, solution.value[1])
    state = (solution.value[0], plate)
    peak = jnp.where(stage.held, pressure, peak)
    worst = Result.where(worst == Result.successful, solution.result, worst)
    virial = _virial(state, system, pushed, bond.forces(elongations, after.bridges, system.bridge))
    row = (state, pressure, virial, lost, solution.stats["steps"], solution.stats["inner"])
    return (state, after, peak, worst), row


def _virial(state, system: System, pushed, pulled):
    """The stress along the thickness from every contact and bridge: sum of force times branch, over the volume."""
    positions, plate = state
    pairs, count = system.pairs.first.shape[0], system.radii.shape[0]
    depth = positions[:, 0]
    relative = relative_positions(positions, system.lateral, system.pairs)
    length = jnp.sqrt(jnp.sum(relative**2, axis=1))
    inside = pushed[:pairs] * relative[:, 0] / length - pulled[:pairs, 0]
    below = pushed[pairs : pairs + count] - pulled[pairs:, 0]
    total = jnp.sum(inside * relative[:, 0]) + jnp.sum(below * depth)
    total = total + jnp.sum(pushed[pairs + count :] * (plate - depth))
    return total / (plate * jnp.prod(system.lateral))


def _stages(top, gap, method: Calendering) -> Stage:
    """Equal steps of the plate down to the gap, then equal steps of the logarithm of the pressure."""
    down = jnp.arange(1.0, method.load + 1) / method.load
    up = jnp.arange(1.0, method.unload + 1) / method.unload
    plate = jnp.concatenate([top + down * (gap - top), jnp.broadcast_to(gap, up.shape)])
    held = jnp.arange(method.load + method.unload) < method.load
    return Stage(held, plate, jnp.concatenate([jnp.zeros_like(down), up]))


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
    `steps` and `inner` by increment, `missed` pairs.
    """
    law, binder, method = law or ContactLaw(), binder or Binder(), method or Calendering()
    gap = jnp.asarray(gap)
    require("gap", gap, 2e-9, 1e-2, unit="m")
    # Only the size of the numbers in the search depends on this unit, so it needs no derivative.
    unit = lax.stop_gradient(jnp.mean(packing.radii))
    stress = law.pair_modulus()
    system = _system(packing, pairs, law, binder, unit)
    top = packing.box[0] / unit
    compressed = gap < packing.box[0]
    method = eqx.tree_at(lambda m: m.release, method, method.release / stress)
    stages = _stages(top, jnp.where(compressed, gap / unit, top), method)
    history = History(jnp.zeros_like(system.conformed), bond.fresh(system.bridge))
    first = ((packing.positions / unit, top), history, jnp.asarray(0.0), Result.successful)
    step = lambda carry, stage: _increment(system, method, carry, stage)  # noqa: E731
    (released, history, _, worst), (states, pressure, virial, lost, steps, inner) = lax.scan(step, first, stages)
    loaded = jax.tree.map(lambda a: a[method.load - 1], states)

    def si(state):
        plate = jnp.where(compressed, state[1], top)
        positions = jnp.where(compressed, state[0] * unit, packing.positions)
        return Packing(positions, packing.radii, jnp.concatenate([(plate * unit)[None], packing.box[1:]]))

    after, at_gap = si(released), si(loaded)
    value = Calendered(
        after,
        at_gap,
        jnp.concatenate([packing.box[:1], states[1] * unit]),
        jnp.concatenate([jnp.zeros((1,)), pressure * stress]),
        jnp.where(compressed, after.box[0] / at_gap.box[0] - 1, 0.0),
        _coordination(released, system, history),
        jnp.max(_overlaps(*loaded, pairs, system.radii, system.lateral)[1] / _reduced(system)),
        lost * stress * unit**3,
        virial * stress,
    )
    missed = lax.stop_gradient(missed_contacts(at_gap, pairs))
    result = Result.where(missed > 0, Result.over_capacity, worst)
    return Solution(value, result, {"steps": steps, "inner": inner, "missed": missed})


def _reduced(system: System):
    """R* of every contact."""
    first, second = system.radii[system.pairs.first], system.radii[system.pairs.second]
    return jnp.concatenate([first * second / (first + second), system.radii, system.radii])


def _coordination(state, system: System, history: History):
    """Contacts with other particles that carry force, a particle."""
    _, overlaps = _overlaps(*state, system.pairs, system.radii, system.lateral)
    permanent = contact.permanent_overlap(history.largest, system.law)
    carrying = (overlaps - system.conformed > permanent)[: system.pairs.first.shape[0]]
    return 2 * jnp.sum(jnp.where(carrying, system.pairs.listed, 0)) / system.radii.shape[0]
