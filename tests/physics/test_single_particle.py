"""The single-particle models against a closed form, a peer, the porous-electrode model and their conservation laws."""

import json
import pathlib

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.harness import ask_peer
from microstructure.units import Wh, faraday, gas_constant
from solver.cell.cell import ParticleClass, Thermal, warmed
from solver.cell.control import constant_current, constant_power, constant_voltage, limits, plating_limit
from solver.cell.cycle import ENDS, Step, cycle
from solver.cell.discretise import Mesh, rest
from solver.cell.heat import heat
from solver.cell.library import chen2020, half_cell, marquis2019
from solver.cell.losses import course
from solver.cell.method import DFN, SPM, SPMe
from solver.cell.protocol import Stop, discharge
from solver.cell.terminal import Terminal
from solver.electrochemistry.laws import Constant, Table
from solver.numerics.march import March
from solver.numerics.solution import Result

FROZEN = pathlib.Path(__file__).parents[1] / "systems" / "data" / "pybamm_single_particle.json"
CURVES = {
    (c["model"], c["name"], c.get("conductivity"), c.get("lithium", False)): c
    for c in json.loads(FROZEN.read_text())["curves"]
}
SETS = {"Marquis2019": (marquis2019, 0.680616), "Chen2020": (chen2020, 5.0)}  # and the nominal current, A
MODELS = {"SPM": SPM(), "SPMe": SPMe()}
RATE = 5.0 / 0.1027  # A/m2 at 1C, Chen 2020
COARSE = Mesh(6, 3, 5, 6)
run = eqx.filter_jit(discharge)
voltage_at = eqx.filter_jit(lambda value, times: value.voltage_at(times))


def at_rate(name, model, rate=1.0):
    make, current = SETS[name]
    cell = make()
    return cell, run(cell, jnp.asarray(rate * current) / cell.area, MODELS[model])


def against_lithium():
    cell = half_cell(chen2020().positive, chen2020().electrolyte)
    return eqx.tree_at(lambda c: (c.electrolyte.conductivity, c.lower_cutoff), cell, (Constant(1.0), jnp.asarray(3.5)))


def off(value, curve):
    """The rms difference of the voltages, V."""
    times = jnp.asarray(curve["time_s"])
    return float(np.sqrt(np.mean((np.asarray(voltage_at(value, times)) - np.asarray(curve["voltage_V"])) ** 2)))


# --- against references ---------------------------------------------------------------------------------------------


def sphere_rise(tau):
    """(c_s - c_0) F D / (j R) of a sphere under a constant flux j: 3 T + 1/5 - 2 sum exp(-l^2 T) / l^2, tan l = l.

    **Source:** Crank 1975, The Mathematics of Diffusion, equation 6.45, isbn 978-0198534112.
    """
    low, high = np.pi * np.arange(1, 400), np.pi * (np.arange(1, 400) + 0.5) - 1e-9
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = np.sin(middle) * np.sign(np.cos(middle)) < middle * np.abs(np.cos(middle))
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 3 * tau + 0.2 - 2 * np.sum(np.exp(-np.outer(tau, low**2)) / low**2, axis=1)


def test_closed_form_of_the_single_particle():
    """Case 4: SPM of Marquis 2019 at 1C, by the series of a sphere here and by the values of the reference page."""
    cell, time = marquis2019(), np.array([60.0, 600.0, 1800.0, 3000.0])
    density, terms = 0.680616 / float(cell.area), []
    for electrode, sign in ((cell.negative, 1.0), (cell.positive, -1.0)):
        kind = electrode.material
        j = sign * density / float(electrode.specific_area * electrode.thickness)
        radius, diffusivity = float(electrode.particle_radius), float(kind.diffusivity)
        scale = j * radius / (faraday * diffusivity * float(kind.maximum_concentration))
        x = float(electrode.stoichiometry_full) - scale * sphere_rise(diffusivity * time / radius**2)
        exchange = kind.exchange_current_density(cell.electrolyte.initial_concentration, jnp.asarray(x), 298.15)
        eta = 2 * gas_constant * 298.15 / faraday * np.arcsinh(0.5 * j / np.asarray(exchange))
        terms.append(np.asarray(kind.potential(jnp.asarray(x))) + eta)
    expected = terms[1] - terms[0]
    assert expected == pytest.approx([3.76596198, 3.71035350, 3.63104354, 3.59535365], abs=5e-8)
    value = run(cell, jnp.asarray(density), SPM(march=March(tolerance=5e-6))).value
    assert np.asarray(voltage_at(value, jnp.asarray(time))) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("model", "conductivity"), [("SPM", None), ("SPMe", "integrated")])
