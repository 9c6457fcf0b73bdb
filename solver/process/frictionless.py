"""Equilibrium of the film without friction: the minimum of an incremental energy, without rotation."""

import jax
import jax.numpy as jnp

from solver.numerics.equilibrium import NewtonCG, equilibrium
from solver.numerics.linear import linear_solve
from solver.particles import bond, contact
from solver.particles.neighbours import contact_operator

from .film import History, Outcome, Stage, System, strains


def energy(state, args):
    """The incremental energy: its gradient is the force of every law at the end of the increment."""
    system, branch, flow, stage = args
    _, elongations, overlaps = strains(state, system, stage)
    inside = jnp.sum(contact.energy(overlaps, branch)) + jnp.sum(bond.energy(elongations, flow, system.bridge))
    # A held plate has an unknown too, with an energy of its own, so that one search serves both kinds of increment.
    plate = jnp.where(
        stage.held, 0.5 * (state[1] - stage.plate) ** 2, stage.pressure * jnp.prod(system.lateral) * state[1]
    )
    return inside + plate


def model(state, args, positive):
    """The Hessian of [`energy`][], or a positive surrogate, and a preconditioner."""
    system, branch, flow, stage = args
    vectors, elongations, overlaps = strains(state, system, stage)
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


def unmoved(system: System) -> History:
    """The history of a film that was never loaded."""
    return History(jnp.zeros_like(system.conformed), bond.fresh(system.bridge))


def advance(start, past: History, stage: Stage, system: System, method: NewtonCG):
    """One increment from `start`, (positions, plate).

    **Returns:** the `Solution` with (positions, plate), the [`History`][] after it, its [`Outcome`][], and what
    [`respond`][] and trust need: (start, branch, history, stage, system).
    """
    positions, plate = start
    moved = positions * jnp.stack([jnp.where(stage.held, stage.plate / plate, 1.0), 1.0, 1.0])
    guess = (moved, jnp.where(stage.held, stage.plate, plate))
    branch = contact.branch(past.largest, system.law)
    args = (system, branch, past.bridges, stage)
    solution = equilibrium(energy, guess, args, method, model)
    _, drawn, overlaps = strains(solution.value, system, stage)
    flowed = bond.flow(drawn, past.bridges, system.bridge)
    after = History(jnp.maximum(past.largest, overlaps), bond.broken(drawn, flowed, system.bridge))
    push = contact.force(overlaps, branch)
    number = system.pairs.first.shape[0]
    vectors = strains(solution.value, system, stage)[0][:number]
    along = push[:number] * vectors[:, 0] / jnp.sqrt(jnp.sum(vectors**2, axis=1))
    outcome = Outcome(push, along, bond.forces(drawn, flowed, system.bridge), overlaps, drawn)
    return solution, after, outcome, (start, branch, past, stage, system)


def respond(start, value, branch, past: History, stage: Stage, system: System, rtol):
    """How positions and plate move with what the stage prescribes, and the relative residual of the linear solve."""
    slope = jax.grad(energy)
    args = lambda s: (system, branch, past.bridges, stage.driven(s))  # noqa: E731
    _, rhs = jax.jvp(lambda s: slope(value, args(s)), (jnp.asarray(0.0),), (jnp.asarray(1.0),))
    hessian, precondition = model(value, args(0.0), jnp.asarray(False))
    solved = linear_solve(hessian, rhs, preconditioner=precondition, rtol=rtol, max_steps=2000)
    return solved.value, solved.stats["residual"]
