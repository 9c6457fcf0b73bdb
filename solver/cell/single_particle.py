"""The single-particle models: the porous cell with an even reaction through each electrode.

One particle of each class then stands for all of its class, and the ionic current is known: it is the share of the
reaction behind each face. What is left is the salt under that current, and psi = phi_s - phi_e averaged over each
electrode by its reaction, in equilibrium with the averaged kinetics. With these averages, and K = 2 (1 - t+) X RT/F,

    V = psi_p - psi_n - integral of (i_e^2 / kappa_eff + i_s^2 / sigma) dx / I + K (mean_p ln c - mean_n ln c) - R I

so that each part times the current is the power that it takes, as in `losses`. Without the share that ions carry, the
salt stays as it is and the integral is nothing: the single-particle model without electrolyte.

**Source:** Marquis, Sulzer, Timms, Please and Chapman 2019, doi 10.1149/2.0341915jes, in the electrode-averaged form;
with D and kappa at the local concentration, Brosa Planella, Sheikh and Widanage 2021,
doi 10.1016/j.electacta.2021.138524, instead of kappa at its mean.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.block_tridiagonal import solve_tridiagonal
from .cell import Cell
from .discretise import Mesh, build, solid_halves
from .elimination import eliminated, salt_slopes
from .heat import Heat, heat
from .particles import Particles
from .porous import PorousCell, Span, log_salt


class SingleParticle(eqx.Module):
    """A cell with an even reaction in each electrode, under a current and at a temperature.

    State y: c in mol/m3 on the mesh, then the modal amplitudes of each class of particles. Unknowns w: c, psi in V of
    each electrode, j in A/m2 of each class: those of `layout`.

    **Arguments:** `layout`, the porous cell with the mesh of the salt, one cell an electrode and one particle a class;
    `weights`, share of each electrode's reaction in each cell of the mesh, shape (electrodes, n); `carried`, share of
    the current that ions carry at each edge of the mesh, shape (n + 1,); `solid_resistance` of each cell, ohm m2, shape
    (n,); `negative`, number of cells of the negative electrode.
    """

    layout: PorousCell
    weights: Float[Array, "electrodes n"]
    carried: Float[Array, " n_plus_1"]
    solid_resistance: Float[Array, " n"]
    negative: int = eqx.field(static=True)

    @property
    def temperature(self) -> Array:
        return self.layout.temperature

    @property
    def current(self) -> Array:
        return self.layout.current

    def under(self, current: Array, temperature: Array) -> "SingleParticle":
        """The same cell under another load."""
        return eqx.tree_at(lambda s: s.layout, self, self.layout.under(current, temperature))

    # --- equations --------------------------------------------------------------------------------------------------

    def residual(self, w: Array, past: Array, gamma: Array) -> Array:
        """The equations of a step: balance of salt in each cell, of charge in each electrode, and averaged kinetics."""
        cell = self.layout
        c, psi, current = cell.unknowns(w)
        balance = cell.salt_balance(c, self.carried[1:-1] * self.current, past, gamma)
        reaction = cell.summed([p.area * j for p, j in zip(cell.particles, current, strict=True)])
        charge = [sign * self.current - r for sign, r in zip(self.signs, reaction, strict=True)]
        kinetics = [
            psi[p.electrode] - self.equilibrium(p, c, j, alpha - beta * j)
            for p, j, (alpha, beta) in zip(cell.particles, current, cell.surfaces(past, gamma), strict=True)
        ]
        return jnp.concatenate([balance, *charge, *kinetics])

    @property
    def signs(self) -> tuple[float, ...]:
        """Of the reaction of each electrode under a positive current."""
        return (1.0, -1.0) if self.layout.metal is None else (-1.0,)

    def equilibrium(self, particles: Particles, c: Array, current: Array, surface: Array) -> Array:
        """The averaged phi_s - phi_e at which `current` flows, V, shape (1,)."""
        rest = particles.material.potential_at(surface, self.temperature)
        return rest + self.overpotential(particles, c, current, surface)

    def overpotential(self, particles: Particles, c: Array, current: Array, surface: Array) -> Array:
        """The averaged eta, V."""
        local = particles.overpotential(c, current, surface, self.temperature)
        return jnp.sum(self.weights[particles.electrode] * local)

    def state(self, w: Array, past: Array, gamma: Array) -> Array:
        """y after the step."""
        return self.layout.state(w, past, gamma)

    def distance(self, w: Array, other: Array) -> Array:
        """As [`PorousCell.distance`][]."""
        return self.layout.distance(w, other)

    # --- terminals --------------------------------------------------------------------------------------------------

    def voltage(self, w: Array) -> Array:
        """Terminal voltage, V."""
        c, psi, _ = self.layout.unknowns(w)
        inner = psi[-1][0] - self.drop(c) - self.current * self.layout.series_resistance
        return inner - (psi[0][0] if self.layout.metal is None else self.metal_overpotential(c))

    def drop(self, c: Array) -> Array:
        """What solid and electrolyte lose between the averages of both electrodes, V."""
        ions, electrons, _ = self._squares()
        ion_half, log_c = self.layout.halves(c)
        ohmic = self.current * jnp.sum(2.0 * ion_half * ions + self.solid_resistance * electrons)
        begin = self.weights[0] @ log_c if self.layout.metal is None else log_salt(self._contact(c))
        return ohmic - self.layout.diffusion_potential * (self.weights[-1] @ log_c - begin)

    def metal_overpotential(self, c: Array) -> Array:
        """Overpotential of the lithium, V."""
        return self.layout.metal_overpotential(self._contact(c), self.current)

    def plating_potential(self, w: Array) -> Array:
        """phi_s - phi_e of the negative electrode at its separator face, V; 0 where it is lithium.

        From its average, by the steps of both potentials to the face, each weighed with the reaction behind it.
        """
        if self.layout.metal is not None:
            return jnp.zeros(())
        c, psi, _ = self.layout.unknowns(w)
        ions, _, mixed = (x[: self.negative] for x in self._squares())
        ion_half, log_c = self.layout.halves(c)
        k = self.negative
        ahead = ion_half[k - 1] / (ion_half[k - 1] + ion_half[k]) * (log_c[k] - log_c[k - 1])
        steps = jnp.sum(2.0 * ion_half[:k] * ions - self.solid_resistance[:k] * mixed)
        salt = self.layout.diffusion_potential * (log_c[k - 1] + ahead - self.weights[0] @ log_c)
        return psi[0][0] + self.current * steps - salt

    def _contact(self, c):
        """Salt concentration at the lithium, mol/m3."""
        return self.layout.at_metal(c[0], self.carried[0] * self.current)

    def _squares(self):
        """Means over each cell of a^2, (1 - a)^2 and a (1 - a), with a the straight course of `carried` in it."""
        left, right = self.carried[:-1], self.carried[1:]
        square, mean = (left * left + left * right + right * right) / 3.0, 0.5 * (left + right)
        return square, 1.0 - 2.0 * mean + square, mean - square


def single_particle(cell: Cell, current: Array, mesh: Mesh, *, polarised: bool) -> SingleParticle:
    """The single-particle model of `cell` under `current` in A/m2, positive on discharge.

    **Arguments:** `mesh`, of the salt, and the modes in each particle; `polarised`, whether the current polarises
    electrolyte and solid. Double layers have no part in it.
    """
    porous = build(cell, current, mesh)
    total = porous.summed([p.area for p in porous.particles])
    shares = [[a / jnp.sum(a) if k == e else jnp.zeros_like(a) for k, a in enumerate(total)] for e in range(len(total))]
    weights = jnp.stack([porous.spread(row) for row in shares])
    full = porous.metal is None
    reaction = weights[0] - weights[1] if full else -weights[0]
    carried = jnp.cumsum(jnp.concatenate([jnp.full(1, 0.0 if full else 1.0, reaction.dtype), reaction]))
    solid = 2.0 * solid_halves(cell, mesh)
    layout = dataclasses.replace(
        porous,
        electrodes=tuple(Span(e.first, 1) for e in porous.electrodes),
        particles=tuple(map(_averaged, porous.particles)),
        series_resistance=cell.contact_resistance,
        capacitance=None,
    )
    share = 1.0 if polarised else 0.0
    return SingleParticle(layout, weights, share * carried, share * solid, porous.electrodes[0].count if full else 0)


def _averaged(p: Particles) -> Particles:
    """One particle with the area of all and, at the same concentration, their lithium."""
    area = jnp.sum(p.area, keepdims=True)
    radius = jnp.sum(p.area * p.radius, keepdims=True) / area
    gain = area / jnp.sum(p.area / p.gain, keepdims=True)
    return dataclasses.replace(p, area=area, radius=radius, gain=gain, count=1)


@heat.register
def _(system: SingleParticle, w: Array, past: Array, gamma: Array) -> Heat:
    cell = system.layout
    c, _, current = cell.unknowns(w)
    ohmic = system.current * system.drop(c) + system.current**2 * cell.series_resistance
    reaction, reversible = jnp.zeros_like(ohmic), jnp.zeros_like(ohmic)
    for p, j, (alpha, beta) in zip(cell.particles, current, cell.surfaces(past, gamma), strict=True):
        surface = alpha - beta * j
        reaction = reaction + jnp.sum(p.area * j * system.overpotential(p, c, j, surface))
        entropy = p.material.entropic_change(surface)
        reversible = reversible + system.temperature * jnp.sum(p.area * j * entropy)
    if cell.metal is not None:
        reaction = reaction + system.current * system.metal_overpotential(c)
    return Heat(ohmic, reaction, reversible)


class _Elimination(eqx.Module):
    """The derivative of [`SingleParticle.residual`][] in w: the salt by itself, then kinetics with common psi.

    **Arguments:** `lower`, `diagonal`, `upper`, of the salt's matrix, shape (n,); `by_c`, shape (classes, n), and
    `by_j`, shape (classes,), derivatives of what kinetics demands of psi; `area` of each class; `member`, 1 where a
    class is in an electrode, shape (electrodes, classes).
    """

    lower: Array
    diagonal: Array
    upper: Array
    by_c: Array
    by_j: Array
    area: Array
    member: Array

    def _parts(self, x):
        n, m = self.by_c.shape[1], self.member.shape[0]
        return x[:n], x[n : n + m], x[n + m :]

    def solve(self, _, rhs: Array) -> Array:
        """J x = rhs, both shape (len(w), k)."""
        salt, charge, kinetics = self._parts(rhs)
        c = solve_tridiagonal(self.lower, self.diagonal, self.upper, salt)
        lack = kinetics + jnp.sum(self.by_c[:, :, None] * c, axis=1)
        mobility = (self.area / self.by_j)[:, None]
        psi = (self._gathered(mobility * lack) - charge) / self._gathered(mobility)
        current = (self._shared(psi) - lack) / self.by_j[:, None]
        return jnp.concatenate([c, psi, current])

    def solve_transposed(self, _, rhs: Array) -> Array:
        """J^T x = rhs, both shape (len(w), k)."""
        for_c, for_psi, for_j = self._parts(rhs)
        pulled, mobility = for_j / self.by_j[:, None], (self.area / self.by_j)[:, None]
        charge = -(for_psi + self._gathered(pulled)) / self._gathered(mobility)
        kinetics = -pulled - mobility * self._shared(charge)
        top = for_c + jnp.sum(self.by_c[:, :, None] * kinetics[:, None], axis=0)
        salt = solve_tridiagonal(jnp.pad(self.upper[:-1], (1, 0)), self.diagonal, jnp.pad(self.lower[1:], (0, 1)), top)
        return jnp.concatenate([salt, charge, kinetics])

    def _gathered(self, values):
        """Sums over the classes of each electrode."""
        return jnp.sum(self.member[:, :, None] * values, axis=1)

    def _shared(self, values):
        """Values of electrodes, for each class."""
        return jnp.sum(self.member[:, :, None] * values[:, None], axis=0)


@eliminated.register
def _(system: SingleParticle, w: Array, past: Array, gamma: Array) -> _Elimination:
    cell = system.layout
    c, _, current = cell.unknowns(w)
    left, right = salt_slopes(cell, c)
    by_c, by_j = [], []
    for p, j, (alpha, beta) in zip(cell.particles, current, cell.surfaces(past, gamma), strict=True):

        def local(c, p=p, j=j, alpha=alpha, beta=beta):
            return p.overpotential(c, j, alpha - beta * j, system.temperature)

        def mean(j, p=p, alpha=alpha, beta=beta):
            return system.equilibrium(p, c, j, alpha - beta * j)

        by_c.append(system.weights[p.electrode] * jax.jvp(local, (c,), (jnp.ones_like(c),))[1])
        by_j.append(jax.jvp(mean, (j,), (jnp.ones_like(j),))[1])
    inner = jnp.pad(left, (0, 1)) - jnp.pad(right, (1, 0))
    return _Elimination(
        lower=gamma * jnp.pad(left, (1, 0)),
        diagonal=cell.storage - gamma * inner,
        upper=-gamma * jnp.pad(right, (0, 1)),
        by_c=jnp.stack(by_c),
        by_j=jnp.concatenate(by_j),
        area=jnp.concatenate([p.area for p in cell.particles]),
        member=jnp.asarray([[float(p.electrode == e) for p in cell.particles] for e in range(len(cell.electrodes))]),
    )
