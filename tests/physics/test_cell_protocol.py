"""Protocols, the terminals' control laws, the lumped thermal model, classes of particles and profiles."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.cell import ParticleClass, Thermal, covered, theoretical_capacity, warmed
from solver.cell.control import (
    constant_current,
    constant_power,
    constant_resistance,
    constant_voltage,
    current_table,
    limits,
    plating_limit,
)
from solver.cell.cycle import ENDS, Step, cycle
from solver.cell.discretise import Mesh, build, on_cells, rest
from solver.cell.heat import heat
from solver.cell.library import chen2020
from solver.cell.protocol import DFN, discharge
from solver.cell.terminal import Terminal
from solver.numerics.march import March
from solver.numerics.solution import Result

COARSE = Mesh(6, 4, 6, 6)
THERMAL = Thermal(400.0, 0.5, 298.15)
RATE = 5.0 / 0.1027  # A/m2 at 1C


@pytest.fixture(scope="module")
def cell():
    return chen2020()


# --- one step -------------------------------------------------------------------------------------------------------

CONTROLS = {
    "current": constant_current(RATE),
    "voltage": constant_voltage(4.0),
    "power": constant_power(100.0),
    "resistance": constant_resistance(0.08),
    "plating": plating_limit(0.01),
}


@eqx.filter_jit
def _one_step(cell, control, backwards_error):
    """A step of 20 s from rest: what is left, the way back against automatic differentiation, what is observed."""
    porous = build(cell, jnp.asarray(RATE), COARSE)
    system = Terminal(porous, control, limits(), cell.thermal, jnp.zeros(()))
    past, guess = system.begin(*rest(porous, cell, jnp.asarray(1.0)), jnp.asarray(RATE))
    gamma = jnp.asarray(20.0)
    solution = system.solve(guess, past, gamma)
    # With a double layer the balance of charge is one of coulombs.
    left = jnp.max(jnp.abs(system.residual(solution.value, past, gamma) / porous.charge_scale(gamma)))
    errors = backwards_error(system, guess * 1.001, past, gamma)
    return solution.result, left, errors, system.observe(solution.value)


@pytest.mark.parametrize("kind", ["isothermal", "thermal", "double layer"])
@pytest.mark.parametrize("name", CONTROLS)
def test_a_step_of_every_control_and_its_way_back(cell, name, kind, backwards_error):
    warm = kind == "thermal"
    cell = warmed(cell, THERMAL) if warm else cell
    cell = covered(cell, 0.2, 0.3) if kind == "double layer" else cell
    result, left, errors, observed = _one_step(cell, CONTROLS[name], backwards_error)
    voltage, current, temperature, plating, drawn = observed
    assert result == Result.successful and float(left) < 1e-9 and float(max(errors)) < 1e-8
    held = {"current": (current, RATE), "voltage": (voltage, 4.0), "power": (voltage * current, 100.0)}
    held |= {"resistance": (voltage / current, 0.08), "plating": (plating, 0.01)}
    assert float(held[name][0]) == pytest.approx(held[name][1], rel=1e-9)
    assert float(drawn) == pytest.approx(20.0 * float(current), rel=1e-12)
    assert (float(temperature) > 298.15) == warm


def test_heat_is_the_power_that_is_missing(cell):
    """Ohmic heat and that of the overpotentials are, to round-off, the rate at which the particles' surfaces give up
    free energy, less the power at the terminals: -sum of a j U - V I."""
    cell = eqx.tree_at(lambda c: c.contact_resistance, cell, jnp.asarray(1e-3))
    porous = build(cell, jnp.asarray(RATE), COARSE)
    y, w = rest(porous, cell, jnp.asarray(0.6))
    w = w.at[: porous.size].multiply(1 + 0.2 * jnp.sin(jnp.arange(porous.size, dtype=float)))  # salt unevenly spread
    system, gamma = Terminal(porous, CONTROLS["current"], limits(), None, jnp.zeros(())), jnp.asarray(30.0)
    state, unknowns = system.begin(y.at[: porous.size].set(w[: porous.size]), w, jnp.asarray(RATE))
    w = system.parts(jax.jit(lambda: system.solve(unknowns, state, gamma).value)())[0]
    past = system.porous_state(state)
    made = heat(porous, w, past, gamma)
    _, _, current = porous.unknowns(w)
    given = 0.0
    for p, j, (alpha, beta) in zip(porous.particles, current, porous.surfaces(past, gamma), strict=True):
        given -= float(jnp.sum(p.area * j * p.material.potential_at(alpha - beta * j, porous.temperature)))
    assert float(made.ohmic + made.reaction) == pytest.approx(given - RATE * float(porous.voltage(w)), rel=1e-9)
    assert float(made.ohmic) > 0 and float(made.reaction) > 0 and float(made.reversible) == 0.0


# --- protocols ------------------------------------------------------------------------------------------------------

HORIZON = 1.5 * float(theoretical_capacity(chen2020().positive)) / RATE  # that of a plain discharge
STEPS = [
    Step(constant_current(RATE), limits(voltage=(3.4, None)), HORIZON),
    Step(constant_current(0.0), duration=600.0),
    Step(constant_current(-RATE), limits(voltage=(None, 4.1))),
    Step(constant_voltage(4.1), limits(current=(RATE / 20, None))),
    Step(current_table([0.0, 30.0, 31.0, 60.0], [0.0, 0.0, RATE, RATE]), duration=60.0),
    Step(constant_power(150.0), limits(voltage=(2.5, None)), duration=1500.0),
    Step(constant_current(-RATE), limits(plating=(0.03, None), voltage=(None, 4.3))),
    Step(plating_limit(0.03), limits(drawn=(0.25 * 3600 * RATE, None)), duration=3600.0),
]
METHOD = DFN(COARSE)
compiled = eqx.filter_jit(cycle)


@pytest.fixture(scope="module")
def course(cell):
    return compiled(cell, STEPS, METHOD)


def test_every_step_ends_on_its_limit(course):
    value = course.value
    assert course.result == Result.successful
    ends = [ENDS[int(end)] for end in value.end]
    assert ends[:6] == ["voltage below", "time", "voltage above", "current below", "time", "time"]
    assert ends[6:] == ["plating below", "drawn below"]
    last = {name: np.asarray(getattr(value, name))[:, -1] for name in ("voltage", "current", "plating", "drawn")}
    assert last["voltage"][[0, 2, 3]] == pytest.approx([3.4, 4.1, 4.1], abs=1e-10)
    assert last["current"][3] == pytest.approx(-RATE / 20, rel=1e-9)
    assert last["plating"][6] == pytest.approx(0.03, abs=1e-10)
    assert last["drawn"][7] == pytest.approx(0.25 * 3600 * RATE, rel=1e-9)
    assert np.asarray(value.duration)[[1, 4, 5]] == pytest.approx([600.0, 60.0, 1500.0], rel=1e-12)


def test_what_is_held_is_held(course):
    value = course.value
    assert np.allclose(value.voltage[3], 4.1, atol=1e-9)
    assert np.allclose(value.voltage[5] * value.current[5], 150.0, rtol=1e-9)
    assert np.allclose(value.plating[7], 0.03, atol=1e-9)
    assert np.all(np.diff(np.asarray(value.time).ravel()) >= -1e-9)
    # The current falls while the limit holds, and never plates.
    assert np.all(np.diff(-np.asarray(value.current[7])) <= 1e-9)


def test_charge_and_lithium_are_conserved(course, cell):
    value = course.value
    drawn = float(jnp.sum(value.charge))
    assert float(value.drawn[-1, -1]) == pytest.approx(drawn, rel=1e-10)
    assert np.asarray(value.charge)[[0, 2]] == pytest.approx(
        [RATE * float(value.duration[0]), -RATE * float(value.duration[2])], rel=1e-9
    )
    for electrode, mean, sign in zip((cell.negative, cell.positive), value.final.mean, (-1.0, 1.0), strict=True):
        sites = electrode.material.maximum_concentration * electrode.active_fraction * electrode.thickness * 96485.33212
        gained = float(sites) * (float(jnp.mean(mean)) - float(electrode.stoichiometry_full))
        assert gained == pytest.approx(sign * drawn, rel=1e-9)


def test_the_first_step_is_the_plain_discharge(course, cell):
    low = eqx.tree_at(lambda c: c.lower_cutoff, cell, jnp.asarray(3.4))
    plain = eqx.filter_jit(discharge)(low, jnp.asarray(RATE), METHOD).value
    assert float(plain.end_time) == pytest.approx(float(course.value.duration[0]), rel=1e-9)
    assert float(plain.energy) == pytest.approx(float(course.value.energy[0]), rel=1e-9)


def test_a_step_that_cannot_be_is_named_and_none_follows(cell):
    """More power than the cell can give, then a rest that must not begin."""
    steps = [*STEPS[:5], Step(constant_power(1e5)), *STEPS[6:]]
    solution = compiled(cell, steps, METHOD)
    assert solution.result != Result.successful
    assert [ENDS[int(end)] for end in solution.value.end][4:] == ["time", "failed", "not begun", "not begun"]
    assert bool(jnp.all(jnp.isfinite(solution.value.voltage)))


def test_a_step_past_its_limit_leaves_no_trace(cell, course):
    """Plating at -1 V would take the cell far above 3.3 V, so that the step takes no time and nothing is held."""
    steps = [STEPS[0], Step(plating_limit(-1.0), limits(voltage=(None, 3.3))), *STEPS[2:]]
    solution = compiled(cell, steps, METHOD)
    value = solution.value
    assert solution.result == Result.successful and ENDS[int(value.end[1])] == "voltage above"
    assert float(value.duration[1]) == 0.0 and float(value.charge[1]) == 0.0
    assert np.allclose(value.voltage[1], 3.4, atol=1e-10) and np.allclose(value.current[1], RATE)
    assert float(jnp.min(value.plating)) > 0.0
    assert float(value.charge[2]) == pytest.approx(float(course.value.charge[2]), rel=0.05)  # without the rest before


@pytest.mark.slow  # compiles a protocol backwards; single steps and their way back are above
def test_gradient_through_the_ends_of_all_steps(cell):
    """Recorded step times held: energy, durations and charge in six numbers, through a voltage end, a rest and a
    charge whose end is again a voltage; in one of the currents too."""
    times = jnp.asarray(5000.0 * (np.arange(121) / 120) ** 2)
    method = DFN(COARSE, March(schedule=times, max_steps=120))
    where = lambda c: (  # noqa: E731
        c.positive.thickness,
        c.negative.material.diffusivity,
        c.electrolyte.transference_number,
        c.positive.porosity,
        c.contact_resistance,
    )
    start = (*where(cell)[:4], jnp.asarray(1e-3))

    @jax.jit
    def figures(scale):
        changed = eqx.tree_at(where, cell, tuple(x * s for x, s in zip(start, scale[:5], strict=True)))
        first = Step(constant_current(RATE * scale[5]), limits(voltage=(3.4, None)))
        value = cycle(changed, [first, *STEPS[1:3]], method).value
        return jnp.stack([value.energy[0] / 1e6, value.duration[2] / 1e3, value.charge[0] / 1e5, value.energy[2] / 1e6])

    ones, step = jnp.ones(6), 1e-5
    slopes = np.asarray(jax.jit(lambda s: jax.vmap(jax.vjp(figures, s)[1])(jnp.eye(4))[0])(ones))
    for k in range(6):
        up, down = (np.asarray(figures(ones.at[k].add(sign * step))) for sign in (1, -1))
        assert slopes[:, k] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-7), k


# --- heat -----------------------------------------------------------------------------------------------------------


def test_a_cell_that_keeps_its_heat_warms_by_it(cell):
    """Without cooling C dT is the heat of the discharge: less than the energy that a slow discharge gives more over the
    same charge, for what diffusion in the particles takes comes as heat only when they even out, and over a third of
    it."""
    run = eqx.filter_jit(discharge)
    kept = run(warmed(cell, Thermal(400.0, 0.0)), jnp.asarray(RATE), METHOD).value
    slow = run(warmed(cell, Thermal(400.0, 1e9)), jnp.asarray(RATE / 50), METHOD).value
    assert np.all(np.diff(np.asarray(kept.temperature)) >= 0) and float(kept.temperature[-1]) < 298.15 + 60
    assert np.allclose(slow.temperature, 298.15, atol=1e-6)
    charge = float(kept.capacity)
    assert charge < float(slow.capacity)
    time = np.linspace(0, charge / (RATE / 50), 4000)
    reversible = np.trapezoid(np.asarray(slow.voltage_at(jnp.asarray(time))), time) * RATE / 50
    lost = reversible - float(kept.energy)
    assert lost / 3 < 400.0 * (float(kept.temperature[-1]) - 298.15) < lost


# --- classes and profiles -------------------------------------------------------------------------------------------


def test_two_equal_classes_are_one(cell):
    """Half of the particles in a class of their own, and a profile of equal slabs, change nothing."""

    def halved(electrode):
        half = ParticleClass(
            electrode.active_fraction / 2,
            electrode.specific_area / 2,
            electrode.particle_radius,
            electrode.material,
            electrode.stoichiometry_full,
            electrode.stoichiometry_empty,
        )
        where = lambda e: (e.active_fraction, e.specific_area, e.others, e.porosity)  # noqa: E731
        slabs = jnp.broadcast_to(electrode.porosity, (5,))
        return eqx.tree_at(where, electrode, (half.active_fraction, half.specific_area, (half,), slabs))

    split = eqx.tree_at(lambda c: (c.negative, c.positive), cell, (halved(cell.negative), halved(cell.positive)))
    run = eqx.filter_jit(lambda c: discharge(c, jnp.asarray(RATE), METHOD).value)
    one, two = run(cell), run(split)
    assert float(two.end_time) == pytest.approx(float(one.end_time), rel=1e-9)
    assert float(two.energy) == pytest.approx(float(one.energy), rel=1e-9)
    assert len(two.final.mean) == 4


def test_profiles_keep_their_mean():
    for count in (3, 5, 7, 12):
        profile = jnp.asarray([0.2, 0.5, 0.3, 0.7, 0.6])
        cells = on_cells(profile, count)
        assert cells.shape == (count,) and float(jnp.mean(cells)) == pytest.approx(0.46, rel=1e-14)
    assert np.allclose(on_cells(profile, 10), np.repeat(profile, 2), rtol=1e-14)
