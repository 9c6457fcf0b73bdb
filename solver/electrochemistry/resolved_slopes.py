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
from .resolved import ResolvedCell, Unknowns, flat, pacing
from .stencil import following, preceding, wraps
from .structure import Particles


class Seven(eqx.Module):
    """A linear map of a voxel and its six neighbours: `own`, `before` and `after`, by axis, (nx, ny, nz) each."""

    own: Array
    before: tuple[Array, Array, Array]
    after: tuple[Array, Array, Array]
    periodic: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        out = self.own * x
        for axis in range(3):
            wrap = wraps(self.periodic)[axis]
            out = out + self.after[axis] * following(x, axis, wrap) + self.before[axis] * preceding(x, axis, wrap)
        return written_linear(out)


class Slopes(eqx.Module):
    """J, from changes of the unknowns to changes of the equations of [`ResolvedCell.residual`][].

    **Arguments:** what leaves each voxel, in shares of the reference current: `salt`; `charge` in the electrolyte by
    its salt and by its potential; `solid`, of electrons; `filled`, of lithium in each active phase; `stored`, `held`,
    what contents count for; `area`, in shares; `seen`, slopes of the kinetics in stoichiometry and salt, `by_reaction`,
    in the reaction; `metal`, slopes in salt and reaction; `metal_area`, `plate`, in shares; `share`, of the current
    that comes as salt; `going`, the weight of rates; `particles`; `masks`, which voxels hold salt, electrons and each
    active phase; `initial`, mol/m3.
    """

    salt: Seven
    charge: tuple[Seven, Seven]
    solid: Seven
    filled: tuple[Seven, ...]
    stored: Array
    held: tuple[Array, ...]
    area: tuple[Array, ...]
    seen: tuple[tuple[Array, Array], ...]
    by_reaction: tuple[Array, ...]
    metal: tuple[Array, Array]
    metal_area: Array
    plate: Array
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
            across, by_rest = solid - lyte + u.voltage, by_filled * filled + by_salt * salt
            out.append(jnp.where(self.area[k] > 0, across + by_rest, 0.0) + self.by_reaction[k] * u.reaction[k])
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
        rows.append(jnp.where(conducting, electrons + out, u.solid))
        return [*rows, -jnp.sum(through)]


def seven(links, periodic: bool) -> "Seven":
    """The [`Seven`][] of what leaves each voxel for fluxes of links with the given slopes in their two ends."""
    own, before, after = jnp.zeros(()), [], []
    for axis, (low, high) in enumerate(links):
        wrap = wraps(periodic)[axis]
        own = own + low - preceding(high, axis, wrap)
        before.append(-preceding(low, axis, wrap))
        after.append(high)
    return Seven(own, tuple(before), tuple(after), periodic)


