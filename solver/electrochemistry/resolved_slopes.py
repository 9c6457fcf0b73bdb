"""The derivative of the equations of a resolved cell, with the reactions eliminated: few fields, and one pass.

Automatic differentiation of the whole would carry tens of fields, each read at every neighbour. Here each law of a link
or an interface is differentiated by itself, and what is left are its few slopes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from microstructure.units import faraday

from ..numerics.flux import pad
from ..numerics.written import written, written_linear
from .resolved import ResolvedCell, Unknowns, pacing
from .resolved_vector import flat
from .stencil import following, leaving, wraps
from .structure import Particles


class Fluxes(eqx.Module):
    """What leaves each voxel, linear in a field: through each link `driven` times the step to the next voxel, and
    `carried` times the value here, which is what the law of the link changes; by axis, (nx, ny, nz) each. Steps, not
    values, are what single precision can bear."""

    driven: tuple[Array, Array, Array]
    carried: tuple[Array, Array, Array] | None
    periodic: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        out = jnp.zeros_like(x)
        for axis, driven in enumerate(self.driven):
            wrap = wraps(self.periodic)[axis]
            flux = driven * (following(x, axis, wrap) - x)
            out = out + leaving(flux if self.carried is None else flux + self.carried[axis] * x, axis, wrap)
        return written_linear(out)


class Slopes(eqx.Module):
    """J, from changes of the unknowns to changes of the equations of [`ResolvedCell.residual`][].

    **Arguments:** what leaves each voxel, in shares of the reference current: `salt`; `charge` in the electrolyte by
    its salt and by its potential; `solid`, of electrons; `filled`, of lithium in each active phase; `stored`, `held`,
    what contents count for; `area`, in shares; `seen`, slopes of the kinetics in stoichiometry and salt, `by_reaction`,
    in the reaction; `metal`, slopes in salt and reaction, `None` where there is no lithium; `metal_area`, `plate` and
    `ground`, in shares; `share`, of the current that comes as salt; `going`, the weight of rates; `particles`; `masks`,
    which voxels hold salt, electrons and each active phase; `initial`, mol/m3.
    """

    salt: Fluxes
    charge: tuple[Fluxes, Fluxes]
    solid: Fluxes
    filled: tuple[Fluxes, ...]
    stored: Array
    held: tuple[Array, ...]
    area: tuple[Array, ...]
    seen: tuple[tuple[Array, Array], ...]
    by_reaction: tuple[Array, ...]
    metal: tuple[Array, Array] | None
    metal_area: Array
    plate: Array
    ground: Array | None
    share: Array
    going: Array
    particles: tuple[Particles, ...]
    masks: tuple[Array, Array, tuple[Array, ...]]
    initial: Array
    periodic: bool = eqx.field(static=True)

    def kinetics(self, u: Unknowns) -> list[Array]:
        """Changes of the kinetic equations, the lithium's last, for given reactions; the rest of `u` too."""
        out = []
        for k, p in enumerate(self.particles):
            by_filled, by_salt = self.seen[k]
            solid, filled = (written_linear(p.solid.read(x, self.periodic)) for x in (u.solid, u.filled[k]))
            lyte, salt = (written_linear(p.lyte.read(x, self.periodic)) for x in (u.lyte, u.salt))
            across, by_rest = solid - lyte, by_filled * filled + by_salt * salt
            if not p.grounded:
                across = across + u.voltage
            out.append(jnp.where(self.area[k] > 0, across + by_rest, 0.0) + self.by_reaction[k] * u.reaction[k])
        if self.metal is None:
            return [*out, u.metal]
        n = u.salt.shape[0]
        top_salt, top_lyte = u.salt[n - 1 :], u.lyte[n - 1 :]
        by_salt, by_metal = self.metal
        lack = jnp.where(self.metal_area > 0, by_salt * top_salt - top_lyte, 0.0)
        return [*out, lack + by_metal * u.metal]

    def balances(self, u: Unknowns) -> list[Array]:
        """Changes of the balances, in the order of the unknowns, the voltage last."""
        wet, conducting, holds = self.masks
        n, zero = wet.shape[0], jnp.zeros_like(u.salt)
        into, out = pad(self.metal_area * u.metal, 0, n - 1, 0), zero
        rows = []
        for k, p in enumerate(self.particles):
            current = written_linear(self.area[k] * u.reaction[k])
            into = into + written_linear(p.lyte.lay(current, self.periodic))
            laid = written_linear(p.solid.lay(current, self.periodic))
            out = out + laid
            gone = self.filled[k](u.filled[k])
            rows.append(jnp.where(holds[k], self.held[k] * u.filled[k] + gone + self.going * laid, u.filled[k]))
        rows.append(jnp.where(wet, self.stored * u.salt + self.salt(u.salt) - self.share * into, u.salt / self.initial))
        by_salt, by_potential = self.charge
        rows.append(jnp.where(wet, by_salt(u.salt) + by_potential(u.lyte) - into, u.lyte))
        through = self.plate * u.solid[:1]
        electrons = self.solid(u.solid) + pad(through, 0, 0, n - 1)
        if self.ground is not None:
            electrons = electrons + pad(self.ground * u.solid[n - 1 :], 0, n - 1, 0)
        rows.append(jnp.where(conducting, electrons + out, u.solid))
        return [*rows, -jnp.sum(through)]


