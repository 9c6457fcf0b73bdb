"""A better recipe in a script: `mesode design examples/design.toml` without the comparison. Takes a few minutes."""

import math

import jax

jax.config.update("jax_enable_x64", True)

from inverse.descend import Descent, descend  # noqa: E402
from inverse.problems.energy_density import ChainProblem  # noqa: E402
from inverse.space import Leaf, Logarithmic, Space, Variable  # noqa: E402
from microstructure.recipe import Recipe  # noqa: E402
from microstructure.sizes import LogNormal  # noqa: E402

size = LogNormal(median=3e-6, spread=math.exp(0.3))
shares, densities = [0.96, 0.02, 0.02], [4750.0, 1900.0, 1780.0]  # active material, carbon, binder
recipe = Recipe(size, shares, densities, areal_loading=0.14, gap=44e-6)  # SI: kg/m2, m
variables = [
    Variable("gap", "m", 37e-6, 62e-6, 44e-6, Leaf(lambda r: r.gap), Logarithmic()),
    Variable("loading", "kg/m2", 0.08, 0.18, 0.14, Leaf(lambda r: r.areal_loading), Logarithmic()),
    Variable("radius", "m", 2.5e-6, 4e-6, 3e-6, Leaf(lambda r: r.size.median), Logarithmic()),
]
problem = ChainProblem(Space(recipe, variables))  # stack Wh/L at 2C
done = descend(problem, Descent(steps=4, rate=0.15), seeds=[0])
for values, energy in zip(map(problem.space.values, done.history["x"]), done.history["objective"], strict=True):
    print(
        *(f"{name} {float(v):.4g}" for name, v in zip(problem.space.names, values, strict=True)), f"{energy:.1f} Wh/L"
    )
