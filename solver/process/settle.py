"""A random packing of spheres without overlap in a film of given thickness, and the dried film made from it."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require
from microstructure.generate import scatter
from microstructure.packing import Packing, largest_overlap, solid_fraction
from solver.numerics.equilibrium import NewtonCG, equilibrium, relax
from solver.numerics.solution import Result, Solution
from solver.particles import contact
from solver.particles.neighbours import Pairs, candidate_pairs, contact_operator, relative_positions, second_derivative
from solver.particles.walls import collector_overlap, plate_overlap


class Settling(eqx.Module):
    """How a film consolidates.

    **Arguments:** `wet`, thickness of the film at the start over its end; `stages`, affine shrinkages from one to the
    other; `coating`, relative growth of the radii that keeps surfaces apart, as the carbon-binder between them does;
    `densest`, solid fraction of the coated spheres that the coating gives way to; `tolerance`, largest overlap of bare
    spheres at the end, over the smaller radius.
    """

    wet: float = eqx.field(static=True, default=1.6)
    stages: int = eqx.field(static=True, default=6)
    coating: float = eqx.field(static=True, default=0.05)
    densest: float = eqx.field(static=True, default=0.585)
    tolerance: float = eqx.field(static=True, default=1e-4)


def _overlap_energy(positions, args):
    """Half the sum of the squared overlaps of pairs, collector and surface."""
    radii, box, pairs = args
    relative = relative_positions(positions, box[1:], pairs)
    squared = jnp.sum(relative**2, axis=1)
    # Two coincident centres have no direction to part along; the overlap there is full anyway.
    distance = jnp.sqrt(jnp.where(squared > 1e-12, squared, 1e-12))
    overlap = radii[pairs.first] + radii[pairs.second] - distance
    planes = jnp.stack([collector_overlap(positions[:, 0], radii), plate_overlap(positions[:, 0], radii, box[0])])
    return 0.5 * jnp.sum(jnp.maximum(overlap, 0) ** 2) + 0.5 * jnp.sum(jnp.maximum(planes, 0) ** 2)


@eqx.filter_jit
def _part(positions, radii, box, pairs, steps):
    """Moves overlapping spheres apart; returns positions and the largest remaining force, in the units given."""
    solution = relax(_overlap_energy, positions, (radii, box, pairs), time_step=0.1, tolerance=1e-4, steps=steps)
    return solution.value, solution.stats["residual"]


_worst = eqx.filter_jit(largest_overlap)


def settle(guess: Packing, thickness, method: Settling | None = None) -> Solution:
    """Shrinks a dilute film to `thickness` and moves the spheres apart on the way, so that none overlap at the end.

    Each stage shrinks the film affinely and minimises the squared overlaps. Run it once per seed, outside `jit`; its
    result is a sample and carries no derivative (the packing step is chaotic).

    **Arguments:** `guess`, the wet film, from [`microstructure.generate.scatter`][]; `thickness`, m, of the film at the
    end.

    **Returns:** a `Solution` with a `Packing`; `jammed` when the spheres do not fit.
    """
    method = method or Settling()
    require(
        "thickness", thickness, 2 * float(guess.radii.max()), unit="m", hint="The film must hold its largest particle."
    )
    unit = float(jnp.mean(guess.radii))
    radii = np.asarray(guess.radii) / unit
    start, end = np.asarray(guess.box) / unit, float(thickness) / unit
    fraction = float(4 / 3 * np.pi * np.sum(radii**3) / (end * start[1] * start[2]))
    coat = 1 + float(np.clip((method.densest / fraction) ** (1 / 3) - 1, 1e-3, method.coating))
    positions = np.asarray(guess.positions) / unit
    height = start[0]
    for target in np.geomspace(start[0], end, method.stages + 1):
        positions, height = positions * [target / height, 1, 1], target
        box = np.asarray([target, start[1], start[2]])
        positions, force = _separate(positions, radii * coat, box, unit, 1500 if target > 1.001 * end else 4000)
    packing = Packing(positions * unit, guess.radii, box * unit)
    overlap = _worst(packing)
    result = Result.where(overlap < method.tolerance, Result.successful, Result.jammed)
    stats = {"overlap": overlap, "residual": jnp.asarray(force), "fraction": solid_fraction(packing)}
    return Solution(packing, result, stats)


def _separate(positions, radii, box, unit, steps):
    """[`_part`][] with the list of pairs built anew until nothing overlaps, at most 6 times."""
    for _ in range(6):
        now = Packing(positions * unit, radii * unit, box * unit)
        pairs = candidate_pairs(now, skin=0.3, compression=1.0, per_particle=24)
        positions, force = _part(jnp.asarray(positions), jnp.asarray(radii), jnp.asarray(box), pairs, steps)
        positions = np.asarray(positions)
        if float(force) <= 1e-4 and float(_worst(Packing(positions * unit, radii * unit, box * unit))) < 2e-3:
            break
    return positions, float(force)


def settled_film(key, radii, box, method: Settling | None = None) -> Solution:
    """[`settle`][] from spheres scattered at random in the wet film.

    **Arguments:** `key`, of `jax.random`; `radii`, (N,), m; `box`, (3,), m, of the film at the end.
    """
    method = method or Settling()
    box = jnp.asarray(box)
    wet = jnp.asarray([method.wet, 1.0, 1.0]) * box
    return settle(scatter(key, jnp.asarray(radii), wet), box[0], method)


class Film(eqx.Module):
    """What holds a dried film in shape, in units of a mean particle's contact: a faint network of springs.

    **Arguments:** `spring`, stiffness of each spring over E* R of a contact; `allowed`, largest overlap of a dried film
    over the smaller radius; `method`, the search for the equilibrium.
    """

    spring: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3e-4)
    allowed: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.05)
    method: NewtonCG = eqx.field(default_factory=lambda: NewtonCG(tolerance=1e-12))


class _FilmState(eqx.Module):
    radii: Array
    box: Array
    pairs: Pairs
    affine: Array
    rest: Array
    spring: Array


def _push(overlap, stiffness):
    """The energy of elastic contacts, none where apart."""
    pushed = jnp.where(overlap > 0, overlap, 0)
    return 0.4 * pushed * contact.hertz_force(pushed, stiffness)


def _pair_overlap(relative, state):
    first, second = state.radii[state.pairs.first], state.radii[state.pairs.second]
    stiffness = 4 / 3 * jnp.sqrt(first * second / (first + second))
    return first + second - jnp.sqrt(jnp.sum(relative**2, axis=1)), stiffness


def _plane_energy(depth, state):
    stiffness = 8 / 3 * jnp.sqrt(state.radii)
    both = jnp.stack([collector_overlap(depth, state.radii), plate_overlap(depth, state.radii, state.box[0])])
    return jnp.sum(_push(both, stiffness), axis=0)


def _film_energy(positions, state):
    relative = relative_positions(positions, state.box[1:], state.pairs)
    pushed = jnp.sum(_push(*_pair_overlap(relative, state)))
    stretched = state.pairs.near * jnp.sum((relative - state.rest) ** 2, axis=1)
    tied = jnp.sum(stretched) + jnp.sum((positions - state.affine) ** 2)
    return pushed + jnp.sum(_plane_energy(positions[:, 0], state)) + 0.5 * state.spring * tied


def _film_model(positions, state, positive):
    """The Hessian, where `positive` without the softening by turning contacts, and block Jacobi of the positive one."""
    relative = relative_positions(positions, state.box[1:], state.pairs)
    overlap, stiffness = _pair_overlap(relative, state)
    stiff = second_derivative(lambda d: _push(d, stiffness), overlap)
    push = contact.hertz_force(overlap, stiffness)
    ties = (state.spring * state.pairs.near)[:, None, None] * jnp.eye(3)
    planes = second_derivative(lambda d: _plane_energy(d, state), positions[:, 0])
    diagonal = state.spring * jnp.eye(3) + planes[:, None, None] * jnp.diag(jnp.asarray([1.0, 0.0, 0.0]))
    return contact_operator(relative, stiff, push, ties, diagonal, state.pairs, positive)


def dry_packing(settled: Packing, radii, box, pairs: Pairs, film: Film | None = None) -> Solution:
    """The dried film of another recipe: the settled packing mapped affinely into `box`, overlaps of `radii` removed.

    Minimises Hertz contacts (pairs, collector, surface) plus weak springs that hold every near pair at its affinely
    mapped vector and every particle at its affine position. At the settled radii and box the settled packing is exactly
    the minimum; the springs make the minimum unique. Differentiable in `radii` and `box`; `settled` and `pairs` are
    held.

    **Arguments:** `settled`, the reference, from [`settle`][]; `radii`, (N,), m; `box`, (3,), m; `pairs`, from
    `candidate_pairs(settled)`.

    **Returns:** a `Solution` with the dried `Packing`; `jammed` when overlaps remain. `overlap` is in its stats.
    """
    film = film or Film()
    settled = lax.stop_gradient(settled)
    unit = jnp.mean(settled.radii)
    affine = settled.positions * (box / settled.box) / unit
    state = _FilmState(radii / unit, box / unit, pairs, affine, affine, film.spring)
    rest = relative_positions(affine, state.box[1:], pairs)
    state = eqx.tree_at(lambda s: s.rest, state, rest)
    solution = equilibrium(_film_energy, affine, state, film.method, _film_model)
    overlap, _ = _pair_overlap(relative_positions(solution.value, state.box[1:], pairs), lax.stop_gradient(state))
    overlap = lax.stop_gradient(jnp.max(overlap / jnp.minimum(state.radii[pairs.first], state.radii[pairs.second])))
    # A film whose spheres stay pressed into each other is one that could not have dried to this thickness.
    result = Result.where(overlap > film.allowed, Result.jammed, solution.result)
    return Solution(Packing(solution.value * unit, radii, box), result, solution.stats | {"overlap": overlap})
