"""Drying of the film in one dimension: reference table, limits, conservation, order, gradients, CUDA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.numerics.solution import Result
from solver.process.drying import Drying, WetFilm, dry_film, peclet, shrinking_time, wet_film

# Solids from 0.30 to 0.60, constant evaporation: N = 800 cells, 8000 steps of an independent code
# (Peclet number, surface, bottom, share of the top tenth).
TABLE = [(0.1, 1.0672, 0.9675, 0.106), (1.0, 1.7980, 0.7120, 0.164), (10.0, 13.60, 0.28597, 0.615)]


def dried(number, cells=200, steps=200):
    film = WetFilm(1e-4, 0.5e-4, 0.3)
    return dry_film(film, Drying(number * 1e-6 * 1028.0, 1028.0, 1e-10, cells=cells, steps=steps))


@pytest.mark.parametrize("number, surface, bottom, share", TABLE)
def test_reference_table(number, surface, bottom, share):
    solution = jax.jit(dried)(number)
    mass = np.asarray(solution.value.mass)
    assert bool(solution.result == Result.successful)
    assert float(solution.stats["peclet"]) == pytest.approx(number, rel=1e-12)
    assert float(solution.value.surface()) == pytest.approx(surface, rel=1e-3)
    assert mass[0] == pytest.approx(bottom, rel=1e-3)
    assert mass[-20:].sum() / 200 == pytest.approx(share, abs=6e-4)
    assert float(solution.stats["mass_error"]) < 1e-12


def test_slow_drying_is_the_two_term_expansion():
    mass = np.asarray(dried(0.01).value.mass)
    local = 0.01 * 0.5 / 0.4**1.5
    assert mass[0] - 1 == pytest.approx(-local / 6, rel=0.02)


def test_fast_drying_leaves_the_bottom_at_the_liquid_left():
    assert float(dried(100.0).value.mass[0]) == pytest.approx(0.2 / 0.7, rel=1e-5)


def test_no_evaporation_leaves_the_binder_even():
    np.testing.assert_allclose(np.asarray(dried(0.0).value.mass), 1, atol=1e-5)


def test_second_order_in_time_and_space():
    fine = float(dried(1.0, 512, 512).value.surface())
    coarse = [abs(float(dried(1.0, n, n).value.surface()) - fine) for n in (32, 64)]
    assert np.log2(coarse[0] / coarse[1]) > 1.7


def test_wet_film_of_a_recipe():
    # 96/2/2 NMC, carbon, PVDF at 71 % solids: the solids-to-wet shrinkage of the reference page, 0.731 at 50 %.
    film = wet_film(0.2, [0.96, 0.02, 0.02], [4650.0, 1800.0, 1780.0], [0.0, 0.0, 1.0], 0.71, 1028.0, 0.5)
    assert float(film.dried / film.thickness) == pytest.approx(0.731, abs=2e-3)
    assert float(film.solid) == pytest.approx(0.3297 + 0.0177, abs=1e-3)


def test_a_film_that_cannot_shrink_is_refused():
    with pytest.raises(ValueError, match="must lie between the solids' own thickness"):
        WetFilm(1e-4, 0.2e-4, 0.3)


def test_gradient_against_central_differences():
    def surface(v):
        film = WetFilm(v[1] * 1e-4, v[1] * v[2] * 0.5e-4, 0.3)
        return dry_film(film, Drying(v[0] * 1e-3, 1028.0, v[3] * 1e-10)).value.surface()

    at = jnp.ones(4)
    value, gradient = jax.jit(jax.value_and_grad(surface))(at)
    evaluate = jax.jit(surface)
    for k in range(4):
        e = jnp.zeros(4).at[k].set(1e-5)
        assert float(gradient[k]) == pytest.approx(float((evaluate(at + e) - evaluate(at - e)) / 2e-5), rel=1e-6)
    # Only the Peclet number and the shrinkage matter.
    assert float(gradient[0] + gradient[3]) == pytest.approx(0, abs=1e-9)


def test_peclet_number():
    assert float(peclet(WetFilm(150e-6, 75e-6, 0.3), Drying(0.5e-3, 1028.0, 1e-10))) == pytest.approx(0.73, abs=0.005)


def test_exports_for_cuda():
    def surface(evaporation):
        return dry_film(WetFilm(1e-4, 0.5e-4, 0.3), Drying(evaporation)).value.surface()

    exported = jax.export.export(jax.jit(jax.value_and_grad(surface)), platforms=["cuda"])(jnp.asarray(1e-3))
    assert exported.platforms == ("cuda",)


def test_a_schedule():
    """Even zones change nothing; a flux that falls at the end leaves less binder at the surface, in a known time."""
    film = WetFilm(1e-4, 0.5e-4, 0.3)
    even, bent = (jax.jit(lambda zones: dry_film(film, Drying(3e-3, zones=zones)).value.mass) for _ in range(2))
    plain = dry_film(film, Drying(3e-3)).value.mass
    assert np.allclose(even(jnp.ones(8)), plain, rtol=1e-13)
    falling = bent(jnp.linspace(1.75, 0.25, 8))
    assert falling[-1] < 0.7 * plain[-1] and np.mean(falling) == pytest.approx(1.0, abs=1e-12)
    seconds = float(shrinking_time(film, Drying(3e-3, zones=[2.0, 0.5])))
    assert seconds == pytest.approx(0.5e-4 * 1028 / 3e-3 * 0.5 * (0.5 + 2.0), rel=1e-14)
    with pytest.raises(ValueError, match="multiple of the number of zones"):
        Drying(zones=jnp.ones(7))
