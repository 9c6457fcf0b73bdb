"""Equilibrium of the film with friction: the root of forces and moments, and the history after each increment."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from solver.numerics.newton_krylov import NewtonKrylov, at_root, general_solve, search
from solver.numerics.solution import Result, Solution
from solver.particles import bond, contact, friction
from solver.particles.contact import Branch, ContactLaw
from solver.particles.friction import Friction

from . import rough, tangent
from .film import History, Outcome, Stage, System, reduced_radii, strains


class Incremental(eqx.Module):
    """How an increment is made with friction.

    **Arguments:** `root`, the search for each balance, in units of the mean radius and of E*; `firmer`, factor on the
    ties after a step without balance, until they are `firmest`; `tries`, balances sought in an increment, and `room`,
    how many of them may be found.
    """

    root: NewtonKrylov = eqx.field(default_factory=lambda: NewtonKrylov(tolerance=1e-12, steps=40))
    firmer: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=10.0)
    firmest: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-2)
    tries: Int[Array, ""] = eqx.field(converter=jnp.asarray, default=120)
    room: int = eqx.field(static=True, default=60)


def roughened(system: System, law: ContactLaw, rule: Friction, tie) -> System:
    """The film with the friction `rule` in all its contacts."""
    inside, planes = system.pairs.first.shape, (2 * system.radii.shape[0],)

    def each(pair, plane):
        return jnp.concatenate([jnp.broadcast_to(pair, inside), jnp.broadcast_to(plane, planes)])

    modulus = each(friction.pair_shear_modulus(law), friction.plane_shear_modulus(law)) / law.pair_modulus()
    coefficient = each(rule.coefficient, rule.plane)
    grip = friction.grip(modulus, system.law.stiffness, reduced_radii(system), coefficient)
    return eqx.tree_at(lambda s: (s.grip, s.tie), system, (grip, tie), is_leaf=lambda x: x is None)


def unmoved(system: System) -> History:
    """The history of a film that was never loaded."""
    contacts = system.conformed.shape[0]
    none = jnp.zeros_like(system.conformed)
    return History(none, bond.fresh(system.bridge), jnp.zeros((contacts, 3)), jnp.zeros((system.radii.shape[0], 3)))


def advance(start, past: History, stage: Stage, system: System, method: Incremental):
    """One increment from `start`, (positions, plate), in as many steps as it takes.

    What has no equilibrium near by, as where contacts give way, is passed under stronger ties and in shorter steps of
    the plate or of the logarithm of its pressure; the increment ends in a balance with the ties as they are. The steps
    are found without a derivative, and then gone through again with one.

    **Returns:** the `Solution` with (positions, turns of the last step, plate), the [`History`][] after it, its
    [`Outcome`][], and what [`respond`][] and trust need of the last step: (start, branch, history, stage, system).
    """
    found, result, stats = _found(*lax.stop_gradient((start, past, stage, system)), method)
    value, args = eqx.filter_checkpoint(_followed)(start, past, stage, system, found, method)
    after, outcome = _settled(value, args)
    given = args[1]
    last = ((given.positions, given.plate), given.branch, given.history, args[2], args[0])
    return Solution(value, result, stats), after, outcome, last


class Found(eqx.Module):
    """The steps of an increment: `root`, states; `share` of the increment done by then, `tie`; `used`, 1 or 0."""

    root: tuple
    share: Array
    tie: Array
    used: Array


def _target(start, stage: Stage, system: System, past: History, share) -> Stage:
    """What is prescribed at a `share` of the increment from `start`: of the way, or of that of the log of pressure."""
    positions, plate = start
    count = system.radii.shape[0]
    given = rough.Given(contact.branch(past.largest, system.law), past, positions, plate, positions)
    columns = jnp.concatenate([positions, jnp.zeros_like(positions), jnp.broadcast_to(plate, (count, 1))], axis=1)
    now = jnp.sum(rough.on_planes(columns, system, given)[:, 6]) / jnp.prod(system.lateral)
    both = (now > 0) & (stage.pressure > 0)
    ratio = jnp.where(both, stage.pressure / jnp.where(both, now, 1), 1)
    pressure = jnp.where(both, now * ratio**share, stage.pressure)
    return Stage(stage.held, plate + share * (stage.plate - plate), pressure)


def _question(now, past: History, goal: Stage, system: System, tie):
    """Guess and arguments of the balance at the end of a step from `now`, with ties of stiffness `tie`."""
    positions, plate = now
    moved = positions * jnp.stack([jnp.where(goal.held, goal.plate / plate, 1.0), 1.0, 1.0])
    given = rough.Given(contact.branch(past.largest, system.law), past, positions, plate, moved)
    guess = (moved, jnp.zeros_like(moved), jnp.where(goal.held, goal.plate, plate))
    return guess, (eqx.tree_at(lambda s: s.tie, system, tie), given, goal)


class Way(eqx.Module):
    """How far an increment has come: `now`, (positions, plate), and `history` there, after the `share` of it; the
    `found` steps, `used` of them; `size` of the next, `level` of its ties; `tries` and what they cost, `steps` and
    `inner`; whether it is `finished`."""

    now: tuple
    history: History
    found: Found
    share: Array
    size: Array
    level: Array
    used: Array
    tries: Array
    steps: Array
    inner: Array
    finished: Array


def _found(start, past: History, stage: Stage, system: System, method: Incremental):
    """The [`Found`][] steps of an increment, the result, and what they cost."""
    room, zero = method.room, jnp.asarray(0)
    empty = Found(
        tuple(jnp.zeros((room, *jnp.shape(a))) for a in (start[0], start[0], start[1])),
        *(jnp.zeros(room) for _ in range(3)),
    )
    way = Way(start, past, empty, jnp.asarray(0.0), jnp.asarray(1.0), *[zero] * 5, jnp.asarray(False))

    def unfinished(way):
        return ~way.finished & (way.used < room) & (way.tries < method.tries)

    def attempt(way):
        share = jnp.minimum(way.share + way.size, 1)
        tie = jnp.minimum(system.tie * method.firmer**way.level, jnp.maximum(method.firmest, system.tie))
        goal = _target(start, stage, system, past, share)
        return _attempt(way, share, tie, goal, system, method)

    way = lax.while_loop(unfinished, attempt, way)
    result = Result.where(way.finished, Result.successful, Result.max_steps)
    stats = {"steps": way.steps, "inner": way.inner, "substeps": way.used, "tries": way.tries}
    return way.found, result, stats


def _attempt(way: Way, share, tie, goal: Stage, system: System, method: Incremental) -> Way:
    """The way after a balance was sought at a `share` of the increment: a longer step under softer ties after a
    success, a shorter one under firmer ties after a failure."""
    guess, args = _question(way.now, way.history, goal, system, tie)
    solution = search(rough.residual, guess, args, method.root, tangent.model)
    x = solution.value
    ok = (solution.result == Result.successful) & ~rough.crowded(x, args)
    after, _ = _settled(x, args)
    there, row = (x[0], jnp.where(goal.held, goal.plate, x[2])), Found(x, share, tie, jnp.asarray(1.0))
    now, history = jax.tree.map(lambda a, b: jnp.where(ok, a, b), (there, after), (way.now, way.history))
    found = jax.tree.map(lambda a, b: a.at[way.used].set(jnp.where(ok, b, a[way.used])), way.found, row)
    return Way(
        now,
        history,
        found,
        share=jnp.where(ok, share, way.share),
        size=jnp.where(ok, 2 * way.size, 0.5 * way.size),
        level=jnp.where(ok, jnp.maximum(way.level - 1, 0), way.level + 1),
        used=way.used + ok.astype(way.used.dtype),
        tries=way.tries + 1,
        steps=way.steps + solution.stats["steps"],
        inner=way.inner + solution.stats["inner"],
        finished=ok & (share >= 1) & (way.level == 0),
    )


def _followed(start, past: History, stage: Stage, system: System, found: Found, method: Incremental):
    """The last of the `found` steps, as state and arguments, each with its derivative from the one before."""

    fixed = lax.stop_gradient(system.tie)
    unit = system.tie / jnp.where(fixed > 0, fixed, 1)  # 1 with the derivative of the ties

    def step(carry, row: Found):
        now, history, *_ = carry

        def taken():
            goal = _target(start, stage, system, past, row.share)
            _, args = _question(now, history, goal, system, unit * row.tie)
            x = at_root(rough.residual, row.root, args, method.root, tangent.model)
            after, _ = _settled(x, args)
            return (x[0], jnp.where(goal.held, goal.plate, x[2])), after, x, (now, history, row.share, unit * row.tie)

        return lax.cond(row.used > 0, taken, lambda: carry), None

    value = (start[0], jnp.zeros_like(start[0]), start[1])
    first = (start, past, value, (start, past, jnp.asarray(1.0), system.tie))
    (_, _, value, (now, history, share, tie)), _ = lax.scan(eqx.filter_checkpoint(step), first, found)
    goal = _target(start, stage, system, past, share)
    return value, _question(now, history, goal, system, tie)[1]


def _settled(state, args):
    """The [`History`][] after the increment, and its [`Outcome`][]."""
    system, given, stage = args
    _, _, overlaps = strains((state[0], state[2]), system, stage)
    drawn, past = rough.elongations(state, args), given.history
    trial, push, normal = rough.slips(state, args)
    drag, kept = friction.limited(trial, push, system.grip)
    flowed = bond.flow(drawn, past.bridges, system.bridge)
    torn = bond.broken(drawn, flowed, system.bridge)
    after = History(jnp.maximum(past.largest, overlaps), torn, kept, past.turned + state[1])
    number = normal.shape[0]
    along = push[:number] * normal[:, 0] - drag[:number, 0]
    pull = bond.forces(drawn, flowed, system.bridge)
    ratio = friction.load_ratio(trial, push, system.grip)
    return after, Outcome(push, along, pull, overlaps, drawn, ratio)


def respond(start, value, branch: Branch, past: History, stage: Stage, system: System, rtol):
    """How positions and plate move with what the stage prescribes, and the relative residual of the linear solve."""
    args = lambda share: (system, rough.Given(branch, past, *start, start[0]), stage.driven(share))  # noqa: E731
    _, rhs = jax.jvp(lambda share: rough.residual(value, args(share)), (jnp.asarray(0.0),), (jnp.asarray(1.0),))
    apply, solve = tangent.model(value, args(0.0), 1.0)
    solved = general_solve(apply, rhs, preconditioner=solve, rtol=rtol, max_steps=2000, window=24)
    return (solved.value[0], solved.value[2]), solved.stats["residual"]
