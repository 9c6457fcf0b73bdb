"""Particles, electrodes and time steps of the cell against closed forms, with the observed orders."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from microstructure.units import faraday, gas_constant
from solver.cell.cell import Cell, Electrode, LithiumMetal, Separator, covered
from solver.cell.discretise import Mesh, build, rest
from solver.cell.galvanostatic import Galvanostatic
from solver.cell.library import chen2020
from solver.electrochemistry.electrolyte import Electrolyte
from solver.electrochemistry.intercalation import Intercalation, sphere_modes, sphere_profile
from solver.electrochemistry.kinetics import InsertionKinetics, MetalKinetics, overpotential
from solver.electrochemistry.laws import Constant
from solver.numerics.block_tridiagonal import solve_blocks, transpose_blocks

THERMAL = gas_constant * 298.15 / faraday


# --- particles ------------------------------------------------------------------------------------------------------


def surface_drop(count, time):
    """(c0 - c_s) D F / (j R) of the unit sphere under constant flux."""
    rates, values = sphere_modes(count)
    growth = np.where(rates > 0, -np.expm1(-rates * time) / np.where(rates > 0, rates, 1.0), time)
    return np.sum(3 * values**2 * growth)


@pytest.mark.parametrize("time, expected", [(0.001, 0.0367067803), (0.01, 0.1236433542), (0.1, 0.4867616864), (1, 3.2)])
def test_sphere_under_constant_flux(time, expected):
    assert surface_drop(20, time) == pytest.approx(expected, rel=1e-7)


def test_sphere_converges_faster_than_any_power():
    roots = [brentq(lambda x: np.sin(x) - x * np.cos(x), n * np.pi, n * np.pi + np.pi / 2) for n in range(1, 400)]
    exact = 3 * 0.01 + 0.2 - 2 * sum(np.exp(-(root**2) * 0.01) / root**2 for root in roots)
    coarse, fine = (abs(surface_drop(count, 0.01) - exact) for count in (6, 12))
    assert np.log2(coarse / fine) > 8 and fine < 1e-8


def test_sphere_surface_step():
    """Uptake after a step of the surface value, 1 - 6/pi^2 sum exp(-n^2 pi^2 T)/n^2, modes held at the surface."""
    rates, values = sphere_modes(20)
    # Flux N(t) that holds the surface at one: Laplace inversion by implicit Euler would be first order, so the
    # constrained system is solved by its own eigenproblem: dq/dt = -m q + v N, v.q = 1.
    normal = values / np.linalg.norm(values)
    basis = np.linalg.svd(np.eye(20) - np.outer(normal, normal))[0][:, :19]
    decay, vectors = np.linalg.eigh(basis.T @ np.diag(rates) @ basis)
    start = np.eye(20)[0]
    for time, expected in ((0.01, 0.3085137501), (0.1, 0.7704787380)):
        modes = vectors.T @ basis.T @ (-start)
        mean = (start + basis @ (vectors @ (np.exp(-decay * time) * modes)))[0]
        assert mean == pytest.approx(expected, rel=2e-4)


def test_profile_of_the_mean():
    profile = sphere_profile(jnp.eye(8)[:, :1] * 0.4, np.linspace(0, 1, 5))
    assert np.allclose(profile, 0.4, atol=1e-14)


# --- one porous electrode with linear kinetics -------------------------------------------------------------------


def linear_half_cell(diffusivity=3e-10):
    """A half-cell of constant properties: kappa 0.2, sigma 5 S/m, a = 2e5 1/m, j0 = 1 A/m2 at half filling."""
    material = Intercalation(30000.0, 1e-14, Constant(4.0), InsertionKinetics(2.0 / faraday))
    electrode = Electrode(1e-4, 0.3, 0.5, 2e5, 7.5e-6, 1.0, 5.0, material, 0.5, 0.5)
    electrolyte = Electrolyte(1000.0, Constant(diffusivity), Constant(0.2), 0.2594)
    return Cell(
        LithiumMetal(MetalKinetics(10.0)), Separator(2.5e-5, 0.5, 1.0), electrode, electrolyte, 298.15, 1.0, 2.0, 5.0
    )


def _galvanostatic(system):
    return Galvanostatic(system, jnp.asarray(0.0), jnp.asarray(1.0))


@eqx.filter_jit
def polarisation(cell, current, count):
    """Resistance of the positive electrode at the first instant, ohm m2."""
    system = build(cell, current, Mesh(separator=4, positive=count, particle=4))
    start, guess = rest(system, cell, jnp.asarray(1.0))
    w = _galvanostatic(system).solve(guess, start, jnp.asarray(0.0)).value
    metal = overpotential(current, jnp.asarray(10.0), jnp.asarray(THERMAL))
    return (4.0 - system.voltage(w) - metal) / current - 2.5e-5 / 0.2


def test_newman_tobias_electrode():
    """R = L/(kappa+sigma) [1 + (2 + (sigma/kappa + kappa/sigma) cosh nu) / (nu sinh nu)] (D.5), second order in x.

    The salt is made to spread at once, so that no layer at the lithium adds to the ohmic drop.
    """
    exact, counts = 1.454081542e-3, (8, 16, 32)
    errors = [abs(float(polarisation(linear_half_cell(3e-2), jnp.asarray(1e-3), n)) / exact - 1) for n in counts]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(orders > 1.8) and errors[-1] < 1e-4


def test_separator_profile_at_steady_state():
    """Against lithium the salt falls by (1 - t+) I L / (F D) across the separator (D.8)."""
    cell, current = linear_half_cell(), jnp.asarray(200.0)
    system = build(cell, current, Mesh(separator=10, positive=10, particle=4))
    start, guess = rest(system, cell, jnp.asarray(1.0))
    frozen = eqx.tree_at(lambda s: s.particles[0].gain, system, jnp.zeros(10))  # particles that never fill
    w = jax.jit(lambda s: _galvanostatic(s).solve(guess, start, jnp.asarray(1e7)).value)(frozen)
    c = np.asarray(w[:10])
    slope = (1 - 0.2594) * 200.0 / (faraday * 3e-10)
    assert np.allclose(np.diff(c) / 2.5e-6, -slope, rtol=1e-6)


def test_the_way_back_agrees_with_automatic_differentiation(backwards_error):
    cell = linear_half_cell()
    system = build(cell, jnp.asarray(50.0), Mesh(separator=3, positive=4, particle=3))
    past, guess = rest(system, cell, jnp.asarray(1.0))
    w = guess * (1 + 0.01 * jnp.asarray(np.sin(np.arange(guess.shape[0]))))
    errors = jax.jit(lambda *a: backwards_error(_galvanostatic(system), *a))(w, past, jnp.asarray(20.0))
    assert max(map(float, errors)) < 1e-9


def test_double_layers_hold_the_potential_of_rest():
    """The guess from rest is the consistent start itself: from a loaded one Newton's method leaves asinh for good."""
    cell = covered(chen2020(), 0.2, 0.3)
    system = build(cell, jnp.asarray(50.0), Mesh(3, 3, 3, 4))
    past, guess = rest(system, cell, jnp.asarray(1.0))
    assert float(jnp.max(jnp.abs(system.residual(guess, past, jnp.asarray(0.0))))) < 1e-13


def test_block_elimination():
    rng = np.random.default_rng(1)
    n = 7
    lower, upper = (jnp.asarray(rng.normal(size=(2, 2, n))) for _ in range(2))
    diagonal = jnp.asarray(rng.normal(size=(2, 2, n)) + 5 * np.eye(2)[:, :, None])
    dense = np.zeros((n, 2, n, 2))
    for i in range(n):
        dense[i, :, i] = diagonal[..., i]
        if i > 0:
            dense[i, :, i - 1] = lower[..., i]
        if i < n - 1:
            dense[i, :, i + 1] = upper[..., i]
    rhs = rng.normal(size=(2, n))
    for blocks, matrix in (
        ((lower, diagonal, upper), dense.reshape(2 * n, 2 * n)),
        (transpose_blocks(lower, diagonal, upper), dense.reshape(2 * n, 2 * n).T),
    ):
        x = jax.jit(solve_blocks)(*blocks, jnp.asarray(rhs))
        assert np.allclose(matrix @ np.asarray(x).T.ravel(), rhs.T.ravel(), atol=1e-12)
