"""The cell against closed forms. Cases are numbered as in the project's electrochemistry reference, section D.

Cases 1 and 2 (spheres), 5 (Newman and Tobias, resistance and order) and the block solver are in
test_cell_discretisation, 12 (capacities and voltages at rest) also in test_cell_values and test_cell_dfn.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.units import faraday, gas_constant
from solver.cell.cell import Cell, Electrode, LithiumMetal, Separator
from solver.cell.discretise import Mesh, build, rest
from solver.cell.galvanostatic import Galvanostatic
from solver.cell.library import chen2020, marquis2019, nyman_electrolyte
from solver.cell.protocol import DFN, Stop, discharge
from solver.electrochemistry.electrolyte import Electrolyte
from solver.electrochemistry.intercalation import Intercalation, sphere_modes
from solver.electrochemistry.kinetics import InsertionKinetics, MetalKinetics, overpotential
from solver.electrochemistry.laws import Constant
from solver.numerics.march import March

THERMAL = gas_constant * 298.15 / faraday
DIFFUSIVITY, TRANSFERENCE, SALT = 3e-10, 0.2594, 1000.0
run = eqx.filter_jit(discharge)
voltage_at = eqx.filter_jit(lambda value, times: value.voltage_at(times))


def loaded(system):
    """Under its own current, without an end."""
    return Galvanostatic(system, jnp.zeros(()), jnp.ones(()))


def planar_cell(thickness, electrolyte=None):
    """Lithium, a slab of electrolyte, and a plane of a material that never fills and reacts without a hindrance."""
    material = Intercalation(1e15, 1.0, Constant(4.0), InsertionKinetics(1e9))
    plane = Electrode(1e-9, 1e-6, 0.5, 1e9, 1e-6, 1.0, 1e9, material, 0.5, 0.5)
    if electrolyte is None:
        electrolyte = Electrolyte(SALT, Constant(DIFFUSIVITY), Constant(1.0), TRANSFERENCE)
    metal = LithiumMetal(MetalKinetics(1e9, exponent=0.0))
    return Cell(metal, Separator(thickness, 1.0, 1.0), plane, electrolyte, 298.15, 1.0, 0.1, 6.0)


def polarised(thickness, current, time, electrolyte=None):
    """The discharge of the planar cell for a time, at 100 cells in the slab."""
    method = DFN(Mesh(separator=100, positive=1, particle=2), March(tolerance=1e-6, max_steps=900))
    value = run(planar_cell(thickness, electrolyte), jnp.asarray(current), method, duration=jnp.asarray(time)).value
    assert value.stop == Stop.time_limit and float(value.end_time) == pytest.approx(time)
    return value


def faces(value):
    """Concentrations at both ends of the slab, extrapolated from the outer cells, and of all its cells."""
    c = np.asarray(value.final.concentration)
    slab = c[:-1]
    ends = [np.polynomial.Polynomial.fit(np.arange(4) + 0.5, row, 3)(0.0) for row in (slab[:4], slab[:-5:-1])]
    return ends[0], ends[1], slab


# --- particles ------------------------------------------------------------------------------------------------------


def test_cottrell_at_a_sphere():
    """Case 9: dc sqrt(D / (pi t)) = 9.77205e-3 mol/m2/s at 1 s, plus dc D / R for the curvature of a sphere."""
    radius, count = 1e-4, 20
    rates, values = sphere_modes(count)
    decay = rates * DIFFUSIVITY / radius**2
    # dq/dt = -m q - 3 N f(1) / R with the surface held, f(1) q = 0: N = -R (f m q) / (3 f f).
    project = np.eye(count) - np.outer(values, values) / (values @ values)
    power, vectors = np.linalg.eig(-project @ np.diag(decay))
    q = np.real(vectors @ (np.exp(power) * np.linalg.solve(vectors, project @ (SALT * np.eye(count)[0]))))
    outward = -radius / 3 * (values @ (decay * q)) / (values @ values)
    assert outward + SALT * DIFFUSIVITY / radius == pytest.approx(9.77205e-3, rel=1e-3)


# --- the electrolyte ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [0.02, 0.1])
def test_slab_under_constant_flux(time):
    """Case 3, by superposition: flux into one end of a slab and out of the other, T = D t / L^2.

    Surface T + 1/3 - (2/pi^2) sum exp(-n^2 pi^2 T)/n^2, far end T - 1/6 - (2/pi^2) sum (-1)^n exp(-n^2 pi^2 T)/n^2, in
    units of N L / D. The solver has spheres and no slab particles, so the slab is the electrolyte.
    """
    thickness, current = 1e-4, 200.0
    value = polarised(thickness, current, time * thickness**2 / DIFFUSIVITY)
    n = np.arange(1, 200)
    fading = 2 / np.pi**2 * np.exp(-((n * np.pi) ** 2) * time) / n**2
    rise = (1 / 3 - np.sum(fading)) - (-1 / 6 - np.sum((-1.0) ** n * fading))
    unit = (1 - TRANSFERENCE) * current / faraday * thickness / DIFFUSIVITY
    left, right, slab = faces(value)
    assert left - SALT == pytest.approx(unit * rise, rel=2e-4)
    assert SALT - right == pytest.approx(unit * rise, rel=2e-4)
    assert np.mean(slab) == pytest.approx(SALT, rel=1e-9)


def test_limiting_current():
    """Case 8: i_lim = 2 F D c0 / ((1 - t+) L) = 3126.7188 A/m2; at its half c goes from 1500 to 500 along a line.

    The salt then makes 41.8086 mV (also case 10, the concentration cell).
    """
    limit = 2 * faraday * DIFFUSIVITY * SALT / ((1 - TRANSFERENCE) * 2.5e-5)
    assert limit == pytest.approx(3126.7188, rel=1e-7)
    value = polarised(2.5e-5, 0.5 * limit, 50.0)
    left, right, slab = faces(value)
    assert (left, right) == pytest.approx((1500.0, 500.0), rel=1e-7)
    assert np.allclose(np.diff(slab), -10.0, rtol=1e-6)
    # The plane is 1 nm thick: half of it adds to the ohmic drop, and the salt falls by 0.02 mol/m3 to its middle.
    plane = 0.5 * limit * 0.5e-9 + 2 * (1 - TRANSFERENCE) * THERMAL * np.log(500.0 / 499.98)
    diffusion = 4.0 - 0.5 * limit * 2.5e-5 - float(value.voltage[-1]) - plane
    assert diffusion == pytest.approx(41.8086e-3, abs=1e-7)


def test_above_the_limiting_current_the_salt_is_used_up():
    """Case 8: at 1.2 i_lim no steady state exists; the run ends at the cut-off when the salt at the plane is gone."""
    method = DFN(Mesh(separator=100, positive=1, particle=2), March(tolerance=1e-6, max_steps=900))
    current, duration = jnp.asarray(1.2 * 3126.7188), jnp.asarray(50.0)
    cell = eqx.tree_at(lambda c: c.lower_cutoff, planar_cell(2.5e-5), jnp.asarray(3.5, dtype=float))
    value = run(cell, current, method, duration=duration).value
    assert value.stop == Stop.cut_off and float(value.end_time) < 3.0
    assert 0.0 <= float(value.final.concentration[-1]) < 1.0


def test_profile_of_a_diffusivity_that_varies():
    """Case 8: Nyman's D(c) at 200 A/m2, c = 1113.857, 997.546, 896.037 at both ends and in the middle."""
    value = polarised(2.5e-5, 200.0, 100.0, nyman_electrolyte())
    left, right, slab = faces(value)
    assert (left, 0.5 * (slab[49] + slab[50]), right) == pytest.approx((1113.857, 997.546, 896.037), abs=2e-3)


