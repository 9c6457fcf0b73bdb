"""Roots of residuals without a potential: the linear solver, the search, derivatives in both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics.equilibrium import NewtonCG, by_differentiation, equilibrium
from solver.numerics.newton_krylov import NewtonKrylov, balance, conjugate_residuals, general_solve
from solver.numerics.solution import Result

SIZE = 12
KEYS = jax.random.split(jax.random.key(3), 3)
MATRIX = 4 * jnp.eye(SIZE) + jax.random.normal(KEYS[0], (SIZE, SIZE)) / 2
RIGHT = jax.random.normal(KEYS[1], (SIZE,))
METHOD = NewtonKrylov(tolerance=1e-13, reach=10.0)


def residual(x, args):
    """Not symmetric, not linear, with a jump in its derivative where a component changes sign."""
    a, b = args
    return MATRIX @ x + a * x**3 + 2 * jnp.maximum(x, 0) - b


def model(x, args, sharpness):
    slope = 3 * args[0] * x**2 + 2.0 * jnp.where(x > 0, 1.0, 0.0)
    return (lambda v: MATRIX @ v + slope * v), (lambda r: r / (jnp.diag(MATRIX) + slope))


def test_conjugate_residuals_against_a_direct_solve():
    solution = conjugate_residuals(
        lambda v: MATRIX @ v, RIGHT, preconditioner=lambda r: r / 4, rtol=1e-12, max_steps=100, window=24
    )
    assert bool(solution.result == Result.successful)
    np.testing.assert_allclose(np.asarray(solution.value), np.linalg.solve(MATRIX, RIGHT), rtol=1e-10)
    # No more steps than unknowns when every direction is kept.
    assert int(solution.stats["steps"]) <= SIZE


def test_conjugate_residuals_say_when_they_fail():
    options = dict(preconditioner=lambda r: r, rtol=1e-12, max_steps=3, window=24)
    assert bool(conjugate_residuals(lambda v: MATRIX @ v, RIGHT, **options).result == Result.max_steps)


def test_transposed_solve():
    options = dict(preconditioner=lambda r: r / jnp.arange(3.0, 3.0 + SIZE), rtol=1e-13, max_steps=200, window=24)

    def solved(b):
        return general_solve(lambda v: MATRIX @ v, b, **options).value

    jacobian = np.asarray(jax.jacrev(solved)(RIGHT))
    np.testing.assert_allclose(jacobian, np.linalg.inv(MATRIX), atol=1e-11)


def test_root_and_both_derivatives_against_the_implicit_function_theorem():
    a = jnp.linspace(0.1, 1, SIZE)

    def solve(a, b):
        return balance(residual, jnp.zeros(SIZE), (a, b), METHOD, model).value

    x = solve(a, RIGHT)
    np.testing.assert_allclose(np.asarray(residual(x, (a, RIGHT))), 0, atol=1e-12)
    tangent = np.asarray(MATRIX + jnp.diag(3 * a * x**2 + 2.0 * jnp.where(x > 0, 1.0, 0.0)))
    exact = np.linalg.inv(tangent)
    np.testing.assert_allclose(np.asarray(jax.jacfwd(solve, argnums=1)(a, RIGHT)), exact, atol=1e-9)
    np.testing.assert_allclose(np.asarray(jax.jacrev(solve, argnums=1)(a, RIGHT)), exact, atol=1e-9)
    np.testing.assert_allclose(np.asarray(jax.jacrev(solve)(a, RIGHT)), -exact * np.asarray(x**3), atol=1e-9)


@pytest.mark.parametrize(("method", "message"), [(NewtonKrylov(steps=1), "allowed number of steps")])
def test_it_says_when_it_fails(method, message):
    solution = balance(residual, jnp.zeros(SIZE), (jnp.ones(SIZE), 30 * RIGHT), method, model)
    assert message in Result[solution.result]


def test_a_root_that_is_no_minimum_of_the_residual_norm_along_the_way():
    """A kinked scalar chain on which full Newton steps cycle between two sides: the blunt steps end it."""

    def kinked(x, args):
        return jnp.where(x > 0, x * args, 0.05 * args * x) - 0.02 * args * jnp.tanh(50 * (x - 0.3)) - 0.1

    def slopes(x, args, sharpness):
        slope = jnp.where(x > 0, args, 0.05 * args) - sharpness * 1.0 * args / jnp.cosh(50 * (x - 0.3)) ** 2
        return (lambda v: slope * v), (lambda r: r)

    solution = balance(kinked, jnp.full((1,), -0.4), jnp.asarray(1.0), METHOD, slopes)
    assert bool(solution.result == Result.successful)
    assert float(jnp.abs(kinked(solution.value, 1.0))[0]) < 1e-12


@pytest.mark.parametrize("kind", ["root", "minimum"])
def test_a_derivative_of_a_derivative(kind):
    """x^3 + x = a: x' = 1 / (1 + 3 x^2), x'' = -6 x x'^3. The outer derivative must see that the root moves."""

    def slope(x, a):
        return x**3 + x - a

    def there(a):
        if kind == "root":
            maps = lambda x, a, sharpness: (lambda v: (3 * x**2 + 1) * v, lambda r: r / (3 * x**2 + 1))  # noqa: E731
            return balance(slope, jnp.asarray([0.5]), a, METHOD, maps).value[0]
        energy = lambda x, a: jnp.sum(x**4 / 4 + x**2 / 2 - a * x)  # noqa: E731
        method = NewtonCG(tolerance=1e-13)
        return equilibrium(energy, jnp.asarray([0.5]), a, method, by_differentiation(energy)).value[0]

    a = jnp.asarray(2.0)
    x = there(a)
    first = 1 / (1 + 3 * x**2)
    found = jax.grad(lambda a: jax.jvp(there, (a,), (jnp.ones_like(a),))[1])(a)
    assert float(jax.grad(there)(a)) == pytest.approx(float(first), rel=1e-9)
    assert float(found) == pytest.approx(float(-6 * x * first**3), rel=1e-8)
