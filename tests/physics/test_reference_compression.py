"""The reference compression at a small size: elastic spheres with friction spring back by an eighth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.suites.particles import LAWS, STEP, UM, reference_radii, scene_of
from benchmarks.suites.particles_large import CONTACTS, POROSITY, PRESSURE, RECOVERY
from microstructure.packing import Packing
from solver.particles.dynamics import run, start
from solver.particles.observe import observe
from solver.process.settle import settled_film


@pytest.mark.slow
def test_an_elastic_packing_under_law_g_springs_back_by_an_eighth():
    """V20 (reference dem, section 6) at 300 spheres, in motion: recovery at a hundredth of the peak within 2 points of
    12.3 %, pressure above 40 MPa within 15 %, contacts within 0.2.

    At 10,000 spheres, from the dilute start, `benchmarks/suites/particles_large.py` holds much tighter limits. How the
    spheres were brought together matters: settled without motion to 0.56 they jam looser and recover 16 %.
    """
    count, dilute, law = 300, 0.3, LAWS["G"]
    radii, width = jnp.asarray(reference_radii(count)) * UM, 250 * np.sqrt(count / 1e4) * UM
    solid = float(4 / 3 * np.pi * np.sum(np.asarray(radii) ** 3)) / width**2
    packing = settled_film(jax.random.key(1), radii, jnp.asarray([solid / dilute, width, width])).value

    def scene(velocity):
        return scene_of(packing, law, velocity, 1.0 * UM)

    # Room for the dense state from the beginning, so that little is compiled again.
    squeezed = Packing(packing.positions * jnp.asarray([dilute / 0.64, 1, 1]), radii, [solid / 0.64, width, width])
    capacity = start(scene(0.0), squeezed, jnp.asarray([0.0, solid / 0.64])).capacity
    now = start(scene(0.0), packing, jnp.asarray([0.0, solid / dilute]))
    now = run(scene(-10.0), now.state, round(solid * (1 / dilute - 1 / 0.56) / (10 * STEP)), capacity)
    now = run(scene(0.0), now.state, 2000, now.capacity)
    down, left = [], round((float(now.state.walls.height[1]) - solid / 0.70) / STEP)
    for done in range(0, left, 719):
        now = run(scene(-1.0), now.state, min(719, left - done), now.capacity)
        down.append(seen(scene(0.0), now))
    up = [down[-1]]
    while up[-1][1] > 0.005 * up[0][1]:
        now = run(scene(1.0), now.state, 400, now.capacity)
        up.append(seen(scene(0.0), now))
    height, pressure, contacts = np.asarray(down).T[:, ::-1]
    where = np.asarray(PRESSURE["G"]) > 40
    at = solid / (1 - np.asarray(POROSITY)[where])
    np.testing.assert_allclose(np.interp(at, height, pressure), np.asarray(PRESSURE["G"])[where], rtol=0.15)
    np.testing.assert_allclose(np.interp(at, height, contacts), np.asarray(CONTACTS["G"])[where], atol=0.2)
    height, pressure, _ = np.asarray(up).T
    recovery = 100 * (np.interp(-0.01 * pressure[0], -pressure, height) / height[0] - 1)
    assert recovery == pytest.approx(RECOVERY["G"], abs=2)


def seen(scene, now):
    """Height, m, pressure, MPa, and contacts a particle."""
    height = float(now.state.walls.height[1])
    found = observe(scene, now.state, height)
    return height, float(found.stress[0, 0]) / 1e6, float(found.coordination)
