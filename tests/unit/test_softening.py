"""Binder at roll temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.particles import bond
from solver.particles.beam import Beam
from solver.particles.bond import Binder
from solver.particles.softening import Softening, warmed
from solver.particles.viscoelastic import ViscoelasticBinder

HOT = 353.15


def test_modulus_and_relaxation_times():
    """Half the modulus after span log 2; times by Arrhenius: 135 kJ/mol from 23 C to 80 C is a factor exp(-8.849)."""
    softening = Softening()
    assert float(softening.share(296.15 + 75 * np.log(2))) == pytest.approx(0.5, rel=1e-12)
    assert float(jnp.log(softening.shift(HOT))) == pytest.approx(-8.849, abs=1e-3)
    share = np.exp(-57 / 75)
    film, beam, disc = (warmed(b, HOT) for b in (Binder(fracture_stress=80e6), Beam(), ViscoelasticBinder()))
    assert float(film.modulus) == pytest.approx(2e9 * share) and float(film.strength) == pytest.approx(50e6 * share)
    assert float(film.fracture_stress) == pytest.approx(80e6 * share)
    assert float(beam.modulus) == pytest.approx(2e9 * share) and float(beam.shear_strength) == pytest.approx(
        50e6 * share
    )
    assert float(disc.yield_stress) == pytest.approx(200e6 * share)
    times = ViscoelasticBinder().relaxation.times
    np.testing.assert_allclose(disc.relaxation.times / times, softening.shift(HOT), rtol=1e-12)


def test_at_the_reference_nothing_changes():
    cold = warmed(ViscoelasticBinder(), Softening().reference)
    for a, b in zip(jax.tree.leaves(cold), jax.tree.leaves(ViscoelasticBinder()), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_yield_strain_is_kept_and_the_force_differentiable():
    """The force of a bridge falls with temperature as its modulus; its slope against central differences."""
    direction = jnp.asarray([[1.0, 0.0, 0.0]])

    def force(temperature):
        constants = bond.bridges(warmed(Binder(), temperature), jnp.asarray([5e-6]), jnp.ones(1), direction)
        u = 5e-7 * direction  # a strain of 0.2: beyond yield
        return bond.forces(u, bond.flow(u, bond.fresh(constants), constants), constants)[0, 0]

    value = jax.jit(force)
    assert float(value(HOT) / value(296.15)) == pytest.approx(np.exp(-57 / 75), rel=1e-12)
    slope = float(jax.jit(jax.grad(force))(HOT))
    assert slope == pytest.approx(float(value(HOT + 1e-3) - value(HOT - 1e-3)) / 2e-3, rel=1e-8)
    assert slope == pytest.approx(-float(value(HOT)) / 75, rel=1e-12)


def test_bad_input_is_a_sentence():
    with pytest.raises(ValueError, match="`temperature` must lie between 250 and 440 K, but 80 K was given"):
        warmed(Binder(), 80.0)
    with pytest.raises(ValueError, match="`span`"):
        Softening(span=0.0)