def slopes(cell: ResolvedCell, w: Array, gamma: Array) -> Slopes:
    """The [`Slopes`][] at w."""
    s, u, unit = cell.structure, cell.cut(w), cell.unit
    pace, going = pacing(gamma)
    one, nil = jnp.ones(s.shape), jnp.zeros(s.shape)
    salt, charge, potential = _lyte(cell, u)
    salt = [tuple(faraday * going * x for x in pair) for pair in salt]
    filled, seen, by_reaction, held = [], [], [], []
    for k, (p, role) in enumerate(zip(s.particles, cell.active, strict=True)):
        capacity = faraday * role.material.maximum_concentration / unit
        links = []
        for axis, link in enumerate(p.links):

            def through(a, b, role=role, link=link):
                return cell.solid_flux(role, link, a, b)

            ends = u.filled[k], cell.after(u.filled[k], axis)
            each = (written(jax.jvp(through, ends, t)[1]) for t in ((one, nil), (nil, one)))
            links.append(tuple(going * capacity * x for x in each))
        filled.append(seven(links, s.periodic))
        held.append(capacity * p.storage / pace)
        x, c, *potentials = (written_linear(x) for x in cell.read(k, u))

        def kinetics(x, c, j, k=k, potentials=potentials):
            return cell.kinetics(k, (x, c, *potentials), j)

        at = x, c, u.reaction[k]
        each = [written(jax.jvp(kinetics, at, t)[1]) for t in ((one, nil, nil), (nil, one, nil), (nil, nil, one))]
        there = p.area > 0
        seen.append(tuple(jnp.where(there, x, 0.0) for x in each[:2]))
        by_reaction.append(each[2])
    at, lyte = (cell.top(u.salt), u.metal), cell.top(u.lyte)
    one, nil = jnp.ones_like(u.metal), jnp.zeros_like(u.metal)
    metal = tuple(jax.jvp(lambda c, j: cell.metal_kinetics(c, lyte, j), at, t)[1] for t in ((one, nil), (nil, one)))
    return Slopes(
        salt=seven(salt, s.periodic),
        charge=(seven(charge, s.periodic), seven(potential, s.periodic)),
        solid=seven([(g / unit, -g / unit) for g in s.solid_links], s.periodic),
        filled=tuple(filled),
        stored=faraday * s.storage / pace / unit,
        held=tuple(held),
        area=tuple(p.area / unit for p in s.particles),
        seen=tuple(seen),
        by_reaction=tuple(by_reaction),
        metal=metal,
        metal_area=s.metal_area / unit,
        plate=cell.plate / unit,
        share=(1.0 - cell.electrolyte.transference_number) * going,
        going=going,
        particles=s.particles,
        masks=(s.with_ions, s.with_electrons, tuple(p.storage > 0 for p in s.particles)),
        initial=cell.electrolyte.initial_concentration,
        periodic=s.periodic,
    )


def _lyte(cell: ResolvedCell, u: Unknowns) -> tuple[list, list, list]:
    """Slopes of the links of the electrolyte in their two ends, in shares: of salt, mol/C, of charge in salt, and of
    charge in the potential."""
    one = jnp.ones_like(u.salt)

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
        ends = bends, [cell.after(b, axis) for b in bends]
        by_salt, by_charge = [], []
        for which, sign, log in ((0, -1.0, log_slope), (1, 1.0, cell.after(log_slope, axis))):
            bend = [(ends[which][i] + 2.0 * m) / 6.0 for i, m in enumerate(middle_bends)]
            by_salt.append(written(-link * (bend[0] * step + sign * mean[0])))
            drive = bend[2] * step + sign * (mean[2] + cell.bare * log)
            by_charge.append(written(-link * (bend[1] * rise - cell.diffusion_potential * drive)))
        salt.append(tuple(by_salt))
        charge.append(tuple(by_charge))
        through = written(link * mean[1])
        potential.append((through, -through))
    return salt, charge, potential


class Eliminated(eqx.Module):
    """[`Slopes`][] with the reactions taken out, each by its own equation; on flat vectors.

    **Arguments:** `cell`, for the layout; `slopes`; `by_reaction`, flat; `count`, of the other unknowns but the
    voltage, static.
    """

    cell: ResolvedCell
    slopes: Slopes
    by_reaction: Array
    count: int = eqx.field(static=True)

    def split(self, w: Array) -> tuple[Array, Array]:
        """The rest, with the voltage last, and the reactions."""
        return jnp.concatenate([w[: self.count], w[-1:]]), w[self.count : -1]

    def whole(self, rest: Array, reactions: Array) -> Array:
        return written_linear(jnp.concatenate([rest[:-1], reactions, rest[-1:]]))

    def balances(self, w: Array) -> Array:
        return flat(self.slopes.balances(self.cell.cut(w)))

    def kinetics(self, w: Array) -> Array:
        return flat(self.slopes.kinetics(self.cell.cut(w)))

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


def eliminated(cell: ResolvedCell, w: Array, past: Array, gamma: Array) -> tuple[Array, Array, Eliminated]:
    """Both kinds of equations at w, and their derivative."""
    made = slopes(cell, w, gamma)
    by_reaction = flat([*made.by_reaction, made.metal[1]])
    rest = cell.balances(w, past, gamma)
    return rest, cell.reactions(w), Eliminated(cell, made, by_reaction, rest.shape[0] - 1)
