"""Size distributions: quantiles, truncation, smooth dependence on the parameters, argument checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.sizes import Bins, LogNormal, sample, unit_draws


def test_unit_draws_are_stratified_and_fixed_by_the_key():
    draws = np.asarray(unit_draws(jax.random.key(1), 200))
    assert np.array_equal(np.sort(np.floor(draws * 200)), np.arange(200))
    assert np.array_equal(draws, np.asarray(unit_draws(jax.random.key(1), 200)))
    assert not np.array_equal(draws, np.asarray(unit_draws(jax.random.key(2), 200)))


def test_log_normal_has_its_median_and_spread():
    radii = np.asarray(sample(LogNormal(5e-6, 1.35), unit_draws(jax.random.key(0), 4000)))
    assert np.median(radii) == pytest.approx(5e-6, rel=2e-3)
    # The cut at 0.3 and 3 medians is 3.7 standard deviations away.
    assert np.exp(np.std(np.log(radii))) == pytest.approx(1.35, rel=3e-3)


def test_log_normal_is_cut_and_can_be_monodisperse():
    wide = np.asarray(sample(LogNormal(5e-6, 2.0, 0.5, 2.0), unit_draws(jax.random.key(0), 500)))
    assert wide.min() >= 2.5e-6 and wide.max() <= 10e-6
    np.testing.assert_allclose(np.asarray(sample(LogNormal(5e-6, 1.0), jnp.asarray([0.1, 0.9]))), 5e-6, rtol=1e-7)


def test_scaling_the_median_scales_every_radius():
    draws = unit_draws(jax.random.key(3), 50)
    tangent = jax.jvp(lambda m: sample(LogNormal(m), draws), (jnp.asarray(5e-6),), (jnp.asarray(1.0),))[1]
    np.testing.assert_allclose(np.asarray(tangent), np.asarray(sample(LogNormal(5e-6), draws)) / 5e-6, rtol=1e-12)


def test_derivative_in_the_spread():
    draws = unit_draws(jax.random.key(3), 50)

    def mean_volume(spread):
        return jnp.mean(sample(LogNormal(5e-6, spread), draws) ** 3) * 1e18

    slope = jax.grad(mean_volume)(jnp.asarray(1.35))
    difference = (mean_volume(jnp.asarray(1.35 + 1e-6)) - mean_volume(jnp.asarray(1.35 - 1e-6))) / 2e-6
    assert float(slope) == pytest.approx(float(difference), rel=1e-7)


def test_bins_reproduce_their_shares():
    bins = Bins([1e-6, 2e-6, 3e-6, 5e-6], [1.0, 0.0, 3.0])
    radii = np.asarray(sample(bins, unit_draws(jax.random.key(0), 1000)))
    assert np.histogram(radii, [1e-6, 2e-6, 3e-6, 5e-6])[0] == pytest.approx([250, 0, 750], abs=1)
    doubled = sample(Bins([1e-6, 2e-6, 3e-6, 5e-6], [1.0, 0.0, 3.0], 2.0), unit_draws(jax.random.key(0), 1000))
    np.testing.assert_allclose(np.asarray(doubled), 2 * radii)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LogNormal(5.0), "`median` must lie between 1e-09 and 0.001 m"),
        (lambda: LogNormal(5e-6, 0.5), "`spread` must lie between 1 and 5"),
        (lambda: Bins([1e-6, 2e-6], [1.0, 1.0]), "one entry more"),
        (lambda: Bins([2e-6, 1e-6], [1.0]), "must increase"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
