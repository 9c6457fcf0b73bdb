"""Calendering: a rigid plate compresses the dried film to a gap and lets go. Quasi-static, with history."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require
from microstructure.packing import Packing
from solver.numerics.equilibrium import NewtonCG
from solver.numerics.solution import Result, Solution
from solver.particles import contact
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import Pairs, missed_contacts

from . import frictional, frictionless, trust
from .film import Stage, System, coordination, film_at_rest, overlaps_of, reduced_radii, virial
from .frictional import Incremental
from .trust import Trust


class Calendering(eqx.Module):
    """How the film is compressed.

    **Arguments:** `load`, increments of the plate from the film's thickness to the gap; `unload`, increments of falling
    pressure; `passes`, how often it is pressed to the gap and let go, each pass from where the last one left it;
    `release`, plate pressure at the end, Pa, at which the thickness is read; `newton`, the search for each
    equilibrium without friction, in units of the mean radius and of E*, and `rough`, how increments are made with it;
    `tie`, with friction, the stiffness that holds each particle and its rotation to where the increment takes it in the
    mean, over E* R of a contact: it lets go after each increment, as a drag would, and little feels it but what nothing
    else holds; 1e-3 presses spheres without binder ten times faster, at 16 % too much pressure near 20 MPa and 3 %
    near 90; `trust`, whether to say how far a gradient holds, which costs a linear solve an increment.
    """

    release: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e5)
    newton: NewtonCG = eqx.field(default_factory=lambda: NewtonCG(tolerance=1e-13, steps=200))
    rough: Incremental = eqx.field(default_factory=Incremental)
    tie: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-4)
    trust: bool = eqx.field(static=True, default=False)
    load: int = eqx.field(static=True, default=10)
    unload: int = eqx.field(static=True, default=3)
    passes: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        require("tie", self.tie, 0.0, 1.0)
        require("passes", self.passes, 1, 100)

    @property
    def lowest(self) -> int:
        """The index in the course, counted from the film at rest, at which the last pass is at the gap."""
        return (self.passes - 1) * (self.load + self.unload) + self.load


class Calendered(eqx.Module):
    """A calendered film. Without friction all pressures are about 3.5 times too low for cohesionless spheres (LAMMPS
    comparison, 30 % porosity) and are no design variable.

    **Arguments:** `packing`, after release, box[0] is its thickness; `loaded`, at the gap in the last pass;
    `thickness`, (passes (load + unload) + 1,), m, and `pressure`, same shape, Pa: the curve from no load to the gap
    and back, pass by pass; `springback`, recovered thickness over the gap; `coordination`, contacts a particle after
    release, planes left out; `overlap`, largest overlap at the gap over the reduced radius; `dissipated`, (passes
    (load + unload),), plastic work of contacts by increment, J; `virial`, same shape, the same pressure from all
    forces inside the film, Pa; `trust`, by increment, how far a gradient holds, where asked
    for.
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
    trust: Trust | None


class Step(eqx.Module):
    """What an increment asks for, relative to where it starts: `held`, down towards `plate`, the gap, by the `share` of
    what is left of the way; else to the `share` of the way, in the logarithm, from the peak pressure to the release."""

    held: Array
    plate: Array
    share: Array


def _increment(system: System, method: Calendering, carry, stage: Step):
    """One equilibrium, the history after it, and how far its derivative can be trusted."""
    (positions, plate), past, peak, worst = carry
    # The falling pressures are geometric between the peak and the release.
    lowest = jnp.minimum(method.release, peak)
    ratio = jnp.where(peak > 0, lowest / jnp.where(peak > 0, peak, 1), 1)
    target = plate + stage.share * (stage.plate - plate)
    stage = Stage(stage.held, target, peak * ratio**stage.share)
    law, search = (frictionless, method.newton) if system.grip is None else (frictional, method.rough)
    solution, after, outcome, last = law.advance((positions, plate), past, stage, system, search)
    lost = jnp.sum(contact.dissipation(past.largest, after.largest, system.law))
    pressure = jnp.sum(outcome.push[-system.radii.shape[0] :]) / jnp.prod(system.lateral)
    state = (solution.value[0], jnp.where(stage.held, stage.plate, solution.value[-1]))
    peak = jnp.where(stage.held, pressure, peak)
    worst = Result.where(worst == Result.successful, solution.result, worst)
    row = (state, pressure, virial(state, system, outcome), lost, solution.stats["steps"], solution.stats["inner"])
    trusted = trust.measure(law, solution.value, *last, outcome) if method.trust else None
    return (state, after, peak, worst), (*row, trusted)


def _stages(gap, method: Calendering) -> Step:
    """Equal steps of the plate down to the gap, then equal steps of the logarithm of the pressure; `passes` times."""
    down = 1 / jnp.arange(float(method.load), 0.0, -1.0)
    up = jnp.arange(1.0, method.unload + 1) / method.unload
    share = jnp.tile(jnp.concatenate([down, up]), method.passes)
    held = jnp.tile(jnp.arange(method.load + method.unload) < method.load, method.passes)
    return Step(held, jnp.broadcast_to(gap, share.shape), share)


