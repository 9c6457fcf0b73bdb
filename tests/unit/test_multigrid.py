"""The seven-point network and its V-cycle: conservation, symmetry, and a rate that does not depend on size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics import multigrid
from solver.numerics.flux import Faces, Plates, Wrap, apply, diagonal, difference, outflow
from solver.numerics.linear import conjugate_gradients
from solver.numerics.solution import Result

SHAPE = (31, 17, 13)


def _network(shape, seed=0, empty=0.3, sides=(None, None)):
    """Random conductances over two decades between plates; a part of the voxels conducts nothing."""
    rng = np.random.default_rng(seed)
    k = np.where(rng.random(shape) < empty, 0.0, 10 ** rng.uniform(-1, 1, shape))
    faces = []
    for axis in range(3):
        low, high = (np.take(k, np.arange(i, shape[axis] - 1 + i), axis) for i in (0, 1))
        faces.append(np.sqrt(low * high))
    plates = Plates(jnp.asarray(2 * k[:1]), jnp.asarray(2 * k[-1:]))
    return Faces(*map(jnp.asarray, faces), (plates, *sides))


def _joined(shape, seed=0):
    """The same, its sides joined to each other."""
    rng = np.random.default_rng(seed)
    links = (rng.random((shape[0], 1, shape[2])), rng.random((shape[0], shape[1], 1)))
    return _network(shape, seed, sides=tuple(Wrap(jnp.asarray(link)) for link in links))


def _dense(function, shape):
    size = int(np.prod(shape))
    eye = jnp.eye(size).reshape(size, *shape)
    return np.asarray(jax.jit(jax.vmap(function))(eye)).reshape(size, size)


@pytest.mark.parametrize("make", [_network, _joined])
def test_the_operator_is_symmetric_conservative_and_has_its_diagonal(make):
    faces = make((3, 4, 5))
    matrix = _dense(lambda x: apply(faces, x), (3, 4, 5))
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), np.asarray(diagonal(faces, float)).ravel(), rtol=1e-15)
    links = faces.ends[0].diagonal(3, 0, float) + jnp.zeros((3, 4, 5))
    np.testing.assert_allclose(matrix.sum(1), np.asarray(links).ravel(), atol=1e-13)
    assert np.linalg.eigvalsh(matrix).min() > -1e-13


def test_what_leaves_one_voxel_enters_the_next():
    field = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3, 2)))
    for axis in range(3):
        assert abs(jnp.sum(outflow(difference(field, axis), axis))) < 1e-14


@pytest.mark.parametrize("make, shape", [(_network, (5, 3, 7)), (_network, (1, 2, 9)), (_joined, (5, 3, 7))])
def test_the_v_cycle_is_symmetric_and_positive(make, shape):
    faces = make(shape, seed=3)
    matrix = _dense(multigrid.build(faces, coarsest=2, dtype=float), shape)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14 * np.abs(matrix).max())
    conducts = np.asarray(diagonal(faces, float)).ravel() > 0
    assert 0 < conducts.sum() < conducts.size
    values = np.linalg.eigvalsh(matrix[np.ix_(conducts, conducts)])
    assert values.min() > 1e-4 * values.max()


def test_the_v_cycle_is_positive_where_voxels_are_flat():
    """Chains of strongly joined cells have eigenvalues near 2, which many steps must not blow up."""
    faces, weak = _network((17, 6, 5), seed=5), Plates(*[0.01 * jnp.ones((17, 6, 1))] * 2)
    faces = Faces(faces.x, 0.02 * faces.y, 0.01 * faces.z, (None, None, weak))
    matrix = _dense(multigrid.build(faces, dtype=float), (17, 6, 5))
    conducts = np.asarray(diagonal(faces, float)).ravel() > 0
    values = np.linalg.eigvalsh(matrix[np.ix_(conducts, conducts)])
    assert values.min() > 1e-6 * values.max()


def test_the_v_cycle_is_symmetric_on_larger_odd_shapes():
    faces = _network(SHAPE, seed=4)
    rng = np.random.default_rng(6)
    x, y = (jnp.asarray(rng.normal(size=SHAPE)) for _ in range(2))
    cycled = jax.jit(lambda faces, a: multigrid.build(faces, dtype=float)(a))
    one, other = float(jnp.vdot(x, cycled(faces, y))), float(jnp.vdot(y, cycled(faces, x)))
    assert one == pytest.approx(other, rel=1e-12)
    assert float(jnp.vdot(x, cycled(faces, x))) > 0


@jax.jit
def _solve(faces, x):
    b = apply(faces, x)
    cycle = multigrid.build(faces)
    solution = conjugate_gradients(lambda v: apply(faces, v), b, preconditioner=cycle, rtol=1e-10)
    return solution, jnp.linalg.norm((b - apply(faces, solution.value)).ravel()) / jnp.linalg.norm(b.ravel())


def _steps(faces):
    x = jnp.asarray(np.random.default_rng(2).normal(size=faces.shape))
    solution, residual = _solve(faces, x)
    assert solution.result == Result.successful
    assert residual < 1e-8
    return int(solution.stats["steps"])


def _uniform(shape):
    plate = 2 * jnp.ones((1, *shape[1:]))
    inner = (jnp.ones([n - (a == axis) for a, n in enumerate(shape)]) for axis in range(3))
    return Faces(*inner, (Plates(plate, plate), None, None))


def test_steps_hardly_depend_on_size_odd_or_even():
    steps = {shape: (_steps(_uniform(shape)), _steps(_network(shape))) for shape in ((8, 8, 8), SHAPE, (32, 32, 32))}
    print(steps)
    uniform, rough = zip(*steps.values(), strict=True)
    assert max(uniform) <= 15
    assert max(rough) <= 26
    assert max(uniform) <= min(uniform) + 4
