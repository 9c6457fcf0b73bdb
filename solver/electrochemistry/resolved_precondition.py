"""The preconditioner of a resolved cell: block by block in single precision, each block one V-cycle.

First the potentials, whose block is symmetric and positive, with the reaction made harder by what it does to the
filling of its own voxel: the solid with what drives it, then the electrolyte with what the solid drives. Then the
filling and the salt that follow from the reaction. Where several devices share the voxels, they hold the small coarse
levels of the V-cycles whole, and of a cycle on aggregates all levels but the finest.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from microstructure.units import faraday

from ..numerics import aggregate, multigrid
from ..numerics.aggregate import AggregateCycle
from ..numerics.flux import diagonal, pad, slice_of
from ..numerics.layout import Slabs
from ..numerics.multigrid import VCycle
from ..numerics.written import written_linear
from .resolved import ResolvedCell
from .resolved_slopes import Slopes
from .resolved_vector import flat, last, part
from .stencil import network

SINGLE = jnp.float32


class Preconditioner(eqx.Module):
    """An approximate inverse of [`Eliminated.apply`][solver.electrochemistry.resolved_slopes.Eliminated], linear.

    **Arguments:** `slopes`, in single precision; `lyte`, `solid`, `salt`, `filled`, V-cycles; `floating`, how the
    solid moves where the voltage rises by one, and `held`, the sum of what holds it back; `raised`, the solid that is
    at the voltage; of each active phase `conductance`, a / R in shares of the current per V, and `eased`, less for what
    the reaction does to its own voxel; `metal`, a / R of the lithium; `slabs`, in which all lies on several
    devices, static.
    """

    slopes: Slopes
    lyte: VCycle
    solid: VCycle | AggregateCycle
    salt: VCycle
    filled: tuple[VCycle, ...]
    floating: Array
    held: Array
    raised: Array
    conductance: tuple[Array, ...]
    eased: tuple[Array, ...]
    metal: Array
    slabs: Slabs | None = eqx.field(static=True)

    def __call__(self, rest: Array) -> Array:
        """The approximate solution for the equations `rest` of all but the reactions."""
        made = self.slopes
        wet, conducting, holds = made.masks
        shape, n, m = wet.shape, wet.size, len(holds)
        rows = [written_linear(part(rest, k * n, shape, self.slabs).astype(SINGLE)) for k in range(m + 3)]
        idle, (idle_salt, idle_lyte, idle_solid), voltage = rows[:m], rows[m:], last(rest).astype(SINGLE)
        held = [jnp.where(mask, x, 0.0) for mask, x in zip(holds, idle, strict=True)]
        salt, lyte = (jnp.where(wet, x, 0.0) for x in (idle_salt, idle_lyte))
        on_lyte, on_solid, both = self._potentials(lyte, jnp.where(conducting, idle_solid, 0.0), voltage)

        filled, into = [], -pad(self.metal * slice_of(on_lyte, 0, shape[0] - 1), 0, shape[0] - 1, 0)
        for k, p in enumerate(made.particles):
            g = self.conductance[k]
            across = p.solid.read(on_solid, made.periodic) - p.lyte.read(on_lyte, made.periodic)
            current = written_linear(g * across)
            x = _symmetric(self.filled[k], held[k] - made.going * p.solid.lay(current, made.periodic))
            x = jnp.where(holds[k], x, 0.0)
            current = written_linear(current + g * made.seen[k][0] * p.solid.read(x, made.periodic))
            filled.append(jnp.where(holds[k], x, idle[k]))
            into = into + p.lyte.lay(current, made.periodic)
        on_salt = jnp.where(wet, _symmetric(self.salt, salt + made.share * into), idle_salt * made.initial)
        # Over its collector, as the unknown is.
        over = jnp.where(conducting, on_solid - jnp.where(self.raised, both, 0.0), idle_solid)
        fields = (*filled, on_salt, jnp.where(wet, on_lyte, idle_lyte), over)
        return flat([*fields, both], self.slabs).astype(rest.dtype)

    def _potentials(self, lyte: Array, solid: Array, voltage: Array) -> tuple[Array, Array, Array]:
        """Both potentials and the voltage."""
        wet, conducting, _ = self.slopes.masks
        both = (jnp.sum(self.floating * solid) + voltage) / self.held
        on_solid = jnp.where(conducting, _symmetric(self.solid, solid) + both * self.floating, 0.0)
        on_lyte = _symmetric(self.lyte, lyte + self._onto_lyte(on_solid))
        return jnp.where(wet, on_lyte, 0.0), on_solid, both

    def _onto_lyte(self, solid: Array) -> Array:
        """What the potential of the solid drives through all reactions."""
        periodic = self.slopes.periodic
        return sum(
            p.lyte.lay(written_linear(g * p.solid.read(solid, periodic)), periodic)
            for p, g in zip(self.slopes.particles, self.eased, strict=True)
        )


def _symmetric(cycle: VCycle | AggregateCycle, x: Array) -> Array:
    """A V-cycle that knows that it is its own transpose."""
    return lax.custom_linear_solve(lambda y: y, x, solve=lambda _, b: cycle(b), symmetric=True)


def single(tree):
    """`tree` in single precision."""
    return jax.tree.map(lambda x: x.astype(SINGLE) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _over(x: Array, y: Array) -> Array:
    """x / y, zero where y is."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)


