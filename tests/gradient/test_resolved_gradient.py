"""Derivatives of a resolved discharge, to its geometry through the level sets and to its materials."""

import equinox as eqx
import pytest

from benchmarks import gradient_cell
from benchmarks.gradient_cell import GEOMETRY, NAMES

pytestmark = pytest.mark.slow  # compiles the whole march backwards


@pytest.fixture(scope="module")
def problem():
    """The figure, compiled, and its gradient."""
    figure = gradient_cell.figure()
    return eqx.filter_jit(figure), gradient_cell.gradient(figure)


@pytest.mark.parametrize("name", NAMES)
def test_a_derivative_is_the_central_difference(problem, name):
    figure, gradient = problem
    tolerance = 1e-4 if name in GEOMETRY else 1e-6
    wanted = gradient_cell.central_difference(figure, name)
    assert float(gradient[name]) == pytest.approx(wanted, rel=tolerance)
