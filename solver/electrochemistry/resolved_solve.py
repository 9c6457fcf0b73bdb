"""Newton's method for a step of the resolved cell: reactions eliminated, the rest by flexible GMRES.

A correction has the reactions taken out, since each is in its own equation only. What is left, of stoichiometries, salt
and both potentials, is preconditioned block by block in single precision: first the potentials, whose block is
symmetric and positive, with the reaction made harder by what it does to the filling of its own voxel, then the filling
and the salt that follow from the reaction. Each block is one V-cycle.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.units import faraday

from ..numerics import multigrid
from ..numerics.flexible_gmres import flexible_gmres
from ..numerics.flux import diagonal, pad, slice_of
from ..numerics.multigrid import VCycle
from ..numerics.solution import Result, Solution
from ..numerics.written import written_linear
from .resolved import ResolvedCell, flat, pacing
from .resolved_slopes import Eliminated, eliminated
from .stencil import network
from .structure import Particles

SINGLE = jnp.float32
_ROUNDING = 100.0  # times the tolerance, below which a residual that no longer falls is taken


class NewtonMethod(eqx.Module):
    """How a step is solved.

    **Arguments:** `tolerance`, 2-norm of the balances in shares of the current; a hundred times as much is taken
    where it no longer falls, because of rounding; `adjoint`, relative residual of the
    linear solve of a derivative; `forcing`, relative residual of that of a correction; `steps`, corrections, `inner`,
    linear steps allowed in each, and `restart`, vectors held, static; `degree`, smoothing steps of the V-cycles.
    """

    tolerance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-9)
    adjoint: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-9)
    forcing: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    steps: int = eqx.field(static=True, default=12)
    inner: int = eqx.field(static=True, default=60)
    restart: int = eqx.field(static=True, default=20)
    degree: int = eqx.field(static=True, default=2)


class Preconditioner(eqx.Module):
    """An approximate inverse of [`Eliminated.apply`][], linear, in single precision.

    **Arguments:** `lyte`, `solid`, `salt`, `filled`, V-cycles; `floating`, how the solid moves where the voltage rises
    by one, and `held`, the sum of what holds it back; of each active phase `conductance`, a / R in shares of the
    current per V, `eased`, less for what the reaction does to its own voxel, and `slope`, -dU/dx at the interface;
    `metal`, a / R of the lithium; `share`, of the current that comes as salt; `initial` salt, mol/m3; `going`, 0 for a
    consistent start; `particles`, `periodic`, of the structure; `masks`, which voxels hold salt, electrons and each
    active phase.
    """

    lyte: VCycle
    solid: VCycle
    salt: VCycle
    filled: tuple[VCycle, ...]
    floating: Array
    held: Array
    conductance: tuple[Array, ...]
    eased: tuple[Array, ...]
    slope: tuple[Array, ...]
    metal: Array
    share: Array
    initial: Array
    going: Array
    particles: tuple[Particles, ...]
    masks: tuple[Array, Array, tuple[Array, ...]]
    periodic: bool = eqx.field(static=True)

    def __call__(self, rest: Array) -> Array:
        """The approximate solution for the equations `rest` of all but the reactions."""
        wet, conducting, holds = self.masks
        shape, n, m = wet.shape, wet.size, len(holds)
        rows = [written_linear(jnp.reshape(rest[k * n : (k + 1) * n].astype(SINGLE), shape)) for k in range(m + 3)]
        idle, (idle_salt, idle_lyte, idle_solid), voltage = rows[:m], rows[m:], rest[-1].astype(SINGLE)
        held = [jnp.where(mask, x, 0.0) for mask, x in zip(holds, idle, strict=True)]
        salt, lyte = (jnp.where(wet, x, 0.0) for x in (idle_salt, idle_lyte))
        on_lyte, on_solid, both = self._potentials(lyte, jnp.where(conducting, idle_solid, 0.0), voltage)

        filled, into = [], -pad(self.metal * slice_of(on_lyte, 0, shape[0] - 1), 0, shape[0] - 1, 0)
        for k, p in enumerate(self.particles):
            g = self.conductance[k]
            across = p.solid.read(on_solid, self.periodic) - p.lyte.read(on_lyte, self.periodic)
            current = written_linear(g * across)
            x = _symmetric(self.filled[k], held[k] - self.going * p.solid.lay(current, self.periodic))
            x = jnp.where(holds[k], x, 0.0)
            current = written_linear(current + g * self.slope[k] * p.solid.read(x, self.periodic))
            filled.append(jnp.where(holds[k], x, idle[k]))
            into = into + p.lyte.lay(current, self.periodic)
        on_salt = jnp.where(wet, _symmetric(self.salt, salt + self.share * into), idle_salt * self.initial)
        over = jnp.where(conducting, on_solid - both, idle_solid)  # over the collector, as the unknown is
        fields = (*filled, on_salt, jnp.where(wet, on_lyte, idle_lyte), over)
        return flat([*fields, both]).astype(rest.dtype)

    def _potentials(self, lyte: Array, solid: Array, voltage: Array) -> tuple[Array, Array, Array]:
        """Both potentials and the voltage: electrolyte, solid with the voltage, electrolyte again."""
        wet, conducting, _ = self.masks
        first = jnp.where(wet, _symmetric(self.lyte, lyte), 0.0)
        drive = solid + self._across("solid", "lyte", first)
        both = (jnp.sum(self.floating * drive) + voltage) / self.held
        on_solid = jnp.where(conducting, _symmetric(self.solid, drive) + both * self.floating, 0.0)
        second = _symmetric(self.lyte, self._across("lyte", "solid", on_solid))
        return first + jnp.where(wet, second, 0.0), on_solid, both

    def _across(self, side: str, other: str, field: Array) -> Array:
        """What a potential of one side drives through all reactions onto the other."""
        return sum(
            getattr(p, side).lay(written_linear(g * getattr(p, other).read(field, self.periodic)), self.periodic)
            for p, g in zip(self.particles, self.eased, strict=True)
        )


def _symmetric(cycle: VCycle, x: Array) -> Array:
    """A V-cycle that knows that it is its own transpose."""
    return lax.custom_linear_solve(lambda y: y, x, solve=lambda _, b: cycle(b), symmetric=True)


def _single(tree):
    return jax.tree.map(lambda x: x.astype(SINGLE) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _over(x: Array, y: Array) -> Array:
    """x / y, zero where y is."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)