def precondition(cell: ResolvedCell, w: Array, made: Slopes, degree: int) -> Preconditioner:
    """The [`Preconditioner`][] at w.

    **Arguments:** `cell`, `w` and `made`, its slopes there, in single precision; `degree`, smoothing steps of the
    V-cycles, but of the filling, which spreads over few voxels in a step: one.
    """
    s, u, unit, going = cell.structure, cell.cut(w), cell.unit, made.going

    def cycle(links, shunt, degree=degree):
        return multigrid.build(network(tuple(links), s.periodic, shunt), degree=degree, slabs=cell.slabs)

    made = eqx.tree_at(lambda m: m.seen, made, tuple((jnp.maximum(x, 0.0), y) for x, y in made.seen))
    conductance, eased, cycles = [], [], []
    for k, (p, role) in enumerate(zip(s.particles, cell.active, strict=True)):
        g = jnp.where(p.area > 0, _over(made.area[k], -made.by_reaction[k]), 0.0)
        slope = made.seen[k][0]
        fastest = jnp.max(role.diffusivity(u.filled[k], cell.temperature))
        links = [faraday * role.material.maximum_concentration / unit * going * fastest * link for link in p.links]
        stiff = diagonal(network(tuple(links), s.periodic, made.held[k]), g.dtype)
        ease = p.solid.read(_over(jnp.ones_like(stiff), stiff), s.periodic)
        conductance.append(g)
        eased.append(g / (1.0 + going * g * slope * ease))
        taken = jnp.where(p.storage > 0, made.held[k] + going * p.solid.lay(g * slope, s.periodic), 0.0)
        cycles.append(cycle(links, taken, degree=1))

    diffusion, charge = cell.links_now(u.salt)
    metal = made.metal_area if made.metal is None else _over(made.metal_area, -made.metal[1])
    onto_lyte, onto_solid = pad(metal, 0, s.shape[0] - 1, 0), jnp.zeros(s.shape, SINGLE)
    for p, g in zip(s.particles, eased, strict=True):
        onto_lyte = onto_lyte + p.lyte.lay(g, s.periodic)
        onto_solid = onto_solid + p.solid.lay(g, s.periodic)
    electrons = network(tuple(g / unit for g in s.solid_links), s.periodic, onto_solid, made.plate, made.ground)
    if s.joined is None:
        solid = multigrid.build(electrons, degree=degree, slabs=cell.slabs)
    else:
        solid = aggregate.build(electrons, s.joined, degree)
    # A^-1 of the links to the plate is one less A^-1 of what holds the solid back.
    raised = s.with_electrons & s.first_electrode
    floating = jnp.where(raised, 1.0 - solid(onto_solid), 0.0)
    return Preconditioner(
        slopes=made,
        lyte=cycle([g / unit for g in charge], onto_lyte),
        solid=solid,
        salt=cycle([faraday * going * g / unit for g in diffusion], made.stored),
        filled=tuple(cycles),
        floating=floating,
        held=jnp.sum(onto_solid * floating),
        raised=raised,
        conductance=tuple(conductance),
        eased=tuple(eased),
        metal=metal,
        slabs=cell.slabs,
    )
