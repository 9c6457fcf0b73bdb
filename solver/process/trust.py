"""How far a gradient of the process can be trusted: how near its contacts are to a change, how soft the film is."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from solver.particles import bond
from solver.particles.contact import Branch

from .film import History, Outcome, Stage, System, reduced_radii

RTOL = 1e-6  # of the linear solve for the response


class Trust(eqx.Module):
    """Distances to the next change of the contact network, by increment (load + unload,): a gradient is that of the
    network as it is, and holds for steps that change none of it. The response costs one linear solve an increment, to
    a relative residual of 1e-6: with friction about as much as two of the ten Newton steps of an increment.

    **Arguments:** `closing`, smallest overlap or gap of any contact over its reduced radius; `yielding`, smallest
    distance of any loaded contact from its largest overlap so far, or yield overlap, over the reduced radius;
    `flowing`, smallest distance of a bridge's trial force from its yield force, over that; `sliding`, smallest distance
    of a loaded contact's trial friction from its limit, over that (infinite without friction); `response`, largest
    displacement of a particle for a unit displacement of the plate: about 1 in a firm film, large where it is about to
    give way; `residual`, relative residual of the linear solve that gave it, with the same operator as a gradient's.
    """

    closing: Array
    yielding: Array
    flowing: Array
    sliding: Array
    response: Array
    residual: Array


def measure(law, value, start, branch: Branch, past: History, stage: Stage, system: System, outcome: Outcome) -> Trust:
    """The [`Trust`][] of one increment, without derivative.

    **Arguments:** `law`, the module whose `respond` gives the linear response; `value`, its unknowns at the end; the
    rest, as its `advance` returns them.
    """
    fixed = (value, start, branch, past, stage, system, outcome)
    value, start, branch, past, stage, system, outcome = lax.stop_gradient(fixed)
    listed = jnp.concatenate([system.pairs.listed, jnp.ones(2 * system.radii.shape[0])]) > 0
    elastic = outcome.overlaps - branch.permanent
    touching, reduced = listed & (elastic > 0), reduced_radii(system)

    def nearest(distance, where):
        return jnp.min(jnp.where(where, jnp.abs(distance), jnp.inf))

    shares = bond.yield_ratios(outcome.drawn, past.bridges, system.bridge)
    sliding = jnp.asarray(jnp.inf)
    if outcome.ratio is not None:
        sliding = nearest(outcome.ratio - 1, touching & (system.grip.coefficient > 0))
    (moved, plate), residual = law.respond(start, value, branch, past, stage, system, RTOL)
    driven = jnp.where(stage.held, 1, jnp.abs(plate))
    return Trust(
        nearest(elastic / reduced, listed),
        nearest((outcome.overlaps - branch.reach) / reduced, touching),
        nearest(shares - 1, jnp.isfinite(shares)),
        sliding,
        jnp.max(jnp.abs(moved)) / jnp.where(driven > 0, driven, 1),
        residual,
    )
