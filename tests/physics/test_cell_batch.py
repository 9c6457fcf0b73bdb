"""A batch of discharges in which some fail on purpose."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.discretise import Mesh
from solver.cell.library import marquis2019
from solver.cell.protocol import DFN, Stop, discharge
from solver.numerics.march import March

METHOD = DFN(Mesh(6, 3, 6, 6), March(tolerance=1e-3, max_steps=120))


def design(cell, row):
    """Both thicknesses and porosities and a radius as factors, the cut-off in V and the C-rate."""
    negative, positive = cell.negative, cell.positive
    return eqx.tree_at(
        lambda c: (
            c.negative.thickness, c.positive.thickness, c.negative.porosity, c.positive.porosity,
            c.negative.particle_radius, c.lower_cutoff,
        ),
        cell,
        (
            negative.thickness * row[0], positive.thickness * row[1], negative.porosity * row[2],
            positive.porosity * row[3], negative.particle_radius * row[4], row[5],
        ),
    ), 0.680616 * row[6] / cell.area  # fmt: skip


STOPS = (Stop.already_past_cut_off, Stop.not_converged, Stop.cut_off)


def outcome(row):
    solution = discharge(*design(marquis2019(), row), METHOD)
    value = solution.value
    return (
        value.end_time,
        value.energy,
        value.voltage[-1],
        jnp.min(value.final.concentration),
        jnp.stack([value.stop == x for x in STOPS]),
    )


@pytest.mark.slow
def test_a_thousand_designs_of_which_some_fail():
    """Failures are named by their result code, and the others are those of runs alone."""
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.uniform(0.85, 1.15, (1000, 5)), np.full((1000, 1), 3.105), rng.uniform(0.5, 2.0, (1000, 1))], axis=1
    )
    past, deplete, broken = np.arange(10), np.arange(100, 110), np.arange(500, 510)
    rows[past, 5] = 3.9  # a cut-off above the voltage at rest
    rows[deplete, 6] = 12.0  # a current that the salt cannot carry to the end
    rows[broken, 0] = np.nan  # no number, no solution
    end, energy, last, salt, stop = jax.jit(jax.vmap(outcome))(jnp.asarray(rows))
    assert bool(jnp.all(stop[past, 0]))
    assert bool(jnp.all(stop[broken, 1]))
    assert bool(jnp.all(salt[deplete] < 10.0)) and bool(jnp.all(jnp.isfinite(energy[deplete])))
    good = np.setdiff1d(np.arange(1000), [*past, *deplete, *broken])
    assert bool(jnp.all(stop[good, 2])) and np.allclose(last[good], 3.105, atol=1e-9)
    alone = jax.jit(outcome)
    for k in (*good[::50], deplete[0]):
        single = alone(jnp.asarray(rows[k]))
        assert np.allclose([end[k], energy[k]], single[:2], rtol=1e-9)