def precondition(cell: ResolvedCell, w: Array, gamma: Array, parts: Eliminated, method: NewtonMethod) -> Preconditioner:
    """The [`Preconditioner`][] at w."""
    s, u, unit, made = cell.structure, cell.cut(w), cell.unit, parts.slopes
    pace, going = pacing(gamma)

    def cycle(links, shunt, plate=None):
        return multigrid.build(network(tuple(links), s.periodic, shunt, plate), degree=method.degree)

    conductance, eased, slopes, cycles = [], [], [], []
    for k, (p, role) in enumerate(zip(s.particles, cell.active, strict=True)):
        g = jnp.where(p.area > 0, _over(made.area[k], -made.by_reaction[k]), 0.0)
        slope = jnp.maximum(made.seen[k][0], 0.0)
        fastest = jnp.max(role.diffusivity(u.filled[k], cell.temperature))
        links = [faraday * role.material.maximum_concentration / unit * going * fastest * link for link in p.links]
        stiff = diagonal(network(tuple(links), s.periodic, made.held[k]), g.dtype)
        ease = p.solid.read(_over(jnp.ones(()), stiff), s.periodic)
        conductance.append(g)
        eased.append(g / (1.0 + going * g * slope * ease))
        slopes.append(slope)
        taken = jnp.where(p.storage > 0, made.held[k] + going * p.solid.lay(g * slope, s.periodic), 0.0)
        cycles.append(cycle(links, taken))

    diffusion, charge = cell.links_now(u.salt)
    metal = jnp.where(s.metal_area > 0, _over(made.metal_area, -made.metal[1]), 0.0)
    onto_lyte, onto_solid = pad(metal, 0, s.shape[0] - 1, 0), jnp.zeros(s.shape)
    for p, g in zip(s.particles, eased, strict=True):
        onto_lyte = onto_lyte + p.lyte.lay(g, s.periodic)
        onto_solid = onto_solid + p.solid.lay(g, s.periodic)
    solid = cycle([g / unit for g in s.solid_links], onto_solid, cell.plate / unit)
    ground = _single(onto_solid)
    # A^-1 of the links to the plate is one less A^-1 of what holds the solid back.
    floating = jnp.where(s.with_electrons, 1.0 - solid(ground), 0.0)
    return Preconditioner(
        lyte=cycle([g / unit for g in charge], onto_lyte),
        solid=solid,
        salt=cycle([faraday * going * g / unit for g in diffusion], faraday * s.storage / pace / unit),
        filled=tuple(cycles),
        floating=floating,
        held=jnp.sum(ground * floating),
        conductance=_single(tuple(conductance)),
        eased=_single(tuple(eased)),
        slope=_single(tuple(slopes)),
        metal=_single(metal),
        share=_single((1.0 - cell.electrolyte.transference_number) * going),
        initial=_single(cell.electrolyte.initial_concentration),
        going=_single(going),
        particles=_single(s.particles),
        masks=(s.with_ions, s.with_electrons, tuple(p.storage > 0 for p in s.particles)),
        periodic=s.periodic,
    )


def newton_krylov(cell: ResolvedCell, w: Array, past: Array, gamma: Array, method: NewtonMethod) -> Solution:
    """The unknowns of a step from the guess w; stats `steps` and `inner`, corrections and linear steps."""

    def going(state):
        _, norm, step, _, begun, level = state
        return (norm > method.tolerance) & (step < method.steps) & jnp.isfinite(norm) & ~level | ~begun

    def iterate(state):
        w, before, step, inner, _, _ = state
        rest, lack, parts = eliminated(cell, w, past, gamma)
        rhs = parts.reduce(-rest, -lack)
        norm = jnp.linalg.norm(rhs)

        def correct(w):
            made = precondition(cell, w, gamma, parts, method)
            solved = flexible_gmres(
                parts.apply, rhs, preconditioner=made, rtol=method.forcing, atol=0.3 * method.tolerance,
                max_steps=method.inner, restart=method.restart,
            )  # fmt: skip
            change = parts.whole(solved.value, parts.follow(solved.value, -lack))
            return limited(cell, w, change), solved.stats["steps"]

        # What no longer falls, and is small, is rounding: of concentrations, on fine voxels under a small current.
        level = (norm > 0.3 * before) & (norm < _ROUNDING * method.tolerance)
        unfinished = (norm > method.tolerance) & jnp.isfinite(norm) & ~level
        w, more = lax.cond(unfinished, correct, lambda w: (w, jnp.asarray(0)), w)
        return w, norm, step + jnp.where(unfinished, 1, 0), inner + more, jnp.asarray(True), level

    none = jnp.asarray(0)
    start = (w, jnp.asarray(jnp.inf), none, none, jnp.asarray(False), jnp.asarray(False))
    w, norm, steps, inner, _, level = lax.while_loop(going, iterate, start)
    done = Result.where((norm <= method.tolerance) | level, Result.successful, Result.max_steps)
    result = Result.where(jnp.isfinite(norm), done, Result.not_finite)
    return Solution(w, result, {"steps": steps, "inner": inner, "residual": norm})


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
