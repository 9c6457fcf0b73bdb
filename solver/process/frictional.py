"""Equilibrium of the film with friction: the root of forces and moments, and the history after each increment."""

import equinox as eqx
import jax
import jax.numpy as jnp

from solver.numerics.newton_krylov import NewtonKrylov, balance, general_solve
from solver.numerics.solution import Result, Solution
from solver.particles import bond, friction
from solver.particles.contact import Branch, ContactLaw
from solver.particles.friction import Friction

from . import rough, tangent
from .film import History, Outcome, Stage, System, reduced_radii, strains


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


def advance(start, guess, branch: Branch, past: History, stage: Stage, system: System, method: NewtonKrylov):
    """One increment from `start`, (positions, plate), searched from `guess`.

    **Returns:** the `Solution` with (positions, turns, plate), the [`History`][] after it and its [`Outcome`][].
    """
    args = (system, rough.Given(branch, past, *start, guess[0]), stage)
    at = (guess[0], jnp.zeros_like(guess[0]), guess[1])
    solution = balance(rough.residual, at, args, method, tangent.model)
    after, outcome = _settled(solution.value, args)
    full = rough.crowded(solution.value, args)
    result = Result.where(full, Result.over_capacity, solution.result)
    return Solution(solution.value, result, solution.stats), after, outcome


def _settled(state, args):
    """The [`History`][] after the increment, and its [`Outcome`][]."""
    system, given, stage = args
    _, _, overlaps = strains((state[0], state[2]), system, stage)
    drawn, past = rough.elongations(state, args), given.history
    trial, push, normal = rough.slips(state, args)
    drag, kept = friction.limited(trial, push, system.grip)
    flowed = bond.flow(drawn, past.bridges, system.bridge)
    after = History(jnp.maximum(past.largest, overlaps), flowed, kept, past.turned + state[1])
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
