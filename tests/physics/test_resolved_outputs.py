"""What a modeller looks at in a resolved discharge: losses, heat, fields, particles; each against what it must add up
to."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from mesode.resolve_build import setup_of
from mesode.resolve_job import parse_resolve_job
from mesode.resolve_record import Kept, Viewer
from mesode.resolve_structure import Block
from microstructure.units import faraday
from solver.electrochemistry.laws import Constant
from solver.electrochemistry.resolved_course import course
from solver.electrochemistry.resolved_heat import heat
from solver.electrochemistry.resolved_losses import CAUSES, PLACES
from solver.electrochemistry.resolved_power import power
from solver.electrochemistry.resolved_run import discharge
from solver.electrochemistry.resolved_solve import NewtonMethod
from solver.electrochemistry.utilisation import distribution
from solver.numerics.solution import Result
from tests.resolved_block import SPACING, job, labels

RATE = 2.0


@pytest.fixture(scope="module")
def setup():
    """The accounts are exact where the equations are: they leave what Newton's method leaves."""
    made = setup_of(parse_resolve_job(job()), Block((SPACING,) * 3, labels=labels()))
    method = dataclasses.replace(made.method, newton=NewtonMethod(tolerance=1e-9))
    return dataclasses.replace(made, method=method)


@pytest.fixture(scope="module")
def run(setup):
    """The discharge: what was kept of it, its course, and the unknowns at its end."""
    current = RATE * setup.capacity / 3600.0
    made = course(setup.cell, current, setup.capacity, (0.3, 0.6), setup.method)
    kept, viewer, stops, last = Kept.nothing(), Viewer(setup), np.array([0.3, 0.6]) * 3600.0 / RATE, []

    def after(progress):
        kept.take(progress, made, viewer, stops)
        last[:] = [np.asarray(progress.walk.unknowns[progress.walk.count])]

    assert made.run(made.begun(4), after) == Result.successful
    rows = {name: np.asarray(values) for name, values in kept.rows.items()}
    return rows, kept.looks, made.system, jnp.asarray(last[0])


def _part(rows, cause, place):
    return rows["parts_V"][:, CAUSES.index(cause), PLACES.index(place)]


def test_the_losses_add_up_to_the_voltage(run):
    rows = run[0]
    assert len(rows["time_s"]) > 10 and rows["voltage_V"][-1] == pytest.approx(3.6, abs=1e-7)
    total = rows["parts_V"].sum((1, 2)) + rows["contact_V"]
    np.testing.assert_allclose(rows["open_circuit_V"] - rows["voltage_V"], total, atol=2e-8)
    for cause, places in {"ohmic_solid": (2,), "ohmic_electrolyte": (1, 2), "kinetic": (0, 2)}.items():
        assert (rows["parts_V"][:, CAUSES.index(cause), list(places)] > 0).all()
    assert (_part(rows, "solid_diffusion", "positive")[1:] > 0).all()


def test_the_first_moment_has_closed_forms(run, setup):
    """Before anything has moved: salt only from the last centre to the lithium, a flat separator and a flat lithium,
    and Ohm's law for the contact."""
    rows, cell, system = run[0], setup.cell, run[2]
    density = RATE * setup.capacity / 3600.0 / setup.section
    thermal, lyte = 8.314462618 * 298.15 / faraday, cell.electrolyte
    diffusivity = float(lyte.transport(jnp.asarray(1000.0), cell.temperature)[0])
    share = 1 - float(lyte.transference_number)
    rise = share * density * 0.5 * float(cell.separator.widths()[-1]) / (0.24 * faraday * diffusivity)
    salt = 2 * share * float(lyte.thermodynamic_factor) * thermal * np.log1p(rise / 1000.0)
    assert _part(rows, "concentration", "separator")[0] == pytest.approx(salt, rel=1e-2)
    assert float(system.diffusion_potential) == pytest.approx(2 * share * thermal, rel=1e-9)
    assert abs(_part(rows, "uneven_use", "positive")[0]) < 1e-9
    assert rows["contact_V"][0] == pytest.approx(density * 1e-4, rel=5e-2)  # the film spreads the current
    _, conductivity = cell.electrolyte.transport(jnp.asarray(1000.0), cell.temperature)
    flat = density * 6e-6 / (0.24 * float(conductivity))
    assert flat < _part(rows, "ohmic_electrolyte", "separator")[0] < 1.1 * flat
    exchange = float(cell.lithium(jnp.asarray(1000.0)))
    metal = 2 * thermal * np.arcsinh(0.5 * density / exchange)
    assert _part(rows, "kinetic", "negative")[0] == pytest.approx(metal, rel=1e-2)