@pytest.mark.parametrize("share", [0.04, 0.25, 0.81])
def test_sand(share):
    """Case 9: at 20 A/m2 the salt is gone at pi D (F c0 / (2 i (1 - t+)))^2 = 9997.843 s; before, 1 - sqrt(t/t_S)."""
    sand = np.pi * DIFFUSIVITY * (faraday * SALT / (2 * 20.0 * (1 - TRANSFERENCE))) ** 2
    assert sand == pytest.approx(9997.843, rel=1e-6)
    value = polarised(1e-2, 20.0, share * sand)
    assert faces(value)[1] == pytest.approx(SALT * (1 - share**0.5), rel=3e-3)


def test_concentration_cell():
    """Case 10: 500 against 1500 mol/m3 make 41.8086 mV at no current."""
    cell = planar_cell(2.5e-5)
    system = build(cell, jnp.asarray(0.0), Mesh(separator=10, positive=1, particle=2))
    past, guess = rest(system, cell, jnp.asarray(1.0))
    step = jnp.where(jnp.arange(system.size) < 5, 1500.0, 500.0)
    past, guess = past.at[: system.size].set(step), guess.at[: system.size].set(step)
    voltage = jax.jit(lambda s: s.observe(s.solve(guess, past, jnp.asarray(0.0)).value))(loaded(system))
    assert 4.0 - float(voltage) == pytest.approx(41.8086e-3, abs=5e-8)


def test_butler_volmer():
    """Case 10: j0 = 1.5 A/m2 has a resistance of 0.0171284 ohm m2, and 50 mV drive 3.40208184 A/m2."""
    slope = jax.grad(lambda j: overpotential(j, jnp.asarray(1.5), jnp.asarray(THERMAL)))(jnp.asarray(0.0))
    assert float(slope) == pytest.approx(0.0171284, rel=2e-6)
    assert float(overpotential(3.40208184, 1.5, THERMAL)) == pytest.approx(0.05, rel=1e-8)


