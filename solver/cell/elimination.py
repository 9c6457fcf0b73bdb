"""The derivative of a step of the porous electrode in its unknowns, solved by elimination.

Kinetics gives dj of each class from dc and dpsi, so that 2 by 2 blocks of (salt, charge) in (c, psi) remain along the
thickness.
"""

from functools import singledispatch

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from microstructure.units import faraday

from ..numerics.block_tridiagonal import solve_blocks, transpose_blocks
from .porous import PorousCell


class Elimination(eqx.Module):
    """The derivative of [`PorousCell.residual`][] in w, ready to be solved with.

    **Arguments:** `lower`, `diagonal`, `upper`, (2, 2, n) blocks in (c, psi) with j eliminated; by class, `by_c` and
    `by_j`, the derivatives of what kinetics demands of psi, and `area`, that of the balance of charge in -j.
    """

    lower: Array
    diagonal: Array
    upper: Array
    by_c: list[Array]
    by_j: list[Array]
    area: list[Array]

    def solve(self, s: PorousCell, rhs: Array) -> Array:
        """J x = rhs, both shape (len(w), k), of the system `s`."""
        n = s.size
        m = s.potentials
        charge, kinetics = s.by_electrode(rhs[n : n + m]), s.by_class(rhs[n + m :])
        parts = zip(self.area, self.by_j, kinetics, strict=True)
        through = s.summed([(area / by_j)[:, None] * b for area, by_j, b in parts])
        reduced = [q - t for q, t in zip(charge, through, strict=True)]
        x = solve_blocks(self.lower, self.diagonal, self.upper, jnp.stack([rhs[:n], _spread(s, reduced)]))
        psi = [x[1, e.first : e.first + e.count] for e in s.electrodes]
        current = [
            (psi[p.electrode] - by_c[:, None] * p.local(x[0]) - b) / by_j[:, None]
            for p, by_c, by_j, b in zip(s.particles, self.by_c, self.by_j, kinetics, strict=True)
        ]
        return jnp.concatenate([x[0], *psi, *current])

    def solve_transposed(self, s: PorousCell, rhs: Array) -> Array:
        """J^T x = rhs, both shape (len(w), k)."""
        n = s.size
        m = s.potentials
        for_psi, for_j = s.by_electrode(rhs[n : n + m]), s.by_class(rhs[n + m :])
        pulled = [b / by_j[:, None] for b, by_j in zip(for_j, self.by_j, strict=True)]
        salted = s.summed([by_c[:, None] * b for by_c, b in zip(self.by_c, pulled, strict=True)])
        top = rhs[:n] - _spread(s, salted)
        bottom = _spread(s, [p + b for p, b in zip(for_psi, s.summed(pulled), strict=True)])
        x = solve_blocks(*transpose_blocks(self.lower, self.diagonal, self.upper), jnp.stack([top, bottom]))
        charge = [x[1, e.first : e.first + e.count] for e in s.electrodes]
        kinetics = [
            -(b + area[:, None] * charge[p.electrode]) / by_j[:, None]
            for p, b, by_j, area in zip(s.particles, for_j, self.by_j, self.area, strict=True)
        ]
        return jnp.concatenate([x[0], *charge, *kinetics])


def _spread(system, values):
    """Electrode values, (count, k), on the whole mesh."""
    columns = values[0].shape[1]
    return jnp.stack([system.spread([v[:, k] for v in values]) for k in range(columns)], axis=1)


def salt_slopes(system: PorousCell, c: Array) -> tuple[Array, Array]:
    """The derivatives of the flow by diffusion through each face in c on its left and on its right, (n - 1,), m/s."""
    conductance = system.salt_conductance(c)
    # A face has two neighbours, of which one is even and one odd: two sweeps give both slopes.
    even = jnp.where(jnp.arange(system.size) % 2 == 0, 1.0, 0.0)
    by_even, by_odd = (jax.jvp(system.salt_conductance, (c,), (mark,))[1] for mark in (even, 1.0 - even))
    bend_left = jnp.where(even[:-1] > 0, by_even, by_odd) * (c[1:] - c[:-1])
    bend_right = jnp.where(even[:-1] > 0, by_odd, by_even) * (c[1:] - c[:-1])
    return bend_left - conductance, bend_right + conductance


