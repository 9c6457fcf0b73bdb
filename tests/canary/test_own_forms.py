"""The house's own stencil forms: compiled equals eager, and both equal a matrix written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics import multigrid
from solver.numerics.flux import Faces, Plates, apply, diagonal

SHAPE = (7, 5, 3)  # odd, prime and unequal


def _faces(rng) -> Faces:
    """Random conductances, one in five zero, with plates at both ends of axis 0."""

    def draw(*shape):
        return jnp.asarray(rng.random(shape) * (rng.random(shape) > 0.2))

    nx, ny, nz = SHAPE
    plates = Plates(*(jnp.asarray(rng.random((1, ny, nz)) + 0.1) for _ in range(2)))
    return Faces(draw(nx - 1, ny, nz), draw(nx, ny - 1, nz), draw(nx, ny, nz - 1), (plates, None, None))


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(1)
    return _faces(rng), jnp.asarray(rng.standard_normal(SHAPE)), jnp.asarray(rng.standard_normal(SHAPE))


def _matrix(faces: Faces) -> np.ndarray:
    """The network as a dense matrix, one face at a time."""
    number = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    links = np.zeros(SHAPE)
    links[0], links[-1] = faces.ends[0].low[0], faces.ends[0].high[0]
    out = np.diag(links.ravel())
    for axis, conductance in enumerate(faces.interior):
        low = np.take(number, range(SHAPE[axis] - 1), axis).ravel()
        high = np.take(number, range(1, SHAPE[axis]), axis).ravel()
        for i, j, g in zip(low, high, np.asarray(conductance).ravel(), strict=True):
            out[i, i] += g
            out[j, j] += g
            out[i, j] -= g
            out[j, i] -= g
    return out


def test_stencil_equals_its_matrix(network):
    faces, x, _ = network
    matrix = _matrix(faces)
    np.testing.assert_allclose(np.asarray(jax.jit(apply)(faces, x)).ravel(), matrix @ np.asarray(x).ravel(), atol=2e-15)
    np.testing.assert_allclose(np.asarray(diagonal(faces, float)).ravel(), np.diag(matrix), atol=1e-15)


def test_stencil_compiled_equals_eager(network):
    faces, x, _ = network
    with jax.disable_jit():
        eager = apply(faces, x)
    np.testing.assert_allclose(np.asarray(jax.jit(apply)(faces, x)), np.asarray(eager), rtol=0, atol=2e-15)


def test_gradient_of_the_stencil_compiled_equals_eager(network):
    faces, x, y = network

    def power(faces, x):
        return jnp.sum(y * apply(faces, x))

    with jax.disable_jit():
        eager = jax.grad(power, argnums=(0, 1))(faces, x)
    compiled = jax.jit(jax.grad(power, argnums=(0, 1)))(faces, x)
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=4e-15)


def test_stencil_over_many_fields_at_once(network):
    faces, x, y = network
    both = jax.jit(jax.vmap(apply, in_axes=(None, 0)))(faces, jnp.stack([x, y]))
    np.testing.assert_allclose(np.asarray(both[1]), np.asarray(apply(faces, y)), rtol=0, atol=2e-15)


def _precondition(faces, x):
    return multigrid.build(faces, dtype=float)(x)


def test_v_cycle_is_symmetric_and_positive(network):
    faces, x, y = network
    cycle = jax.jit(_precondition)
    mx, my = np.asarray(cycle(faces, x)), np.asarray(cycle(faces, y))
    scale = np.linalg.norm(mx) * np.linalg.norm(y)
    assert abs(np.vdot(y, mx) - np.vdot(x, my)) < 1e-14 * scale
    assert np.vdot(x, mx) > 0 and np.vdot(y, my) > 0


def test_v_cycle_compiled_equals_eager(network):
    faces, x, _ = network
    with jax.disable_jit():
        eager = _precondition(faces, x)
    compiled = jax.jit(_precondition)(faces, x)
    np.testing.assert_allclose(np.asarray(compiled), np.asarray(eager), rtol=0, atol=1e-13)
