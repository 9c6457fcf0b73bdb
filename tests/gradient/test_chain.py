"""The gradient of the whole chain, recipe to stack energy density at 2C, against central differences."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import sizes
from microstructure.recipe import Recipe
from solver import pipeline
from solver.cell.protocol import DFN
from solver.numerics.march import March
from solver.particles.friction import Friction
from solver.particles.neighbours import relative_positions
from solver.transport.conduct import Conduction

SHAPE, PARTICLES = (32, 24, 24), 240
OPEN = 52e-6  # a gap, porosity 0.40, well away from the best one, about 44 um, where the slope itself vanishes


def composition(index):
    def along(recipe, relative):
        mass = recipe.composition.at[index].multiply(1 + relative)
        return eqx.tree_at(lambda r: r.composition, recipe, mass)

    return along


def scaled(where):
    def along(recipe, relative):
        return eqx.tree_at(where, recipe, where(recipe) * (1 + relative))

    return along


# How a recipe moves along each variable, and the relative step at which differences are neither curved nor rounded.
VARIABLES = {
    "gap": (scaled(lambda r: r.gap), 3e-5),
    "areal_loading": (scaled(lambda r: r.areal_loading), 2e-5),
    "median_radius": (scaled(lambda r: r.size.median), 1e-4),
    "evaporation": (scaled(lambda r: r.evaporation), 2e-3),
    "salt": (scaled(lambda r: r.salt), 1e-3),
    "active": (composition(0), 1e-4),
    "carbon": (composition(1), 1e-3),
    "binder": (composition(2), 1e-3),
}


def recipe(gap=44e-6):
    return Recipe(
        size=sizes.LogNormal(3e-6, math.exp(0.3)),
        composition=[0.96, 0.02, 0.02],
        densities=[4750.0, 1900.0, 1780.0],
        areal_loading=0.14,
        gap=gap,
    )


def tight():
    """Methods whose own noise is below the differences: small time steps, small residuals."""
    march = March(tolerance=3e-6, max_steps=1500)
    return pipeline.Methods(cell=DFN(march=march), conduction=Conduction(energy_rtol=0.0, rtol=1e-8))


def sample(seed, gap=44e-6):
    return pipeline.prepare(recipe(gap), jax.random.key(seed), PARTICLES, SHAPE)


def slopes(reference, connected, methods, gap=44e-6):
    """The gradient as a derivative in the relative step along each variable."""
    base = recipe(gap)

    def value(steps):
        moved = base
        for (along, _), step in zip(VARIABLES.values(), steps, strict=True):
            moved = along(moved, step)
        return pipeline.energy_density(moved, reference, connected, methods)

    energy, gradient = jax.value_and_grad(value)(jnp.zeros(len(VARIABLES)))
    return float(energy), dict(zip(VARIABLES, np.asarray(gradient), strict=True))


def difference(name, step, reference, connected, methods, gap=44e-6):
    along, _ = VARIABLES[name]
    plus, minus = (pipeline.energy_density(along(recipe(gap), s), reference, connected, methods) for s in (step, -step))
    return float(plus - minus) / (2 * step)


def contacts(changed, reference, methods):
    """Which pairs and planes are in contact at the gap, as a boolean vector."""
    loaded = pipeline.make(changed, reference, methods).pressed.loaded
    pairs, radii = reference.pairs, loaded.radii
    relative = relative_positions(loaded.positions, loaded.box[1:], pairs)
    gaps = jnp.sqrt(jnp.sum(relative**2, axis=1)) - radii[pairs.first] - radii[pairs.second]
    planes = (loaded.positions[:, 0] < radii, loaded.box[0] - loaded.positions[:, 0] < radii)
    return np.concatenate([np.asarray(gaps < 0), *map(np.asarray, planes)])


@pytest.fixture(scope="module")
def fixed():
    methods, reference = tight(), sample(0)
    connected = pipeline.connections(recipe(), reference, methods)
    return reference, connected, methods, slopes(reference, connected, methods)[1]


@pytest.mark.parametrize("name", VARIABLES)
def test_gradient_matches_central_differences_at_a_fixed_contact_network(fixed, name):
    reference, connected, methods, gradient = fixed
    along, step = VARIABLES[name]
    network = contacts(recipe(), reference, methods)
    for side in (step, -step):
        assert np.array_equal(contacts(along(recipe(), side), reference, methods), network)
    found = difference(name, step, reference, connected, methods)
    np.testing.assert_allclose(gradient[name], found, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("friction", "names"),
    [(None, tuple(VARIABLES)), (Friction(0.3, 0.3), ("gap", "areal_loading", "median_radius"))],
    ids=["without friction", "with friction"],
)
def test_gradient_predicts_five_percent_steps_on_the_mean_of_sixteen_packings(friction, names, capsys):
    """With friction in the calender, the variables on which it acts; it takes ten times as long."""
    methods, rows = pipeline.Methods(friction=friction), []
    for seed in range(16):
        reference = sample(seed, OPEN)
        connected = pipeline.connections(recipe(OPEN), reference, methods)
        gradient = slopes(reference, connected, methods, OPEN)[1]
        found = {name: difference(name, 0.05, reference, connected, methods, OPEN) for name in names}
        rows.append([(gradient[name], found[name]) for name in names])
        with capsys.disabled():
            print(seed, " ".join(f"{name} {gradient[name]:.2f}/{found[name]:.2f}" for name in names), flush=True)
    table = np.asarray(rows)
    for k, name in enumerate(names):
        slope, found = table[:, k].mean(axis=0)
        error = np.std(table[:, k, 0] - table[:, k, 1], ddof=1) / 4
        assert slope * found > 0, name
        assert abs(slope - found) <= max(0.25 * abs(found), 2 * error), name
