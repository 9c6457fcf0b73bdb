"""Impedance against closed forms (reference cases D.5, D.6, D.7, D.13), the march in time, and its own refinement."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.units import faraday, gas_constant
from solver.cell.cell import Cell, Electrode, LithiumMetal, Separator, covered
from solver.cell.discretise import Mesh, build, rest
from solver.cell.galvanostatic import Galvanostatic
from solver.cell.impedance import EIS, at_rest, impedance, resampled
from solver.cell.library import chen2020, half_cell, marquis2019
from solver.cell.linearise import State, linearise
from solver.cell.protocol import DFN, Fields, discharge
from solver.electrochemistry.electrolyte import Electrolyte
from solver.electrochemistry.finite_diffusion import sphere_impedance
from solver.electrochemistry.intercalation import Intercalation
from solver.electrochemistry.kinetics import InsertionKinetics, MetalKinetics
from solver.electrochemistry.laws import Constant
from solver.numerics.march import March, march
from solver.numerics.solution import Result

THERMAL = gas_constant * 298.15 / faraday
FEW = np.logspace(-4, 4, 9)  # Hz
EIGHT = np.arange(8) + 0.5
compiled = eqx.filter_jit(impedance)


def spectrum(cell, frequency=FEW, method=None, soc=0.5, **options):
    """As an array, ohm m2; every number is traced, so that few cases are compiled."""
    method = EIS() if method is None else method
    return np.asarray(
        compiled(cell, jnp.asarray(frequency), method, state_of_charge=jnp.asarray(soc), **options).specific
    )


def galvanostatic(system):
    """Under its own current, without an end."""
    return Galvanostatic(system, jnp.zeros(()), jnp.ones(()))


@eqx.filter_jit
def raw(cell, s, mesh, state_of_charge):
    """The impedance on one mesh, without extrapolation."""
    system = build(cell, jnp.asarray(0.0), mesh)
    linear = linearise(system, at_rest(system, cell, jnp.asarray(state_of_charge)))
    return jax.vmap(linear.impedance)(s)


# --- particles ------------------------------------------------------------------------------------------------------


def test_sphere():
    """D.7: 0.179416 - 0.347314i at W = 10; 1/5 - 3i/W for slow changes, 1/sqrt(iW) + 1/(iW) for fast ones."""
    y = np.asarray(sphere_impedance(1j * jnp.asarray([10.0, 1e-9, 1e12, 1.0 - 1e-12, 1.0 + 1e-12], complex)))
    assert y[0] == pytest.approx(0.179416 - 0.347314j, abs=1e-6)
    assert y[1] == pytest.approx(0.2 - 3e9j, rel=1e-15) and y[1].real == pytest.approx(0.2, rel=1e-9)
    assert y[2] == pytest.approx(1 / np.sqrt(1e12j) + 1 / 1e12j, rel=1e-9)
    assert y[3] == pytest.approx(y[4], rel=1e-11)  # where one form takes over from the other


def test_sphere_against_the_sum_over_its_modes():
    """Y = 3/z + sum over the roots of tan l = l of 2 / (z + l^2)."""
    z = 1j * np.logspace(-3, 4, 15)
    roots = np.pi * (np.arange(1, 200001) + 0.5)
    for _ in range(20):
        roots = np.pi * np.arange(1, 200001) + np.arctan(roots)
    expected = 3 / z + np.array([np.sum(2 / (w + roots**2)) for w in z])
    expected += 2 / (np.pi**2 * 200000.5)  # what the sum leaves out
    assert np.allclose(sphere_impedance(jnp.asarray(z)), expected, rtol=1e-6)


# --- one porous electrode with linear kinetics -------------------------------------------------------------------


def linear_half_cell(exchange, diffusivity=300.0, porosity=0.3):
    """D.5, D.6: L = 0.1 mm, kappa 0.2, sigma 5 S/m, a = 2e5 1/m, against lithium of 10 A/m2; flat potential.

    Salt that spreads at once leaves ohmic drops and the reaction.
    """
    material = Intercalation(30000.0, 1e-14, Constant(4.0), InsertionKinetics(2.0 * exchange / faraday))
    electrode = Electrode(1e-4, porosity, 0.5, 2e5, 7.5e-6, 1.0, 5.0, material, 0.5, 0.5)
    electrolyte = Electrolyte(1000.0, Constant(diffusivity), Constant(0.2), 0.2594)
    return Cell(
        LithiumMetal(MetalKinetics(10.0)), Separator(2.5e-5, 0.5, 1.0), electrode, electrolyte, 298.15, 1.0, 2.0, 5.0
    )


SLOW_TO_FAST = np.array([1e-6, 1e-2, 1.0, 100.0, 1e4])


def electrode_alone(exchange, double_layer=0.2):
    """At the frequencies above, without the separator and the charge transfer at the lithium, ohm m2."""
    z = spectrum(covered(linear_half_cell(exchange), None, double_layer), SLOW_TO_FAST)
    return z - 2.5e-5 / 0.2 - THERMAL / 10.0


def closed_form(exchange, frequency, double_layer=0.2, length=1e-4, kappa=0.2, sigma=5.0, area=2e5):
    """Z = L/(kappa+sigma) [1 + (2 + (sigma/kappa + kappa/sigma) cosh nu) / (nu sinh nu)]; Paasch et al. 1993."""
    y = exchange / THERMAL + 2j * np.pi * frequency * double_layer
    nu = length * np.sqrt(area * y * (1 / kappa + 1 / sigma))
    ratio = sigma / kappa + kappa / sigma
    return length / (kappa + sigma) * (1 + (2 + ratio * np.cosh(nu)) / (nu * np.sinh(nu)))


def test_newman_tobias_limit():
    """D.5: 1.454081542e-3 ohm m2 of the reacting electrode at low frequency."""
    assert electrode_alone(1.0)[0] == pytest.approx(1.454081542e-3, rel=1e-6)


def test_paasch_electrode():
    """D.6: charge transfer and double layer in parallel, 100 Hz; over the sweep against the closed form."""
    found = electrode_alone(1.0)
    assert found[3] == pytest.approx(2.80498e-4 - 3.74953e-4j, rel=1e-5)
    error = np.abs(found / closed_form(1.0, SLOW_TO_FAST) - 1)
    assert np.max(error[:4]) < 2e-6 and error[4] < 3e-4  # at the end a layer of 4 um in cells of 2.5 um


def test_blocking_electrode():
    """D.6, de Levie: 1.73333e-4 - 3.97888e-2i at 1 Hz, of which the real part is L/3 (1/kappa + 1/sigma)."""
    z = electrode_alone(1e-9)
    assert z[2].real == pytest.approx(1.73333e-4, rel=1e-5) and z[2].imag == pytest.approx(-3.97888e-2, rel=1e-5)
    assert z[2].real == pytest.approx(1e-4 / 3 * (1 / 0.2 + 1 / 5.0), rel=1e-4)
    assert z[3] == pytest.approx(closed_form(1e-9, 100.0), rel=1e-5)


def test_lithium_metal_with_its_double_layer():
    """The metal is a charge-transfer resistance RT/(F j0) and a capacitance in parallel."""
    transfer = THERMAL / 10.0
    bare, full = (spectrum(covered(linear_half_cell(1.0), c, 0.2), SLOW_TO_FAST) for c in (None, 0.5))
    expected = transfer / (1 + 2j * np.pi * SLOW_TO_FAST * 0.5 * transfer) - transfer
    assert np.allclose(full - bare, expected, rtol=1e-8, atol=1e-9 * transfer)


# --- diffusion ------------------------------------------------------------------------------------------------------


def test_finite_length_diffusion_between_two_flat_electrodes():
    """Li | separator | thin electrode: 4 (1 - t+)^2 RT/F^2 tanh(k L/2) / (c0 D k), k = sqrt(i w eps/D)."""
    fast = linear_half_cell(1e5, diffusivity=3e-10, porosity=1e-6)
    cell = eqx.tree_at(lambda c: c.positive.thickness, fast, jnp.asarray(1e-9))
    frequency = np.array([1e-3, 0.01, 0.1, 1.0, 3.0])
    z = spectrum(cell, frequency)
    ohmic = 2.5e-5 / 0.2 + THERMAL / 10.0 + THERMAL / (1e5 * 2e5 * 1e-9)
    k = np.sqrt(2j * np.pi * frequency * 0.5 / 3e-10)
    factor = 4 * (1 - 0.2594) ** 2 * THERMAL / faraday / 1000.0
    expected = factor * np.tanh(k * 1.25e-5) / (3e-10 * k)
    assert np.allclose(z - ohmic, expected, rtol=1e-4)


def test_fast_transport_leaves_two_spheres():
    """D.13: each electrode is (R_ct + |U'| R / (D F c_max) Y) / (a L)."""
    cell = marquis2019()
    fast = eqx.tree_at(
        lambda c: (
            c.electrolyte.diffusivity.amplitude,
            c.electrolyte.conductivity.coefficients,
            c.negative.electronic_conductivity,
            c.positive.electronic_conductivity,
        ),
        cell,
        replace_fn=lambda x: 1e5 * x,
    )
    frequency, expected = FEW, 0.0
    for e in (cell.negative, cell.positive):
        x = 0.5 * (e.stoichiometry_full + e.stoichiometry_empty)
        exchange = float(e.material.exchange_current_density(jnp.asarray(1000.0), x, cell.temperature))
        slope = abs(float(jax.grad(e.material.potential)(x)))
        radius, diffusivity = float(e.particle_radius), float(e.material.diffusivity)
        q = np.sqrt(2j * np.pi * frequency * radius**2 / diffusivity)
        sphere = slope * radius / (diffusivity * faraday * float(e.material.maximum_concentration))
        loop = THERMAL / exchange + sphere * np.tanh(q) / (q - np.tanh(q))
        expected = expected + loop / float(e.specific_area * e.thickness)
    assert np.allclose(spectrum(fast), expected, rtol=5e-6)


# --- an independent route: the march in time ----------------------------------------------------------------------


def talbot(transform, times, terms=16):
    """The inverse Laplace transform at `times`; Talbot's contour, Abate and Whitt 2006, doi 10.1287/ijoc.1050.0137."""
    angle = np.arange(1, terms) * np.pi / terms
    scale = 2 * terms / (5 * np.asarray(times)[:, None])
    s = scale * np.concatenate([[1.0], angle * (1 / np.tan(angle) + 1j)])
    turn = np.concatenate([[0.5], 1 + 1j * (angle + (angle / np.tan(angle) - 1) / np.tan(angle))])
    values = transform(s.ravel()).reshape(s.shape)
    return np.sum((turn * np.exp(s * np.asarray(times)[:, None]) * values).real * scale / terms, axis=1)


@pytest.mark.parametrize(
    "half, double_layer, error",
    [(False, None, 2e-6), (False, 0.2, 2e-6), pytest.param(True, None, 2e-5, marks=pytest.mark.slow)],
)
def test_small_step_of_the_current(half, double_layer, error):
    """The march's answer to a small step is the inverse Laplace transform of Z(s)/s, from half a second to an hour.

    At once it is the impedance at infinite frequency. (Before, 20 modes are too few for the particles of the march, and
    at lithium metal the march takes the salt to be straight through half a cell.)
    """
    cell, mesh, soc = covered(marquis2019(), double_layer, double_layer), Mesh(8, 20, 8, 20), jnp.asarray(0.5)
    if half:
        cell = half_cell(cell.positive, cell.electrolyte)
    times = np.concatenate([[0.0], np.geomspace(1e-4, 3600.0, 400)])
    method = March(schedule=jnp.asarray(times), max_steps=400, order=3)

    @jax.jit
    def voltage(current):
        system = build(cell, current, mesh)
        start, guess = rest(system, cell, soc)
        return march(galvanostatic(system), start, guess, jnp.asarray(3600.0), method).value

    small = 1e-3
    back, out = voltage(jnp.asarray(-small)), voltage(jnp.asarray(small))
    assert np.allclose(out.time, times)
    resistance = (np.asarray(back.observed) - np.asarray(out.observed)) / (2 * small)
    shown = [300, 350, 400] if half else [200, 300, 400]

    def transform(s):
        return np.asarray(raw(cell, jnp.asarray(s), mesh, soc)) / s

    assert np.allclose(resistance[shown], talbot(transform, times[shown]), rtol=error)
    assert np.all(np.diff(resistance) > 0)
    if not half:
        instant = raw(cell, jnp.full(48, 1e13j), mesh, soc)[0]
        assert resistance[0] == pytest.approx(float(instant.real), rel=1e-7)


# --- other states ---------------------------------------------------------------------------------------------------


@eqx.filter_jit
def loaded(cell, current):
    """A cell in the midst of a discharge: its system, its profiles, and the slope of its voltage in the current.

    The slope is that of two solutions at held concentrations, a little above and below the current.
    """
    mesh = Mesh(8, 4, 8, 4)
    system = build(cell, current, mesh)
    start, guess = rest(system, cell, jnp.asarray(0.5))
    depth = jnp.asarray(np.concatenate([1.25e-5 * EIGHT, 1e-4 + 6.25e-6 * EIGHT[:4], 1.25e-4 + 1.25e-5 * EIGHT]))
    tilt = jnp.asarray(0.02 * (EIGHT - 4.0))
    modes = system.amplitudes(start)
    modes = [q.at[0].add(-tilt) for q in modes]
    start = jnp.concatenate([1000.0 + 400.0 * jnp.cos(jnp.pi * depth / 2.25e-4), *(q.ravel() for q in modes)])
    solution = galvanostatic(system).solve(guess, start, jnp.asarray(0.0))

    def voltage(change):
        moved = galvanostatic(eqx.tree_at(lambda s: s.current, system, current + change))
        return moved.observe(moved.solve(solution.value, start, jnp.asarray(0.0)).value)

    above, below = jax.vmap(voltage)(jnp.asarray([1e-2, -1e-2]))
    surface, reaction = tuple(q[0] for q in modes), tuple(system.unknowns(solution.value)[2])
    return system, Fields(depth, start[:20], surface, surface, reaction), (below - above) / 2e-2, solution.result


def test_under_current():
    """Without time for diffusion, the impedance is the slope of the voltage in the current at held concentrations."""
    cell = marquis2019()
    system, fields, slope, result = loaded(cell, jnp.asarray(40.0))
    assert result == Result.successful

    @jax.jit
    def at_once(system):
        state = State(fields.concentration, fields.reaction, fields.surface)
        return linearise(system, state).impedance(jnp.asarray(1e14j))

    assert complex(at_once(system)) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.slow
def test_profiles_at_rest_are_the_state_at_rest():
    cell = marquis2019()
    fields = loaded(cell, jnp.asarray(40.0))[1]
    full = cell.negative.stoichiometry_full, cell.positive.stoichiometry_full
    still = eqx.tree_at(
        lambda f: (f.concentration, f.reaction, f.surface),
        fields,
        (jnp.full(20, 1000.0), (jnp.zeros(8), jnp.zeros(8)), tuple(jnp.full(8, x) for x in full)),
    )
    found = spectrum(cell, state=still, current_density=jnp.asarray(0.0))
    assert np.allclose(found, spectrum(cell, soc=1.0), rtol=1e-9)
    flowing = spectrum(cell, state=fields, current_density=jnp.asarray(40.0))
    assert np.all(np.abs(flowing / spectrum(cell) - 1) > 3e-3)


def test_profiles_are_carried_to_another_mesh():
    """What is straight in each layer stays so."""
    cell = marquis2019()
    system, fields, _, _ = loaded(cell, jnp.asarray(40.0))
    depth = np.asarray(fields.depth)
    straight = eqx.tree_at(
        lambda f: (f.concentration, f.reaction, f.surface),
        fields,
        tuple([jnp.asarray(800.0 + 1e6 * depth)] + 2 * [(jnp.asarray(1e4 * depth[:8]), jnp.asarray(2e3 * depth[12:]))]),
    )
    mesh = Mesh(4, 2, 16)
    found = eqx.filter_jit(resampled)(straight, cell, mesh)
    depth = np.concatenate([2.5e-5 * EIGHT[:4], 1e-4 + 1.25e-5 * EIGHT[:2], 1.25e-4 + 6.25e-6 * (np.arange(16) + 0.5)])
    assert np.allclose(found.concentration, 800.0 + 1e6 * depth)
    assert np.allclose(found.reaction[0], 1e4 * depth[:4]) and np.allclose(found.surface[1], 2e3 * depth[6:])


@pytest.mark.slow
def test_end_of_a_discharge():
    """Just emptied at 2C a cell has by far the higher impedance at 1 mHz, for its open-circuit voltage is steep there,
    and the lower one at 10 kHz, for a current beyond the exchange current lowers the differential charge transfer."""
    cell = marquis2019()
    current = jnp.asarray(2 * 0.680616) / cell.area
    final = eqx.filter_jit(discharge)(cell, current, DFN(Mesh(16, 8, 16, 12))).value.final
    emptied = np.abs(spectrum(cell, state=final, current_density=current))
    half = np.abs(spectrum(cell))
    assert np.all(emptied[:2] > 3 * half[:2]) and emptied[-1] < 0.5 * half[-1]


# --- refinement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("double_layer", [None, pytest.param(0.2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("make", [marquis2019, pytest.param(chen2020, marks=pytest.mark.slow)])
def test_second_order_and_error_of_the_default_mesh(make, double_layer):
    """From 1e-4 to 1e4 Hz the error is at most 1e-3; the meshes behind it are of second order."""
    found, finer = (
        compiled(
            covered(make(), double_layer, double_layer), jnp.asarray(FEW), EIS(mesh), state_of_charge=jnp.asarray(0.5)
        )
        for mesh in (Mesh(20, 10, 20), Mesh(40, 20, 40))
    )
    finest = np.asarray(finer.specific)
    steps = [3 * np.max(np.abs(np.asarray(z.correction) / finest)) for z in (found, finer)]
    assert 1.85 < np.log2(steps[0] / steps[1]) < 2.15
    assert np.allclose(found.specific - found.correction, finer.specific - 4 * finer.correction, rtol=1e-12)
    error = np.max(np.abs(np.asarray(found.specific) / finest - 1))
    assert error < 5e-4 and error < steps[0] / 3


@pytest.mark.slow
def test_no_thin_layer_of_salt_is_missed_at_lithium_metal():
    """At 10 kHz salt moves within 40 nm of the lithium, in cells of 1 um; uncorrected, the error would be 2e-3."""
    full = chen2020()
    cell = half_cell(full.positive, full.electrolyte)
    found, finer = (spectrum(cell, method=EIS(mesh)) for mesh in (Mesh(20, 10, 20), Mesh(80, 40, 80)))
    assert np.max(np.abs(found / finer - 1)) < 2e-6


def test_series_terms_and_units():
    cell = marquis2019()
    leads = compiled(
        cell, jnp.asarray(FEW), EIS(series_resistance=2e-3, inductance=1e-7), state_of_charge=jnp.asarray(0.5)
    )
    added = np.asarray(leads.of_cell) - spectrum(cell) / float(cell.area)
    assert np.allclose(added.real, 2e-3 / float(cell.area)) and np.allclose(added.imag, 2e-7 * np.pi * FEW)


# --- bad input ------------------------------------------------------------------------------------------------------


def test_bad_input():
    cell = marquis2019()
    for arguments, options, said in (
        (([0.0],), {}, "Argument `frequency` must lie between"),
        (([1.0],), {"state_of_charge": 1.2}, "Argument `state_of_charge` must lie between 0 and 1, but 1.2"),
    ):
        with pytest.raises(ValueError, match=said):
            impedance(cell, *arguments, **options)
    with pytest.raises(ValueError, match="Argument `double_layer` must lie between"):
        covered(marquis2019(), 0.2, -0.2)
