"""The stiffness of a pressed film of spheres against effective-medium theory (reference `dem`, V18)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import candidate_pairs
from solver.process.calender import Calendering, advance, prepare
from solver.process.settle import settled_film
from solver.process.stiffness import stiffness
from solver.process.texture import texture

COUNT, FRACTION, THICKNESS, MODULUS, POISSON = 64, 0.58, 36e-6, 140e9, 0.3


@pytest.mark.slow
def test_v18_bulk_modulus_is_below_that_of_walton():
    """V18, Walton 1987 and Digby 1981 without slip: K = (Z^2 phi^2 G^2 P / (18 pi^2 (1 - nu)^2))^(1/3) is an upper
    bound, since every particle moves with the mean strain; packings are 10 to 50 % softer.

    K is the mean of the nine entries of the matrix of normal stresses over normal strains, P a third of the trace.
    """
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(5), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / FRACTION / THICKNESS))
    film = settled_film(jax.random.key(6), radii, jnp.asarray([THICKNESS, width, width])).value
    elastic, no_binder = ContactLaw(MODULUS, POISSON, 1e15), Binder(modulus=0.0, background=0.0)
    method = Calendering(load=6, unload=1, tie=1e-3)

    @eqx.filter_jit
    def pressed(film, pairs, gap):
        press = prepare(film, pairs, gap, elastic, no_binder, method, Friction(0.3, 0.3))
        loading = jax.tree.map(lambda a: a[: method.load], press.stages)
        carry, _ = lax.scan(lambda carry, stage: advance(press, carry, stage), press.first, loading)
        return texture(press, carry), stiffness(press, carry), carry[3]

    seen, response, result = pressed(film, candidate_pairs(film), jnp.asarray(THICKNESS * FRACTION / 0.72))
    assert bool(result == Result.successful) and bool(response.result == Result.successful)
    shear, pressure = MODULUS / (2 * (1 + POISSON)), float(jnp.trace(seen.film)) / 3
    squared = (float(seen.coordination) * 0.72 * shear) ** 2
    bound = (squared * pressure / (18 * np.pi**2 * (1 - POISSON) ** 2)) ** (1 / 3)
    assert 0.5 < float(jnp.mean(response.value.matrix)) / bound < 0.9
