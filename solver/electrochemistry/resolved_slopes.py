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
from ..numerics.written import written_linear
from .resolved import ResolvedCell, Unknowns, flat, pacing
from .stencil import following, leaving, wraps
from .structure import Particles


class Slopes(eqx.Module):
    """J, from changes of the unknowns to changes of the equations of [`ResolvedCell.residual`][].

    **Arguments:** by axis, `salt`, slopes of the flux of salt in both ends; `charge`, of the ionic current in both ends
    and in the step of the potential; `solid`, links, all in shares of the reference current; by active phase, `filled`,
    slopes of the flux in both ends, by axis; `stored`, `held`, what contents count for; `area`, in shares; `seen`,
    slopes of the kinetics in stoichiometry and salt, `by_reaction`, in the reaction; `metal`, slopes in salt and
    reaction; `metal_area`, `plate`, in shares; `share`, of the current that comes as salt; `going`, the weight of rates;
    `particles`; `masks`, which voxels hold salt, electrons and each active phase; `initial`, mol/m3.
    """

    salt: tuple[tuple[Array, Array], ...]
    charge: tuple[tuple[Array, Array, Array], ...]
    solid: tuple[Array, ...]
    filled: tuple[tuple[tuple[Array, Array], ...], ...]
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
            across = p.solid.read(u.solid, self.periodic) - p.lyte.read(u.lyte, self.periodic) + u.voltage
            by_rest = by_filled * p.solid.read(u.filled[k], self.periodic) + by_salt * p.lyte.read(u.salt, self.periodic)
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
            current = self.area[k] * u.reaction[k]
            into = into + p.lyte.lay(current, self.periodic)
            laid = p.solid.lay(current, self.periodic)
            out = out + laid
            gone = self._leaving(self.filled[k], u.filled[k])
            rows.append(jnp.where(holds[k], self.held[k] * u.filled[k] + gone + self.going * laid, u.filled[k]))
        gone = self._leaving(self.salt, u.salt)
        rows.append(jnp.where(wet, self.stored * u.salt + gone - self.share * into, u.salt / self.initial))
        charge = self._leaving([s[:2] for s in self.charge], u.salt)
        charge = charge + self._leaving([(-s[2], s[2]) for s in self.charge], u.lyte)
        rows.append(jnp.where(wet, charge - into, u.lyte))
        through = self.plate * u.solid[:1]
        electrons = self._leaving([(g, -g) for g in self.solid], u.solid) + pad(through, 0, 0, n - 1)
        rows.append(jnp.where(conducting, electrons + out, u.solid))
        return [*rows, -jnp.sum(through)]

    def _leaving(self, slopes, x: Array) -> Array:
        """What leaves each voxel for a flux of links with `slopes` in their two ends."""
        out = jnp.zeros_like(x)
        for axis, (low, high) in enumerate(slopes):
            wrap = wraps(self.periodic)[axis]
            out = out + leaving(low * x + high * following(x, axis, wrap), axis, wrap)
        return out


def slopes(cell: ResolvedCell, w: Array, gamma: Array) -> Slopes:
    """The [`Slopes`][] at w."""
    s, u, unit = cell.structure, cell.cut(w), cell.unit
    pace, going = pacing(gamma)
    one, nil = jnp.ones(s.shape), jnp.zeros(s.shape)
    salt, charge = [], []
    for axis, link in enumerate(s.lyte_links):
        ends = written_linear(u.salt), written_linear(cell.after(u.salt, axis)), cell.steps(u.lyte, axis)

        def flux(*ends, link=link):
            return cell.lyte_flux(link, *ends)

        by_low, by_high, by_step = (jax.jvp(flux, ends, t)[1] for t in ((one, nil, nil), (nil, one, nil), (nil, nil, one)))
        salt.append(tuple(faraday * going / unit * x for x in (by_low[0], by_high[0])))
        charge.append(tuple(x / unit for x in (by_low[1], by_high[1], by_step[1])))
    filled, seen, by_reaction, held = [], [], [], []
    for k, (p, role) in enumerate(zip(s.particles, cell.active, strict=True)):
        capacity = faraday * role.material.maximum_concentration / unit
        links = []
        for axis, link in enumerate(p.links):

            def through(a, b, role=role, link=link):
                return cell.solid_flux(role, link, a, b)

            ends = u.filled[k], cell.after(u.filled[k], axis)
            links.append(tuple(going * capacity * jax.jvp(through, ends, t)[1] for t in ((one, nil), (nil, one))))
        filled.append(tuple(links))
        held.append(capacity * p.storage / pace)
        x, c, *potentials = (written_linear(x) for x in cell.read(k, u))

        def kinetics(x, c, j, k=k, potentials=potentials):
            return cell.kinetics(k, (x, c, *potentials), j)

        at = x, c, u.reaction[k]
        each = [jax.jvp(kinetics, at, t)[1] for t in ((one, nil, nil), (nil, one, nil), (nil, nil, one))]
        there = p.area > 0
        seen.append(tuple(jnp.where(there, x, 0.0) for x in each[:2]))
        by_reaction.append(each[2])
    at, lyte = (cell.top(u.salt), u.metal), cell.top(u.lyte)
    one, nil = jnp.ones_like(u.metal), jnp.zeros_like(u.metal)
    metal = tuple(
        jax.jvp(lambda c, j: cell.metal_kinetics(c, lyte, j), at, t)[1] for t in ((one, nil), (nil, one))
    )
    return Slopes(
        salt=tuple(salt),
        charge=tuple(charge),
        solid=tuple(g / unit for g in s.solid_links),
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


class Eliminated(eqx.Module):
    """[`Slopes`][] with the reactions taken out, each by its own equation; on flat vectors.

    **Arguments:** `cell`, for the layout; `slopes`; `by_reaction`, flat; `count`, of the other unknowns but the voltage,
    static.
    """

    cell: ResolvedCell
    slopes: Slopes
    by_reaction: Array
    count: int = eqx.field(static=True)

    def split(self, w: Array) -> tuple[Array, Array]:
        """The rest, with the voltage last, and the reactions."""
        return jnp.concatenate([w[: self.count], w[-1:]]), w[self.count : -1]

    def whole(self, rest: Array, reactions: Array) -> Array:
        return jnp.concatenate([rest[:-1], reactions, rest[-1:]])

    def balances(self, w: Array) -> Array:
        return flat(self.slopes.balances(self.cell.cut(w)))

    def kinetics(self, w: Array) -> Array:
        return flat(self.slopes.kinetics(self.cell.cut(w)))

    def follow(self, rest: Array, kinetics: Array) -> Array:
        """The reactions that leave `kinetics` in their equations once the rest is given."""
        lack = kinetics - self.kinetics(self.whole(rest, jnp.zeros_like(kinetics)))
        return lack / self.by_reaction

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