def slopes(cell: ResolvedCell, w: Array, gamma: Array) -> Slopes:
    """The [`Slopes`][] at w, in the precision of what is given."""
    s, u, unit = cell.structure, cell.cut(w), cell.unit
    pace, going = pacing(gamma)
    one, nil = jnp.ones_like(u.salt), jnp.zeros_like(u.salt)
    salt, charge, potential = _lyte(cell, u, going)
    filled, seen, by_reaction, held = [], [], [], []
    for k, (p, role) in enumerate(zip(s.particles, cell.active, strict=True)):
        capacity = faraday * role.material.maximum_concentration / unit
        links = []
        for axis, link in enumerate(p.links):

            def through(a, b, role=role, link=link):
                return cell.solid_flux(role, link, a, b)

            ends = u.filled[k], cell.after(u.filled[k], axis)
            each = (written(going * capacity * jax.jvp(through, ends, t)[1]) for t in ((nil, one), (one, one)))
            links.append(tuple(each))
        filled.append(Fluxes(*zip(*links, strict=True), s.periodic))
        held.append(capacity * p.storage / pace)
        x, c, *potentials = (written_linear(x) for x in cell.read(k, u))

        def kinetics(x, c, j, k=k, potentials=potentials):
            return cell.kinetics(k, (x, c, *potentials), j)

        at = x, c, u.reaction[k]
        each = [written(jax.jvp(kinetics, at, t)[1]) for t in ((one, nil, nil), (nil, one, nil), (nil, nil, one))]
        there = p.area > 0
        seen.append(tuple(jnp.where(there, x, 0.0) for x in each[:2]))
        by_reaction.append(each[2])
    return Slopes(
        salt=salt,
        charge=(charge, potential),
        solid=Fluxes(tuple(-g / unit for g in s.solid_links), None, s.periodic),
        filled=tuple(filled),
        stored=faraday * s.storage / pace / unit,
        held=tuple(held),
        area=tuple(p.area / unit for p in s.particles),
        seen=tuple(seen),
        by_reaction=tuple(by_reaction),
        metal=_metal(cell, u),
        metal_area=s.metal_area / unit,
        plate=cell.plate / unit,
        ground=None if s.ground is None else s.ground / unit,
        share=(1.0 - cell.electrolyte.transference_number) * going,
        going=going,
        particles=s.particles,
        masks=(s.with_ions, s.with_electrons, tuple(p.storage > 0 for p in s.particles)),
        initial=cell.electrolyte.initial_concentration,
        periodic=s.periodic,
    )


def _metal(cell: ResolvedCell, u: Unknowns) -> tuple[Array, Array] | None:
    """Slopes of the kinetics of the lithium in salt and reaction."""
    if cell.lithium is None:
        return None
    at, lyte = (cell.top(u.salt), u.metal), cell.top(u.lyte)
    one, nil = jnp.ones_like(u.metal), jnp.zeros_like(u.metal)
    return tuple(jax.jvp(lambda c, j: cell.metal_kinetics(c, lyte, j), at, t)[1] for t in ((one, nil), (nil, one)))