def test_frozen_curve_of_the_peer(name, model, conductivity):
    """Within 0.1 mV rms over the whole discharge at our defaults, of which 0.01 mV are the peer's."""
    cell, solution = at_rate(name, model)
    curve, value = CURVES[model, name, conductivity, False], solution.value
    assert solution.result == Result.successful and value.stop == Stop.cut_off
    assert off(value, curve) < 1e-4
    assert value.end_time == pytest.approx(curve["end_time_s"], abs=0.015)
    assert value.energy * cell.area / Wh == pytest.approx(curve["energy_Wh"], rel=4e-5)


@pytest.mark.parametrize("name", SETS)
def test_what_the_conductivity_at_the_mean_concentration_does(name):
    """The peer's default takes kappa at the mean concentration in all layers: that alone makes 0.28 and 1.17 mV."""
    _, solution = at_rate(name, "SPMe")
    expected = {"Marquis2019": 0.26e-3, "Chen2020": 1.21e-3}[name]
    assert off(solution.value, CURVES["SPMe", name, None, False]) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("model", [pytest.param("SPM", marks=pytest.mark.slow), "SPMe"])
def test_half_cell_of_the_peer(model):
    value = run(against_lithium(), jnp.asarray(RATE), MODELS[model]).value
    curve = CURVES[model, "Chen2020", None, True]
    assert value.stop == Stop.cut_off and off(value, curve) < 1e-4
    assert value.end_time == pytest.approx(curve["end_time_s"], abs=0.15)  # where the voltage falls by 0.14 mV/s


@pytest.mark.slow  # PyBaMM on the meshes of the frozen curves: half as many shells end 0.06 s earlier
@pytest.mark.parametrize(("model", "name", "conductivity", "lithium"), CURVES)
def test_frozen_curves_are_those_of_the_peer(model, name, conductivity, lithium):
    question = {"model": model, "name": name, "lithium": lithium, "conductivity": conductivity or "default"}
    answer = ask_peer("pybamm_spm", question | {"cells": 120, "shells": 200, "tolerance": 1e-9})
    if "not_run" in answer:
        pytest.skip(f"PyBaMM: {answer['not_run']}")
    curve = CURVES[model, name, conductivity, lithium]
    assert answer["end_time_s"] == pytest.approx(curve["end_time_s"], abs=0.02)
    assert np.asarray(answer["voltage_V"]) == pytest.approx(np.asarray(curve["voltage_V"]), abs=1e-4)


# --- against the porous-electrode model -----------------------------------------------------------------------------


