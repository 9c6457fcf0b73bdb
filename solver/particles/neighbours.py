"""Which particles may touch: a static list of pairs, built once on the host and checked afterwards."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import cKDTree

from microstructure.packing import Packing, over_pairs


class Pairs(eqx.Module):
    """A fixed list of pairs of particles, padded to its capacity.

    **Arguments:** `first`, `second`, (P,) indices; `image`, (P, 2) lateral periods to add to the second particle;
    `listed`, (P,) 1 for a pair and 0 for padding; `near`, (P,) 1 for a pair within the skin; `bonded`, (P,) 1 where
    binder bridges the pair; `grounded`, (N,) 1 where binder bridges particle and collector.
    """

    first: Int[Array, " p"]
    second: Int[Array, " p"]
    image: Float[Array, "p 2"]
    listed: Float[Array, " p"]
    near: Float[Array, " p"]
    bonded: Float[Array, " p"]
    grounded: Float[Array, " n"]


def _search(positions, radii, box, reach):
    """Pairs (i, j, image, i to j), each once, whose surfaces are nearer than `reach` times Ri + Rj or its mean; and for
    each pair the reach at which it is found.
    """
    period = box[1:]
    if 4.2 * radii.max() > period.min():
        raise ValueError(
            f"Argument `box` must be at least {4.2e6 * radii.max():.3g} um wide for these particles, but it is "
            f"{1e6 * period.min():.3g} um. Use more or smaller particles."
        )
    cells = np.floor(positions[:, 1:] / period).astype(int)
    lateral = positions[:, 1:] - period * cells
    # All nine images, not only the nearest: two large particles can come to meet through the one that is farther now.
    shifts = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), axis=-1).reshape(-1, 2)
    copies = (lateral[None] + (shifts * period)[:, None]).reshape(-1, 2)
    everywhere = cKDTree(np.column_stack([np.tile(positions[:, 0], len(shifts)), copies]))
    here = cKDTree(np.column_stack([positions[:, 0], lateral]))
    found = here.query_ball_tree(everywhere, (1 + reach) * 2 * radii.max())
    i = np.repeat(np.arange(len(radii)), [len(row) for row in found])
    copy = np.concatenate([np.asarray(sorted(row), int) for row in found])
    j, shift = copy % len(radii), shifts[copy // len(radii)]
    once = j > i
    i, j, shift = i[once], j[once], shift[once]
    image = shift + cells[i] - cells[j]
    relative = positions[j] - positions[i]
    relative[:, 1:] += image * period
    total = radii[i] + radii[j]
    # Small particles travel as far as the others, so their reach is that of a mean pair.
    found_at = (np.linalg.norm(relative, axis=1) - total) / np.maximum(total, 2 * radii.mean())
    near = found_at < reach
    return i[near], j[near], image[near], relative[near], found_at[near]


def candidate_pairs(
    packing: Packing,
    *,
    skin: float = 0.5,
    spare: float = 0.0,
    compression: float = 0.6,
    bond_reach: float = 0.5,
    per_particle: int = 16,
) -> Pairs:
    """Every pair that may come to touch between this packing and the same packing compressed along axis 0. Host only.

    **Arguments:** `packing`, concrete; `skin`, a pair is listed when its surfaces are nearer than skin (Ri + Rj), or
    skin times the mean of that, now or at any affine compression down to `compression`; `spare`, how much farther than
    the skin to list pairs while there is capacity left, nearest first, so that pressing misses none; `bond_reach`, a
    pair is bonded when its surfaces are nearer than bond_reach min(Ri, Rj); `per_particle`, the capacity over the
    number of particles.

    **Raises:** `ValueError` when the capacity is too small.
    """
    positions, radii, box = (np.asarray(a, float) for a in (packing.positions, packing.radii, packing.box))
    # Lateral distances do not shrink, so a pair is nearest at the strongest compression: search there.
    i, j, image, relative, found_at = _search(positions * [compression, 1, 1], radii, box, skin + spare)
    capacity = per_particle * len(radii)
    needed = np.count_nonzero(found_at < skin)
    if needed > capacity:
        raise ValueError(
            f"Argument `per_particle` must be at least {needed / len(radii):.1f} for this packing, but "
            f"{per_particle} was given. Allow more pairs, or a smaller skin."
        )
    kept = np.sort(np.argsort(found_at, kind="stable")[:capacity])
    i, j, image, relative, found_at = (a[kept] for a in (i, j, image, relative, found_at))
    distance = np.linalg.norm(relative / [compression, 1, 1], axis=1)
    bonded = distance - radii[i] - radii[j] < bond_reach * np.minimum(radii[i], radii[j])
    grounded = positions[:, 0] - radii < bond_reach * radii

    def padded(array, dtype):
        filled = np.zeros((capacity, *array.shape[1:]), dtype)
        filled[: len(array)] = array
        return jnp.asarray(filled)

    return Pairs(
        padded(i, np.int32),
        padded(j, np.int32),
        padded(image, float),
        padded(np.ones(len(i)), float),
        padded(found_at < skin, float),
        padded(bonded, float),
        jnp.asarray(grounded.astype(float)),
    )


def relative_positions(
    positions: Float[Array, "n 3"], lateral: Float[Array, " 2"], pairs: Pairs
) -> Float[Array, "p 3"]:
    """From the first to the second particle of every pair, m; padding gets a vector along axis 0 too long to touch."""
    offset = jnp.concatenate([jnp.zeros_like(pairs.image[:, :1]), pairs.image * lateral], axis=1)
    relative = positions[pairs.second] - positions[pairs.first] + offset
    far = jnp.sum(lateral) * jnp.asarray([1.0, 0.0, 0.0])
    return jnp.where(pairs.listed[:, None] > 0, relative, far)


def missed_contacts(packing: Packing, pairs: Pairs) -> Int[Array, ""]:
    """The number of touching pairs that the list does not hold: anything but 0 means that forces were missed."""
    touching = jnp.sum(over_pairs(packing, lambda overlap, _: jnp.sum(overlap > 0))) // 2
    relative = relative_positions(packing.positions, packing.box[1:], pairs)
    overlap = packing.radii[pairs.first] + packing.radii[pairs.second] - jnp.linalg.norm(relative, axis=1)
    return touching - jnp.sum((overlap > 0) & (pairs.listed > 0))


def contact_operator(relative, stiff, push, others, diagonal, pairs: Pairs, positive):
    """The Hessian of central contacts and other pair energies, and its block-Jacobi preconditioner.

    A contact adds k n n^T - (F / r) (1 - n n^T); the second term softens, and is left out of the preconditioner, and of
    the Hessian where `positive` holds.

    **Arguments:** `relative`, (P, 3); `stiff`, k, and `push`, F, (P,); `others`, (P, 3, 3) of other pair energies;
    `diagonal`, (N, 3, 3); `positive`, boolean.

    **Returns:** (apply, solve), each from (N, 3) to (N, 3).
    """
    first, second = pairs.first, pairs.second
    length = jnp.sqrt(jnp.sum(relative**2, axis=1))
    normal = relative / length[:, None]
    outer = normal[:, :, None] * normal[:, None, :]
    firm = others + stiff[:, None, None] * outer
    turning = jnp.where(positive, 0, push / length)[:, None, None]
    blocks = firm - turning * (jnp.eye(3) - outer)
    inverse = inverse_blocks(diagonal.at[first].add(firm).at[second].add(firm))

    def multiply(a, v):
        return jnp.sum(a * v[:, None, :], axis=2)

    def apply(v):
        pull = multiply(blocks, v[second] - v[first])
        return multiply(diagonal, v).at[second].add(pull).at[first].add(-pull)

    return apply, lambda r: multiply(inverse, r)


def inverse_blocks(blocks: Float[Array, "n 3 3"]) -> Float[Array, "n 3 3"]:
    """Inverses of symmetric 3 by 3 blocks, by cofactors, after a shift that makes the singular ones definite."""
    trace = jnp.trace(blocks, axis1=1, axis2=2)
    shift = 1e-6 * trace + jnp.where(trace > 0, 0, 1)
    a, b, c = jnp.moveaxis(blocks + shift[:, None, None] * jnp.eye(3), 1, 0)
    cofactors = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=2)
    return cofactors / jnp.sum(a * jnp.cross(b, c), axis=1)[:, None, None]


def second_derivative(energies, at):
    """The second derivative of each of the independent `energies` (array to array of the same shape) at `at`."""
    slope = jax.grad(lambda d: jnp.sum(energies(d)))
    return jax.jvp(slope, (at,), (jnp.ones_like(at),))[1]
