"""A cell by what is chosen when it is designed: loading, porosities, particle radii, N/P; all else follows.

Volume fractions are never chosen apart: a porosity, even or graded, leaves the rest of the volume to the solid, in
which active material keeps its share. So they sum to one in every design.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.units import Wh, hour, litre, mAh_cm2, um
from solver.cell.cell import Cell, Electrode, theoretical_capacity
from solver.cell.discretise import Mesh
from solver.cell.method import DFN
from solver.cell.performance import Densities, coating_mass, stack
from solver.cell.protocol import Discharge, discharge
from solver.numerics.march import March
from solver.numerics.real import real
from solver.numerics.solution import Result

BRUGGEMAN = 1.5


def coarse(tolerance=1e-3) -> DFN:
    """The model that a search asks: a few cells in each layer, long steps."""
    return DFN(Mesh(8, 4, 8, 8), March(tolerance=tolerance, max_steps=150))


class Plan(eqx.Module):
    """A cell of a given chemistry and what can be chosen of it.

    **Arguments:** `base`, the cell whose materials, separator, electrolyte and empty state are kept; `capacity`, of the
    positive over the window of the base, C/m2; `porosity` and `radius`, m, of the positive, and `negative_porosity`
    and `negative_radius` of the negative, scalars or profiles, shape (k,), in the direction of x; `n_to_p`, capacity of
    the negative over that of the positive, both over the windows of the base.
    """

    base: Cell
    capacity: Float[Array, ""] = eqx.field(converter=real)
    porosity: Float[Array, "..."] = eqx.field(converter=real)
    radius: Float[Array, "..."] = eqx.field(converter=real)
    negative_porosity: Float[Array, "..."] = eqx.field(converter=real)
    negative_radius: Float[Array, "..."] = eqx.field(converter=real)
    n_to_p: Float[Array, ""] = eqx.field(converter=real)

    def cell(self) -> Cell:
        """The cell, charged to its upper cut-off."""
        base = self.base
        positive = holding(packed(base.positive, self.porosity, self.radius), self.capacity)
        negative = packed(base.negative, self.negative_porosity, self.negative_radius)
        negative = holding(negative, self.n_to_p * self.capacity)
        return charged(eqx.tree_at(lambda c: (c.negative, c.positive), base, (negative, positive)))


# Where the variables are, as one function each: two problems that differ in numbers only then share compiled code.
def capacity_of(plan: Plan) -> Array:
    """Where the capacity is."""
    return plan.capacity


def n_to_p_of(plan: Plan) -> Array:
    """Where N/P is."""
    return plan.n_to_p


def porosity_of(plan: Plan) -> Array:
    """Where the porosity of the positive is."""
    return plan.porosity


def negative_porosity_of(plan: Plan) -> Array:
    """Where the porosity of the negative is."""
    return plan.negative_porosity


def plan_of(base: Cell) -> Plan:
    """A cell as a plan, from which designs start."""
    p, n = base.positive, base.negative
    capacity = theoretical_capacity(p)
    return Plan(
        base, capacity, p.porosity, p.particle_radius, n.porosity, n.particle_radius,
        theoretical_capacity(n) / capacity,
    )  # fmt: skip


def packed(electrode: Electrode, porosity, radius) -> Electrode:
    """`electrode` with other pores and particles: spheres, and Bruggeman's exponent 1.5 in pores and solid.

    The solid is 1 - porosity, active material the same share of it as before. Transport in the pores is eps^1.5;
    electronic conductivity follows (1 - eps)^1.5 from its value at the old porosity.
    """
    porosity, radius = real(porosity), real(radius)
    solid, before = 1.0 - porosity, 1.0 - jnp.mean(electrode.porosity)
    active = solid * jnp.mean(electrode.active_fraction) / before
    conductivity = jnp.mean(electrode.electronic_conductivity) * (solid / before) ** BRUGGEMAN
    return eqx.tree_at(
        lambda e: (
            e.porosity, e.active_fraction, e.specific_area, e.particle_radius, e.electrolyte_transport,
            e.electronic_conductivity,
        ),
        electrode,
        (porosity, active, 3.0 * active / radius, radius, porosity**BRUGGEMAN, conductivity),
    )  # fmt: skip


def holding(electrode: Electrode, capacity) -> Electrode:
    """`electrode` with the thickness that gives it a theoretical capacity, C/m2."""
    thickness = electrode.thickness * capacity / theoretical_capacity(electrode)
    return eqx.tree_at(lambda e: e.thickness, electrode, thickness)


def charged(cell: Cell) -> Cell:
    """`cell` with its full state where, charged from its empty one, the voltage at rest is the upper cut-off.

    The charge is found by bisection, and differentiated at the root by one step of Newton's method, so that a ratio of
    capacities has its derivative.
    """
    sites = [theoretical_capacity(e) / jnp.abs(e.stoichiometry_full - e.stoichiometry_empty) for e in _both(cell)]

    def after(charge, sites, negative, positive):
        return negative.stoichiometry_empty + charge / sites[0], positive.stoichiometry_empty - charge / sites[1]

    def excess(charge, sites, cell):
        x_n, x_p = after(charge, sites, *_both(cell))
        return cell.positive.material.potential(x_p) - cell.negative.material.potential(x_n) - cell.upper_cutoff

    held, fixed = lax.stop_gradient(sites), lax.stop_gradient(cell)
    most = jnp.minimum(
        (1.0 - fixed.negative.stoichiometry_empty) * held[0], fixed.positive.stoichiometry_empty * held[1]
    )

    def halve(_, ends):
        middle = 0.5 * (ends[0] + ends[1])
        above = excess(middle, held, fixed) > 0.0
        return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

    low, high = lax.fori_loop(0, 60, halve, (jnp.zeros_like(most), 0.9999 * most))
    root = lax.stop_gradient(0.5 * (low + high))
    step = 1e-6 * most
    slope = (excess(root + step, held, fixed) - excess(root - step, held, fixed)) / (2.0 * step)
    change = excess(root, sites, cell)
    root = root - (change - lax.stop_gradient(change)) / slope
    full = after(root, sites, *_both(cell))
    return eqx.tree_at(lambda c: (c.negative.stoichiometry_full, c.positive.stoichiometry_full), cell, full)


def _both(cell: Cell) -> tuple[Electrode, Electrode]:
    return cell.negative, cell.positive


def drawn(cell: Cell, c_rate, method: DFN) -> Discharge:
    """The discharge of a full cell at a C-rate of its theoretical capacity; its energy is NaN where it failed."""
    done = discharge(cell, c_rate * theoretical_capacity(cell.positive) / hour, method)
    energy = jnp.where(done.result == Result.successful, done.value.energy, jnp.nan)
    return eqx.tree_at(lambda d: d.energy, done.value, energy)


def described(cell: Cell, densities: Densities | None = None) -> dict[str, Array]:
    """What a cell is, by name with unit: thicknesses, mean porosities, ratio of active masses, how full it gets."""
    d = Densities() if densities is None else densities
    masses = [
        coating_mass(eqx.tree_at(lambda e: e.porosity, e, 1.0 - e.active_fraction), density, 0.0)
        for e, density in ((cell.positive, d.positive_active), (cell.negative, d.negative_active))
    ]
    return {
        "positive_thickness_um": cell.positive.thickness / um,
        "negative_thickness_um": cell.negative.thickness / um,
        "positive_porosity": jnp.mean(cell.positive.porosity),
        "negative_porosity": jnp.mean(cell.negative.porosity),
        "areal_capacity_mAh_cm2": theoretical_capacity(cell.positive) / mAh_cm2,
        "active_mass_ratio": masses[0] / masses[1],
        "negative_filling": cell.negative.stoichiometry_full,
    }


class AtRate(eqx.Module):
    """Figures of a plan in one discharge: `c_rate`; `method`; `densities`."""

    c_rate: Float[Array, ""] = eqx.field(converter=real)
    method: DFN = eqx.field(default_factory=coarse)
    densities: Densities = eqx.field(default_factory=Densities)

    def __call__(self, plan: Plan) -> dict[str, Array]:
        """Energy of the stack by volume and mass, share of the capacity drawn, mean voltage, and what the cell is."""
        cell = plan.cell()
        run, size = drawn(cell, self.c_rate, self.method), stack(cell, self.densities)
        return {
            "energy_Wh_L": size.energy_density(run.energy) * litre / Wh,
            "energy_Wh_kg": size.specific_energy(run.energy) / Wh,
            "energy_Wh_m2": run.energy / Wh,
            "capacity_share": run.capacity / theoretical_capacity(cell.positive),
            "average_voltage_V": run.average_voltage,
            **described(cell, self.densities),
        }
