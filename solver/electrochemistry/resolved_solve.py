"""Newton's method for a step of the resolved cell: reactions eliminated, the rest by flexible GMRES.

A correction has the reactions taken out, since each is in its own equation only. It needs three digits, and is made in
single precision with slopes that are kept while they serve; the equations are those of double precision.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.units import faraday

from ..numerics.flexible_gmres import flexible_gmres
from ..numerics.solution import Result, Solution
from .resolved import ResolvedCell, Unknowns, pacing
from .resolved_precondition import SINGLE, precondition, single
from .resolved_slopes import eliminated

_CLOSE = 3.0  # times the tolerance, below which a residual that no longer falls is taken
_ROUNDING = 1e-7  # of the current, the same whatever the tolerance: of concentrations, on fine voxels
_SLOW = 0.1  # of the residual left by a correction, above which the slopes are made anew


class NewtonMethod(eqx.Module):
    """How a step is solved.

    **Arguments:** `tolerance`, 2-norm of the equations in shares of the current, beside which lithium, salt and charge
    balance as wholes to rounding; three times as much, or 1e-7, is taken where it no longer falls;
    `adjoint`, relative residual of the linear solve of a derivative; `forcing`, relative residual of that of a
    correction, two digits of which are about what single precision gives on many voxels; `steps`, corrections, and
    `inner`, linear steps allowed in each, static; `degree`, smoothing steps of the V-cycles.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-5)
    adjoint: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-6)
    forcing: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3e-3)
    steps: int = eqx.field(static=True, default=20)
    inner: int = eqx.field(static=True, default=20)
    degree: int = eqx.field(static=True, default=2)


class _Newton(eqx.Module):
    """Where the method is: unknowns, the norm of the reduced equations now and before the last correction, corrections
    and linear steps taken."""

    w: Array
    norm: Array
    before: Array
    steps: Array
    inner: Array


def newton_krylov(cell: ResolvedCell, w: Array, past: Array, gamma: Array, method: NewtonMethod) -> Solution:
    """The unknowns of a step from the guess w; stats `steps` and `inner`, corrections and linear steps."""
    light, pace = single(cell), gamma.astype(SINGLE)

    def level(at):
        return (at.norm > 0.3 * at.before) & (at.norm < jnp.maximum(_CLOSE * method.tolerance, _ROUNDING))

    def unfinished(at):
        return (at.norm > method.tolerance) & (at.steps < method.steps) & jnp.isfinite(at.norm) & ~level(at)

    def with_slopes(at):
        parts = eliminated(light, at.w.astype(SINGLE), pace)
        made = precondition(light, at.w.astype(SINGLE), parts.slopes, method.degree)

        def reduced(w):
            rest, lack = (-x.astype(SINGLE) for x in cell.equations(w, past, gamma))
            return parts.reduce(rest, lack), lack

        def correct(state):
            at, left, lack = state
            solved = flexible_gmres(
                parts.apply, left, preconditioner=made, rtol=method.forcing, atol=0.5 * method.tolerance,
                max_steps=method.inner, restart=method.inner,
            )  # fmt: skip
            change = parts.whole(solved.value, parts.follow(solved.value, lack)).astype(w.dtype)
            after = limited(cell, at.w, change)
            left, lack = reduced(after)
            steps, inner = at.steps + 1, at.inner + solved.stats["steps"]
            return _Newton(after, jnp.linalg.norm(left), at.norm, steps, inner), left, lack

        def serves(state):
            at, *_ = state
            return unfinished(at) & (at.norm <= _SLOW * at.before)

        left, lack = reduced(at.w)
        begun = eqx.tree_at(lambda at: (at.norm, at.before), at, (jnp.linalg.norm(left), beyond))
        return lax.while_loop(serves, correct, (begun, left, lack))[0]

    none, beyond = jnp.asarray(0), jnp.asarray(jnp.finfo(SINGLE).max, SINGLE)
    at = lax.while_loop(unfinished, with_slopes, _Newton(w, beyond, beyond, none, none))
    done = Result.where((at.norm <= method.tolerance) | level(at), Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(at.norm), done, Result.not_finite)
    stats = {"steps": at.steps, "inner": at.inner, "residual": at.norm}
    return Solution(balanced(cell, at.w, past, gamma), result, stats)