@pytest.mark.slow  # fine meshes and steps
def test_order_in_the_rate():
    """With straight potentials the reaction evens out, and what SPMe lacks is of second order in the rate; SPM lacks
    the ohmic losses too, of first order. On a mesh so fine that its error, of first order in the rate, is small."""
    cell, mesh, march = chen2020(), Mesh(40, 20, 40, 6), March(tolerance=1e-6, order=3, max_steps=300)
    laws = Table([0.0, 1.0], [0.4, 0.1]), Table([0.0, 1.0], [4.6, 3.4])
    cell = eqx.tree_at(
        lambda c: [e.material.open_circuit_potential for e in (c.negative, c.positive)], cell, list(laws)
    )
    rates, gaps = (0.2, 0.4, 0.8), {"SPMe": [], "SPM": []}
    for rate in rates:
        times, end = jnp.array([600.0, 1200.0, 1800.0]) / rate, 2000.0 / rate
        porous, spme, spm = (
            np.asarray(voltage_at(run(cell, jnp.asarray(rate * RATE), method, duration=end).value, times))
            for method in (DFN(mesh, march), SPMe(mesh, march), SPM(6, march))
        )
        gaps["SPMe"].append(np.abs(spme - porous).max())
        gaps["SPM"].append(np.abs(spm - porous).max())
    orders = {name: np.diff(np.log2(gap)) for name, gap in gaps.items()}
    assert np.all(orders["SPMe"] > 1.9) and orders["SPM"] == pytest.approx([1.0, 1.0], abs=0.1)
    assert gaps["SPMe"][0] < 1e-4 < 0.01 < gaps["SPM"][0]


# --- laws of conservation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_lithium_and_charge_are_conserved(model):
    cell, solution = at_rate("Marquis2019", model)
    value, current = solution.value, 0.680616 / float(cell.area)
    passed = float(value.capacity) / faraday
    system = MODELS[model].system(cell, jnp.asarray(current))
    for electrode, mean, j, sign in zip(
        (cell.negative, cell.positive), value.final.mean, value.final.reaction, (-1.0, 1.0), strict=True
    ):
        content = electrode.material.maximum_concentration * electrode.active_fraction * electrode.thickness
        gained = float(content) * (float(mean[0]) - float(electrode.stoichiometry_full))
        assert gained == pytest.approx(sign * passed, rel=1e-10)
        assert float(electrode.specific_area * electrode.thickness * j[0]) == pytest.approx(-sign * current, rel=1e-10)
    storage = system.layout.storage
    salt = float(jnp.sum(storage * value.final.concentration))
    assert salt == pytest.approx(float(jnp.sum(storage) * cell.electrolyte.initial_concentration), rel=1e-11)
    assert (model == "SPMe") == bool(np.ptp(value.final.concentration) > 100.0)


@pytest.mark.parametrize("model", MODELS)
def test_no_current_no_change(model):
    _, solution = at_rate("Marquis2019", model, rate=0.0)
    assert solution.value.stop == Stop.time_limit
    assert np.allclose(solution.value.voltage, 3.85182066, atol=2e-8)


def test_depletion_ends_the_discharge():
    """At 3C the salt of Chen 2020 is used up in less than a minute, as in the peer, at whose collector the model has no
    way round; at 300C the current cannot be carried at all."""
    _, solution = at_rate("Chen2020", "SPMe", 3.0)
    value = solution.value
    assert value.stop == Stop.cut_off and 45.0 < float(value.end_time) < 60.0
    assert abs(float(value.final.concentration.min())) < 1.0
    _, extreme = at_rate("Chen2020", "SPMe", 300.0)
    assert extreme.value.stop == Stop.already_past_cut_off and bool(jnp.all(jnp.isfinite(extreme.value.voltage)))


# --- steps, controls, heat, classes ---------------------------------------------------------------------------------


def blended(cell):
    """Two classes of particles in the negative electrode, the first graded through it, and a contact resistance."""
    negative = cell.negative
    fine = ParticleClass(0.15, 3 * 0.15 / 2e-6, 2e-6, negative.material, 0.9, 0.03)
    area = negative.specific_area * jnp.array([0.6, 0.8, 1.0])
    negative = eqx.tree_at(lambda e: (e.specific_area, e.others), negative, (area, (fine,)))
    return eqx.tree_at(lambda c: (c.negative, c.contact_resistance), cell, (negative, jnp.asarray(1e-3)))


CELLS = {
    "blend": lambda: warmed(blended(chen2020()), Thermal(400.0, 0.5)),
    "half": lambda: half_cell(chen2020().positive, chen2020().electrolyte),
}