def calender(
    packing: Packing,
    pairs: Pairs,
    gap,
    law: ContactLaw | None = None,
    binder: Binder | None = None,
    method: Calendering | None = None,
    friction: Friction | None = None,
) -> Solution:
    """Compresses a dried film to `gap` by a rigid plate and releases it.

    At every increment the positions minimise an incremental energy of contacts ([`ContactLaw`][]: pairs, collector,
    plate) and binder bridges ([`Binder`][]); then largest overlaps and plastic elongations are updated. Without
    `friction` particles do not turn. With it ([`Friction`][]) forces and moments of all particles balance, the ends of
    the bridges turn with the particles, and the slip of each contact is carried too; there is no energy then.

    A gap at or above the film's thickness compresses nothing and returns the film as it is. Differentiable in `packing`
    (positions, radii, box), `gap`, `law`, `binder` and `friction`; `pairs` is held. A derivative is that of the contact
    network as it is: what opens, closes, yields or begins to slide within a step is not in it, nor how the film settled
    and which bridges it has. [`Calendered.trust`][] says how near that is.

    **Arguments:** `packing`, the dried film; `pairs`, from `candidate_pairs` of the settled film; `gap`, m; `friction`,
    none by default.

    **Returns:** a `Solution` with [`Calendered`][]; `over_capacity` when a pair outside the list came to touch. Stats:
    `steps` and `inner` by increment, `missed` pairs.
    """
    press = prepare(packing, pairs, gap, law, binder, method, friction)
    carry, rows = lax.scan(lambda carry, stage: advance(press, carry, stage), press.first, press.stages)
    return conclude(press, packing, carry, rows)


class Press(eqx.Module):
    """A film in its calender, before the first increment.

    **Arguments:** `system`; `method`, in the units of the system; `stages`, of all increments, stacked; `first`, the
    carry of [`advance`][]: state, history, peak pressure, worst result; `compressed`, whether the gap is below the
    film's thickness; `unit`, of length, m, and `stress`, Pa.
    """

    system: System
    method: Calendering
    stages: Step
    first: tuple
    compressed: Array
    unit: Array
    stress: Array


def prepare(packing: Packing, pairs: Pairs, gap, law=None, binder=None, method=None, friction=None) -> Press:
    """What [`calender`][] does before its first increment, with its arguments: for who makes each increment apart."""
    law, binder, method = law or ContactLaw(), binder or Binder(), method or Calendering()
    if friction is not None:  # ties hold what floats
        binder = eqx.tree_at(lambda b: b.background, binder, jnp.zeros_like(binder.background))
    gap = jnp.asarray(gap)
    require("gap", gap, 2e-9, 1e-2, unit="m")
    # Only the size of the numbers in the search depends on this unit, so it needs no derivative.
    unit = lax.stop_gradient(jnp.mean(packing.radii))
    stress = law.pair_modulus()
    system = film_at_rest(packing, pairs, law, binder, unit)
    if friction is not None:
        # Ties are in units of the mean radius, of which they do need the derivative.
        system = frictional.roughened(system, law, friction, method.tie * jnp.mean(packing.radii) / unit)
    top = packing.box[0] / unit
    compressed = gap < packing.box[0]
    method = eqx.tree_at(lambda m: m.release, method, method.release / stress)
    stages = _stages(jnp.where(compressed, gap / unit, top), method)
    history = (frictionless if friction is None else frictional).unmoved(system)
    first = ((packing.positions / unit, top), history, jnp.asarray(0.0), Result.successful)
    return Press(system, method, stages, first, compressed, unit, stress)


def advance(press: Press, carry, stage: Step):
    """One increment of [`calender`][]: the carry and a row of the course after it."""
    return _increment(press.system, press.method, carry, stage)


def conclude(press: Press, packing: Packing, carry, rows) -> Solution:
    """What [`calender`][] returns, from the last carry and the rows of all increments, stacked."""
    system, unit, stress, compressed = press.system, press.unit, press.stress, press.compressed
    released, history, _, worst = carry
    states, pressure, stress_inside, lost, steps, inner, trusted = rows
    loaded = jax.tree.map(lambda a: a[press.method.lowest - 1], states)
    top = press.first[0][1]

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
        coordination(released, system, history),
        jnp.max(overlaps_of(*loaded, system.pairs, system.radii, system.lateral)[1] / reduced_radii(system)),
        lost * stress * unit**3,
        stress_inside * stress,
        trusted,
    )
    missed = lax.stop_gradient(missed_contacts(at_gap, system.pairs))
    result = Result.where(missed > 0, Result.over_capacity, worst)
    return Solution(value, result, {"steps": steps, "inner": inner, "missed": missed})
