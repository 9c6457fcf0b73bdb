"""The seven-point network and its V-cycle: conservation, symmetry, and a rate that does not depend on size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics import multigrid
from solver.numerics.flux import Faces, apply, diagonal, difference, outflow
from solver.numerics.linear import conjugate_gradients
from solver.numerics.solution import Result


def _network(shape, seed=0, empty=0.3):
    """Random conductances over two decades; a part of the voxels conducts nothing."""
    rng = np.random.default_rng(seed)
    k = np.where(rng.random(shape) < empty, 0.0, 10 ** rng.uniform(-1, 1, shape))
    faces = []
    for axis in range(3):
        low, high = (np.take(k, np.arange(i, shape[axis] - 1 + i), axis) for i in (0, 1))
        faces.append(np.sqrt(low * high))
    plate = np.zeros(shape)
    plate[0] += 2 * k[0]
    plate[-1] += 2 * k[-1]
    return Faces(*map(jnp.asarray, faces), jnp.asarray(plate))


def _dense(function, shape):
    size = int(np.prod(shape))
    eye = jnp.eye(size).reshape(size, *shape)
    return np.asarray(jax.jit(jax.vmap(function))(eye)).reshape(size, size)


def test_the_operator_is_symmetric_conservative_and_has_its_diagonal():
    faces = _network((3, 4, 5))
    matrix = _dense(lambda x: apply(faces, x), (3, 4, 5))
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), np.asarray(diagonal(faces)).ravel(), rtol=1e-15)
    np.testing.assert_allclose(matrix.sum(1), np.asarray(faces.plate).ravel(), atol=1e-13)
    assert np.linalg.eigvalsh(matrix).min() > -1e-13


def test_what_leaves_one_voxel_enters_the_next():
    field = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3, 2)))
    for axis in range(3):
        assert abs(jnp.sum(outflow(difference(field, axis), axis))) < 1e-14


@pytest.mark.parametrize("shape", [(5, 3, 7), (1, 2, 9), (4, 4, 4)])
def test_the_v_cycle_is_symmetric_and_positive(shape):
    faces = _network(shape, seed=3)
    cycle = multigrid.build(faces, coarsest=2)
    matrix = _dense(cycle, shape)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12 * np.abs(matrix).max())
    conducts = np.asarray(diagonal(faces)).ravel() > 0
    values = np.linalg.eigvalsh(matrix[np.ix_(conducts, conducts)])
    assert values.min() > 1e-4 * values.max()
    assert np.all(matrix[~conducts] == 0)


def _steps(shape, faces=None):
    faces = _network(shape) if faces is None else faces
    x = jnp.asarray(np.random.default_rng(2).normal(size=shape))
    b = apply(faces, x)

    def solve(faces, b):
        return conjugate_gradients(lambda v: apply(faces, v), b, preconditioner=multigrid.build(faces), rtol=1e-10)

    solution = jax.jit(solve)(faces, b)
    assert solution.result == Result.successful
    residual = np.asarray(b - apply(faces, solution.value))
    assert np.linalg.norm(residual) < 1e-8 * np.linalg.norm(np.asarray(b))
    return int(solution.stats["steps"])


def test_odd_and_prime_sizes_converge_like_even_ones():
    even, odd = _steps((32, 16, 16)), _steps((31, 17, 13))
    print("steps", even, odd)
    assert odd <= even + 4
    assert even <= 30


def test_steps_hardly_grow_with_size():
    def uniform(n):
        one = np.ones((n,) * 3)
        plate = np.zeros_like(one)
        plate[0] = plate[-1] = 2
        return Faces(*(jnp.asarray(np.delete(one, 0, axis)) for axis in range(3)), jnp.asarray(plate))

    steps = [_steps((n,) * 3, uniform(n)) for n in (8, 32)]
    print("steps", steps)
    assert steps[1] <= 1.5 * steps[0]