@eqx.filter_jit
def _one_step(cell, control, method, backwards_error):
    """A step of 20 s from rest: what is left, the way back against automatic differentiation, the balance of power."""
    single = method.system(cell, jnp.asarray(RATE))
    system = Terminal(single, control, limits(), cell.thermal, jnp.zeros(()))
    past, guess = system.begin(*rest(single.layout, cell, jnp.asarray(0.9)), jnp.asarray(RATE))
    gamma = jnp.asarray(20.0)
    solution = system.solve(guess, past, gamma)
    moved = solution.value * (1.0 + 1e-3 * jnp.sin(jnp.arange(guess.shape[0], dtype=float)))
    errors = backwards_error(system, moved, past, gamma)
    left = jnp.max(jnp.abs(system.residual(solution.value, past, gamma)))
    w, _, z = system.parts(solution.value)
    single, inner = system.loaded(z), system.porous_state(past)
    made, given = heat(single, w, inner, gamma), -single.voltage(w) * z[0]
    _, _, current = single.layout.unknowns(w)
    for p, j, (alpha, beta) in zip(single.layout.particles, current, single.layout.surfaces(inner, gamma), strict=True):
        given = given - jnp.sum(p.area * j * p.material.potential_at(alpha - beta * j, single.temperature))
    return solution.result, left, errors, (made.ohmic + made.reaction) / given, system.observe(solution.value)


@pytest.mark.parametrize("kind", ["blend", pytest.param("half", marks=pytest.mark.slow)])
def test_a_step_its_way_back_and_its_heat(kind, backwards_error):
    """Ohmic heat and that of the overpotentials are the power that is missing at the terminals, to rounding."""
    result, left, errors, share, observed = _one_step(
        CELLS[kind](), constant_power(150.0), SPMe(COARSE), backwards_error
    )
    assert result == Result.successful and float(left) < 1e-9
    assert float(max(errors)) < 1e-8
    assert float(share) == pytest.approx(1.0, abs=1e-9)
    assert float(observed[0] * observed[1]) == pytest.approx(150.0, rel=1e-10)


@pytest.mark.slow
def test_a_protocol_of_every_control():
    """Discharge, rest, charge up to a plating potential that is then held, and constant voltage, with heat."""
    cell = CELLS["blend"]()
    steps = [
        Step(constant_current(RATE), limits(voltage=(3.3, None))),
        Step(constant_current(0.0), duration=600.0),
        Step(constant_current(-RATE), limits(plating=(0.05, None))),
        Step(plating_limit(0.05), limits(voltage=(None, 4.0)), duration=600.0),
        Step(constant_voltage(4.0), limits(current=(RATE / 5, None))),
    ]
    found = eqx.filter_jit(cycle)(cell, steps, SPMe(COARSE))
    value = found.value
    assert found.result == Result.successful
    ends = [ENDS[int(end)] for end in value.end]
    assert ends[:3] == ["voltage below", "time", "plating below"] and ends[4] == "current below"
    assert float(value.voltage[0, -1]) == pytest.approx(3.3, abs=1e-9)
    assert np.allclose(value.plating[3], 0.05, atol=1e-9) and np.ptp(value.current[3]) > 0.0
    assert float(value.temperature[0, -1]) > 299.0
    kinds = [kind for electrode in (cell.negative, cell.positive) for kind in electrode.classes]
    particles, gained = SPMe(COARSE).system(cell, jnp.asarray(0.0)).layout.particles, [0.0, 0.0]
    for p, kind, mean in zip(particles, kinds, value.final.mean, strict=True):
        gained[p.electrode] += float(p.area[0] / p.gain[0] * (mean[0] - kind.stoichiometry_full))
    drawn = float(value.drawn[-1, -1])
    assert gained == pytest.approx([-drawn, drawn], rel=1e-10)


def test_losses_need_the_depth():
    with pytest.raises(ValueError, match="must be a `DFN`, but `SPM` was given"):
        course(chen2020(), RATE, method=SPM())
