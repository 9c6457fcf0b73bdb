"""Effective conductivity against closed forms and direct solves, by labels and by phases, on any size of image."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from microstructure import measure
from microstructure.grid import Grid
from microstructure.voxel import from_labels
from solver.numerics.solution import Result
from solver.transport.conduct import Conduction, for_gradients
from solver.transport.effective import (
    conduct_network,
    effective_conductivity,
    label_network,
    succeeded,
    tortuosity_factor,
)

TIGHT = for_gradients(1e-12)


def cubes(shape, size=1e-6):
    return Grid(shape, jnp.full(3, size))


def harmonic(a, b):
    return np.divide(2 * a * b, a + b, out=np.zeros_like(a), where=a + b > 0)


def direct(k, spacing, axis):
    """The same discretisation by a sparse direct solve in float64: conductivity in the unit of `k`."""
    k = np.moveaxis(k, axis, 0)
    h = np.asarray(spacing)[[axis, *[a for a in range(3) if a != axis]]]
    area = np.prod(h) / h
    index = np.arange(k.size).reshape(k.shape)
    diagonal, rows, columns, values = np.zeros(k.size), [], [], []
    for a in range(3):
        i, j = (np.take(index, np.arange(s, k.shape[a] - 1 + s), a).ravel() for s in (0, 1))
        g = harmonic(k.ravel()[i], k.ravel()[j]) * area[a] / h[a]
        np.add.at(diagonal, i, g)
        np.add.at(diagonal, j, g)
        rows += [i, j]
        columns += [j, i]
        values += [-g, -g]
    low, high = index[0].ravel(), index[-1].ravel()
    plate = 2 * area[0] / h[0]
    np.add.at(diagonal, low, plate * k.ravel()[low])
    np.add.at(diagonal, high, plate * k.ravel()[high])
    b = np.zeros(k.size)
    b[high] = plate * k.ravel()[high]
    rows, columns, values = map(np.concatenate, (rows, columns, values))
    matrix = sparse.coo_matrix((values, (rows, columns)), (k.size, k.size)).tocsr() + sparse.diags(diagonal)
    live = diagonal > 0
    phi = np.zeros(k.size)
    phi[live] = spsolve(matrix[live][:, live].tocsc(), b[live])
    current = np.sum(plate * k.ravel()[low] * phi[low])
    return current * h[0] * k.shape[0] / (area[0] * k.shape[1] * k.shape[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(16, 8, 8), (7, 5, 3)])
def test_uniform_block_has_tortuosity_one(shape, dtype):
    network = label_network(np.ones(shape, int), {1: 1.0}, cubes(shape), 0, dtype=dtype)
    solution = conduct_network(network)
    value, field = solution.value
    assert succeeded(solution)
    # the straight line is the first guess: what is left is the rounding of its steps
    rounding = np.finfo(dtype).eps
    assert abs(float(tortuosity_factor(1.0, value)) - 1) < 2 * rounding
    line = (np.arange(shape[0]) + 0.5) / shape[0]
    np.testing.assert_allclose(field, np.broadcast_to(line[:, None, None], shape), atol=2 * rounding)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_laminates_are_exact(axis):
    image = np.zeros((12, 12, 12), int)
    image[2:6] = 1
    series, parallel = 1 / (4 / 12 / 5 + 8 / 12), 4 / 12 * 5 + 8 / 12
    wanted = series if axis == 0 else parallel
    assert wanted == pytest.approx(1.3636363636363638 if axis == 0 else 2.3333333333333335, rel=1e-15)
    for dtype, rtol in ((np.float64, 1e-14), (np.float32, 2e-7)):
        network = label_network(image, {0: 1.0, 1: 5.0}, cubes(image.shape), axis, dtype=dtype)
        value = conduct_network(network, TIGHT if dtype == np.float64 else for_gradients()).value[0]
        assert float(value) == pytest.approx(wanted, rel=rtol)


def test_straight_channels_have_tortuosity_one():
    image = np.zeros((10, 8, 8), int)
    image[:, 2:5, 1:4] = 1
    value = conduct_network(label_network(image, {1: 1.0}, cubes(image.shape), 0)).value[0]
    assert float(tortuosity_factor(image.mean(), value)) == pytest.approx(1.0, rel=1e-7)


@pytest.fixture(scope="module")
def random_image():
    """An image of prime sizes with three phases in lumps of a few voxels."""
    rng = np.random.default_rng(11)
    noise = rng.normal(size=(31, 17, 23))
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    cuts = np.quantile(noise, [0.35, 0.7])
    return np.digitize(noise, cuts)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_prime_sizes_and_flat_voxels_agree_with_a_direct_solve(random_image, axis):
    grid = Grid(random_image.shape, jnp.asarray([0.4e-6, 1.0e-6, 1.7e-6]))
    values = {0: 0.0, 1: 0.3, 2: 1.0}
    k = np.asarray([0.0, 0.3, 1.0])[random_image]
    through = measure.spanning(measure.clusters(k > 0), axis)
    wanted = direct(np.where(through, k, 0), grid.spacing, axis)
    for dtype, method, rtol in ((np.float64, TIGHT, 1e-10), (np.float32, for_gradients(), 1e-6)):
        network = label_network(random_image, values, grid, axis, through, dtype=dtype)
        solution = conduct_network(network, method)
        assert succeeded(solution)
        print(axis, dtype.__name__, int(solution.stats["steps"]), float(solution.value[0]) / wanted - 1)
        assert float(solution.value[0]) == pytest.approx(wanted, rel=rtol)


def test_the_mask_only_removes_what_carries_no_current(random_image):
    grid = cubes(random_image.shape)
    conducts = random_image == 2
    through = measure.spanning(measure.clusters(conducts), 0)
    assert 0 < through.sum() < conducts.sum()
    values = [
        float(conduct_network(label_network(random_image, {2: 1.0}, grid, 0, mask, np.float64), TIGHT).value[0])
        for mask in (through, np.ones_like(through))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-11)


def test_phases_and_labels_are_the_same_network(random_image):
    grid = Grid(random_image.shape, jnp.asarray([1e-6, 2e-6, 1.5e-6]))
    phases = from_labels(random_image, grid, {0: "pore", 1: "binder", 2: "active"})
    conductivities = jnp.asarray([0.0, 30.0, 100.0])
    mask = measure.percolating(phases, (1, 2), 1)
    by_phases = effective_conductivity(phases, conductivities, 1, mask, for_gradients())
    by_labels = conduct_network(label_network(random_image, {1: 0.3, 2: 1.0}, grid, 1, mask), for_gradients())
    assert float(by_phases.value[0]) == pytest.approx(100 * float(by_labels.value[0]), rel=3e-7)
    np.testing.assert_allclose(by_phases.value[1], by_labels.value[1], atol=1e-5)


def test_what_enters_at_one_plate_leaves_at_the_other(random_image):
    k = {0: 0.1, 1: 0.3, 2: 1.0}
    network = label_network(random_image, k, cubes(random_image.shape), 0, dtype=np.float64)
    solution = conduct_network(network, TIGHT)
    value = float(solution.value[0])
    assert float(solution.stats["flux_low"]) == pytest.approx(value, rel=1e-9)
    assert float(solution.stats["flux_high"]) == pytest.approx(value, rel=1e-9)
    # and the default method, in float32, closes to the accuracy that it promises
    network = label_network(random_image, k, cubes(random_image.shape), 0)
    solution = conduct_network(network)
    fluxes = np.asarray([solution.stats["flux_low"], solution.stats["flux_high"]]) / value
    print("default: energy", float(solution.value[0]) / value - 1, "fluxes", fluxes - 1)
    assert float(solution.value[0]) == pytest.approx(value, rel=5e-5)
    np.testing.assert_allclose(fluxes, 1, atol=1e-2)


def test_the_energy_falls_monotonically_to_its_value(random_image):
    network = label_network(random_image, {0: 0.1, 1: 0.3, 2: 1.0}, cubes(random_image.shape), 0, dtype=np.float64)
    run = eqx.filter_jit(lambda rtol: conduct_network(network, Conduction(energy_rtol=rtol, rtol=1e-12)))
    exact = float(run(jnp.asarray(0.0)).value[0])
    errors = []
    for rtol in (1e-1, 1e-2, 1e-3, 1e-5):
        solution = run(jnp.asarray(rtol))
        errors.append(float(solution.value[0]) / exact - 1)
        assert 0 <= errors[-1] <= float(solution.stats["error_estimate"]) <= rtol
    assert errors == sorted(errors, reverse=True)


def test_no_path_is_zero_and_says_so():
    image = np.ones((9, 6, 6), int)
    image[4] = 0
    grid = cubes(image.shape)
    mask = measure.spanning(measure.clusters(image == 1), 0)
    assert not mask.any()
    solution = conduct_network(label_network(image, {1: 1.0}, grid, 0, mask))
    assert solution.result == Result.no_path
    assert float(solution.value[0]) == 0.0
    assert float(tortuosity_factor(image.mean(), solution.value[0])) == np.inf
    assert not succeeded(solution)
    phases = from_labels(image, grid, {0: "wall", 1: "pore"})
    solution = effective_conductivity(phases, jnp.asarray([0.0, 1.0]), 0, measure.percolating(phases, (1,), 0))
    assert solution.result == Result.no_path and float(solution.value[0]) == 0.0


def test_derivatives_without_a_path_are_zero_and_finite():
    image = np.ones((5, 4, 4), int)
    image[2] = 0
    phases = from_labels(image, cubes(image.shape), {0: "wall", 1: "pore"})
    mask = np.zeros(image.shape, bool)
    gradient = jax.grad(lambda k: effective_conductivity(phases, k, 0, mask).value[0])(jnp.asarray([0.0, 1.0]))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("contrast, wanted", [(10, 3.025146), (100, 5.452266), (1000, 6.050283)])
def test_checkerboard_as_tabulated_for_this_discretisation(contrast, wanted):
    # the corner singularity makes it converge as slowly as N^-0.2: these are the numbers of 32 cells, not sqrt(k)
    image = np.indices((32, 32, 1)).sum(0) * 0
    image[:16, :16] = image[16:, 16:] = 1
    network = label_network(image, {0: 1.0, 1: float(contrast)}, cubes(image.shape), 0, dtype=np.float64)
    assert float(conduct_network(network, TIGHT).value[0]) == pytest.approx(wanted, rel=3e-7)


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 1, 1), (1, 1, 1)])
def test_blocks_of_one_voxel_or_two(shape):
    solution = conduct_network(label_network(np.ones(shape, int), {1: 2.0}, cubes(shape), 0))
    assert float(solution.value[0]) == pytest.approx(2.0, rel=2e-7)


def test_any_unit_of_conductivity_gives_the_same_digits(random_image):
    phases = from_labels(random_image, cubes(random_image.shape), {0: "a", 1: "b", 2: "c"})
    k = jnp.asarray([0.2, 0.3, 1.0])
    run = effective_conductivity
    plain, tiny = run(phases, k, 1).value[0], run(phases, 1e-12 * k, 1).value[0]
    assert float(tiny) == pytest.approx(1e-12 * float(plain), rel=1e-6)


def test_a_process_in_float32_agrees():
    code = """
import numpy as np, jax, jax.numpy as jnp
assert not jax.config.jax_enable_x64
from microstructure.grid import Grid
from microstructure.voxel import from_labels
from solver.transport.effective import conduct_network, effective_conductivity, label_network
image = np.zeros((12, 12, 12), int)
image[2:6] = 1
grid = Grid(image.shape, jnp.full(3, 1e-6))
labels = conduct_network(label_network(image, {0: 1.0, 1: 5.0}, grid, 0))
phases = from_labels(image, grid, {0: "a", 1: "b"})
k = jnp.asarray([1.0, 5.0])
value, gradient = jax.value_and_grad(lambda k: effective_conductivity(phases, k, 0).value[0])(k)
print(labels.value[0].dtype, float(labels.value[0]), float(value), *map(float, gradient))
"""
    options = ["-W", "error"]
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    dtype, *numbers = done.stdout.split()
    series = 15 / 11
    # d k / d k_i = (fraction_i / k_i^2) k^2
    wanted = [series, series, 8 / 12 * series**2, 4 / 12 / 25 * series**2]
    assert dtype == "float32"
    np.testing.assert_allclose(list(map(float, numbers)), wanted, rtol=1e-6)