def balanced(cell: ResolvedCell, w: Array, past: Array, gamma: Array) -> Array:
    """w with even shifts of each field by which all lithium, salt and charge balance to rounding, whatever is left of
    the equations: their sums over the block are linear in it."""
    s, u, (pace, going) = cell.structure, cell.cut(w), pacing(gamma)
    held, salted = cell.contents(past)
    reaction = _carrying(cell, u.reaction, grounded=False)
    metal = u.metal
    if s.ground is not None:
        reaction = _carrying(cell, reaction, grounded=True)
    elif cell.lithium is not None:
        metal = metal + jnp.where(
            s.metal_area > 0, (cell.current - jnp.sum(s.metal_area * metal)) / jnp.sum(s.metal_area), 0.0
        )
    filled = []
    for p, role, x, old, j in zip(s.particles, cell.active, u.filled, held, reaction, strict=True):
        capacity = faraday * role.material.maximum_concentration * p.storage
        off = jnp.sum(capacity * (x - old)) + going * pace * jnp.sum(p.area * j)
        filled.append(x - jnp.where(p.storage > 0, off / jnp.sum(capacity), 0.0))
    salt = u.salt - jnp.where(s.with_ions, jnp.sum(s.storage * (u.salt - salted)) / jnp.sum(s.storage), 0.0)
    return cell.join(Unknowns(tuple(filled), salt, u.lyte, _draining(cell, u.solid), reaction, metal, u.voltage))


def _carrying(cell: ResolvedCell, reaction: tuple[Array, ...], *, grounded: bool) -> tuple[Array, ...]:
    """The reactions, those of one electrode shifted so that together they carry the current."""
    of_it = [p.grounded == grounded for p in cell.structure.particles]
    areas = [p.area for p in cell.structure.particles]
    drawn = sum(jnp.sum(a * j) for a, j, mine in zip(areas, reaction, of_it, strict=True) if mine)
    wanted = cell.current if grounded else -cell.current
    lack = (wanted - drawn) / sum(jnp.sum(a) for a, mine in zip(areas, of_it, strict=True) if mine)
    return tuple(
        j + jnp.where(a > 0, lack, 0.0) if mine else j for a, j, mine in zip(areas, reaction, of_it, strict=True)
    )


def _draining(cell: ResolvedCell, solid: Array) -> Array:
    """The potential of the solid, shifted so that the current leaves through the collectors."""
    s, plate = cell.structure, cell.plate
    shift = (cell.current - jnp.sum(plate * solid[:1])) / jnp.sum(plate)
    if s.ground is not None:
        back = (-cell.current - jnp.sum(s.ground * cell.top(solid))) / jnp.sum(s.ground)
        shift = jnp.where(s.first_electrode, shift, back)
    return solid + jnp.where(s.with_electrons, shift, 0.0)


def limited(cell: ResolvedCell, w: Array, change: Array) -> Array:
    """w after a correction that leaves at least a tenth of the salt, and of the room and lithium in each voxel."""
    old, step = cell.cut(w), cell.cut(change)
    filled = [
        jnp.clip(x + dx, x - 0.9 * jnp.maximum(x, 1e-6), x + 0.9 * jnp.maximum(1.0 - x, 1e-6))
        for x, dx in zip(old.filled, step.filled, strict=True)
    ]
    salt = jnp.maximum(old.salt + step.salt, old.salt - 0.9 * jnp.maximum(old.salt, 0.0))
    new = jax.tree.map(jnp.add, old, step)
    return cell.join(eqx.tree_at(lambda u: (u.filled, u.salt), new, (tuple(filled), salt)))
