"""Strain of a packing in motion along any axis, a little at a time: how stiff it is, and how it is pressed at rest."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from solver.particles.cells import Capacity
from solver.particles.dynamics import advance
from solver.particles.observe import Observed, observe
from solver.particles.scene import Scene, State


def stretched(scene: Scene, state: State, ratio, axis=1) -> tuple[Scene, State]:
    """The packing `ratio` times as long along `axis`, every particle carried with it.

    The cell is strained along axis 1 or 2, the heights of the bodies along 0.
    """
    stretch = jnp.where(jnp.arange(3) == axis, ratio, 1.0)
    scene = eqx.tree_at(lambda s: s.lateral, scene, scene.lateral * stretch[1:])
    carried = (stretch[:, None] * state.positions, stretch[:, None] * state.near.anchor)
    carried = (*carried, state.walls.height * stretch[0])
    return scene, eqx.tree_at(lambda s: (s.positions, s.near.anchor, s.walls.height), state, carried)


@eqx.filter_jit
def strain_course(
    scene: Scene, state: State, strains, steps, depth, capacity: Capacity, axis=1
) -> tuple[State, Observed]:
    """Takes the packing through `strains` along `axis` and lets the particles follow for `steps` steps at each.

    The bodies of the scene should stand still; along axis 0 it is their heights that are strained.

    **Arguments:** `scene`, of no strain; `state`, at the first of `strains` (K + 1,), which should differ little from
    each other; `steps`, of the scene, at each; `depth`, m, at no strain, that the stress is taken over.

    **Returns:** the state after the last, and what was [`solver.particles.observe.Observed`][] after each, stacked
    (K, ...). `state.near.overflow` says that the capacity did not do.
    """

    def on(state, pair):
        before, strain = pair
        now, _ = stretched(scene, state, 1 + strain, axis)
        _, state = stretched(scene, state, (1 + strain) / (1 + before), axis)
        state = advance(now, state, steps, capacity)
        return state, observe(now, state, depth * jnp.where(axis == 0, 1 + strain, 1))

    strains, axis = jnp.asarray(strains), jnp.asarray(axis)
    return lax.scan(on, state, (strains[:-1], strains[1:]))
