"""Yield pressure, binder modulus and strength from a noisy curve of pressing, by gradient. See docs/calendering.md."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

from inverse.fit import LevenbergMarquardt, estimate, fit, forward  # noqa: E402
from inverse.space import Leaf, Logarithmic, Space, Variable  # noqa: E402
from microstructure.sizes import LogNormal, sample, unit_draws  # noqa: E402
from solver.numerics.solution import raise_unless_successful  # noqa: E402
from solver.particles.bond import Binder  # noqa: E402
from solver.particles.contact import ContactLaw  # noqa: E402
from solver.particles.neighbours import candidate_pairs  # noqa: E402
from solver.process.calender import Calendering, calender  # noqa: E402
from solver.process.settle import settled_film  # noqa: E402

truth = {"yield": 2.5e9, "modulus": 1.5e9, "strength": 80e6}  # Pa: of contacts, of the binder
noise = np.repeat([0.03, 5e-4], [8, 3])  # of the logarithm of the pressure, of the recovered thickness over the gap


def film(seed):
    draw, place = jax.random.split(jax.random.key(seed))
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(draw, 100))
    width = jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.47 / 50e-6)
    packing = raise_unless_successful(settled_film(place, radii, jnp.stack([50e-6, width, width])), "The film")
    return packing, candidate_pairs(packing)


@eqx.filter_jit
def curve(p, packing, pairs):
    law, binder = ContactLaw(yield_pressure=p["yield"]), Binder(p["modulus"], strength=p["strength"])
    method = Calendering(release=5e6, load=8, unload=3)
    pressed = calender(packing, pairs, 36e-6, law, binder, method).value  # frictionless; from 50 um in 8 steps
    return jnp.concatenate([jnp.log(pressed.pressure[1:9]), pressed.thickness[9:] / 36e-6 - 1])


measured = curve(truth, *film(100)) + noise * np.random.default_rng(0).standard_normal(11)
films = [film(seed) for seed in range(8)]  # the model: the mean of other packings
bounds = {"yield": (0.5e9, 10e9, 4e9), "modulus": (0.2e9, 10e9, 3e9), "strength": (10e6, 400e6, 40e6)}
free = [Variable(k, "Pa", *b, Leaf(lambda p, k=k: p[k]), Logarithmic()) for k, b in bounds.items()]
space = Space({k: jnp.asarray(start) for k, (_, _, start) in bounds.items()}, free)
# Packings differ along the whole curve at once: that scatter is an error of the model, and its points share it.
scatter = np.cov(np.stack([curve(space.base, *f) for f in films]).T)
covariance = np.diag(noise**2) + (1 + 1 / len(films)) * scatter
weights = 1 / np.sqrt(np.diag(covariance))
method = LevenbergMarquardt(jacobian=forward, tolerance=1e-4)
solution = fit(lambda p: sum(curve(p, *f) for f in films) / len(films) - measured, space, weights, method)
known = estimate(raise_unless_successful(solution, "The fit"), covariance, degrees=len(films) - 1)
for k, v in known.values.items():
    print(f"{k}: {v:.3g} Pa, 95 % from {known.low[k]:.3g} to {known.high[k]:.3g}; true {truth[k]:.3g}")