# --- electrodes and cells -------------------------------------------------------------------------------------------


def test_where_a_linear_electrode_reacts():
    """Case 5: local over mean rate 0.94312, 0.98333, 1.12389 at the separator, in the middle and at the collector.

    The conductivities of the reference, kappa 0.2 and sigma 5 S/m: the reaction is strongest where the electrolyte is
    near, x counts from the collector.
    """
    material = Intercalation(30000.0, 1e-14, Constant(4.0), InsertionKinetics(2.0 / faraday))
    electrode = Electrode(1e-4, 0.3, 0.5, 2e5, 7.5e-6, 1.0, 5.0, material, 0.5, 0.5)
    electrolyte = Electrolyte(1000.0, Constant(3e-2), Constant(0.2), TRANSFERENCE)
    cell = Cell(LithiumMetal(MetalKinetics(10.0)), Separator(2.5e-5, 0.5, 1.0), electrode, electrolyte)
    system = build(cell, jnp.asarray(1e-3), Mesh(separator=4, positive=64, particle=4))
    start, guess = rest(system, cell, jnp.asarray(1.0))
    w = jax.jit(lambda s: s.solve(guess, start, jnp.asarray(0.0)).value)(loaded(system))
    rate = np.asarray(system.unknowns(w)[2][0])
    rate = rate[::-1] / rate.mean()
    at = [np.polynomial.Polynomial.fit(np.arange(4) + 0.5, row, 3)(0.0) for row in (rate[:4], rate[:-5:-1])]
    assert (at[0], 0.5 * (rate[31] + rate[32]), at[1]) == pytest.approx((0.94312, 0.98333, 1.12389), abs=3e-5)


def test_single_particle_limit():
    """Cases 4 and 13: with fast transport V(t) is that of two spheres, 2 uV, and gets there as one over the factor."""
    cell, method = marquis2019(), DFN(Mesh(6, 3, 6, 20), March(tolerance=1e-6, max_steps=900))
    current, times = jnp.asarray(0.680616) / cell.area, jnp.array([60.0, 600.0, 1800.0, 3000.0])
    fields = (
        lambda c: c.electrolyte.diffusivity.amplitude,
        lambda c: c.electrolyte.conductivity.coefficients,
        lambda c: c.negative.electronic_conductivity,
        lambda c: c.positive.electronic_conductivity,
    )
    off = []
    for factor in (1e2, 1e3, 1e7):
        fast = eqx.tree_at(lambda c: [f(c) for f in fields], cell, replace_fn=lambda x, k=factor: k * x)
        found = np.asarray(voltage_at(run(fast, current, method).value, times))
        off.append(np.abs(found - [3.76596198, 3.71035350, 3.63104354, 3.59535365]).max())
    assert off[2] < 3e-6
    assert off[0] / off[1] == pytest.approx(10.0, rel=0.2)


@pytest.mark.parametrize(
    "make, nominal, rest_voltage", [(marquis2019, 0.680616, 3.85182066), (chen2020, 5.0, 4.18094143)]
)
def test_conservation_in_both_sets(make, nominal, rest_voltage):
    """Case 12: lithium in solid and electrolyte and the charge drift by at most 1e-10; no current, no change."""
    cell, method = make(), DFN(Mesh(8, 4, 8, 8))
    current = jnp.asarray(nominal) / cell.area
    value = run(cell, current, method, duration=jnp.asarray(9000.0)).value
    assert value.stop == Stop.cut_off
    system = build(cell, current, method.mesh)
    held = [float(system.storage @ value.final.concentration)]
    began = [float(jnp.sum(system.storage) * cell.electrolyte.initial_concentration)]
    for electrode, mean in zip((cell.negative, cell.positive), value.final.mean, strict=True):
        sites = float(electrode.material.maximum_concentration * electrode.active_fraction * electrode.thickness)
        held.append(sites * float(jnp.mean(mean)))
        began.append(sites * float(electrode.stoichiometry_full))
    assert sum(held) == pytest.approx(sum(began), rel=1e-10)
    passed = float(value.capacity) / faraday
    assert (began[1] - held[1], held[2] - began[2]) == pytest.approx((passed, passed), rel=1e-10)
    for nodes, reaction, sign in zip(system.particles, value.final.reaction, (1.0, -1.0), strict=True):
        assert float(jnp.sum(nodes.area * reaction)) == pytest.approx(sign * float(current), rel=1e-10)
    still = run(cell, jnp.asarray(0.0), method, duration=jnp.asarray(9000.0)).value
    assert np.allclose(still.voltage, rest_voltage, rtol=0, atol=1e-8)
