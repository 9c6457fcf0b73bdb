"""Derivatives of a half-cell's discharge through its cut-off, against finite differences at the same steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.discretise import Mesh
from solver.cell.library import chen_positive, half_cell, nyman_electrolyte
from solver.cell.protocol import DFN, Stop, discharge
from solver.numerics.march import March, same_steps

MESH = Mesh(1, 5, 8, 8)
OUTPUTS = ("energy", "capacity", "end time", "voltage")
LEAVES = {
    "exchange current of lithium": lambda c: c.negative.kinetics.exchange_current_density,
    "thickness of the separator": lambda c: c.separator.thickness,
    "transport of the separator": lambda c: c.separator.electrolyte_transport,
    "thickness": lambda c: c.positive.thickness,
    "porosity": lambda c: c.positive.porosity,
    "specific area": lambda c: c.positive.specific_area,
    "particle radius": lambda c: c.positive.particle_radius,
    "transport of the electrode": lambda c: c.positive.electrolyte_transport,
    "electronic conductivity": lambda c: c.positive.electronic_conductivity,
    "diffusivity": lambda c: c.positive.material.diffusivity,
    "reaction rate": lambda c: c.positive.material.kinetics.rate,
    "initial stoichiometry": lambda c: c.positive.stoichiometry_full,
    "initial concentration": lambda c: c.electrolyte.initial_concentration,
    "transference number": lambda c: c.electrolyte.transference_number,
    "cut-off": lambda c: c.lower_cutoff,
}
PARAMETERS = (*LEAVES, "current")


def outcome(factors, cell, current, method, time):
    """The `OUTPUTS`, the parameters multiplied by `factors`; voltages as a weighted sum."""
    values = [leaf(cell) * f for leaf, f in zip(LEAVES.values(), factors, strict=False)]
    cell = eqx.tree_at(lambda c: [leaf(c) for leaf in LEAVES.values()], cell, values)
    value = discharge(cell, current * factors[-1], method).value
    weighed = jnp.sum(value.voltage_at(time) * jnp.linspace(1.0, 2.0, time.size))
    return jnp.stack([value.energy, value.capacity, value.end_time, weighed])


@pytest.fixture(scope="module")
def case():
    """A half-cell at 2C, with the steps of one adaptive run."""
    cell, current = half_cell(chen_positive(), nyman_electrolyte(), 3.5), jnp.asarray(10.0 / 0.1027)
    solution = eqx.filter_jit(discharge)(cell, current, DFN(MESH, March(max_steps=120, tolerance=1e-3)))
    assert solution.value.stop == Stop.cut_off
    method = DFN(MESH, March(max_steps=120, schedule=same_steps(solution.value.time)))
    return cell, current, method, jnp.array([0.02, 0.3, 0.6, 0.9]) * float(solution.value.end_time)


@pytest.mark.slow  # compiles a cell forwards and backwards; the default suite has that of the full cell
def test_gradient_through_the_cutoff(case):
    """Within 1e-6 of the derivative, or of a hundredth of the output where the derivative is smaller than that."""
    value, one = eqx.filter_jit(outcome), np.ones(len(PARAMETERS))

    @eqx.filter_jit
    def jacobian(factors):
        _, pull_back = jax.vjp(lambda f: outcome(f, *case), factors)
        return jax.vmap(lambda row: pull_back(row)[0])(jnp.eye(len(OUTPUTS)))

    found = np.asarray(jacobian(jnp.asarray(one)))
    size, h = np.abs(np.asarray(value(jnp.asarray(one), *case))), 2.5e-5
    for k, name in enumerate(PARAMETERS):
        at = {
            s: np.asarray(value(jnp.asarray(one + s * h * np.eye(len(one))[k]), *case)) for s in (-2.0, -1.0, 1.0, 2.0)
        }
        expected = (8.0 * (at[1.0] - at[-1.0]) - (at[2.0] - at[-2.0])) / (12.0 * h)
        off = (found[:, k] - expected) / np.maximum(np.abs(expected), 1e-2 * size)
        assert dict(zip(OUTPUTS, off, strict=True)) == pytest.approx(dict.fromkeys(OUTPUTS, 0.0), abs=1e-6), name
