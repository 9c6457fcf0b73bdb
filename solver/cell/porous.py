"""The porous-electrode model (Doyle, Fuller, Newman): discretisation, residual and Newton correction of one step.

Two fields carry the thickness: the salt concentration c and, in the electrodes, the potential difference
psi = phi_s - phi_e. Ohm's law in solid and electrolyte and the conservation of charge, i_s + i_e = I, leave for the
ionic current of a face between two cells

    i_e = (psi_R - psi_L + I R_s + 2 (1 - t+) X RT/F ln(c_R / c_L)) / (R_s + R_e)

with the resistances of the two half cells in series (distance-weighted harmonic), so that interfaces between layers
are second order. Then d(i_e)/dx = a j, and eps dc/dt = d/dx(D_eff dc/dx) + (1 - t+) d(i_e)/dx / F. Particles are
eliminated: a step gives the surface stoichiometry as alpha - beta j (`intercalation.sphere_modes`), and j is
eliminated from Newton's correction, which leaves 2 by 2 blocks along the thickness.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.units import faraday, gas_constant

from ..electrochemistry.electrolyte import Electrolyte
from ..electrochemistry.intercalation import Intercalation, sphere_modes
from ..electrochemistry.kinetics import overpotential, smooth_positive
from ..numerics.block_tridiagonal import solve_blocks, transpose_blocks
from ..numerics.march import System
from ..numerics.root import newton
from .cell import Cell, Electrode, LithiumMetal, stoichiometry_at

_FLOOR = 1e-3  # mol/m3, below which the logarithm of the salt concentration levels off


def _log(concentration):
    return jnp.log(smooth_positive(concentration, _FLOOR))


class Mesh(eqx.Module):
    """Numbers of cells through the thickness of each layer, and of modes in each particle."""

    negative: int = eqx.field(static=True, default=30)
    separator: int = eqx.field(static=True, default=10)
    positive: int = eqx.field(static=True, default=20)
    particle: int = eqx.field(static=True, default=14)


class Nodes(eqx.Module):
    """An electrode on the mesh.

    **Arguments:** `area`, reacting area of a cell per electrode area, a h; `decay`, D m_k / R^2, shape (modes,), 1/s;
    `gain`, 3 / (F R c_max), stoichiometry per A/m2 and s; `material`; `first`, index of its first cell; `count`.
    """

    area: Float[Array, ""]
    decay: Float[Array, " modes"]
    gain: Float[Array, ""]
    temperature: Float[Array, ""]
    material: Intercalation
    first: int = eqx.field(static=True)
    count: int = eqx.field(static=True)

    def surface_values(self):
        return jnp.asarray(sphere_modes(self.decay.shape[0])[1])

    def particle(self, past: Array, gamma: Array) -> tuple[Array, Array]:
        """alpha, shape (count,), and beta of the surface stoichiometry alpha - beta j after a step."""
        shape = self.surface_values() / (1.0 + gamma * self.decay)
        beta = gamma * self.gain * jnp.sum(self.surface_values() * shape)
        return jnp.sum(shape[:, None] * past, axis=0), beta

    def amplitudes(self, past: Array, gamma: Array, current: Array) -> Array:
        """Modal amplitudes after a step, shape (modes, count)."""
        supply = gamma * self.gain * self.surface_values()[:, None] * current[None]
        return (past - supply) / (1.0 + gamma * self.decay)[:, None]

    def equilibrium(self, concentration: Array, current: Array, surface: Array) -> Array:
        """The psi at which `current` flows, U(x) + eta(j, c, x), in V."""
        thermal = gas_constant * self.temperature / faraday
        exchange = self.material.exchange_current_density(
            smooth_positive(concentration, 0.1), surface, self.temperature
        )
        return self.material.potential(surface) + overpotential(current, exchange, thermal)


class PorousCell(System):
    """A cell on a mesh under constant current, as a system for `march`.

    State y: c in mol/m3, then the modal amplitudes of each electrode. Unknowns w: c, psi in V of the electrode cells, j
    in A/m2 of the electrode cells.

    **Arguments:** `storage`, eps h of each cell, m; `half_path`, h / 2 over the relative transport, m;
    `solid_resistance` between neighbouring cells, ohm m2; `current`, A/m2 in the direction of x, positive on discharge;
    `collector_resistance`, the solid half cells at both collectors, ohm m2.
    """

    storage: Float[Array, " n"]
    half_path: Float[Array, " n"]
    solid_resistance: Float[Array, " n_minus_1"]
    electrodes: tuple[Nodes, ...]
    metal: LithiumMetal | None
    electrolyte: Electrolyte
    temperature: Float[Array, ""]
    current: Float[Array, ""]
    collector_resistance: Float[Array, ""]

    # --- layout -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self.storage.shape[0]

    def unknowns(self, w: Array) -> tuple[Array, list[Array], list[Array]]:
        """c in mol/m3, and psi in V and j in A/m2 of each electrode."""
        n, counts = self.size, [e.count for e in self.electrodes]
        psi, current = w[n : n + sum(counts)], w[n + sum(counts) :]
        cuts = [sum(counts[:k]) for k in range(len(counts) + 1)]
        psi = [psi[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        current = [current[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        return w[:n], psi, current

    def amplitudes(self, y: Array) -> list[Array]:
        """Modal amplitudes of each electrode, shape (modes, count), from the state."""
        parts, start = [], self.size
        for e in self.electrodes:
            modes = e.decay.shape[0]
            parts.append(y[start : start + modes * e.count].reshape(modes, e.count))
            start += modes * e.count
        return parts

    def spread(self, values: list[Array]) -> Array:
        """Electrode values on the whole mesh, zero in the separator."""
        parts, at = [], 0
        for e, value in zip(self.electrodes, values, strict=True):
            parts += [jnp.zeros(e.first - at, value.dtype), value]
            at = e.first + e.count
        return jnp.concatenate([*parts, jnp.zeros(self.size - at)])

    def inside(self) -> Array:
        """1 on the faces inside an electrode, 0 on those of the separator, shape (n - 1,)."""
        face = jnp.arange(self.size - 1)
        marks = [(face >= e.first) & (face < e.first + e.count - 1) for e in self.electrodes]
        return jnp.where(sum(m.astype(int) for m in marks) > 0, 1.0, 0.0)

    # --- equations --------------------------------------------------------------------------------------------------

    def _thermal(self):
        return gas_constant * self.temperature / faraday

    def _diffusion_potential(self):
        lyte = self.electrolyte
        return 2.0 * (1.0 - lyte.transference_number) * lyte.thermodynamic_factor * self._thermal()

    def _salt_conductance(self, c):
        """Conductance of each face to diffusion, shape (n - 1,), m/s: the mean of D between the two concentrations.

        The flux of salt is the step of the integral of D over c, the Kirchhoff transform, over the whole path, across
        layers too; Simpson's rule for the mean. Half cells in series would be second order as well, with five times the
        error in voltage where D falls as steeply as in the negative electrode of Chen 2020 at 2C.
        """
        middle = 0.5 * (c[1:] + c[:-1])
        ends, centre = (self.electrolyte.transport(x, self.temperature)[0] for x in (c, middle))
        return (ends[1:] + 4.0 * centre + ends[:-1]) / 6.0 / (self.half_path[1:] + self.half_path[:-1])

    def _faces(self, c, psi):
        """Conductance of the faces to diffusion and resistance to ions, and the ionic current of each face."""
        ion_half = self.half_path / self.electrolyte.transport(c, self.temperature)[1]
        salt, ion = self._salt_conductance(c), ion_half[:-1] + ion_half[1:]
        log_c = _log(c)
        drive = psi[1:] - psi[:-1] + self.current * self.solid_resistance
        drive = drive + self._diffusion_potential() * (log_c[1:] - log_c[:-1])
        inside = self.inside()
        ionic = inside * drive / (self.solid_resistance + ion) + (1.0 - inside) * self.current
        return salt, ion, ionic

    def residual(self, w, past, gamma):
        c, psi, current = self.unknowns(w)
        salt, _, ionic = self._faces(c, self.spread(psi))
        share = (1.0 - self.electrolyte.transference_number) / faraday
        # The anion flux is zero at both outer faces, at a collector and at lithium metal alike.
        flow = jnp.pad((c[1:] - c[:-1]) * salt + share * ionic, 1)
        balance = self.storage * (c - past[: self.size]) - gamma * (flow[1:] - flow[:-1])
        ends = jnp.pad(ionic, 1)
        reaction = self.spread([e.area * j for e, j in zip(self.electrodes, current, strict=True)])
        charge = ends[1:] - ends[:-1] - reaction
        particles = self._particles(past, gamma)
        kinetics = [
            psi[k] - e.equilibrium(c[e.first : e.first + e.count], j, alpha - beta * j)
            for k, (e, j, (alpha, beta)) in enumerate(zip(self.electrodes, current, particles, strict=True))
        ]
        charge = [charge[e.first : e.first + e.count] for e in self.electrodes]
        return jnp.concatenate([balance, *charge, *kinetics])

    def _particles(self, past, gamma):
        return [e.particle(q, gamma) for e, q in zip(self.electrodes, self.amplitudes(past), strict=True)]

    def state(self, w, past, gamma):
        c, _, current = self.unknowns(w)
        parts = [
            e.amplitudes(q, gamma, j).ravel()
            for e, q, j in zip(self.electrodes, self.amplitudes(past), current, strict=True)
        ]
        return jnp.concatenate([c, *parts])

    def observe(self, w):
        """Terminal voltage, V."""
        c, psi, _ = self.unknowns(w)
        _, ion, ionic = self._faces(c, self.spread(psi))
        electrolyte = self._diffusion_potential() * (_log(c[-1]) - _log(c[0])) - jnp.sum(ionic * ion)
        voltage = psi[-1][-1] + electrolyte - self.current * self.collector_resistance
        if self.metal is None:
            return voltage - psi[0][0]
        diffusivity, conductivity = self.electrolyte.transport(c[0], self.temperature)
        share = (1.0 - self.electrolyte.transference_number) / faraday
        contact = c[0] + share * self.current * self.half_path[0] / diffusivity
        drop = self.current * self.half_path[0] / conductivity
        drop = drop - self._diffusion_potential() * (_log(c[0]) - _log(contact))
        exchange = self.metal.kinetics(smooth_positive(contact, _FLOOR))
        return voltage - drop - overpotential(self.current, exchange, self._thermal())

    def distance(self, w, other):
        c, psi, _ = self.unknowns(w - other)
        scale = self.electrolyte.initial_concentration
        parts = [jnp.max(jnp.abs(c)) / scale, *(jnp.max(jnp.abs(p)) for p in psi)]
        return jnp.max(jnp.stack(parts))

    # --- Newton -----------------------------------------------------------------------------------------------------

    def _kinetic_slopes(self, c, current, past, gamma):
        """The psi of each electrode cell by kinetics, and its derivatives in c and in j with the particle behind it."""
        values = []
        for e, j, (alpha, beta) in zip(self.electrodes, current, self._particles(past, gamma), strict=True):

            def law(c, j, e=e, alpha=alpha, beta=beta):
                return e.equilibrium(c, j, alpha - beta * j)

            local = c[e.first : e.first + e.count]
            one, nil = jnp.ones_like(j), jnp.zeros_like(j)
            value, by_c = jax.jvp(law, (local, j), (one, nil))
            _, by_j = jax.jvp(law, (local, j), (nil, one))
            values.append((value, by_c, by_j))
        return [list(group) for group in zip(*values, strict=True)]

    def _blocks(self, w, past, gamma):
        """The 2 by 2 blocks of (balance, charge) in (c, psi) with j eliminated, and the slopes that eliminate it."""
        c, psi, current = self.unknowns(w)
        n = self.size

        def halves(c):
            return self.half_path / self.electrolyte.transport(c, self.temperature)[1], _log(c)

        (ion_half, _), (d_ion, d_log) = jax.jvp(halves, (c,), (jnp.ones_like(c),))
        conductance, _, ionic = self._faces(c, self.spread(psi))
        # A face has two neighbours, of which one is even and one odd: two sweeps give both slopes.
        even = jnp.where(jnp.arange(n) % 2 == 0, 1.0, 0.0)
        by_even, by_odd = (jax.jvp(self._salt_conductance, (c,), (mark,))[1] for mark in (even, 1.0 - even))
        bend_left = jnp.where(even[:-1] > 0, by_even, by_odd) * (c[1:] - c[:-1])
        bend_right = jnp.where(even[:-1] > 0, by_odd, by_even) * (c[1:] - c[:-1])
        share = (1.0 - self.electrolyte.transference_number) / faraday
        through = self.inside() / (self.solid_resistance + ion_half[:-1] + ion_half[1:])
        mixed = self._diffusion_potential()
        i_left = -through * (mixed * d_log[:-1] + ionic * d_ion[:-1])
        i_right = through * (mixed * d_log[1:] - ionic * d_ion[1:])
        g_left = -conductance + bend_left + share * i_left
        g_right = conductance + bend_right + share * i_right

        def rows(salt, charge):
            return jnp.stack([-gamma * salt, charge])

        left = jnp.stack([rows(g_left, i_left), rows(-share * through, -through)], axis=1)  # by the cell on the left
        right = jnp.stack([rows(g_right, i_right), rows(share * through, through)], axis=1)
        ahead, behind = ((0, 0), (0, 0), (0, 1)), ((0, 0), (0, 0), (1, 0))
        diagonal = jnp.pad(left, ahead) - jnp.pad(right, behind)
        value, by_c, by_j = self._kinetic_slopes(c, current, past, gamma)
        mobility = [e.area / slope for e, slope in zip(self.electrodes, by_j, strict=True)]
        held = self.spread([a * s for a, s in zip(mobility, by_c, strict=True)])
        loose = 1.0 - self.spread([jnp.ones(e.count) for e in self.electrodes])
        nil = jnp.zeros(n)
        local = jnp.stack([jnp.stack([self.storage, nil]), jnp.stack([held, loose - self.spread(mobility)])])
        slopes = (value, by_c, by_j)
        return -jnp.pad(left, behind), diagonal + local, jnp.pad(right, ahead), slopes

    def _correct(self, w, past, gamma):
        c, psi, current = self.unknowns(w)
        n, counts = self.size, sum(e.count for e in self.electrodes)
        residual = self.residual(w, past, gamma)
        lower, diagonal, upper, (_, by_c, by_j) = self._blocks(w, past, gamma)
        charge, kinetics = self._split(residual[n : n + counts]), self._split(residual[n + counts :])
        reduced = [-q + e.area * k / s for e, q, k, s in zip(self.electrodes, charge, kinetics, by_j, strict=True)]
        step = solve_blocks(lower, diagonal, upper, jnp.stack([-residual[:n], self.spread(reduced)]))
        d_c = step[0]
        d_psi = [step[1][e.first : e.first + e.count] for e in self.electrodes]
        d_j = [
            (k + p - s_c * d_c[e.first : e.first + e.count]) / s_j
            for e, k, p, s_c, s_j in zip(self.electrodes, kinetics, d_psi, by_c, by_j, strict=True)
        ]
        c_new = jnp.where(c > 0, jnp.maximum(c + d_c, 0.1 * c), c + d_c)
        psi_new = [p + jnp.clip(d, -0.3, 0.3) for p, d in zip(psi, d_psi, strict=True)]
        j_new = [j + d for j, d in zip(current, d_j, strict=True)]
        scale = self.electrolyte.initial_concentration
        sizes = [jnp.abs(d_c) / scale, *(jnp.abs(d) for d in d_psi), *(jnp.abs(k) for k in kinetics)]
        return jnp.concatenate([c_new, *psi_new, *j_new]), jnp.max(jnp.concatenate(sizes))

    def _split(self, values):
        counts = [e.count for e in self.electrodes]
        cuts = [sum(counts[:k]) for k in range(len(counts) + 1)]
        return [values[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]

    def solve(self, w, past, gamma):
        return newton(lambda w: self._correct(w, past, gamma), w, tolerance=1e-11, max_steps=25)

    def solve_transposed(self, w, past, gamma, cotangent):
        n, counts = self.size, sum(e.count for e in self.electrodes)
        lower, diagonal, upper, (_, by_c, by_j) = self._blocks(w, past, gamma)
        for_psi, for_j = self._split(cotangent[n : n + counts]), self._split(cotangent[n + counts :])
        top = cotangent[:n] - self.spread([s * b / r for s, b, r in zip(by_c, for_j, by_j, strict=True)])
        bottom = self.spread([p + b / r for p, b, r in zip(for_psi, for_j, by_j, strict=True)])
        balance, charge = solve_blocks(*transpose_blocks(lower, diagonal, upper), jnp.stack([top, bottom]))
        charge = [charge[e.first : e.first + e.count] for e in self.electrodes]
        kinetics = [-(b + e.area * x) / s for e, b, x, s in zip(self.electrodes, for_j, charge, by_j, strict=True)]
        return jnp.concatenate([balance, *charge, *kinetics])


def build(cell: Cell, current: Array, mesh: Mesh) -> PorousCell:
    """The system of `cell` on `mesh` under `current` in A/m2, positive on discharge."""
    half = isinstance(cell.negative, LithiumMetal)
    layers = [(cell.separator, mesh.separator), (cell.positive, mesh.positive)]
    layers = layers if half else [(cell.negative, mesh.negative), *layers]

    def on_cells(value):
        return jnp.concatenate([jnp.broadcast_to(value(layer, count), (count,)) for layer, count in layers])

    width = on_cells(lambda layer, count: layer.thickness / count)
    solid_half = on_cells(
        lambda layer, count: (
            0.5 * layer.thickness / count / layer.electronic_conductivity
            if isinstance(layer, Electrode)
            else jnp.zeros_like(layer.thickness)
        )
    )
    nodes, at = [], 0
    for layer, count in layers:
        if isinstance(layer, Electrode):
            nodes.append(_nodes(layer, at, count, mesh.particle, cell.temperature))
        at += count
    return PorousCell(
        storage=on_cells(lambda layer, count: layer.porosity) * width,
        half_path=0.5 * width / on_cells(lambda layer, count: layer.electrolyte_transport),
        solid_resistance=solid_half[:-1] + solid_half[1:],
        electrodes=tuple(nodes),
        metal=cell.negative if half else None,
        electrolyte=cell.electrolyte,
        temperature=cell.temperature,
        current=current,
        collector_resistance=solid_half[-1] if half else solid_half[0] + solid_half[-1],
    )


def _nodes(electrode, first, count, modes, temperature):
    material, radius = electrode.material, electrode.particle_radius
    return Nodes(
        area=electrode.specific_area * electrode.thickness / count,
        decay=material.diffusivity_at(temperature) / radius**2 * jnp.asarray(sphere_modes(modes)[0]),
        gain=3.0 / (faraday * radius * material.maximum_concentration),
        temperature=temperature,
        material=material,
        first=first,
        count=count,
    )


def rest(system: PorousCell, cell: Cell, state_of_charge: Array) -> tuple[Array, Array]:
    """The state y at rest, and a guess for w under load: uniform reaction and the potential that it needs."""
    c = jnp.broadcast_to(system.electrolyte.initial_concentration, (system.size,))
    layers = [layer for layer in (cell.negative, cell.positive) if isinstance(layer, Electrode)]
    amplitudes, psi, current = [], [], []
    for nodes, layer in zip(system.electrodes, layers, strict=True):
        x = stoichiometry_at(layer, state_of_charge)
        modes = nodes.decay.shape[0]
        amplitudes.append(jnp.concatenate([jnp.broadcast_to(x, (nodes.count,)), jnp.zeros((modes - 1) * nodes.count)]))
        sign = 1.0 if nodes.first == 0 and system.metal is None else -1.0
        j = jnp.broadcast_to(sign * system.current / (nodes.area * nodes.count), (nodes.count,))
        current.append(j)
        psi.append(nodes.equilibrium(c[: nodes.count], j, jnp.broadcast_to(x, (nodes.count,))))
    return jnp.concatenate([c, *amplitudes]), jnp.concatenate([c, *psi, *current])
