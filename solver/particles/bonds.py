"""Which particles in motion are bonded by binder, and by which law: a list that does not change.

A law is a value with `fresh(size)`, the memory of bonds that were just made, and `load(size, at, past, step)`, the
forces and moments ([`load`][]); `softened(share, shift)` gives the law of a warmer binder. What is broken, or not yet
bonded, carries exactly nothing.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from microstructure.checks import require
from microstructure.packing import Packing
from solver.particles import cells
from solver.particles.beam import Beam, Strain
from solver.particles.ends import Ends, Size
from solver.particles.viscoelastic import Relaxed, ViscoelasticBinder

Memory = Strain | Relaxed


class Bonds(eqx.Module):
    """`first`, `second`, (B,) indices of the particles; `image`, (2, B) lateral periods to add to the second; `size`,
    of each bond; `slots`, (K, N), entry of each bond of a particle, plus B where the particle is the second, 2 B for
    none; `law`.
    """

    first: Int[Array, " b"]
    second: Int[Array, " b"]
    image: Float[Array, "2 b"]
    size: Size
    slots: Int[Array, "k n"]
    law: Beam | ViscoelasticBinder = eqx.field(default_factory=Beam)


def fresh(bonds: Bonds) -> Memory:
    """What bonds remember that were just made."""
    return bonds.law.fresh(bonds.size)


def load(bonds: Bonds, at: Ends, past: Memory, step):
    """Forces and moments of bonds and what they remember after a step of `step`, s.

    **Returns:** force (3, B) on the first, N, moment (3, B) on the first and that on the second, N m, and the memory.
    """
    return bonds.law.load(bonds.size, at, past, step)


def glued(positions, radii, lateral, pairs, law: Beam | None = None, radius: float = 0.7) -> Bonds:
    """[`Bonds`][] at rest between the particles of `pairs`, from centre to centre. Host only.

    **Arguments:** `positions` (3, N), m; `radii` (N,), m; `lateral` (2,), m; `pairs`, (first (B,), second (B,), image
    (2, B)); `radius`, of a bond over the smaller of its particles.
    """
    require("radius", radius, 1e-3, 3.0)
    length, smaller, _ = _distances(positions, radii, lateral, pairs)
    return _listed(pairs, len(radii), Size(length, length, radius * smaller, np.ones_like(length)), law or Beam())


def filled(
    positions, radii, lateral, pairs, law: ViscoelasticBinder | None = None, radius: float = 1.5, thickness: float = 0.5
) -> Bonds:
    """[`Bonds`][] of binder in the gaps of `pairs`: it carries nothing where they are now. Host only.

    Where the gap is wider than the binder, the pair is bonded once it has come near enough to press it.

    **Arguments:** as of [`glued`][]; `thickness`, of the binder over the smaller particle.

    **Source:** Lundkvist et al. 2024, Powder Technology 443, 119873, and the code that belongs to it: radius 1.5 to
    1.75 and thickness 0.5 of the first particle of a pair.
    """
    require("radius", radius, 1e-3, 3.0)
    require("thickness", thickness, 1e-3, 3.0)
    distance, smaller, touching = _distances(positions, radii, lateral, pairs)
    reach = touching + thickness * smaller
    size = Size(np.minimum(distance, reach), thickness * smaller, radius * smaller, (distance <= reach).astype(float))
    return _listed(pairs, len(radii), size, law or ViscoelasticBinder())


def _distances(positions, radii, lateral, pairs):
    """Of each pair: distance of the centres, the smaller radius, and the sum of the radii (B,)."""
    first, second, image = (np.asarray(p) for p in pairs)
    positions, radii = np.asarray(positions), np.asarray(radii)
    relative = positions[:, second] - positions[:, first]
    relative[1:] += image * np.asarray(lateral)[:, None]
    one, two = radii[first], radii[second]
    return np.linalg.norm(relative, axis=0), np.minimum(one, two), one + two


def _listed(pairs, count, size: Size, law) -> Bonds:
    first, second, image = (np.asarray(p, t) for p, t in zip(pairs, (np.int32, np.int32, float), strict=True))
    slots = max(int(np.bincount(np.concatenate([first, second]), minlength=count).max()), 1)
    table, _ = cells.incidence(jnp.asarray(first), jnp.asarray(second), jnp.ones(len(first), bool), count, slots)
    size = Size(*(jnp.asarray(a) for a in (size.length, size.thickness, size.radius, size.held)))
    return Bonds(jnp.asarray(first), jnp.asarray(second), jnp.asarray(image), size, table, law)


def near_pairs(packing: Packing, reach: float = 0.5, fraction: float = 1.0, seed: int = 0):
    """A `fraction` of the pairs whose surfaces are nearer than `reach` times the smaller radius. Host only.

    The same seed gives the same pairs, each drawn by itself, as in the model of Lundkvist et al. 2024.

    **Returns:** (first (B,), second (B,), image (2, B)), for [`glued`][] or [`filled`][].
    """
    require("reach", reach, 0.0, 3.0)
    require("fraction", fraction, 0.0, 1.0)
    radii, box = np.asarray(packing.radii), np.asarray(packing.box)
    skin = reach * radii.max()
    capacity = cells.capacity_for(packing.positions.T, radii, box, skin)
    for _ in range(8):
        near = eqx.filter_jit(cells.build)(packing.positions.T, packing.radii, packing.box, skin, capacity)
        if not bool(near.overflow):
            break
        capacity = cells.grown(capacity, near)
    listed = np.asarray(near.listed)
    pairs = tuple(np.asarray(p)[..., listed] for p in (near.first, near.second, near.image))
    distance, smaller, touching = _distances(packing.positions.T, radii, box[1:], pairs)
    close = distance - touching < reach * smaller
    pairs = tuple(p[..., close] for p in pairs)
    order = np.lexsort((*pairs[2], pairs[1], pairs[0]))
    drawn = order[np.random.default_rng(seed).random(len(order)) < fraction]
    return tuple(p[..., drawn] for p in pairs)
