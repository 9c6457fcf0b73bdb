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
    length, *both = _distances(positions, radii, lateral, pairs)
    thin = radius * np.minimum(*both)
    return _listed(pairs, len(radii), Size(length, length, thin, np.ones_like(length)), law or Beam())


def filled(
    positions,
    radii,
    lateral,
    pairs,
    law: ViscoelasticBinder | None = None,
    radius: float = 1.75,
    thickness: float = 0.5,
    dried: bool = True,
) -> Bonds:
    """[`Bonds`][] of binder in the gaps of `pairs`. Host only.

    Where the gap is wider than the binder is thick, the pair is bonded once it has come near enough to press it.

    **Arguments:** as of [`glued`][]; `radius` and `thickness` of the binder, over the mean radius of the two; `dried`,
    whether the binder of narrower gaps carries nothing where the particles are now; otherwise it is pressed to what the
    gap leaves.

    **Source:** Lundkvist et al. 2024, doi 10.1016/j.powtec.2024.119873, and the code that belongs to it: radius 1.5 to
    1.75 and thickness 0.5 of the particle that comes first in a pair, pressed.
    """
    require("radius", radius, 1e-3, 3.0)
    require("thickness", thickness, 1e-3, 3.0)
    distance, one, two = _distances(positions, radii, lateral, pairs)
    mean = 0.5 * (one + two)
    reach = (2 + thickness) * mean
    length = np.minimum(distance, reach) if dried else reach
    held = (distance <= reach) & dried
    size = Size(length, thickness * mean, radius * mean, held.astype(float))
    return _listed(pairs, len(radii), size, law or ViscoelasticBinder())


def _distances(positions, radii, lateral, pairs):
    """Of each pair: distance of the centres, and both radii (B,)."""
    first, second, image = (np.asarray(p) for p in pairs)
    positions, radii = np.asarray(positions), np.asarray(radii)
    relative = positions[:, second] - positions[:, first]
    relative[1:] += image * np.asarray(lateral)[:, None]
    return np.linalg.norm(relative, axis=0), radii[first], radii[second]


def _listed(pairs, count, size: Size, law) -> Bonds:
    first, second, image = (np.asarray(p, t) for p, t in zip(pairs, (np.int32, np.int32, float), strict=True))
    slots = max(int(np.bincount(np.concatenate([first, second]), minlength=count).max()), 1)
    table, _ = cells.incidence(jnp.asarray(first), jnp.asarray(second), jnp.ones(len(first), bool), count, slots)
    size = Size(*(jnp.asarray(a) for a in (size.length, size.thickness, size.radius, size.held)))
    return Bonds(jnp.asarray(first), jnp.asarray(second), jnp.asarray(image), size, table, law)


def near_pairs(packing: Packing, reach: float = 0.5, fraction: float = 1.0, seed: int = 0):
    """A `fraction` of the pairs whose surfaces are nearer than `reach` times their mean radius. Host only.

    A number that follows from its particles and the seed decides of each pair, wherever the others are, so the same
    pairs are drawn again of a packing that has moved. Each is drawn by itself, as Lundkvist et al. 2024 do.

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
    distance, one, two = _distances(packing.positions.T, radii, box[1:], pairs)
    close = distance < (1 + 0.5 * reach) * (one + two)
    pairs = tuple(p[..., close] for p in pairs)
    order = np.lexsort((*pairs[2], pairs[1], pairs[0]))
    drawn = order[_chances(pairs[0][order], pairs[1][order], seed) < fraction]
    return tuple(p[..., drawn] for p in pairs)


def _chances(first, second, seed):
    """A number from 0 to 1 for each pair, as if drawn at random: the mixing steps of splitmix64 (Steele, Lea and Flood
    2014, doi 10.1145/2660193.2660195) on the seed and the two indices in turn."""
    value = np.full(len(first), np.uint64(seed))
    with np.errstate(over="ignore"):
        for word in (first, second):
            value = value + np.uint64(0x9E3779B97F4A7C15) * (np.asarray(word, np.uint64) + np.uint64(1))
            value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            value = value ^ (value >> np.uint64(31))
    return (value >> np.uint64(11)) / 2.0**53
