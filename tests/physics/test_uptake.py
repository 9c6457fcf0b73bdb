"""The diffusion radius of a solid against closed forms, with its order and its derivative."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.grid import Grid
from microstructure.voxel import from_labels, nested
from solver.cell.cell import theoretical_capacity
from solver.cell.library import chen_positive
from solver.handover import diffusing
from solver.numerics.solution import Result
from solver.transport.uptake import diffusion_radius, solid

VOXEL = 4e-7  # m
OFF = (0.1, -0.2, 0.3)  # of the middle from that of the grid, voxels
NAMES = ("active", "pore")


def corner_places(shape):
    """The places of the voxel corners from a middle that lies on none, voxels."""
    axes = [jnp.arange(n + 1.0) - n / 2 - off for n, off in zip(shape, OFF, strict=True)]
    return jnp.meshgrid(*axes, indexing="ij")


@eqx.filter_jit
def radius_of(level, shape):
    phases = nested((level,), Grid(shape, jnp.full(3, VOXEL)), NAMES)
    return diffusion_radius(solid(phases, 0))


SHAPE = (28, 28, 28)


def sphere(radius):
    """Of a sphere of `radius` voxels, in voxels."""
    x, y, z = corner_places(SHAPE)
    return radius_of((jnp.sqrt(x * x + y * y + z * z) - radius) * VOXEL, SHAPE).value / VOXEL


def test_sphere_and_its_order():
    """0.4 % at 6 voxels a radius, 0.15 % at 12: seven times less for four times as many, of order 1.4."""
    off = [abs(float(sphere(radius)) / radius - 1) for radius in (3.0, 6.0, 12.0)]
    assert off[1] < 4e-3 and off[2] < 1.6e-3
    assert off[0] / off[2] > 6.0


def test_slab_and_cylinder():
    """mean(u) is L^2 / 3 of a slab of thickness L that the side of the block shuts, R^2 / 8 of a cylinder."""
    shape = (24, 24, 3)
    x, y, _ = corner_places(shape)
    for thickness in (9.3, 9.7):
        found = radius_of((x + 12 + OFF[0] - thickness) * VOXEL, shape)
        assert found.result == Result.successful
        assert float(found.value) / VOXEL == pytest.approx(np.sqrt(15 / 3) * thickness, rel=2e-3)
    found = radius_of((jnp.sqrt(x * x + y * y) - 9.7) * VOXEL, shape)
    assert float(found.value) / VOXEL == pytest.approx(np.sqrt(15 / 8) * 9.7, rel=2e-3)


def test_label_image():
    """Voxels of 0 and 1, the surface on their faces: 1.3 % too small."""
    x, y, z = (np.arange(24) - 11.5 - off for off in OFF)
    labels = (x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 < 100.0).astype(int)
    phases = from_labels(labels, Grid(labels.shape, jnp.full(3, VOXEL)), {1: "active", 0: "pore"})
    assert float(diffusion_radius(solid(phases, 0)).value) / VOXEL == pytest.approx(10.0, rel=1.3e-2)


def test_derivative_in_the_geometry():
    """Against central differences; as the surface passes voxels its mean is that of the closed form, 1."""
    slope, value, at, step = eqx.filter_jit(jax.grad(sphere)), eqx.filter_jit(sphere), 8.3, 1e-6
    differences = float(value(jnp.asarray(at + step)) - value(jnp.asarray(at - step))) / (2 * step)
    assert float(slope(jnp.asarray(at))) == pytest.approx(differences, rel=1e-6)
    found = [float(slope(radius)) for radius in jnp.arange(8.0, 9.0, 0.0625)]
    assert np.mean(found) == pytest.approx(1.0, abs=3e-2)


def test_electrode_of_a_diffusion_radius():
    """The same lithium and the same exchange current per volume, in spheres of the given radius."""
    given = chen_positive()
    made = diffusing(given, jnp.asarray(4e-6))
    assert float(made.particle_radius) == 4e-6
    assert float(made.specific_area) == pytest.approx(3 * 0.665 / 4e-6)
    assert float(theoretical_capacity(made)) == float(theoretical_capacity(given))
    before, after = (float(e.specific_area * e.material.kinetics.rate) for e in (given, made))
    assert after == pytest.approx(before, rel=1e-12)