def _lyte(cell: ResolvedCell, u: Unknowns, going: Array) -> tuple[Fluxes, Fluxes, Fluxes]:
    """In the electrolyte, in shares: of salt, of charge by salt, and of charge by the potential."""
    one, periodic = jnp.ones_like(u.salt), cell.structure.periodic

    def with_slope(laws, x):
        values, tangents = jax.jvp(laws, (x,), (one,))
        return jax.tree.map(written, (values, tangents))

    here, bends = with_slope(cell.lyte_laws, u.salt)
    log_slope = with_slope(cell.logarithm, u.salt)[1]
    salt, charge, potential = [], [], []
    for axis, link in enumerate(cell.structure.lyte_links):
        middle, middle_bends = with_slope(cell.lyte_laws, written(cell.middle(u.salt, axis)))
        link, step, rise = link / cell.unit, cell.steps(u.salt, axis), cell.steps(u.lyte, axis)
        mean = [(x + 4.0 * m + cell.after(x, axis)) / 6.0 for x, m in zip(here, middle, strict=True)]
        # Slopes of the means in the far end, and in both ends together.
        far = [(cell.after(b, axis) + 2.0 * m) / 6.0 for b, m in zip(bends, middle_bends, strict=True)]
        both = [(b + 4.0 * m + cell.after(b, axis)) / 6.0 for b, m in zip(bends, middle_bends, strict=True)]
        log = cell.after(log_slope, axis)
        drive = far[2] * step + mean[2] + cell.bare * log, both[2] * step + cell.bare * (log - log_slope)
        by_salt = far[1] * rise, both[1] * rise
        through = faraday * going * link
        salt.append((written(-through * (far[0] * step + mean[0])), written(-through * both[0] * step)))
        pairs = zip(by_salt, drive, strict=True)
        charge.append(tuple(written(-link * (a - cell.diffusion_potential * b)) for a, b in pairs))
        potential.append(written(-link * mean[1]))
    by_salt, by_charge = (Fluxes(*zip(*rows, strict=True), periodic) for rows in (salt, charge))
    return by_salt, by_charge, Fluxes(tuple(potential), None, periodic)


class Eliminated(eqx.Module):
    """[`Slopes`][] with the reactions taken out, each by its own equation; on flat vectors.

    **Arguments:** `cell`, for the layout; `slopes`; `by_reaction`, flat; `count`, of the other unknowns but the
    voltage in a row, static.
    """

    cell: ResolvedCell
    slopes: Slopes
    by_reaction: Array
    count: int = eqx.field(static=True)

    def split(self, w: Array) -> tuple[Array, Array]:
        """The rest, with the voltage last, and the reactions."""
        return jnp.concatenate([w[..., : self.count], w[..., -1:]], axis=-1), w[..., self.count : -1]

    def whole(self, rest: Array, reactions: Array) -> Array:
        return written_linear(jnp.concatenate([rest[..., :-1], reactions, rest[..., -1:]], axis=-1))

    def balances(self, w: Array) -> Array:
        return flat(self.slopes.balances(self.cell.cut(w)), self.cell.slabs)

    def kinetics(self, w: Array) -> Array:
        return flat(self.slopes.kinetics(self.cell.cut(w)), self.cell.slabs)

    def follow(self, rest: Array, kinetics: Array) -> Array:
        """The reactions that leave `kinetics` in their equations once the rest is given."""
        lack = kinetics - self.kinetics(self.whole(rest, jnp.zeros_like(kinetics)))
        return written_linear(lack / self.by_reaction)

    def reduce(self, balances: Array, kinetics: Array) -> Array:
        """The right side for the rest, of that for both kinds of equations."""
        lone = self.whole(jnp.zeros_like(balances), kinetics / self.by_reaction)
        return balances - self.balances(lone)

    def apply(self, rest: Array) -> Array:
        """The balances of the rest, with the reactions that follow from it."""
        return self.balances(self.whole(rest, self.follow(rest, jnp.zeros_like(self.by_reaction))))


def eliminated(cell: ResolvedCell, w: Array, gamma: Array) -> Eliminated:
    """The derivative of the equations at w, with the reactions eliminated, in the precision of what is given."""
    made = slopes(cell, w, gamma)
    by_metal = jnp.ones_like(made.metal_area) if made.metal is None else made.metal[1]
    by_reaction = flat([*made.by_reaction, by_metal], cell.slabs)
    return Eliminated(cell, made, by_reaction, w.shape[-1] - by_reaction.shape[-1] - 1)
