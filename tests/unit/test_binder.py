"""The carbon-binder: volumes exact, placed by the profile, in film and bridge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import measure, rasterise
from microstructure.binder import Coating, coat, solve_level
from microstructure.grid import box_grid

SHAPE = (24, 16, 16)
ACTIVE, BINDER = 0.45, 0.09


@pytest.fixture(scope="module")
def packing():
    rng = np.random.default_rng(0)
    radii = 2e-6 + 1e-6 * rng.random(14)
    box = np.asarray([14e-6, 12e-6, 12e-6])
    return rng.random((14, 3)) * box, radii, box


@pytest.fixture(scope="module")
def coated(packing):
    """Phases by profile of the binder, bridging share and contents, compiled once."""
    return coater(packing, 1)


def coater(packing, refine):
    positions, radii, box = packing
    mean = float(radii.mean())
    patches = rasterise.patches(radii, box / SHAPE / refine, 0.8 * mean, groups=1)

    @jax.jit
    def build(content, bridging, active, binder):
        coating = Coating(bridging=bridging)
        grid = box_grid(SHAPE, jnp.asarray(box))
        fine = grid.refined(refine)
        union = rasterise.union(
            jnp.asarray(positions),
            jnp.asarray(radii),
            fine,
            patches,
            sharp=coating.sharpness * jnp.max(fine.spacing),
            blunt=coating.width * mean,
            band=coating.reach * mean,
        )
        return coat(union, grid, content, active, binder, coating, mean)

    def run(slope=0.0, bridging=0.5, active=ACTIVE, binder=BINDER):
        return build(jnp.asarray(1 + slope * np.linspace(-1, 1, refine * SHAPE[0] + 1)), bridging, active, binder)

    return run


@pytest.mark.parametrize("options", [{}, {"slope": 0.8}, {"bridging": 1e-6}, {"bridging": 0.95}, {"active": 0.55}])
def test_volumes_are_exact_and_shares_are_shares(coated, options):
    phases = coated(**options)
    active = options.get("active", ACTIVE)
    totals = np.asarray(measure.volume_fractions(phases))
    print(options, totals - [active, BINDER, 1 - active - BINDER])
    np.testing.assert_allclose(totals, [active, BINDER, 1 - active - BINDER], atol=1e-9)
    for shares in (phases.fractions, *phases.apertures):
        assert float(shares.min()) >= -1e-15 and float(shares.max()) <= 1 + 1e-15
        np.testing.assert_allclose(jnp.sum(shares, 0), 1, atol=1e-15)
    assert phases.names == ("active", "binder", "pore")


def test_sub_voxels_keep_volumes_exact_and_find_more_area(coated, packing):
    whole, halves = coated(), coater(packing, 2)()
    np.testing.assert_allclose(measure.volume_fractions(halves), [ACTIVE, BINDER, 1 - ACTIVE - BINDER], atol=1e-9)
    for shares in (halves.fractions, *halves.apertures):
        assert float(shares.min()) >= -1e-15
        np.testing.assert_allclose(jnp.sum(shares, 0), 1, atol=1e-14)
    assert halves.fractions.shape == whole.fractions.shape
    ratio = np.asarray(jnp.sum(halves.areas, (1, 2, 3)) / jnp.sum(whole.areas, (1, 2, 3)))
    print("areas in half voxels over those in voxels", ratio)
    assert np.all((ratio > 1) & (ratio < 1.2))
    with pytest.raises(ValueError, match="`refine` must be at least 1, but 0 was given"):
        Coating(refine=0)


def test_binder_follows_its_profile(coated):
    even, tilted = (np.asarray(measure.depth_profile(coated(slope=s))) for s in (0.0, 0.8))
    np.testing.assert_allclose(even[0], tilted[0], atol=1e-9)  # active material stays
    depth = np.linspace(-1, 1, 24)
    slopes = [np.polyfit(depth, p[1] / p[1].mean(), 1)[0] for p in (even, tilted)]
    print("slopes", slopes)
    assert slopes[1] - slopes[0] > 0.4


def test_bridges_take_binder_from_the_open_surface(coated):
    film, bridged = coated(bridging=1e-6), coated(bridging=0.95)
    # with bridges, less of the active material's surface is wetted by a film, so that the binder has less surface
    assert float(jnp.sum(bridged.areas[1])) < float(jnp.sum(film.areas[1]))
    # active material has the same surface in both
    np.testing.assert_allclose(jnp.sum(film.areas[0]), jnp.sum(bridged.areas[0]), rtol=1e-9)


def test_a_level_is_found_and_differentiated_at_the_solution():
    @jax.jit
    def solve(scale, target):
        return solve_level(lambda x, a: a * x**3 + x, scale, target, jnp.asarray(0.5), steps=8)

    level, (by_scale, by_target) = jax.value_and_grad(solve, argnums=(0, 1))(2.0, 3.0)
    assert float(level) == pytest.approx(1.0, rel=1e-14)
    assert float(by_target) == pytest.approx(1 / 7, rel=1e-13)
    assert float(by_scale) == pytest.approx(-1 / 7, rel=1e-13)
