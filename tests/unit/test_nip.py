"""The nip of a calender and the exponential law of compaction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.process.nip import Nip, compaction, line_load

POROSITY = [0.3982, 0.3890, 0.3796, 0.3699, 0.3599, 0.3496, 0.3389, 0.3278, 0.3164, 0.3046, 0.3000]
# Reference `dem`, section 6.2: LAMMPS, plate pressure in MPa at these porosities, and the fit given there.
CURVES = {
    "G": ([0.08, 0.31, 1.57, 4.67, 9.60, 16.33, 24.70, 34.87, 46.60, 60.03, 65.64], 0.269, 0.380, 52.4),
    "H": ([0.04, 0.20, 1.04, 3.78, 8.58, 15.18, 23.51, 33.61, 45.25, 58.71, 64.31], 0.272, 0.379, 50.0),
    "P": ([0.13, 0.60, 2.02, 4.40, 7.27, 10.56, 14.13, 17.88, 21.78, 25.81, 27.41], 0.058, 0.386, 90.6),
}


@pytest.mark.parametrize("name", CURVES)
def test_exponential_law_of_the_reference_curves(name):
    """The fits that the reference gives for its own LAMMPS curves, where the packing carries more than 1 MPa."""
    pressure, least, first, resistance = CURVES[name]
    kept = np.asarray(pressure) > 1
    found = compaction(np.asarray(pressure)[kept], np.asarray(POROSITY)[kept])
    assert found.least == pytest.approx(least, abs=0.02)
    assert found.first == pytest.approx(first, abs=2e-3)
    assert found.resistance == pytest.approx(resistance, rel=0.05)
    assert found.error < 2e-3


def test_line_load_of_a_linear_web():
    """p = k (h0 - h) while pressed and nothing after it: q = (2/3) p_max sqrt(D dh / 2)."""
    nip, top, gap, stiffness = Nip(0.8, 0.5), 70e-6, 50e-6, 4e12
    for points in (2, 9):  # exact at any number of points
        thickness = jnp.concatenate([jnp.linspace(top, gap, points), jnp.asarray([gap])])
        pressure = jnp.concatenate([stiffness * (top - thickness[:-1]), jnp.zeros(1)])
        exact = 2 / 3 * stiffness * (top - gap) * np.sqrt(0.8 * (top - gap) / 2)
        assert float(line_load(nip, thickness, pressure, points - 1)) == pytest.approx(exact, rel=1e-12)


def test_line_load_with_recovery():
    """The way out of the nip counts: an elastic web has twice the line load of one that does not recover."""
    nip = Nip(0.8, 0.5)
    down = jnp.linspace(70e-6, 50e-6, 5)
    thickness = jnp.concatenate([down, down[-2::-1]])
    pressure = 4e12 * (70e-6 - thickness)
    half = line_load(nip, down, pressure[:5], 4)
    assert float(line_load(nip, thickness, pressure, 4)) == pytest.approx(2 * float(half), rel=1e-12)


def test_length_and_time():
    """80 um pressed to 60 um by rolls of 0.8 m: 2.83 mm, at 0.5 m/s 5.7 ms; and nothing where it is not pressed."""
    nip = Nip(0.8, 0.5)
    assert float(nip.length(60e-6, 80e-6)) == pytest.approx(np.sqrt(0.4 * 20e-6))
    assert float(nip.duration(60e-6, 80e-6)) == pytest.approx(np.sqrt(0.4 * 20e-6) / 0.5)
    assert float(nip.length(80e-6, 60e-6)) == 0
    assert float(nip.thickness(60e-6, nip.length(60e-6, 80e-6))) == pytest.approx(80e-6)


def test_gradient():
    """The line load against differences in the gap, the diameter and the pressures."""

    def load(v):
        thickness = jnp.stack([70e-6, 60e-6, 50e-6 * v[0], 53e-6]) * jnp.ones(4)
        pressure = jnp.stack([0.0 * v[2], 30e6 * v[2], 90e6 * v[2], 0.0 * v[2]])
        return line_load(Nip(0.8 * v[1], 0.5), thickness, pressure, 2)

    at = jnp.ones(3)
    slope = jax.grad(load)(at)
    for k in range(3):
        e = 1e-6 * jnp.eye(3)[k]
        assert float(slope[k]) == pytest.approx(float((load(at + e) - load(at - e)) / 2e-6), rel=1e-6)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="`diameter`"):
        Nip(-1.0)
    with pytest.raises(ValueError, match="at least 4 points"):
        compaction([1.0, 2.0], [0.4, 0.3])