def test_heat_is_what_the_terminals_do_not_get(run):
    rows, _, system, w = run
    u = system.cut(w)
    taken, made = eqx.filter_jit(lambda system, u: (power(system, u).total, heat(system, u)))(system, u)
    slow = _part(rows, "solid_diffusion", "positive")[-1] + _part(rows, "uneven_use", "positive")[-1]
    at_surfaces = rows["open_circuit_V"][-1] - slow
    lost = float(system.current) * (at_surfaces - rows["voltage_V"][-1])
    assert float(jnp.sum(made.total)) == pytest.approx(lost, rel=1e-6) == float(taken)
    entropic = eqx.tree_at(lambda s: s.active[0].material.entropic_change, system, Constant(1e-4))
    reversible = float(jnp.sum(eqx.filter_jit(heat)(entropic, u).reversible))
    assert reversible == pytest.approx(-float(system.current) * 298.15 * 1e-4, rel=1e-8)


def test_charge_is_conserved_in_every_account_of_it(run, setup):
    rows, looks, system, _ = run
    drawn = RATE * rows["time_s"] / 3600.0
    np.testing.assert_allclose(1.0 - rows["state_of_charge"], drawn, atol=1e-7)
    depths = [look["time_s"] * RATE / 3600.0 for look in looks]
    assert depths[0] == 0.0 and depths[1:3] == pytest.approx([0.3, 0.6], rel=1e-9) and len(looks) == 4
    for look, depth in zip(looks, depths, strict=True):
        table = look["particles"]["nmc"]
        used = 1 - table["state_of_charge"]
        assert np.average(used, weights=table["volume_m3"]) == pytest.approx(depth, abs=1e-7)
        charge = look["fields"]["state_of_charge"]
        assert np.isnan(charge[labels() != 1]).all() and np.isfinite(charge[labels() == 1]).all()
        assert np.nanmean(charge) == pytest.approx(1 - depth, abs=1e-6)
        current = np.sum(look["profiles"]["reaction_A_m3"]) * SPACING * setup.section
        assert current == pytest.approx(-float(system.current), rel=1e-6)
    end = looks[-1]["particles"]["nmc"]
    assert len(end["volume_m3"]) == 4 and (end["spread"] > 0).all()
    assert np.dot(end["area_m2"], end["reaction_A_m2"]) == pytest.approx(-float(system.current), rel=1e-6)


def test_fields_agree_with_each_other(run):
    rows, looks, system, _ = run
    end = looks[-1]
    fields, profiles = end["fields"], end["profiles"]
    there = np.isfinite(fields["reaction_A_m2"])
    assert (np.isfinite(fields["overpotential_V"]) == there).all()
    lyte, solid = fields["electrolyte_potential_V"], fields["solid_potential_V"]
    assert np.nanmin(solid) >= rows["voltage_V"][-1] and np.nanmax(lyte) < 0
    assert rows["least_salt_mol_m3"][-1] == pytest.approx(np.nanmin(fields["salt_mol_m3"]), rel=1e-6)
    assert np.all(np.diff(profiles["salt_mol_m3"]) > 0) and profiles["separator_salt_mol_m3"][-1] > 1000.0
    least = rows["least_potential_against_lithium_V"][-1]
    assert least == pytest.approx(np.nanmin(fields["potential_against_lithium_V"]), rel=1e-6)
    assert 3.6 < least < rows["open_circuit_V"][-1]
    slices = fields["heat_W_m3"].mean((1, 2))
    np.testing.assert_allclose(slices, profiles["heat_W_m3"], rtol=1e-5)


def test_a_distribution_keeps_its_mean():
    rng = np.random.default_rng(0)
    values, weights, along = rng.random(50), rng.random(50), rng.random(50)
    found = distribution(values, weights, along, 5)
    assert found["share"].sum() == pytest.approx(1.0)
    assert np.dot(found["share"], found["mean"]) == pytest.approx(np.average(values, weights=weights))
    alone = distribution(values[:1], weights[:1], along[:1])
    assert alone["mean"] == pytest.approx(values[:1]) and alone["deviation"] < 1e-12


@pytest.mark.slow
def test_in_chunks_it_is_the_discharge_of_one_call(setup):
    current = RATE * setup.capacity / 3600.0
    made = course(setup.cell, current, setup.capacity, (), setup.method)
    times, volts = [], []

    def after(progress):
        times.extend(float(progress.walk.times[row]) for row in progress.rows)
        volts.extend(float(progress.walk.observed[row]) for row in progress.rows)

    made.run(made.begun(3), after)
    whole = eqx.filter_jit(discharge)(setup.cell, jnp.asarray(current), setup.method)
    steps = int(whole.stats["steps"])
    np.testing.assert_allclose(times, whole.value.time[: steps + 1], rtol=1e-6)
    np.testing.assert_allclose(volts, whole.value.voltage[: steps + 1], atol=1e-7)
