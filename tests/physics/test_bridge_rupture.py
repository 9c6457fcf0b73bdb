"""Binder bridges that break while a film is calendered: the state is carried, and a broken one is as none."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from microstructure.packing import Packing
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.neighbours import candidate_pairs
from solver.process.calender import Calendering, advance, prepare
from solver.process.film import broken_share

METHOD = Calendering(load=4, unload=2)
GAP = 35e-6


@pytest.fixture(scope="module")
def film():
    """64 particles of 3.5 to 5 um radius near the sites of a lattice, which just do not touch."""
    rng = np.random.default_rng(0)
    sites = np.stack(np.meshgrid(*3 * [np.arange(4)], indexing="ij"), axis=-1).reshape(-1, 3) + 0.5
    radii = rng.uniform(3.5e-6, 5e-6, 64)
    return Packing(11e-6 * (sites + rng.uniform(-0.04, 0.04, (64, 3))), radii, np.full(3, 44e-6))


@eqx.filter_jit
def pressed(film, pairs, limit, intact):
    """Pressures (Pa) and broken shares by increment, with bridges that start as `intact` says."""
    press = prepare(film, pairs, GAP, ContactLaw(), Binder(fracture_strain=limit), METHOD)
    first = eqx.tree_at(lambda c: c[1].bridges.intact, press.first, intact)

    def on(carry, stage):
        carry, row = advance(press, carry, stage)
        return carry, (row[1] * press.stress, broken_share(press.system, carry[1]))

    return lax.scan(on, first, press.stages)[1]


def test_a_broken_bridge_is_none(film):
    """The film whose bridges are all broken carries what the film without binder carries; limits break some."""
    pairs = candidate_pairs(film, per_particle=12)
    whole = jnp.ones(pairs.first.shape[0] + 64)
    torn, broken = pressed(film, pairs, jnp.asarray(1e9), 0 * whole)
    bare = eqx.tree_at(lambda p: (p.bonded, p.grounded), pairs, (0 * pairs.bonded, 0 * pairs.grounded))
    none, _ = pressed(film, bare, jnp.asarray(1e9), whole)
    np.testing.assert_allclose(np.asarray(torn), np.asarray(none), rtol=1e-9)
    np.testing.assert_array_equal(np.asarray(broken), 1.0)

    firm, kept = pressed(film, pairs, jnp.asarray(1e9), whole)
    np.testing.assert_array_equal(np.asarray(kept), 0.0)
    weak, lost = pressed(film, pairs, jnp.asarray(0.2), whole)
    assert 0.05 < float(lost[-1]) < 0.95 and np.all(np.diff(np.asarray(lost)) >= 0)
    assert float(lost[0]) < float(lost[3])
    assert np.all(np.asarray(weak[1:4]) < np.asarray(firm[1:4])) and np.all(
        np.asarray(weak[1:4]) > np.asarray(none[1:4])
    )
    # What breaks at the end of an increment still carried in it.
    assert float(weak[0]) == pytest.approx(float(firm[0]), rel=1e-9)
