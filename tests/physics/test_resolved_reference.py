"""The reference of the resolved cell against closed forms: it may only judge the solver when it is right itself."""

import dataclasses

import numpy as np
import pytest

from tests.resolved_reference import (
    CHEN_CURRENT,
    CHEN_TIMES,
    CHEN_VOLTAGES,
    FARADAY,
    FULL_VOLTAGES,
    GAS_CONSTANT,
    STEEP_VOLTAGES,
    Layer,
    chen_graphite_slab,
    chen_stack,
    slab_surface,
    sphere_in_shell,
    sphere_reaction,
    sphere_surface,
    steep_diffusivity,
)


def test_frozen_voltages_and_their_error():
    for stack, frozen in (
        (chen_stack(), CHEN_VOLTAGES),
        (chen_stack(steep_diffusivity), STEEP_VOLTAGES),
        (chen_stack(second=chen_graphite_slab()), FULL_VOLTAGES),
    ):
        voltage, error = stack.refined(CHEN_CURRENT, CHEN_TIMES)
        assert error < 1e-9
        np.testing.assert_allclose(voltage, frozen, rtol=0, atol=2e-9)


def test_slab_follows_the_series_and_lithium_is_kept():
    stack = chen_stack()
    run = stack.discharge(CHEN_CURRENT, CHEN_TIMES)
    gain = CHEN_CURRENT / FARADAY * stack.slab / 4e-15
    exact = stack.initial + gain * np.array([slab_surface(4e-15 * t / stack.slab**2) for t in CHEN_TIMES])
    np.testing.assert_allclose(run.surface, exact, rtol=1e-9)
    assert run.balance < 1e-13
    steep = chen_stack(steep_diffusivity).discharge(CHEN_CURRENT, CHEN_TIMES)
    assert steep.balance < 1e-13


def test_spheres_follow_their_series():
    """Values of the eigenvalue series, and of its limits for short and for long times."""
    for time, exact in ((0.001, 0.0367067803), (0.01, 0.1236433542), (0.1, 0.4867616864), (1.0, 3.2)):
        assert sphere_surface(time) == pytest.approx(exact, abs=1e-9)
    assert slab_surface(1e-4) == pytest.approx(2.0 * np.sqrt(1e-4 / np.pi), rel=1e-5)


def test_steady_salt_has_the_slope_of_the_transference_number():
    """Constant coefficients, long after the start: a straight profile over two layers, and its diffusion potential."""
    layers = (Layer(20e-6, 0.39, 0.25), Layer(10e-6))
    stack = dataclasses.replace(
        chen_stack(layers=layers),
        salt_diffusivity=lambda c: 3e-10 + 0.0 * c,
        conductivity=lambda c: 1.0 + 0.0 * c,
        slab=1e-3,
        solid_diffusivity=lambda c: 1e-9 + 0.0 * c,
    )
    run = stack.discharge(CHEN_CURRENT, [50.0])
    slope = (1.0 - stack.transference) * CHEN_CURRENT / FARADAY / 3e-10
    across = slope * (20e-6 / 0.25 + 10e-6)
    salt = run.salt[1][:, 0]
    assert salt[0] - salt[-1] == pytest.approx(across, rel=1e-8)
    diffusion = 2.0 * (1.0 - stack.transference) * GAS_CONSTANT * 298.15 / FARADAY * np.log(salt[0] / salt[-1])
    assert run.losses["electrolyte, diffusion"][0] == pytest.approx(diffusion, rel=1e-10)
    assert run.losses["electrolyte, ohmic"][0] == pytest.approx(CHEN_CURRENT * (20e-6 / 0.25 + 10e-6), rel=1e-10)


def test_cut_off_is_where_the_voltage_is():
    stack = chen_stack()
    end = stack.time_to(3.6, CHEN_CURRENT, 100.0)
    assert 60.0 < end < 100.0
    assert stack.discharge(CHEN_CURRENT, [end]).voltage[0] == pytest.approx(3.6, abs=1e-8)


def test_sphere_in_a_shell_between_its_limits():
    """Slow kinetics need no current in the electrolyte; fast kinetics leave only its resistance."""
    slow = sphere_in_shell(5e-6, 1e-5, 1.0, 1e-6, 0.05)
    assert slow == pytest.approx(sphere_reaction(5e-6, 1e-6, 0.05), rel=1e-6)
    fast = sphere_in_shell(5e-6, 1e-5, 1.0, 1e12, 0.05)
    assert fast == pytest.approx(0.05 * 4.0 * np.pi / (1 / 5e-6 - 1 / 1e-5), rel=1e-6)
