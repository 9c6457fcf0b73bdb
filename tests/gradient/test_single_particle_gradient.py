"""Derivatives of a discharge of the single-particle models through its cut-off, against central differences at the same
steps, as derivatives in the logarithm of a parameter."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solver.cell.cell import ParticleClass, Thermal, warmed
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020
from solver.cell.method import SPM, SPMe
from solver.cell.protocol import Stop, discharge
from solver.numerics.march import March, same_steps

LEAVES = {
    "negative thickness": lambda c: c.negative.thickness,
    "negative radius": lambda c: c.negative.particle_radius,
    "negative rate": lambda c: c.negative.material.kinetics.rate,
    "positive area": lambda c: c.positive.specific_area,
    "positive diffusivity": lambda c: c.positive.material.diffusivity,
    "positive conductivity": lambda c: c.positive.electronic_conductivity,
    "positive stoichiometry": lambda c: c.positive.stoichiometry_full,
    "positive transport": lambda c: c.positive.electrolyte_transport,
    "separator porosity": lambda c: c.separator.porosity,
    "transference number": lambda c: c.electrolyte.transference_number,
    "initial concentration": lambda c: c.electrolyte.initial_concentration,
    "cut-off": lambda c: c.lower_cutoff,
}
UNUSED_BY_SPM = ("positive conductivity", "positive transport", "separator porosity", "transference number")


def blended():
    """With silicon-like small particles beside the graphite, a contact resistance and the lumped thermal model."""
    cell = chen2020()
    others = (ParticleClass(0.15, 3 * 0.15 / 2e-6, 2e-6, cell.negative.material, 0.9, 0.03),)
    cell = eqx.tree_at(lambda c: (c.negative.others, c.contact_resistance), cell, (others, jnp.asarray(1e-3)))
    return warmed(cell, Thermal(400.0, 0.5))


CASES = {"SPMe": (chen2020, lambda march: SPMe(Mesh(8, 4, 8, 8), march)), "SPM": (blended, lambda march: SPM(8, march))}


@eqx.filter_jit
def outcome(factors, cell, method):
    """Energy, end time, and a weighted sum of the last surface stoichiometries, the leaves multiplied by `factors`."""
    leaves = [leaf(cell) * f for leaf, f in zip(LEAVES.values(), factors, strict=True)]
    cell = eqx.tree_at(lambda c: [leaf(c) for leaf in LEAVES.values()], cell, leaves)
    value = discharge(cell, 10.0 / cell.area, method).value
    surface = sum(k * x[0] for k, x in enumerate(value.final.surface, 1))
    return jnp.stack([value.energy, value.end_time, surface])


@pytest.mark.parametrize("name", ["SPMe", pytest.param("SPM", marks=pytest.mark.slow)])
def test_gradient_through_the_cutoff(name):
    """Within 1e-6 of the derivative, or of a hundredth of the output where the derivative is smaller than that."""
    make, method = CASES[name]
    cell = make()
    solution = eqx.filter_jit(discharge)(cell, 10.0 / cell.area, method(March(max_steps=150, tolerance=1e-3)))
    assert solution.value.stop == Stop.cut_off
    replay, one = method(March(max_steps=150, schedule=same_steps(solution.value.time))), jnp.ones(len(LEAVES))

    @eqx.filter_jit
    def jacobian(factors, cell, method):
        _, pull_back = jax.vjp(lambda f: outcome(f, cell, method), factors)
        return jax.vmap(lambda row: pull_back(row)[0])(jnp.eye(3))

    found, value = np.asarray(jacobian(one, cell, replay)), np.asarray(outcome(one, cell, replay))
    for k, leaf in enumerate(LEAVES):
        half, full = (
            np.asarray(outcome(one.at[k].add(h), cell, replay) - outcome(one.at[k].add(-h), cell, replay)) / (2 * h)
            for h in (1e-5, 2e-5)  # larger ones move the event out of its step
        )
        expected = (4 * half - full) / 3
        size = np.maximum(np.abs(expected), 1e-2 * np.abs(value))
        assert (found[:, k] - expected) / size == pytest.approx(0.0, abs=1e-6), leaf
        assert np.all(np.abs(found[:, k]) < 1e-12 * np.abs(value)) == (name == "SPM" and leaf in UNUSED_BY_SPM), leaf
