"""Where the voltage goes: what a cell loses between its voltage at rest and its voltage under load, by cause and place.

The overpotentials of an electrode differ from depth to depth. They are averaged by the reaction they drive: the weight
of a cell is its share of the current, w_k = a_k j_k / sum(a j). With these weights the solid and the electrolyte lose

    sum_k w_k (phi_s at the collector - phi_s,k) = integral of i_s^2 / sigma dx / I
    phi_e averaged over the negative - that over the positive = integral of (i_e^2 / kappa_eff - i_e K dln c/dx) dx / I

with K = 2 (1 - t+) X RT/F: each part times the current is the power that it takes, and the parts add up to
U(mean stoichiometries) - V without a remainder.

**Source:** Nyman, Zavalis, Elger, Behm and Lindbergh 2010, J. Electrochem. Soc. 157, A1236, for the averages by local
current; the sums by parts on the mesh are worked out here.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..electrochemistry.intercalation import sphere_profile
from ..numerics.march import march
from .cell import Cell, theoretical_capacity
from .discretise import build, rest
from .galvanostatic import Galvanostatic
from .method import DFN
from .porous import PorousCell, log_salt

PLACES = ("negative", "separator", "positive")
CAUSES = ("ohmic_solid", "ohmic_electrolyte", "concentration", "kinetic", "solid_diffusion", "uneven_use")


class Losses(eqx.Module):
    """The losses of a cell at a moment, V, positive where they lower the voltage: on charge most are negative.

    **Arguments:** `open_circuit`, voltage at rest at the mean stoichiometries, classes of particles of an electrode
    averaged by their current; `voltage`, at the terminals; by place in the order of `PLACES`, shape (3,):
    `ohmic_solid`, `ohmic_electrolyte`, `concentration`, diffusion potential of the salt, `kinetic`, charge transfer,
    `solid_diffusion`, from the mean of each particle to its surface, `uneven_use`, from the mean of a class of
    particles in the electrode to that at each depth, which rest would give back;
    `contact`, between the collectors and the terminals.
    """

    open_circuit: Float[Array, ""]
    voltage: Float[Array, ""]
    ohmic_solid: Float[Array, "3"]
    ohmic_electrolyte: Float[Array, "3"]
    concentration: Float[Array, "3"]
    kinetic: Float[Array, "3"]
    solid_diffusion: Float[Array, "3"]
    uneven_use: Float[Array, "3"]
    contact: Float[Array, ""]

    @property
    def parts(self) -> Float[Array, "6 3"]:
        """All but the contact, V, rows in the order of `CAUSES`, columns in that of `PLACES`."""
        return jnp.stack([getattr(self, cause) for cause in CAUSES], axis=-2)

    @property
    def total(self) -> Array:
        """The sum of all parts, V, which is `open_circuit` - `voltage`."""
        return jnp.sum(self.parts, axis=(-2, -1)) + self.contact


def losses(system: PorousCell, w: Array, state: Array) -> Losses:
    """The losses at the end of a step of the porous-electrode model.

    **Arguments:** `system`; `w`, its unknowns, as `record.unknowns` of a march; `state`, its state at the same time, as
    `record.state`.
    """
    if system.capacitance is not None:
        raise ValueError(
            "Losses are those of reactions, but the cell has double layers, which take a share of the current. "
            "Give both electrodes `double_layer=None`."
        )
    c, psi, reaction = system.unknowns(w)
    sides = _sides(system)
    flows = [p.area * j for p, j in zip(system.particles, reaction, strict=True)]
    sums = system.summed(flows)
    weight = dict(zip(sides, map(_shares, sums), strict=True))
    electrodes = dict(zip(sides, zip(system.electrodes, psi, strict=True), strict=True))
    current = -jnp.sum(sums[-1])
    ionic, share = _currents(system, sums, [weight[s] for s in sides], current)
    phi_e, ohmic, salt = _electrolyte(system, c, ionic, share)
    ends, solid = {}, {}
    for side, (e, psi_here) in electrodes.items():
        phi_s = psi_here + phi_e[e.first : e.first + e.count]
        ends[side] = phi_s[-1] if side == "positive" else phi_s[0]
        toward = -1.0 if side == "positive" else 1.0
        solid[side] = toward * (ends[side] - jnp.sum(weight[side] * phi_s))
    inner, outer = _half_cells(system)
    if "negative" in solid:
        solid["negative"] = solid["negative"] + current * inner
        floor, metal = ends["negative"] + current * inner, jnp.zeros_like(current)
    else:
        floor = metal = system.metal_overpotential(system.at_metal(c[0], current), current)
    solid["positive"] = solid["positive"] + current * outer
    amplitudes = system.amplitudes(state)
    particles = {s: _particle_losses(system, k, psi[k], amplitudes, flows, s) for k, s in enumerate(sides)}
    voltage = system.voltage(w)
    return Losses(
        open_circuit=sum((1.0 if s == "positive" else -1.0) * particles[s][0] for s in sides),
        voltage=voltage,
        ohmic_solid=_placed(solid),
        ohmic_electrolyte=ohmic,
        concentration=salt,
        kinetic=_placed({"negative": metal, **{s: particles[s][1] for s in sides}}),
        solid_diffusion=_placed({s: particles[s][2] for s in sides}),
        uneven_use=_placed({s: particles[s][3] for s in sides}),
        contact=ends["positive"] - current * outer - floor - voltage,
    )


class Course(eqx.Module):
    """A constant-current run and its losses: `capacity` passed, C/m2, shape (n,), and `losses` with the same axis."""

    capacity: Float[Array, " n"]
    losses: Losses

    @property
    def energies(self) -> Float[Array, "6 3"]:
        """What each part takes over the run, J/m2, by trapezoids: rows as `CAUSES`, columns as `PLACES`."""
        begin = self.capacity[0] * self.losses.parts[0]  # the first point is just after the start
        return begin + jnp.trapezoid(self.losses.parts, self.capacity, axis=0)


def course(cell: Cell, current_density, points: int = 25, method: DFN | None = None, *, state_of_charge=1.0) -> Course:
    """The losses along a discharge to the lower cut-off, at `points` times spread evenly over it.

    The discharge is marched anew to each time, so that each point is differentiable like a discharge of its own, in
    reverse mode, in every number of `cell` and in the current; the times are held.

    **Arguments:** `current_density`, A/m2, positive.
    """
    method = DFN() if method is None else method
    if not isinstance(method, DFN):
        raise ValueError(
            f"Argument `method` must be a `DFN`, but `{type(method).__name__}` was given; only it knows the losses by "
            "depth."
        )
    current = jnp.asarray(current_density, cell.temperature.dtype)
    system = build(cell, current, method.mesh)
    start, guess = rest(system, cell, jnp.asarray(state_of_charge, current.dtype))

    def run(horizon):
        loaded = Galvanostatic(system, cell.lower_cutoff, jnp.ones_like(current))
        return march(loaded, start, guess, horizon, method.march).value

    end = run(1.5 * theoretical_capacity(cell.positive) / current).time[-1]

    def at(horizon):
        record = run(horizon)
        return current * record.time[-1], losses(system, record.unknowns, record.state)

    horizons = jax.lax.stop_gradient(end) * jnp.linspace(0.002, 1.0, points)
    return Course(*jax.lax.map(at, horizons))


def _sides(system: PorousCell) -> tuple[str, ...]:
    return ("negative", "positive") if system.metal is None else ("positive",)


def _placed(values: dict[str, Array]) -> Array:
    """Values by name as an array in the order of `PLACES`, zero where there is none."""
    nil = jnp.zeros_like(next(iter(values.values())))
    return jnp.stack([values.get(place, nil) for place in PLACES])


def _shares(flow: Array) -> Array:
    """The share of each part in the current of its electrode; even where no current flows."""
    total = jnp.sum(flow)
    flowing = jnp.abs(total) > 1e-12 * jnp.sum(jnp.abs(flow)) + 1e-300
    return jnp.where(flowing, flow / jnp.where(flowing, total, 1.0), 1.0 / flow.size)


def _currents(system, sums, weights, current):
    """Ionic current of each face, A/m2, and the share of the averages that crosses it, both of shape (n - 1,)."""
    source = system.spread(sums)
    signs = (1.0, -1.0) if system.metal is None else (-1.0,)
    part = system.spread([s * w for s, w in zip(signs, weights, strict=True)])
    begin = jnp.zeros_like(current) if system.metal is None else jnp.ones_like(current)
    return begin * current + jnp.cumsum(source)[:-1], begin + jnp.cumsum(part)[:-1]


def _electrolyte(system, c, ionic, share):
    """phi_e of each cell above the first one's reference, and the ohmic and the salt's loss by place.

    A face belongs half to each of its cells: its resistance by their half paths, its ratio of concentrations at the
    value between them that the flux of salt gives.
    """
    ion_half, log_c = system.halves(c)
    salt_half = system.half_path / system.electrolyte.transport(c, system.temperature)[0]
    between = (c[:-1] * salt_half[1:] + c[1:] * salt_half[:-1]) / (salt_half[:-1] + salt_half[1:])
    scale, log_face = system.diffusion_potential, log_salt(between)
    left = jnp.stack([ionic * ion_half[:-1], -scale * (log_face - log_c[:-1])])
    right = jnp.stack([ionic * ion_half[1:], -scale * (log_c[1:] - log_face)])
    drops = jnp.sum(left + right, axis=0)
    lost = jnp.pad(share * left, ((0, 0), (0, 1))) + jnp.pad(share * right, ((0, 0), (1, 0)))
    first = jnp.zeros_like(c[0])
    if system.metal is not None:
        contact = system.at_metal(c[0], ionic[0])
        entry = jnp.stack([ionic[0] * ion_half[0], -scale * (log_c[0] - log_salt(contact))])
        lost, first = lost.at[:, 0].add(entry), -jnp.sum(entry)
    phi_e = first - jnp.concatenate([jnp.zeros(1, c.dtype), jnp.cumsum(drops)])
    by_place = jnp.sum(lost[:, None] * _membership(system)[None], axis=-1)
    return phi_e, by_place[0], by_place[1]


def _membership(system) -> Array:
    """1 where a cell lies in a place, shape (3, n)."""
    index = jnp.arange(system.size)
    inside = [(index >= e.first) & (index < e.first + e.count) for e in system.electrodes]
    named = dict(zip(_sides(system), inside, strict=True))
    nowhere = jnp.zeros(system.size, bool)
    negative, positive = named.get("negative", nowhere), named["positive"]
    return jnp.stack([negative, ~(negative | positive), positive]).astype(system.storage.dtype)


def _half_cells(system) -> tuple[Array, Array]:
    """The solid between the outermost centres and the collectors, negative and positive, ohm m2: half a step each."""
    ends = 0.5 * system.solid_resistance[0], 0.5 * system.solid_resistance[-1]
    return ends if system.metal is None else (jnp.zeros_like(ends[0]), ends[1])


def _particle_losses(system, number, psi, amplitudes, flows, side):
    """Potential at the means of an electrode, V, its kinetic loss, that in the particles and that of uneven use."""
    mine = [k for k, p in enumerate(system.particles) if p.electrode == number]
    weight = _shares(jnp.stack([flows[k] for k in mine]))
    overall = kinetic = diffusion = uneven = jnp.zeros_like(psi[0])
    for w, k in zip(weight, mine, strict=True):
        kind = system.particles[k]
        surface, mean = sphere_profile(amplitudes[k], [1.0])[0], amplitudes[k][0]
        content = kind.area / kind.gain

        def potential(x, kind=kind):
            return kind.material.potential_at(x, system.temperature)

        at_surface, at_mean = potential(surface), potential(mean)
        at_overall = jnp.sum(w) * potential(jnp.sum(content * mean) / jnp.sum(content))
        overall = overall + at_overall
        kinetic = kinetic + jnp.sum(w * (at_surface - psi))
        diffusion = diffusion + jnp.sum(w * (at_mean - at_surface))
        uneven = uneven + at_overall - jnp.sum(w * at_mean)
    sign = 1.0 if side == "positive" else -1.0
    return overall, sign * kinetic, sign * diffusion, sign * uneven
