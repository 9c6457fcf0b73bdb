"""Strain of the periodic cell: how stiff a packing in motion is along the film."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from solver.particles.cells import Capacity
from solver.particles.dynamics import advance
from solver.particles.observe import observe
from solver.particles.scene import Scene, State


def stretched(scene: Scene, state: State, ratio, axis: int = 1) -> tuple[Scene, State]:
    """The cell `ratio` times as long along the lateral `axis`, 1 or 2, every particle carried with it."""
    stretch = jnp.ones(3).at[axis].set(ratio)
    scene = eqx.tree_at(lambda s: s.lateral, scene, scene.lateral * stretch[1:])
    carried = (stretch[:, None] * state.positions, stretch[:, None] * state.near.anchor)
    return scene, eqx.tree_at(lambda s: (s.positions, s.near.anchor), state, carried)


@eqx.filter_jit
def strain_course(scene: Scene, state: State, strains, steps, depth, capacity: Capacity, axis: int = 1):
    """Takes the cell through `strains` along a lateral `axis` and lets the particles follow for `steps` steps at each.

    **Arguments:** `scene`, of strain 0, at which `state` is; `strains` (K,), of small increments; `steps`, of the
    scene, at each; `depth`, m, that the stress is taken over.

    **Returns:** the state after the last, and the stresses (K, 3, 3), Pa, pressure positive
    ([`solver.particles.observe.Observed`][]). `state.near.overflow` says that the capacity did not do.
    """

    def on(carry, strain):
        state, before = carry
        now, _ = stretched(scene, state, 1 + strain, axis)
        _, state = stretched(scene, state, (1 + strain) / (1 + before), axis)
        state = advance(now, state, steps, capacity)
        return (state, strain), observe(now, state, depth).stress

    (state, _), stresses = lax.scan(on, (state, jnp.asarray(0.0)), jnp.asarray(strains))
    return state, stresses