@singledispatch
def eliminated(system: PorousCell, w: Array, past: Array, gamma: Array) -> Elimination:
    """The [`Elimination`][] at w; another model of the cell registers its own."""
    c, psi, current = system.unknowns(w)
    (ion_half, _), (d_ion, d_log) = jax.jvp(system.halves, (c,), (jnp.ones_like(c),))
    _, _, ionic = system.faces(c, system.spread(psi))
    by_left, by_right = salt_slopes(system, c)
    share, mixed = system.salt_share, system.diffusion_potential
    through = system.inside() / (system.solid_resistance + ion_half[:-1] + ion_half[1:])
    i_left = -through * (mixed * d_log[:-1] + ionic * d_ion[:-1])
    i_right = through * (mixed * d_log[1:] - ionic * d_ion[1:])
    g_left = by_left + share * i_left
    g_right = by_right + share * i_right

    scale = system.charge_scale(gamma)

    def rows(salt, charge):
        return jnp.stack([-gamma * salt, scale * charge])

    left = jnp.stack([rows(g_left, i_left), rows(-share * through, -through)], axis=1)  # by the cell on the left
    right = jnp.stack([rows(g_right, i_right), rows(share * through, through)], axis=1)
    ahead, behind = ((0, 0), (0, 0), (0, 1)), ((0, 0), (0, 0), (1, 0))
    diagonal = jnp.pad(left, ahead) - jnp.pad(right, behind)
    by_c, by_j = _kinetic_slopes(system, c, current, past, gamma)
    area = [scale * p.area for p in system.particles]
    mobility = [a / slope for a, slope in zip(area, by_j, strict=True)]
    held = system.spread(system.summed([a * s for a, s in zip(mobility, by_c, strict=True)]))
    loose = 1.0 - system.spread([jnp.ones(e.count) for e in system.electrodes])
    nil = jnp.zeros(system.size)
    reacting = loose - system.spread(system.summed(mobility))
    double = nil if system.capacitance is None else system.capacitance
    local = jnp.stack([jnp.stack([system.storage, double / faraday]), jnp.stack([held, reacting + double])])
    return Elimination(-jnp.pad(left, behind), diagonal + local, jnp.pad(right, ahead), by_c, by_j, area)


def _kinetic_slopes(system, c, current, past, gamma):
    """The derivatives, by class, of what kinetics demands of psi, in c and in j with the particle behind it."""
    by_c, by_j = [], []
    for p, j, (alpha, beta) in zip(system.particles, current, system.surfaces(past, gamma), strict=True):

        def law(c, j, p=p, alpha=alpha, beta=beta):
            return p.equilibrium(c, j, alpha - beta * j, system.temperature)

        one, nil = jnp.ones_like(j), jnp.zeros_like(j)
        by_c.append(jax.jvp(law, (p.local(c), j), (one, nil))[1])
        by_j.append(jax.jvp(law, (p.local(c), j), (nil, one))[1])
    return by_c, by_j


def corrected(system: PorousCell, w: Array, step: Array, residual: Array) -> tuple[Array, Array]:
    """w after a Newton step, kept from salt below a tenth of what it was and from leaps of the potential.

    **Returns:** w, and the size of the step: of c over its initial value, and of psi and of what kinetics lacks, in V.
    """
    c, psi, current = system.unknowns(w)
    d_c, d_psi, d_j = system.unknowns(step)
    c_new = jnp.where(c > 0, jnp.maximum(c + d_c, 0.1 * c), c + d_c)
    psi_new = [p + jnp.clip(d, -0.3, 0.3) for p, d in zip(psi, d_psi, strict=True)]
    j_new = [j + d for j, d in zip(current, d_j, strict=True)]
    kinetics = residual[system.size + system.potentials :]
    sizes = [d_c / system.electrolyte.initial_concentration, *d_psi, kinetics]
    return jnp.concatenate([c_new, *psi_new, *j_new]), jnp.max(jnp.abs(jnp.concatenate(sizes)))
