"""Many small spheres: the resolved half-cell against the porous-electrode model with what is measured on its voxels.

Both cells and their discharges are in `benchmarks.sphere_column`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.sphere_column import apart, column, discharges, homogenised
from solver.cell.discretise import Mesh, build
from solver.cell.impedance import at_rest
from solver.cell.linearise import linearise
from solver.electrochemistry.resolved_solve import NewtonMethod, newton_krylov
from solver.electrochemistry.resolved_start import rest
from solver.numerics.solution import Result


@pytest.fixture(scope="module")
def pair():
    """Spheres of 3.5 voxels, one voxel apart, and their homogenised cell."""
    cell = column(8)
    return cell, homogenised(cell)


def off(pair, rate: float) -> float:
    """Root mean square of the difference of both voltages at a rate, V."""
    resolved, porous = discharges(*pair, rate)
    assert float(resolved.end_time) == pytest.approx(float(porous.end_time), rel=5e-3)
    return apart(resolved, porous)


@pytest.mark.slow  # compiles both discharges; the default suite has the small signals of the same pair
def test_many_small_spheres_are_a_porous_electrode(pair):
    """Within 2 mV at C/2; measured, 0.9 mV."""
    assert off(pair, 0.5) < 2e-3


@pytest.mark.slow  # three more discharges
def test_the_difference_grows_with_the_rate(pair):
    """In proportion: 0.42, 0.87, 1.72 and 3.56 mV from C/4 to 2C."""
    rates = np.array([0.25, 0.5, 1.0, 2.0])
    found = np.array([off(pair, rate) for rate in rates])
    np.testing.assert_allclose(found / rates, np.mean(found / rates), rtol=0.1)


@pytest.mark.slow  # eight thousand voxels
def test_the_difference_is_that_of_voxels(pair):
    """It falls as the spheres get more voxels: it is how coarsely the resolved cell sees diffusion in them."""
    cell = column(16)
    assert off((cell, homogenised(cell)), 0.5) < 0.5 * off(pair, 0.5)


# --- small signals ----------------------------------------------------------------------------------------------------


@eqx.filter_jit
def resolved_impedance(cell, s):
    """-dV/di at rest, ohm m2, at a real Laplace variable s, 1/s: a step of implicit Euler from rest is
    y - y_0 = f / s, of small changes the Laplace transform of the equations under a current that is switched on."""
    density = 2e-4  # A/m2, so little that nothing but slopes matters
    system = cell.resolved(density * cell.section)
    y, w = rest(system)
    solution = newton_krylov(system, w, y, 1.0 / s, NewtonMethod())
    still = system.active[0].material.potential_at(system.active[0].stoichiometry, system.temperature)
    return -(system.cut(solution.value).voltage - still) / density, solution.result


@eqx.filter_jit
def porous_impedance(cell, s):
    """The same of the homogenised cell, at all s, shape (n,)."""
    system = build(cell, jnp.asarray(0.0), Mesh(1, 40, 80, 1))
    linear = linearise(system, at_rest(system, cell, jnp.asarray(1.0)))
    return jnp.real(jax.vmap(linear.impedance)(s.astype(complex)))


def off_impedance(pair, s) -> np.ndarray:
    """The relative difference of both at `s`, 1/s, with particles so small that lithium spreads at once in them."""
    cell, porous = pair
    swift = jnp.asarray(1e-11)
    cell = eqx.tree_at(lambda c: c.roles["active"].material.diffusivity, cell, swift)
    porous = eqx.tree_at(lambda c: c.positive.material.diffusivity, porous, swift)
    wanted = np.asarray(porous_impedance(porous, jnp.asarray(s)))
    found = []
    for x in s:
        value, result = resolved_impedance(cell, jnp.asarray(x))
        assert result == Result.successful
        found.append(float(value))
    return np.array(found) / wanted - 1.0


def test_small_signals_are_the_impedance_of_the_porous_electrode(pair):
    """From where lithium and salt are even to where both hardly move; measured, within 1.3e-3."""
    off = off_impedance(pair, [1e-4, 1e-2, 0.1, 1.0, 100.0])
    assert np.max(np.abs(off)) < 3e-3
