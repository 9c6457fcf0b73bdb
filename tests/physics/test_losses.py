"""The loss breakdown: an identity, the powers of its ohmic parts, and closed-form cases."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from solver.cell.discretise import Mesh, build, rest
from solver.cell.galvanostatic import Galvanostatic
from solver.cell.library import chen2020, half_cell
from solver.cell.losses import CAUSES, PLACES, course, losses
from solver.cell.protocol import DFN, discharge

MESH = Mesh(6, 3, 6, 6)
ROW = {cause: i for i, cause in enumerate(CAUSES)}
COLUMN = {place: i for i, place in enumerate(PLACES)}


@eqx.filter_jit
def after(cell, current, state_of_charge, step, steps):
    """The system, its unknowns, state and losses after `steps` implicit Euler steps at constant current from rest."""
    system = build(cell, current, MESH)
    start, guess = rest(system, cell, state_of_charge)
    loaded = Galvanostatic(system, jnp.zeros(()), jnp.ones(()))

    def advance(_, both):
        y, w = both
        w = loaded.solve(w, y, step).value
        return system.state(w, y, step), w

    first = loaded.solve(guess, start, jnp.zeros_like(step)).value
    y, w = lax.fori_loop(0, steps, advance, (start, first))
    return system, w, losses(system, w, y)


def run(cell, current, state_of_charge=1.0, step=60.0, steps=10):
    return after(cell, *map(jnp.asarray, (current, state_of_charge, step)), jnp.asarray(steps))


@pytest.fixture(scope="module")
def chen():
    return chen2020()


@pytest.fixture(scope="module")
def half(chen):
    return half_cell(chen.positive, chen.electrolyte)


CASES = [(1.0, 1.0, 25), (2.0, 1.0, 10), (3.0, 0.9, 4), (0.1, 0.4, 30), (-1.0, 0.2, 10), (1.0, 1.0, 0)]


@pytest.mark.parametrize("rate, state_of_charge, steps", CASES)
def test_the_parts_add_up(chen, rate, state_of_charge, steps):
    """U(mean stoichiometries) - V is the sum of the parts, to rounding, on discharge and charge."""
    _, _, found = run(chen, 5.0 * rate / float(chen.area), state_of_charge, steps=steps)
    gap = float(found.open_circuit - found.voltage)
    assert abs(gap) > 1e-3
    assert float(jnp.sum(found.parts) + found.contact) == pytest.approx(gap, abs=1e-10)
    assert float(found.total) == pytest.approx(gap, abs=1e-10)
    assert abs(float(found.contact)) < 1e-12  # this cell has none


@pytest.mark.parametrize("rate", [2.0, -1.0])
def test_ohmic_losses_are_powers(chen, rate):
    """Ohmic loss times current is the integral of i^2 R, face by face, and no loss takes the wrong sign."""
    current = 5.0 * rate / float(chen.area)
    system, w, found = run(chen, current, 1.0 if rate > 0 else 0.2)
    c, _, reaction = system.unknowns(w)
    source = system.spread([p.area * j for p, j in zip(system.particles, reaction, strict=True)])
    ionic = np.cumsum(source)[:-1]
    half = np.asarray(system.half_path / system.electrolyte.transport(c, system.temperature)[1])
    assert float(jnp.sum(found.ohmic_electrolyte)) * current == pytest.approx(
        float(np.sum(ionic**2 * (half[:-1] + half[1:]))), rel=1e-9
    )
    solid = np.sum((current - ionic) ** 2 * np.asarray(system.solid_resistance) * np.asarray(system.inside()))
    ends = current**2 * float(system.series_resistance)
    assert float(jnp.sum(found.ohmic_solid)) * current == pytest.approx(float(solid + ends), rel=1e-9)
    heat = np.asarray(found.parts) * current
    for cause in ("ohmic_solid", "ohmic_electrolyte", "kinetic"):
        assert np.all(heat[ROW[cause]] >= 0.0), cause


def test_before_anything_has_moved(chen):
    """At the first instant salt and lithium are even, so the separator drops I L / (kappa tau) and nothing diffuses."""
    current = 5.0 / float(chen.area)
    _, _, found = run(chen, current, steps=0)
    kappa = float(chen.electrolyte.transport(jnp.asarray(1000.0), chen.temperature)[1])
    drop = current * float(chen.separator.thickness) / (kappa * float(chen.separator.electrolyte_transport))
    assert float(found.ohmic_electrolyte[COLUMN["separator"]]) == pytest.approx(drop, rel=1e-12)
    for cause in ("concentration", "solid_diffusion", "uneven_use"):
        assert np.allclose(getattr(found, cause), 0.0, atol=1e-12), cause
    assert float(found.kinetic[COLUMN["separator"]]) == 0.0


def test_diffusion_in_the_particles(chen):
    """At C/10 the surface stands off the mean by j R / (5 F D), sphere case D.1 of the reference at long times.

    The loss is U' times that; the reaction is even, and U is straight enough over the distance.
    """
    current = 0.5 / float(chen.area)
    system, _, found = run(chen, current, 0.6, step=120.0, steps=40)
    electrode, nodes = chen.positive, system.particles[1]
    j = current / (float(electrode.specific_area) * float(electrode.thickness))
    steady = j * float(electrode.particle_radius) / (5 * 96485.33212 * float(electrode.material.diffusivity))
    distance = steady / float(electrode.material.maximum_concentration)
    x = 0.6 * float(electrode.stoichiometry_full) + 0.4 * float(electrode.stoichiometry_empty)
    x = x + j * float(nodes.gain[0]) * 4800.0  # and the charge that has flowed since
    slope = float(jax.grad(lambda x: electrode.material.potential(x))(jnp.asarray(x + 0.5 * distance)))
    assert float(found.solid_diffusion[COLUMN["positive"]]) == pytest.approx(-slope * distance, rel=0.02)


def test_rest_loses_nothing(chen):
    _, _, found = run(chen, 0.0, 0.5)
    assert float(found.total) == pytest.approx(0.0, abs=1e-10)
    assert np.allclose(found.parts, 0.0, atol=1e-9)
    assert np.all(np.isfinite(found.parts))


def test_half_cell(half):
    """Against lithium the metal's charge transfer is the negative's only loss, and the sum is as exact."""
    _, _, found = run(half, 40.0)
    assert float(found.total) == pytest.approx(float(found.open_circuit - found.voltage), abs=1e-10)
    negative = np.asarray(found.parts)[:, COLUMN["negative"]]
    assert negative[ROW["kinetic"]] > 1e-3
    assert np.all(np.delete(negative, ROW["kinetic"]) == 0.0)
    assert np.all(np.asarray(found.parts)[[ROW["ohmic_electrolyte"], ROW["concentration"]], COLUMN["separator"]] > 1e-4)


@pytest.mark.slow
def test_along_a_discharge(chen):
    """The last of the points is the cut-off; the energies are what the discharge is short of its voltage at rest."""
    current, method = jnp.asarray(10.0) / chen.area, DFN(Mesh(8, 4, 8, 8))
    found = eqx.filter_jit(course)(chen, current, 41, method)
    run = eqx.filter_jit(discharge)(chen, current, method).value
    part = found.losses
    assert np.allclose(part.total, part.open_circuit - part.voltage, rtol=0, atol=1e-10)
    assert float(part.voltage[-1]) == pytest.approx(float(chen.lower_cutoff), abs=1e-4)
    assert float(found.capacity[-1]) == pytest.approx(float(run.capacity), rel=1e-5)
    at_rest = float(found.capacity[0] * part.open_circuit[0] + jnp.trapezoid(part.open_circuit, found.capacity))
    assert float(jnp.sum(found.energies)) == pytest.approx(at_rest - float(run.energy), rel=5e-3)
    assert np.all(np.asarray(found.energies)[[ROW["kinetic"], ROW["ohmic_electrolyte"]]] >= 0.0)
