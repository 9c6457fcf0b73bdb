"""Conjugate gradients: solutions, derivatives of every kind, singular systems, and how a solve ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics.linear import EnergyStop, conjugate_gradients, linear_solve
from solver.numerics.precise import vdot
from solver.numerics.solution import Result, SolveError, raise_unless_successful

N = 7


def _spd(seed):
    root = np.random.default_rng(seed).normal(size=(N, N))
    return jnp.asarray(root @ root.T + N * np.eye(N))


@pytest.fixture(scope="module")
def system():
    rng = np.random.default_rng(5)
    return _spd(0), jnp.asarray(rng.normal(size=N)), _spd(1), jnp.asarray(rng.normal(size=N))


def _iterative(matrix, b):
    scale = 1 / jnp.diag(matrix)
    return linear_solve(lambda x: matrix @ x, b, preconditioner=lambda r: scale * r, rtol=1e-13).value


def _direct(matrix, b):
    return jnp.linalg.solve(matrix, b)


def test_solution_is_that_of_the_direct_solve(system):
    matrix, b, *_ = system
    np.testing.assert_allclose(jax.jit(_iterative)(matrix, b), _direct(matrix, b), rtol=1e-11)


def test_jvp_and_vjp_in_matrix_and_right_hand_side(system):
    matrix, b, dmatrix, db = system
    tangents = [jax.jit(lambda f=f: jax.jvp(f, (matrix, b), (dmatrix, db))[1])() for f in (_iterative, _direct)]
    np.testing.assert_allclose(*tangents, rtol=1e-10)
    cotangents = []
    for f in (_iterative, _direct):
        # the operator is symmetric by contract: only the symmetric part of the derivative is defined
        dm, dv = jax.jit(lambda f=f: jax.vjp(f, matrix, b)[1](db))()
        cotangents.append((dm + dm.T, dv))
    for ours, plain in zip(*cotangents, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-10, atol=1e-13)


def test_hessian_is_that_of_the_direct_solve(system):
    matrix, b, dmatrix, db = system

    def along(f):
        def number(s):
            return jnp.sum(f(matrix + s[0] * dmatrix + s[1] ** 2 * jnp.eye(N), b + s[1] * db) ** 3)

        return jax.jit(jax.hessian(number))(jnp.asarray([0.1, 0.2]))

    np.testing.assert_allclose(along(_iterative), along(_direct), rtol=1e-10)


def test_vmap_solves_each_system_to_its_own_end(system):
    matrix, b, other, c = system
    matrices, sides = jnp.stack([matrix, 1e3 * other]), jnp.stack([b, c])
    values = jax.jit(jax.vmap(_iterative))(matrices, sides)
    np.testing.assert_allclose(values, jax.vmap(_direct)(matrices, sides), rtol=1e-11)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(jax.vmap(_iterative)(matrices, v) ** 2)))(sides)
    plain = jax.grad(lambda v: jnp.sum(jax.vmap(_direct)(matrices, v) ** 2))(sides)
    np.testing.assert_allclose(gradient, plain, rtol=1e-10)


def _ring(x):
    """The Laplacian of a closed ring: constants are its null space."""
    return 2 * x - jnp.concatenate([x[1:], x[:1]]) - jnp.concatenate([x[-1:], x[:-1]])


def test_a_singular_system_is_solved_where_it_is_consistent():
    b = np.random.default_rng(2).normal(size=12)
    b = jnp.asarray(b - b.mean())
    solution = jax.jit(lambda v: linear_solve(_ring, v, rtol=1e-13))(b)
    x = raise_unless_successful(solution, "ring")
    np.testing.assert_allclose(_ring(x), b, atol=1e-12)
    assert abs(x.mean()) < 1e-13  # started from zero, the iteration never leaves the range
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(linear_solve(_ring, v - jnp.mean(v), rtol=1e-13).value ** 2)))(b)
    ring = np.asarray(jax.jacobian(_ring)(b))
    np.testing.assert_allclose(gradient, 2 * np.linalg.pinv(ring) @ np.asarray(x), atol=1e-11)


def test_it_works_on_trees_and_exactly_solves_in_as_many_steps_as_there_are_eigenvalues():
    b = {"a": jnp.arange(1.0, 4.0), "b": jnp.asarray([2.0])}
    solution = conjugate_gradients(lambda t: {"a": 2 * t["a"], "b": 5 * t["b"]}, b, rtol=1e-14)
    np.testing.assert_allclose(solution.value["a"], b["a"] / 2, rtol=1e-14)
    np.testing.assert_allclose(solution.value["b"], b["b"] / 5, rtol=1e-14)
    assert solution.stats["steps"] == 2


def test_the_end_of_a_solve_is_reported(system):
    matrix, b, *_ = system
    short = conjugate_gradients(lambda x: matrix @ x, b, rtol=1e-12, max_steps=2)
    assert short.result == Result.max_steps and short.stats["steps"] == 2
    with pytest.raises(SolveError, match="columns: The solver took its allowed number of steps"):
        raise_unless_successful(short, "columns")
    broken = conjugate_gradients(lambda x: matrix @ x, b.at[0].set(jnp.nan))
    assert broken.result == Result.not_finite
    nothing = conjugate_gradients(lambda x: matrix @ x, jnp.zeros_like(b))
    assert nothing.result == Result.successful and nothing.stats["steps"] == 0
    np.testing.assert_array_equal(nothing.value, 0)


def test_the_energy_stops_early_and_its_drop_bounds_the_error():
    matrix = jnp.asarray(np.diag(np.linspace(1.0, 50.0, 40)) + 0.2)
    b = jnp.ones(40)
    exact = -float(b @ _direct(matrix, b))
    stop = EnergyStop(1e-3, 0.0, delay=2)
    early = conjugate_gradients(lambda x: matrix @ x, b, rtol=1e-14, energy_stop=stop)
    full = conjugate_gradients(lambda x: matrix @ x, b, rtol=1e-14)
    assert early.result == Result.successful
    assert early.stats["steps"] < 0.5 * full.stats["steps"]
    x = early.value
    energy = float(x @ (matrix @ x) - 2 * b @ x)
    assert 0 <= energy - exact <= float(early.stats["energy_drop"]) <= 1e-3 * abs(energy)


def test_dot_products_of_float32_are_accumulated_in_float64():
    a = jnp.full(2**21, 0.1, jnp.float32)
    total = jax.jit(vdot)(a, jnp.ones_like(a))
    assert total.dtype == jnp.float32
    assert float(total) == pytest.approx(2**21 * float(np.float32(0.1)), rel=6e-8)
