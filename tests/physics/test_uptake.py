"""The uptake radii of a solid against closed forms, with their order and derivative."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.grid import Grid
from microstructure.voxel import from_labels, nested
from solver.cell.cell import theoretical_capacity
from solver.cell.library import chen_positive
from solver.closures import size_classes
from solver.handover import diffusing
from solver.numerics.solution import Result
from solver.transport.uptake import diffusion_radius, solid, sphere_moments, uptake_radii

VOXEL = 4e-7  # m
OFF = (0.1, -0.2, 0.3)  # of the middle from that of the grid, voxels
NAMES = ("active", "pore")


def corner_places(shape):
    """The places of the voxel corners from a middle that lies on none, voxels."""
    axes = [jnp.arange(n + 1.0) - n / 2 - off for n, off in zip(shape, OFF, strict=True)]
    return jnp.meshgrid(*axes, indexing="ij")


@eqx.filter_jit
def radii_of(level, shape, rtol=1e-6):
    phases = nested((level,), Grid(shape, jnp.full(3, VOXEL)), NAMES)
    return uptake_radii(solid(phases, 0), rtol=rtol)


SHAPE = (28, 28, 28)
# Uptake radii of a slab of thickness 1 shut on one side, of the orders 1 to 4, and of a cylinder of radius 1, 1 and 2:
# mean(u_j) over the moments of the sphere.
SLAB = (np.array([1 / 3, 2 / 15, 17 / 315, 62 / 2835]) / sphere_moments(4)) ** (0.5 / np.arange(1, 5))
CYLINDER = (np.array([1 / 8, 1 / 48]) / sphere_moments(2)) ** np.array([0.5, 0.25])


def distance(middle, radius):
    """From the surface of a sphere, in voxels, at the corners of voxels."""
    gaps = [x - at for x, at in zip(corner_places(SHAPE), middle, strict=True)]
    return jnp.sqrt(sum(g * g for g in gaps)) - radius


def spheres(level):
    """The uptake radii of what `level`, in voxels, is negative in, in voxels."""
    return radii_of(level * VOXEL, SHAPE).value / VOXEL


def sphere(radius):
    """Of a sphere of `radius` voxels, in voxels."""
    return spheres(distance((0.0, 0.0, 0.0), radius))[0]


def test_sphere_and_its_order():
    """0.4 % at 6 voxels a radius, 0.15 % at 12: seven times less for four times as many, of order 1.4."""
    off = [abs(float(sphere(radius)) / radius - 1) for radius in (3.0, 6.0, 12.0)]
    assert off[1] < 4e-3 and off[2] < 1.6e-3
    assert off[0] / off[2] > 6.0


def test_moments_of_a_sphere():
    """The sums of 6 / (n pi)^2 (n pi)^(-2 j) over the modes; from them all orders have one radius."""
    n = np.arange(1, 2000) * np.pi
    assert sphere_moments(4) == pytest.approx([np.sum(6 / n ** (2 * j + 2)) for j in range(1, 5)], rel=1e-9)
    assert sphere_moments(4) == pytest.approx([1 / 15, 2 / 315, 1 / 1575, 2 / 31185], rel=1e-12)
    found = np.asarray(spheres(distance((0.0, 0.0, 0.0), 9.6)))
    assert found == pytest.approx(9.6, rel=3e-3)
    assert np.ptp(found) < 1e-3 * 9.6


SMALL, LARGE = 5.3, 8.4  # voxels
PLACES = (
    ((8.1, 8.2, 8.0), SMALL), ((8.0, -5.1, 7.9), SMALL), ((7.8, 8.1, -5.2), SMALL), ((-5.3, 7.9, 8.1), SMALL),
    ((-4.6, -4.8, -4.3), LARGE),
)  # fmt: skip


def packing():
    """The level set of four small spheres and a large one, each half of the volume, in voxels."""
    return functools.reduce(jnp.minimum, [distance(*place) for place in PLACES])


def test_spheres_of_two_sizes_and_the_classes_they_are_found_in():
    """Their moments add up by volume within 0.2 % of a radius, and two classes with them are the spheres: within 3 %,
    by which the difference of moments is off."""
    radii, volumes = np.array([SMALL, LARGE]), np.array([4 * SMALL**3, LARGE**3])
    shares, found = volumes / np.sum(volumes), spheres(packing())
    exact = [np.sum(shares * radii ** (2 * j)) ** (0.5 / j) for j in range(1, 5)]
    assert np.asarray(found) == pytest.approx(exact, rel=2e-3)
    classes = size_classes(found * VOXEL)
    assert int(classes.kept) == 3
    assert np.asarray(classes.radii) / VOXEL == pytest.approx(radii, rel=3e-2)
    assert np.asarray(classes.shares) == pytest.approx(shares, abs=3e-2)


def test_slab_and_cylinder():
    """Of a slab of thickness L that the side of the block shuts mean(u_1) is L^2 / 3, of a cylinder R^2 / 8; both are
    less spread than a sphere, and no classes of spheres have their moments."""
    shape = (24, 24, 3)
    x, y, _ = corner_places(shape)
    for thickness in (9.3, 9.7):
        found = radii_of((x + 12 + OFF[0] - thickness) * VOXEL, shape)
        assert found.result == Result.successful
        assert found.value / VOXEL == pytest.approx(thickness * SLAB, rel=2e-3)
        assert int(size_classes(found.value).kept) == 1
    found = radii_of((jnp.sqrt(x * x + y * y) - 9.7) * VOXEL, shape)
    assert found.value[:2] / VOXEL == pytest.approx(9.7 * CYLINDER, rel=2e-3)


def test_label_image():
    """Voxels of 0 and 1, the surface on their faces: 1.3 % too small."""
    x, y, z = (np.arange(24) - 11.5 - off for off in OFF)
    labels = (x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 < 100.0).astype(int)
    phases = from_labels(labels, Grid(labels.shape, jnp.full(3, VOXEL)), {1: "active", 0: "pore"})
    assert float(diffusion_radius(solid(phases, 0)).value) / VOXEL == pytest.approx(10.0, rel=1.3e-2)


@pytest.mark.slow
def test_derivative_of_the_classes_in_the_geometry():
    """Of both radii and a share as all spheres grow, against central differences."""

    @jax.jit
    def numbers(growth):
        classes = size_classes(radii_of((packing() - growth) * VOXEL, SHAPE, 1e-11).value)
        return jnp.stack([*(classes.radii / VOXEL), classes.shares[0]])

    slope, step = jax.jit(jax.jacrev(numbers))(jnp.asarray(0.0)), 1e-6
    differences = (numbers(jnp.asarray(step)) - numbers(jnp.asarray(-step))) / (2 * step)
    assert np.asarray(slope) == pytest.approx(np.asarray(differences), rel=1e-4)


def test_derivative_in_the_geometry():
    """Against central differences; as the surface passes voxels its mean is that of the closed form, 1."""

    def slow(radius):
        """The first of the uptake radii, by one solve."""
        phases = nested((VOXEL * distance((0.0, 0.0, 0.0), radius),), Grid(SHAPE, jnp.full(3, VOXEL)), NAMES)
        return diffusion_radius(solid(phases, 0)).value / VOXEL

    slope, value, at, step = eqx.filter_jit(jax.grad(slow)), eqx.filter_jit(slow), 8.3, 1e-6
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
