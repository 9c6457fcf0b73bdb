"""Size distributions: quantiles, truncation, smooth dependence on the parameters, argument checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from microstructure.sizes import (
    Bins,
    ByVolume,
    LogNormal,
    Mixture,
    Percentiles,
    Weibull,
    moment,
    sample,
    unit_draws,
    volume_percentiles,
)

SHARES = jnp.asarray((np.arange(500) + 0.5) / 500)
quantile = jax.jit(lambda distribution, u: distribution.quantile(u))
mean_of = jax.jit(moment, static_argnums=1)
FINE = (np.arange(40000) + 0.5) / 40000


def mean_of_quantiles(distribution, power):
    """The mean over many particles, which knows nothing but their quantiles."""
    return float(np.mean(np.asarray(quantile(distribution, jnp.asarray(FINE))) ** power))


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


def test_weibull_has_its_moments():
    """E[r^m] = scale^m Gamma(1 + m / shape)."""
    size = Weibull(5e-6, 3.2, 1e-3, 20.0)
    for power in (1, 3):
        expected = 5e-6**power * special.gamma(1 + power / 3.2)
        assert float(mean_of(size, power)) == pytest.approx(expected, rel=1e-8)
    assert float(quantile(size, jnp.asarray([1 - np.exp(-1)]))[0]) == pytest.approx(5e-6, rel=1e-8)


def test_log_normal_by_volume_is_shifted_as_hatch_and_choate_say():
    """Hatch and Choate 1929: the median by number is that by volume times exp(-3 sigma^2), the width is the same."""
    median, spread = 5e-6, 1.35
    size = ByVolume(LogNormal(median, spread, 0.05, 20.0))
    shifted = LogNormal(median * np.exp(-3 * np.log(spread) ** 2), spread, 0.05, 20.0)
    np.testing.assert_allclose(np.asarray(quantile(size, SHARES)), np.asarray(quantile(shifted, SHARES)), rtol=1e-7)
    expected = median**3 * np.exp(-4.5 * np.log(spread) ** 2)
    assert float(mean_of(size, 3)) == pytest.approx(expected, rel=1e-8)


def test_rosin_rammler_by_volume_has_its_mean_volume():
    """E_number[r^3] = 1 / E_volume[r^-3], an incomplete gamma function of the two cuts."""
    k, low, high = 4.0, 0.1, 3.0
    inverse = special.gamma(1 - 3 / k) * (special.gammainc(1 - 3 / k, high**k) - special.gammainc(1 - 3 / k, low**k))
    expected = 5e-6**3 * (np.exp(-(low**k)) - np.exp(-(high**k))) / inverse
    size = ByVolume(Weibull(5e-6, k, low, high))
    assert float(mean_of(size, 3)) == pytest.approx(expected, rel=1e-9)
    assert mean_of_quantiles(size, 3) == pytest.approx(expected, rel=1e-4)


def test_percentiles_of_a_log_normal_give_it_back():
    sigma, z = 0.38, special.ndtri(0.9)
    size = Percentiles(4e-6 * np.exp(sigma * z * np.asarray([-1, 0, 1])), tail=1e-9)
    smooth = LogNormal(4e-6, np.exp(sigma), 1e-3, 1e3)
    np.testing.assert_allclose(np.asarray(quantile(size, SHARES)), np.asarray(quantile(smooth, SHARES)), rtol=1e-6)


def test_tabulated_percentiles_are_met_by_number_and_by_volume():
    """D10, D50 and D90 of 6, 10 and 16 um, as data sheets of polycrystalline NMC quote them, by volume."""
    table = np.asarray([3e-6, 5e-6, 8e-6])
    found = quantile(Percentiles(table), jnp.asarray([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(np.asarray(found), table, rtol=1e-12)
    radii = quantile(ByVolume(Percentiles(table)), jnp.asarray(FINE))
    np.testing.assert_allclose(np.asarray(jax.jit(volume_percentiles)(radii)), 2 * table, rtol=3e-3)
    assert float(jnp.median(radii)) < 0.8 * 5e-6  # by number the same powder is much finer


def test_shares_of_a_mixture_can_be_of_volume():
    """With shares of volume, 1 / E_number[r^3] is the mean of 1 / E_number[r^3] of the parts."""
    parts, shares = (LogNormal(2e-6, 1.3, 0.05, 20.0), LogNormal(4e-6, 1.25, 0.05, 20.0)), np.asarray([0.7, 0.3])
    mean = [2e-6**3 * np.exp(-4.5 * np.log(1.3) ** 2), 4e-6**3 * np.exp(-4.5 * np.log(1.25) ** 2)]
    size = ByVolume(Mixture(parts, shares))
    assert float(mean_of(size, 3)) == pytest.approx(1 / np.sum(shares / mean), rel=1e-6)


@pytest.mark.slow
def test_quantiles_of_a_mixture_by_volume_have_its_mean_volume():
    size = ByVolume(Mixture((LogNormal(2e-6, 1.3), LogNormal(4e-6, 1.25)), [0.7, 0.3]))
    assert mean_of_quantiles(size, 3) == pytest.approx(float(mean_of(size, 3)), rel=1e-4)


DISTRIBUTIONS = {
    "log-normal": LogNormal(5e-6),
    "weibull": Weibull(5e-6, 3.0),
    "bins": Bins([1e-6, 2e-6, 5e-6], [1.0, 2.0]),
    "percentiles": Percentiles([3e-6, 5e-6, 9e-6]),
    "by volume": ByVolume(Weibull(5e-6, 4.0)),
    "mixture": Mixture((LogNormal(2e-6, 1.3), Weibull(4e-6, 4.0)), [1.0, 3.0]),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_rise_invert_the_shares_and_are_smooth_in_every_parameter(name):
    """Along a random direction in all parameters at once: the derivative of every radius against differences."""
    leaves, structure = jax.tree.flatten(DISTRIBUTIONS[name])
    rng = np.random.default_rng(3)
    direction = [leaf * jnp.asarray(rng.uniform(0.2, 1.0, np.shape(leaf))) for leaf in leaves]
    draws = jnp.sort(unit_draws(jax.random.key(5), 100))

    def radii(t):
        moved = jax.tree.unflatten(structure, [leaf + t * d for leaf, d in zip(leaves, direction, strict=True)])
        return moved.quantile(draws) * 1e6

    @jax.jit
    def both(t):
        value, tangent = jax.jvp(radii, (t,), (jnp.ones(()),))
        return value, tangent, DISTRIBUTIONS[name].share_below(value * 1e-6)

    value, tangent, share = both(jnp.zeros(()))
    assert bool(jnp.all(jnp.diff(value) > 0))
    np.testing.assert_allclose(np.asarray(share), np.asarray(draws), atol=1e-9)
    step = 1e-6
    difference = (both(jnp.asarray(step))[0] - both(jnp.asarray(-step))[0]) / (2 * step)
    np.testing.assert_allclose(np.asarray(tangent), np.asarray(difference), rtol=2e-6, atol=2e-6)
    assert float(jnp.max(jnp.abs(tangent))) > 0.1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LogNormal(5.0), "`median` must lie between 1e-09 and 0.001 m"),
        (lambda: LogNormal(5e-6, 0.5), "`spread` must lie between 1 and 5"),
        (lambda: Bins([1e-6, 2e-6], [1.0, 1.0]), "one entry more"),
        (lambda: Bins([2e-6, 1e-6], [1.0]), "must increase"),
        (lambda: Weibull(5e-6, 0.1), "`shape` must lie between 0.5 and 100"),
        (lambda: Percentiles([3e-6, 2e-6, 8e-6]), "`radii` must increase"),
        (lambda: Percentiles([3e-6, 8e-6], [0.5, 1.5]), "`shares` must lie between 0 and 1"),
        (lambda: Percentiles([3e-6, 8e-6]), "lists of one length"),
        (lambda: Mixture((LogNormal(5e-6),), [0.5, 0.5]), "one entry for each of the 1 parts"),
        (lambda: Mixture((LogNormal(5e-6),), [-1.0]), "`shares` must be at least 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
