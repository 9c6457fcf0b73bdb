"""The porous-electrode model (Doyle, Fuller, Newman): unknowns and equations of one time step under a given load.

Two fields carry the thickness: the salt concentration c and, in the electrodes, the potential difference
psi = phi_s - phi_e. Ohm's law in solid and electrolyte and the conservation of charge, i_s + i_e = I, leave for the
ionic current of a face between two cells

    i_e = (psi_R - psi_L + I R_s + 2 (1 - t+) X RT/F ln(c_R / c_L)) / (R_s + R_e)

with the resistances of the two half cells in series (distance-weighted harmonic), so that interfaces between layers
are second order. Then d(i_e)/dx = sum of a j over the classes of particles, and
eps dc/dt = d/dx(D_eff dc/dx) + (1 - t+) d(i_e)/dx / F. Particles are eliminated: a step gives the surface
stoichiometry as alpha - beta j (`particles`), and j is eliminated from Newton's correction (`elimination`).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.units import faraday

from ..electrochemistry.electrolyte import Electrolyte
from ..electrochemistry.kinetics import overpotential, smooth_positive, thermal_voltage
from .cell import LithiumMetal
from .particles import Particles

SALT_FLOOR = 1e-3  # mol/m3, below which the logarithm of the salt concentration levels off


def log_salt(concentration):
    """ln c, level below a floor."""
    return jnp.log(smooth_positive(concentration, SALT_FLOOR))


class Span(eqx.Module):
    """The cells of an electrode on the mesh: index of the first, and their number."""

    first: int = eqx.field(static=True)
    count: int = eqx.field(static=True)


class PorousCell(eqx.Module):
    """A cell on a mesh, under a current and at a temperature.

    State y: c in mol/m3, then the modal amplitudes of each class of particles and, with double layers, psi. Unknowns w:
    c, psi in V of the electrode cells, j in A/m2 of each class in its cells.

    **Arguments:** `storage`, eps h of each cell, m; `half_path`, h / 2 over the relative transport, m;
    `solid_resistance` between neighbouring cells, ohm m2; `electrodes`, their [`Span`][]s; `particles`, all classes;
    `temperature`, K; `current`, A/m2 in the direction of x, positive on discharge; `series_resistance`, the solid half
    cells at both collectors and the contacts, ohm m2; `capacitance` of the double layers of each cell, F/m2 of
    electrode area, shape (n,), or `None`. They take up anions: charging them draws salt.
    """

    storage: Float[Array, " n"]
    half_path: Float[Array, " n"]
    solid_resistance: Float[Array, " n_minus_1"]
    electrodes: tuple[Span, ...]
    particles: tuple[Particles, ...]
    metal: LithiumMetal | None
    electrolyte: Electrolyte
    temperature: Float[Array, ""]
    current: Float[Array, ""]
    series_resistance: Float[Array, ""]
    capacitance: Float[Array, " n"] | None = None

    # --- layout -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self.storage.shape[0]

    @property
    def potentials(self) -> int:
        """Number of cells in the electrodes."""
        return sum(e.count for e in self.electrodes)

    @property
    def layout(self) -> "PorousCell":
        """The porous cell that knows how state and unknowns are laid out: this one."""
        return self

    def unknowns(self, w: Array) -> tuple[Array, list[Array], list[Array]]:
        """c in mol/m3, psi in V of each electrode, and j in A/m2 of each class of particles."""
        n, m = self.size, self.potentials
        return w[:n], self.by_electrode(w[n : n + m]), self.by_class(w[n + m :])

    def by_electrode(self, values: Array) -> list[Array]:
        """Values of all electrode cells, by electrode."""
        return _cut(values, [e.count for e in self.electrodes])

    def by_class(self, values: Array) -> list[Array]:
        """Values of all classes of particles in their cells, by class."""
        return _cut(values, [p.count for p in self.particles])

    def amplitudes(self, y: Array) -> list[Array]:
        """Modal amplitudes of each class, shape (modes, count), from the state."""
        parts = _cut(y[self.size :], [p.size for p in self.particles])
        return [part.reshape(-1, p.count) for part, p in zip(parts, self.particles, strict=True)]

    def summed(self, values: list[Array]) -> list[Array]:
        """The sum over the classes of each electrode."""
        return [
            sum(value for value, p in zip(values, self.particles, strict=True) if p.electrode == k)
            for k in range(len(self.electrodes))
        ]

    def spread(self, values: list[Array]) -> Array:
        """Electrode values on the whole mesh, zero in the separator."""
        parts, at = [], 0
        for e, value in zip(self.electrodes, values, strict=True):
            parts += [jnp.zeros(e.first - at, value.dtype), value]
            at = e.first + e.count
        return jnp.concatenate([*parts, jnp.zeros(self.size - at, parts[-1].dtype)])

    def inside(self) -> Array:
        """1 on the faces inside an electrode, 0 on those of the separator, shape (n - 1,)."""
        face = jnp.arange(self.size - 1)
        marks = [(face >= e.first) & (face < e.first + e.count - 1) for e in self.electrodes]
        return jnp.where(sum(m.astype(int) for m in marks) > 0, 1.0, 0.0)

    def under(self, current: Array, temperature: Array) -> "PorousCell":
        """The same cell under another load."""
        return eqx.tree_at(lambda s: (s.current, s.temperature), self, (current, temperature))

    # --- equations --------------------------------------------------------------------------------------------------

    @property
    def thermal_voltage(self) -> Array:
        """RT/F, V."""
        return thermal_voltage(self.temperature)

    @property
    def diffusion_potential(self) -> Array:
        """2 (1 - t+) X RT/F, V for each unit of ln c."""
        return self.electrolyte.diffusion_potential(self.temperature)

    @property
    def salt_share(self) -> Array:
        """(1 - t+) / F, mol/C."""
        return (1.0 - self.electrolyte.transference_number) / faraday

    def halves(self, c: Array) -> tuple[Array, Array]:
        """Resistances of the half cells to ions, ohm m2, and ln c."""
        return self.half_path / self.electrolyte.transport(c, self.temperature)[1], log_salt(c)

    def salt_conductance(self, c: Array) -> Array:
        """Conductance of each face to diffusion, shape (n - 1,), m/s: the mean of D between the two concentrations.

        The flux of salt is the step of the integral of D over c, the Kirchhoff transform, over the whole path, across
        layers too; Simpson's rule for the mean. Half cells in series would be second order as well, with five times the
        error in voltage where D falls as steeply as in the negative electrode of Chen 2020 at 2C.
        """
        middle = 0.5 * (c[1:] + c[:-1])
        ends, centre = (self.electrolyte.transport(x, self.temperature)[0] for x in (c, middle))
        return (ends[1:] + 4.0 * centre + ends[:-1]) / 6.0 / (self.half_path[1:] + self.half_path[:-1])

    def faces(self, c: Array, psi: Array) -> tuple[Array, Array, Array]:
        """Conductance of the faces to diffusion and resistance to ions, and the ionic current of each face."""
        ion_half, log_c = self.halves(c)
        ion = ion_half[:-1] + ion_half[1:]
        drive = psi[1:] - psi[:-1] + self.current * self.solid_resistance
        drive = drive + self.diffusion_potential * (log_c[1:] - log_c[:-1])
        inside = self.inside()
        ionic = inside * drive / (self.solid_resistance + ion) + (1.0 - inside) * self.current
        return self.salt_conductance(c), ion, ionic

    def residual(self, w: Array, past: Array, gamma: Array) -> Array:
        """The equations of a step: balance of salt in each cell, of charge in each electrode cell, and kinetics."""
        c, psi, current = self.unknowns(w)
        _, _, ionic = self.faces(c, self.spread(psi))
        balance = self.salt_balance(c, ionic, past, gamma)
        ends = jnp.pad(ionic, 1)
        reaction = self.summed([p.area * j for p, j in zip(self.particles, current, strict=True)])
        charge = self.charge_scale(gamma) * (ends[1:] - ends[:-1] - self.spread(reaction))
        if self.capacitance is not None:
            before = self.by_electrode(past[-self.potentials :])
            stored = self.capacitance * self.spread([p - q for p, q in zip(psi, before, strict=True)])
            balance, charge = balance + stored / faraday, charge + stored
        charge = [charge[e.first : e.first + e.count] for e in self.electrodes]
        kinetics = [
            psi[p.electrode] - self.equilibrium(p, c, j, alpha - beta * j)
            for p, j, (alpha, beta) in zip(self.particles, current, self.surfaces(past, gamma), strict=True)
        ]
        return jnp.concatenate([balance, *charge, *kinetics])

    def equilibrium(self, particles: Particles, c: Array, current: Array, surface: Array) -> Array:
        """The phi_s - phi_e at which `current` flows in the cells of a class of particles, V."""
        return particles.equilibrium(particles.local(c), current, surface, self.temperature)

    def charge_scale(self, gamma: Array) -> Array | float:
        """The factor of the charge balance in the residual: with a double layer it is one of rates, times the step."""
        return 1.0 if self.capacitance is None else -gamma

    def salt_balance(self, c: Array, ionic: Array, past: Array, gamma: Array) -> Array:
        """What the balance of salt of a step lacks in each cell, mol/m2, under an ionic current in each face."""
        # The anion flux is zero at both outer faces, at a collector and at lithium metal alike.
        flow = jnp.pad((c[1:] - c[:-1]) * self.salt_conductance(c) + self.salt_share * ionic, 1)
        return self.storage * (c - past[: self.size]) - gamma * (flow[1:] - flow[:-1])

    def surfaces(self, past: Array, gamma: Array) -> list[tuple[Array, Array]]:
        """alpha and beta of the surface stoichiometry alpha - beta j, by class."""
        parts = zip(self.particles, self.amplitudes(past), strict=True)
        return [p.surface(q, gamma, self.temperature) for p, q in parts]

    def state(self, w: Array, past: Array, gamma: Array) -> Array:
        """y after the step."""
        c, psi, current = self.unknowns(w)
        parts = zip(self.particles, self.amplitudes(past), current, strict=True)
        filled = [p.amplitudes(q, gamma, j, self.temperature).ravel() for p, q, j in parts]
        return jnp.concatenate([c, *filled, *([] if self.capacitance is None else psi)])

    def voltage(self, w: Array) -> Array:
        """Terminal voltage, V."""
        c, psi, _ = self.unknowns(w)
        _, ion, ionic = self.faces(c, self.spread(psi))
        electrolyte = self.diffusion_potential * (log_salt(c[-1]) - log_salt(c[0])) - jnp.sum(ionic * ion)
        voltage = psi[-1][-1] + electrolyte - self.current * self.series_resistance
        return voltage - (psi[0][0] if self.metal is None else self.metal_drop(c))

    def metal_drop(self, c: Array) -> Array:
        """Potential of the lithium over that of the electrolyte in the first cell, V."""
        conductivity = self.electrolyte.transport(c[0], self.temperature)[1]
        contact = self.at_metal(c[0], self.current)
        drop = self.current * self.half_path[0] / conductivity
        drop = drop - self.diffusion_potential * (log_salt(c[0]) - log_salt(contact))
        return drop + self.metal_overpotential(contact, self.current)

    def at_metal(self, first: Array, current: Array) -> Array:
        """Salt concentration at the lithium, mol/m3, from that of the `first` cell: no anion crosses the face."""
        diffusivity, _ = self.electrolyte.transport(first, self.temperature)
        return first + self.salt_share * current * self.half_path[0] / diffusivity

    def metal_overpotential(self, contact: Array, current: Array) -> Array:
        """Overpotential of the lithium, V, at the salt concentration `contact` and a current in A/m2."""
        exchange = self.metal.kinetics(smooth_positive(contact, SALT_FLOOR))
        return overpotential(current, exchange, self.thermal_voltage)

    def plating_potential(self, w: Array) -> Array:
        """phi_s - phi_e of the negative electrode where it is lowest, at its separator face, V: lithium plates below 0.

        0 where the negative electrode is lithium.
        """
        if self.metal is not None:
            return jnp.zeros(())
        c, psi, _ = self.unknowns(w)
        last = self.electrodes[0].count - 1
        ion_half, log_c = self.halves(c)
        # Half a cell on, where the whole current is ionic; the logarithm of the salt is continued straight.
        ahead = ion_half[last] / (ion_half[last] + ion_half[last + 1]) * (log_c[last + 1] - log_c[last])
        return psi[0][last] + self.current * ion_half[last] - self.diffusion_potential * ahead

    def distance(self, w: Array, other: Array) -> Array:
        """The larger of the changes of c over its initial value and of psi in V."""
        c, psi, _ = self.unknowns(w - other)
        scale = self.electrolyte.initial_concentration
        return jnp.max(jnp.stack([jnp.max(jnp.abs(c)) / scale, *(jnp.max(jnp.abs(p)) for p in psi)]))


def _cut(values, counts):
    ends = [sum(counts[: k + 1]) for k in range(len(counts))]
    return [values[end - count : end] for end, count in zip(ends, counts, strict=True)]
