"""The particle-resolved cell: unknowns and equations of one time step under a given current.

Finite volumes on voxels. Salt and ionic current in the electrolyte (Latz and Zausch 2011, doi
10.1016/j.jpowsour.2010.11.088, in Newman's form), electrons in solid, lithium in each active phase, and in each voxel
one reaction over the true area of the interface there:

    v_e dc/dt = -div(b D grad c) + (1 - t+) (a j + a_Li j_Li) / F
    -div(b kappa (grad phi_e - 2 (1 - t+) X RT/F grad ln c)) = a j + a_Li j_Li
    -div(sigma grad phi_s) = -a j,     v_s c_max dx/dt = -div(D_s c_max grad x) - a j / F
    phi_s - phi_e - U(x) = 2 RT/F asinh(j / 2 j0),   all at the interface (`interface`), j > 0 for oxidation.

The lithium, or the collector of a second electrode, is at potential zero; the collector of the first at the voltage V,
and what leaves through it is the given current. Every balance is in amperes over a reference current, so that sums of
residuals are shares of it.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.units import faraday

from ..numerics.flux import pad, slice_of
from ..numerics.layout import Slabs
from ..numerics.written import written, written_linear
from .electrolyte import Electrolyte
from .kinetics import MetalKinetics, overpotential, smooth_positive, thermal_voltage
from .resolved_vector import flat, last, part, row_count
from .roles import Role
from .stencil import following, leaving, wraps
from .structure import Particles, Structure

SALT_FLOOR = 1e-3  # mol/m3, below which the logarithm of the salt concentration levels off


_BRIEF = (
    1.0  # s, shorter than which a step counts by the charge it moves: rounding of contents would drown its currents
)


def pacing(gamma: Array) -> tuple[Array, Array]:
    """By what the change of a content in a step is divided, s, and the weight of its rate beside."""
    return gamma + _BRIEF, gamma / (gamma + _BRIEF)


class Unknowns(eqx.Module):
    """What a step solves for.

    **Arguments:** `filled`, stoichiometry of each active phase; `salt`, mol/m3; `lyte`, potential, V; `solid`,
    potential over that of its own collector, V: beside the whole voltage its small steps would be rounded; `reaction`,
    current density of each active phase, A/m2; `metal`, that of the lithium, zero where there is none, (1, ny, nz);
    `voltage`, V.
    """

    filled: tuple[Array, ...]
    salt: Array
    lyte: Array
    solid: Array
    reaction: tuple[Array, ...]
    metal: Array
    voltage: Array


class ResolvedCell(eqx.Module):
    """A cell on voxels under a current.

    **Arguments:** `structure`; `active`, the [`Role`][] of each active phase; `electrolyte`; `lithium`, its kinetics,
    `None` where a second electrode faces the first; `temperature`, K; `current`, A, positive on discharge; `unit`, A,
    a reference current without derivative; `contact_resistance`, of the first collector, ohm m2; `slabs`, in which it
    lies on several devices, static.
    """

    structure: Structure
    active: tuple[Role, ...]
    electrolyte: Electrolyte
    lithium: MetalKinetics | None
    temperature: Float[Array, ""]
    current: Float[Array, ""]
    unit: Float[Array, ""]
    contact_resistance: Float[Array, ""]
    slabs: Slabs | None = eqx.field(static=True, default=None)

    # --- layout -----------------------------------------------------------------------------------------------------

    def cut(self, w: Array) -> Unknowns:
        """The unknowns of the flat vector w."""
        s, m = self.structure, len(self.active)
        n, (_, ny, nz) = s.storage.size, s.shape
        field = [written_linear(part(w, k * n, s.shape, self.slabs)) for k in range(2 * m + 3)]
        metal = part(w, (2 * m + 3) * n, (1, ny, nz), self.slabs)
        return Unknowns(tuple(field[:m]), *field[m : m + 3], tuple(field[m + 3 :]), metal, last(w))

    def join(self, u: Unknowns) -> Array:
        """The flat vector of unknowns, or of their equations."""
        return flat([*u.filled, u.salt, u.lyte, u.solid, *u.reaction, u.metal, u.voltage], self.slabs)

    def contents(self, y: Array) -> tuple[list[Array], Array]:
        """Stoichiometries of the active phases, and salt in mol/m3, of the flat state y."""
        s, m = self.structure, len(self.active)
        n = s.storage.size
        parts = [part(y, k * n, s.shape, self.slabs) for k in range(m + 1)]
        return parts[:m], parts[m]

    def state(self, w: Array) -> Array:
        """y, which are the first of the unknowns."""
        return w[..., : (len(self.active) + 1) * self.structure.storage.size // row_count(self.slabs)]

    # --- laws -------------------------------------------------------------------------------------------------------

    @property
    def thermal_voltage(self) -> Array:
        """RT/F, V."""
        return thermal_voltage(self.temperature)

    @property
    def diffusion_potential(self) -> Array:
        """2 (1 - t+) X RT/F, V for each unit of ln c."""
        return self.electrolyte.diffusion_potential(self.temperature)

    def after(self, x: Array, axis: int) -> Array:
        """The field in the next voxel; its own where there is none, so that laws see nothing odd."""
        wrap = wraps(self.structure.periodic)[axis]
        beyond = following(x, axis, wrap)
        last = lax.broadcasted_iota(jnp.int32, x.shape, axis) == x.shape[axis] - 1
        return beyond if wrap else jnp.where(last, x, beyond)

    def steps(self, x: Array, axis: int) -> Array:
        """The step of a field to the next voxel."""
        return following(x, axis, wraps(self.structure.periodic)[axis]) - x

    def leaves(self, flux: Array, axis: int) -> Array:
        return leaving(flux, axis, wraps(self.structure.periodic)[axis])

    def lyte_laws(self, salt: Array) -> tuple[Array, Array, Array]:
        """D in m2/s, kappa in S/m, and what of kappa comes with salt over its concentration, at `salt` in mol/m3."""
        diffusivity, conductivity = self.electrolyte.transport(salt, self.temperature)
        return diffusivity, conductivity, (conductivity - self.bare) / smooth_positive(salt, SALT_FLOOR)

    @property
    def bare(self) -> Array:
        """The conductivity without salt that a fit may have, S/m."""
        return self.electrolyte.transport(jnp.zeros_like(self.temperature), self.temperature)[1]

    def logarithm(self, salt: Array) -> Array:
        """ln c, level below a floor."""
        return jnp.log(smooth_positive(salt, SALT_FLOOR))

    def salt_and_charge(self, salt: Array, potential: Array) -> tuple[Array, Array]:
        """What leaves each voxel as salt, mol/s, and as charge, A, through the electrolyte.

        D and kappa are means over the concentrations between two voxels (Kirchhoff's transform, by Simpson's rule),
        and so is kappa / c, with which the diffusion of salt drives current: as a step of c, not of its logarithm, it
        stays bounded where the salt runs out. Only what conductivity is left without salt goes with the logarithm.
        """
        gone, current = jnp.zeros_like(salt), jnp.zeros_like(salt)
        here, log = [written(x) for x in self.lyte_laws(salt)], written(self.logarithm(salt))
        for axis, link in enumerate(self.structure.lyte_links):
            diffusivity, conductivity, ratio = self.between(here, salt, axis)
            step = self.steps(salt, axis)
            by_salt = ratio * step + self.bare * self.steps(log, axis)
            drive = conductivity * self.steps(potential, axis) - self.diffusion_potential * by_salt
            gone = gone + self.leaves(written(-link * diffusivity * step), axis)
            current = current + self.leaves(written(-link * drive), axis)
        return gone, current

    def between(self, here: Sequence[Array], salt: Array, axis: int) -> list[Array]:
        """Means of [`ResolvedCell.lyte_laws`][] over the salt between each voxel and the next, from `here`, at
        voxels."""
        middle = self.lyte_laws(written(self.middle(salt, axis)))
        return [(x + 4.0 * m + self.after(x, axis)) / 6.0 for x, m in zip(here, middle, strict=True)]

    def middle(self, salt: Array, axis: int) -> Array:
        """The mean of each voxel and the next."""
        return 0.5 * (salt + self.after(salt, axis))

    def links_now(self, salt: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Links of the electrolyte to diffusion, m3/s, and to charge, S, at a salt concentration."""
        diffusion, charge = [], []
        for axis, link in enumerate(self.structure.lyte_links):
            d, k, _ = self.lyte_laws(self.middle(salt, axis))
            diffusion.append(link * d)
            charge.append(link * k)
        return tuple(diffusion), tuple(charge)

    def solid_flux(self, role: Role, link: Array, filled: Array, beyond: Array) -> Array:
        """Lithium through links of an active phase, m3/s of full material. Of each link by itself."""
        ends = role.diffusivity(filled, self.temperature) + role.diffusivity(beyond, self.temperature)
        middle = role.diffusivity(0.5 * (filled + beyond), self.temperature)
        return -link * (ends + 4.0 * middle) / 6.0 * (beyond - filled)

    def lithium_leaves(self, particles: Particles, role: Role, filled: Array) -> Array:
        """What leaves each voxel through an active phase, m3/s of full material."""
        out = jnp.zeros_like(filled)
        for axis, link in enumerate(particles.links):
            out = out + self.leaves(written(self.solid_flux(role, link, filled, self.after(filled, axis))), axis)
        return out

    def beside(self, salt: Array, potential: Array, current: Array, path: Array) -> tuple[Array, Array]:
        """Salt and potential of the electrolyte at a surface that gives off `current`, A/m2, and no anions, from those
        at the distance `path`, m over relative transport."""
        diffusivity, conductivity = self.electrolyte.transport(salt, self.temperature)
        share = (1.0 - self.electrolyte.transference_number) / faraday
        at = salt + share * current * path / diffusivity
        log = jnp.log(smooth_positive(at, SALT_FLOOR)) - jnp.log(smooth_positive(salt, SALT_FLOOR))
        return at, potential + current * path / conductivity + self.diffusion_potential * log

    def read(self, k: int, u: Unknowns) -> tuple[Array, Array, Array, Array]:
        """What the interface of active phase `k` sees of both sides: stoichiometry, salt in mol/m3, potentials of the
        electrolyte and of the solid, V; something harmless where there is none."""
        part, periodic = self.structure.particles[k], self.structure.periodic
        there = part.area > 0
        held = jnp.where(there, part.solid.read(u.filled[k], periodic), 0.5)
        salt = jnp.where(there, part.lyte.read(u.salt, periodic), self.electrolyte.initial_concentration)
        solid = part.solid.read(u.solid, periodic)
        return held, salt, part.lyte.read(u.lyte, periodic), solid if part.grounded else u.voltage + solid

    def surface(self, k: int, seen: tuple[Array, ...], j: Array) -> tuple[Array, Array, Array]:
        """Stoichiometry, salt, and phi_s - phi_e, V, at the interface of active phase `k` that gives off j."""
        part, role = self.structure.particles[k], self.active[k]
        held, salt, lyte, solid = seen
        capacity = faraday * role.material.maximum_concentration
        gap = j * part.solid.distance / (capacity * role.diffusivity(held, self.temperature))
        # The diffusivity halfway to the surface: second order where it depends on the filling.
        middle = role.diffusivity(held - 0.5 * gap, self.temperature)
        stoichiometry = held - j * part.solid.distance / (capacity * middle)
        at, potential = self.beside(salt, lyte, j, part.lyte_path)
        return stoichiometry, at, solid - j * part.solid_path - potential

    def kinetics(self, k: int, seen: tuple[Array, ...], j: Array) -> Array:
        """What the potential difference at the interface has over what the reaction needs, V; j where there is none.
        Of each voxel by itself, but for what is `seen` from it."""
        material = self.active[k].material
        stoichiometry, salt, difference = self.surface(k, seen, j)
        exchange = material.exchange_current_density(smooth_positive(salt, SALT_FLOOR), stoichiometry, self.temperature)
        needed = material.potential_at(stoichiometry, self.temperature)
        needed = needed + overpotential(j, exchange, self.thermal_voltage)
        return jnp.where(self.structure.particles[k].area > 0, difference - needed, j)

    def metal_kinetics(self, salt: Array, lyte: Array, j: Array) -> Array:
        """The same of the lithium, whose potential and open-circuit potential are zero, from the last slice."""
        s = self.structure
        if self.lithium is None:
            return j
        at, potential = self.beside(salt, lyte, j, s.metal_path)
        exchange = self.lithium(smooth_positive(at, SALT_FLOOR))
        lack = -potential - overpotential(j, exchange, self.thermal_voltage)
        return jnp.where(s.metal_area > 0, lack, j)

    def top(self, x: Array) -> Array:
        """The last slice, which faces the lithium or lies on the second collector."""
        return slice_of(x, 0, self.structure.shape[0] - 1)

    # --- equations --------------------------------------------------------------------------------------------------

    def residual(self, w: Array, past: Array, gamma: Array) -> Array:
        """The equations of a step: balances in shares of the reference current, and V for the kinetics."""
        rest, kinetics = self.equations(w, past, gamma)
        return jnp.concatenate([rest[..., :-1], kinetics, rest[..., -1:]], axis=-1)

    def equations(self, w: Array, past: Array, gamma: Array) -> tuple[Array, Array]:
        """The same in two: balances with the current last, and kinetics."""
        return self.balances(w, past, gamma), self.reactions(w)

    def reactions(self, w: Array) -> Array:
        """The kinetic equations, V, flat."""
        u = self.cut(w)
        seen = [tuple(written(x) for x in self.read(k, u)) for k in range(len(self.active))]
        lack = [self.kinetics(k, x, j) for k, (x, j) in enumerate(zip(seen, u.reaction, strict=True))]
        return flat([*lack, self.metal_kinetics(self.top(u.salt), self.top(u.lyte), u.metal)], self.slabs)

    def balances(self, w: Array, past: Array, gamma: Array) -> Array:
        """The balances of lithium in the active phases, salt, ions, electrons, and the current, flat."""
        s, u = self.structure, self.cut(w)
        held, salted = self.contents(past)
        pace, going = pacing(gamma)
        parts = list(zip(s.particles, self.active, u.reaction, strict=True))
        currents = [p.area * j for p, _, j in parts]
        metal = pad(s.metal_area * u.metal, 0, s.shape[0] - 1, 0)
        into_lyte = metal + sum(p.lyte.lay(i, s.periodic) for (p, *_), i in zip(parts, currents, strict=True))
        out_of_solid = [p.solid.lay(i, s.periodic) for (p, *_), i in zip(parts, currents, strict=True)]

        rows = []
        for (p, role, _), x, now, i in zip(parts, held, u.filled, out_of_solid, strict=True):
            capacity = faraday * role.material.maximum_concentration
            rate = capacity * self.lithium_leaves(p, role, now) + i
            row = capacity * p.storage * (now - x) / pace + going * rate
            rows.append(self._where(p.storage > 0, row, now - x))

        gone, charge = self.salt_and_charge(u.salt, u.lyte)
        share = 1.0 - self.electrolyte.transference_number
        salt = faraday * s.storage * (u.salt - salted) / pace + going * (faraday * gone - share * into_lyte)
        scale = self.electrolyte.initial_concentration
        through = self.plate * slice_of(u.solid, 0, 0)
        solid = self.electrons_leave(u.solid) + pad(through, 0, 0, s.shape[0] - 1) + sum(out_of_solid)
        if s.ground is not None:
            solid = solid + pad(s.ground * self.top(u.solid), 0, s.shape[0] - 1, 0)
        rows += [
            self._where(s.with_ions, salt, (u.salt - salted) / scale),
            self._where(s.with_ions, charge - into_lyte, u.lyte),
            self._where(s.with_electrons, solid, u.solid),
            (self.current - jnp.sum(through)) / self.unit,
        ]
        return flat(rows, self.slabs)

    def _where(self, there: Array, row: Array, idle: Array) -> Array:
        return jnp.where(there, row / self.unit, idle)

    @property
    def plate(self) -> Array:
        """Links of the first slice to the collector with its contact resistance, S, (1, ny, nz)."""
        s = self.structure
        section = s.section / s.plate.size
        return s.plate / (1.0 + s.plate * self.contact_resistance / section)

    def electrons_leave(self, solid: Array) -> Array:
        """What leaves each voxel as current of electrons, A."""
        out = jnp.zeros_like(solid)
        for axis, link in enumerate(self.structure.solid_links):
            out = out - self.leaves(link * self.steps(solid, axis), axis)
        return out
