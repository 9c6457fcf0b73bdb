"""The porous cell linearised exactly at a state, and its response to a small current, for each exponent.

With all changes proportional to exp(s t), the balance of salt and the conservation of charge in a cell of the mesh read

    s (eps h dc + a h C dpsi / F) = d(flow),    d(i_e) = a h (dj + s C dpsi),

where the flow of salt and the ionic current of a face are linear in the changes of the two cells beside it. Kinetics
and the particle behind the surface give dj = (dpsi - psi_c dc) / (psi_j - psi_x beta), with the exact response of a
sphere, dx = -beta dj, beta = R / (D F c_max) Y(s R^2 / D). That is a complex system of 2 by 2 blocks for each s. All
derivatives are those of `PorousCell`, by automatic differentiation. The double layers of porous electrodes take up
anions, so that charging them draws salt from the electrolyte; that of lithium metal takes up lithium.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.units import faraday

from ..electrochemistry.finite_diffusion import sphere_impedance
from ..numerics.block_tridiagonal import linear_solve_blocks
from .particles import Particles
from .porous import PorousCell


class State(eqx.Module):
    """Where a cell is linearised, on its mesh.

    **Arguments:** `concentration` of the salt, mol/m3, shape (n,); `reaction` current density, A/m2, and stoichiometry
    at the `surface`, of each class of particles, shape (count,).
    """

    concentration: Float[Array, " n"]
    reaction: tuple[Float[Array, " count"], ...]
    surface: tuple[Float[Array, " count"], ...]


class Surface(eqx.Module):
    """The linear response of the reacting surface of a class of particles.

    **Arguments:** `by_concentration`, `by_current`, `by_surface`, derivatives of psi in c, j and the stoichiometry at
    the surface, shape (count,); `resistance`, R / (D F c_max), m2/A; `time`, R^2 / D, s; `area`, reacting area of a
    cell per electrode area; `first`, index of the first cell.
    """

    by_concentration: Float[Array, " count"]
    by_current: Float[Array, " count"]
    by_surface: Float[Array, " count"]
    resistance: Float[Array, " count"]
    time: Float[Array, " count"]
    area: Float[Array, " count"]
    first: int = eqx.field(static=True)

    def block(self, s: Array, size: int) -> Array:
        """What the reaction adds to the charge row of each cell, by (c, psi), complex, shape (2, size)."""
        particle = _wide(self.resistance, s) * sphere_impedance(s * _wide(self.time, s))
        slope = _wide(self.by_current, s) - _wide(self.by_surface, s) * particle
        conductance = _wide(self.area, s) / slope
        block = jnp.stack([conductance * _wide(self.by_concentration, s), -conductance])
        return jnp.pad(block, ((0, 0), (self.first, size - self.first - block.shape[1])))


class Metal(eqx.Module):
    """The linear response of lithium metal.

    **Arguments:** `contact_by_salt`, `contact_by_current`, derivatives of the salt concentration at the metal in that
    of the first cell and in the current; `time` of diffusion through half of that cell, s; `by_contact` and
    `by_current`, of the overpotential; `diffusion_potential`, derivative of the potential behind the contact, V m3/mol;
    `double_layer`, F/m2.
    """

    contact_by_salt: Float[Array, ""]
    contact_by_current: Float[Array, ""]
    time: Float[Array, ""]
    by_contact: Float[Array, ""]
    by_current: Float[Array, ""]
    diffusion_potential: Float[Array, ""]
    double_layer: Float[Array, ""]

    def correction(self, s: Array, salt: Array) -> Array:
        """What fast changes add to the change of the voltage: the salt at the metal lags, the double layer charges.

        The mesh extrapolates the salt straight to the metal. With z = s eps h^2 / (4 D) of its first cell, both
        exponentials that solve the discrete diffusion equation give that value sqrt(1 + z) times too large, so that
        dividing by it leaves Warburg's impedance exact however thin the layer is.
        """
        by_current, by_contact = _wide(self.by_current, s), _wide(self.by_contact, s)
        straight = _wide(self.contact_by_salt, s) * salt + _wide(self.contact_by_current, s)
        contact = straight / jnp.sqrt(1.0 + s * _wide(self.time, s))
        faradaic = by_contact * contact + by_current
        overpotential = faradaic / (1.0 + s * _wide(self.double_layer, s) * by_current)
        quasi_static = by_contact * straight + by_current
        return quasi_static - overpotential + _wide(self.diffusion_potential, s) * (straight - contact)


class Linear(eqx.Module):
    """The linearised cell: what does not depend on the exponent s.

    **Arguments:** `lower`, `diagonal`, `upper`, blocks of (balance, charge) by (c, psi) through the faces, and
    `capacity`, of what is stored, shape (2, 2, n); `forcing`, by the current, shape (2, n); `reading`, of the voltage
    by (c, psi), shape (2, n), and `ohmic`, by the current; `surfaces`, of the porous electrodes; `metal`.
    """

    lower: Float[Array, "2 2 n"]
    diagonal: Float[Array, "2 2 n"]
    upper: Float[Array, "2 2 n"]
    capacity: Float[Array, "2 2 n"]
    forcing: Float[Array, "2 n"]
    reading: Float[Array, "2 n"]
    ohmic: Float[Array, ""]
    surfaces: tuple[Surface, ...]
    metal: Metal | None

    def impedance(self, s: Array) -> Array:
        """-dV/di under changes proportional to exp(s t), s complex and not zero, 1/s; a scalar in ohm m2."""
        size = self.forcing.shape[1]
        reaction = sum(e.block(s, size) for e in self.surfaces)
        local = jnp.stack([jnp.zeros_like(reaction), reaction])
        diagonal = _wide(self.diagonal, s) + s * _wide(self.capacity, s) + local
        lower, upper, forcing = _wide(self.lower, s), _wide(self.upper, s), _wide(self.forcing, s)
        change = linear_solve_blocks(lower, diagonal, upper, -forcing)
        voltage = jnp.sum(_wide(self.reading, s) * change) + _wide(self.ohmic, s)
        if self.metal is not None:
            voltage = voltage + self.metal.correction(s, change[0, 0])
        return -voltage


def linearise(system: PorousCell, state: State) -> Linear:
    """`system` linearised at a state under its own current."""
    local = [p.local(state.concentration) for p in system.particles]
    points = list(zip(local, state.reaction, state.surface, strict=True))
    psi = {}
    for p, point in zip(system.particles, points, strict=True):  # classes share psi; the first one's is taken
        psi.setdefault(p.electrode, p.equilibrium(*point, system.temperature))
    psi = list(psi.values())
    reacting = system.spread([jnp.ones(e.count) for e in system.electrodes])
    nil = jnp.zeros_like(reacting)
    stored = nil if system.capacitance is None else system.capacitance
    lower, diagonal, upper, forcing = _faces(system, state.concentration, system.spread(psi))
    reading, ohmic = _reading(system, jnp.concatenate([state.concentration, *psi, *state.reaction]))
    return Linear(
        lower=lower,
        diagonal=diagonal + jnp.stack([jnp.stack([nil, nil]), jnp.stack([nil, 1.0 - reacting])]),
        upper=upper,
        capacity=jnp.stack([jnp.stack([system.storage, stored / faraday]), jnp.stack([nil, -stored])]),
        forcing=forcing * jnp.stack([jnp.ones_like(reacting), reacting]),
        reading=reading,
        ohmic=ohmic,
        surfaces=tuple(_surface(p, x, system.temperature) for p, x in zip(system.particles, points, strict=True)),
        metal=None if system.metal is None else _metal(system, state.concentration[0]),
    )


def _wide(x, s):
    return x.astype(s.dtype)


def _surface(kind: Particles, point, temperature) -> Surface:
    _, along = jax.linearize(lambda c, j, x: kind.equilibrium(c, j, x, temperature), *point)
    by_c, by_j, by_x = jax.vmap(along)(*(jnp.broadcast_to(row[:, None], (3, kind.count)) for row in jnp.eye(3)))
    diffusivity = kind.material.diffusivity_at(temperature)
    return Surface(
        by_concentration=by_c,
        by_current=by_j,
        by_surface=by_x,
        resistance=kind.radius / (diffusivity * faraday * kind.material.maximum_concentration),
        time=kind.radius**2 / diffusivity,
        area=kind.area,
        first=kind.first,
    )


def _faces(system: PorousCell, c, psi):
    """The blocks of (-salt, charge) by (c, psi) of the flows through the faces, and the same by the current."""

    def flows(c, psi, current):
        salt, _, ionic = system.under(current, system.temperature).faces(c, psi)
        return jnp.stack([-(c[1:] - c[:-1]) * salt - system.salt_share * ionic, ionic])

    _, along = jax.linearize(flows, c, psi, system.current)
    # A face knows the two cells beside it, so one change of all even cells and one of all odd ones give everything.
    even = (jnp.arange(system.size) % 2 == 0).astype(c.dtype)
    odd, nil = 1.0 - even, jnp.zeros_like(even)
    changes = jnp.stack([even, odd, nil, nil, nil]), jnp.stack([nil, nil, even, odd, nil]), jnp.eye(5)[4]
    slopes = jnp.moveaxis(jax.vmap(along)(*changes), 0, 1)
    by_even, by_odd = slopes[:, 0:4:2], slopes[:, 1:4:2]
    left = jnp.where(even[:-1] > 0, by_even, by_odd)
    right = jnp.where(even[:-1] > 0, by_odd, by_even)
    ahead, behind = ((0, 0), (0, 0), (0, 1)), ((0, 0), (0, 0), (1, 0))
    diagonal = jnp.pad(left, ahead) - jnp.pad(right, behind)
    ends = jnp.pad(slopes[:, 4], ((0, 0), (1, 1)))
    return -jnp.pad(left, behind), diagonal, jnp.pad(right, ahead), ends[:, 1:] - ends[:, :-1]


def _reading(system: PorousCell, w):
    """Derivatives of the terminal voltage in (c, psi) of each cell, shape (2, n), and in the current."""

    def voltage(w, current):
        return system.under(current, system.temperature).voltage(w)

    by_w, by_current = jax.grad(voltage, (0, 1))(w, system.current)
    by_c, by_psi, _ = system.unknowns(by_w)
    return jnp.stack([by_c, system.spread(by_psi)]), by_current


def _metal(system: PorousCell, c) -> Metal:
    contact, (by_salt, by_current) = jax.value_and_grad(system.at_metal, (0, 1))(c, system.current)
    slopes = jax.grad(system.metal_overpotential, (0, 1))(contact, system.current)
    diffusivity, _ = system.electrolyte.transport(c, system.temperature)
    return Metal(
        contact_by_salt=by_salt,
        contact_by_current=by_current,
        time=0.5 * system.storage[0] * system.half_path[0] / diffusivity,
        by_contact=slopes[0],
        by_current=slopes[1],
        diffusion_potential=system.diffusion_potential / contact,
        double_layer=jnp.zeros(()) if system.metal.double_layer is None else system.metal.double_layer,
    )
