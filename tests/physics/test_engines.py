"""The two engines on one packing: what increments in equilibrium give is what slow motion gives."""

import pytest

from benchmarks.suites import rough_pressing


@pytest.mark.slow
def test_motion_and_equilibria_agree_with_friction_and_plasticity():
    """Both start from the same spheres before any contact, and end at the same small pressure.

    The same normal law, Mindlin's friction of 0.3 with history, rigid walls; the motion is quasi-static.
    """
    row = rough_pressing.engines()
    assert row["successful"] and row["missed"] == 0
    assert row["inertial_number"] < 2e-3 and row["kinetic_over_elastic"] < 1e-2
    assert sum(p > 20 for p in row["pressure_MPa"]) > 5
    assert row["pressure_difference"] < rough_pressing.PRESSURE
    assert row["porosity_difference"] < rough_pressing.POROSITY
