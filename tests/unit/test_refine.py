"""Iterative refinement: to the digits asked for, past a correction that fails, and not for ever."""

import jax.numpy as jnp
import numpy as np

from solver.numerics.refine import refined
from solver.numerics.solution import Result

MATRIX = jnp.asarray([[4.0, 1.0], [0.5, 3.0]])
B = jnp.asarray([0.0, 1.0])


def _solved(error, **given):
    """With corrections that leave `error` times the residual they are made for."""
    inverse = jnp.linalg.inv(MATRIX) @ (jnp.eye(2) - jnp.asarray(error))
    return refined(lambda x: MATRIX @ x, B, lambda r: inverse @ r, **given)


def test_a_rough_solver_is_refined_to_the_digits_asked_for():
    found = _solved([[3e-4, 0.0], [0.0, 3e-4]], rtol=1e-12)
    assert found.result == Result.successful and int(found.stats["steps"]) == 4
    np.testing.assert_allclose(found.value, jnp.linalg.solve(MATRIX, B), rtol=1e-11)


def test_a_correction_that_fails_is_followed_by_one_that_does_not():
    """The first one trebles the residual, the second leaves a fiftieth of that."""
    found = _solved([[0.01, 3.0], [0.0, 0.01]], rtol=1e-10)
    assert found.result == Result.successful
    np.testing.assert_allclose(found.value, jnp.linalg.solve(MATRIX, B), rtol=1e-9)


def test_where_nothing_helps_the_best_is_returned():
    found = _solved([[0.9, 0.0], [0.0, 0.9]], rtol=1e-10)
    assert found.result == Result.max_steps and int(found.stats["steps"]) == 2
    np.testing.assert_allclose(found.stats["residual"], 0.81, rtol=1e-9)
    worse = _solved([[0.0, 0.0], [0.0, 3.0]], rtol=1e-10)
    np.testing.assert_allclose(worse.value, 0.0)
