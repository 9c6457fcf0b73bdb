"""Which number of a cell matters and how tight it must be: elasticities, interactions, and tolerances at least cost.

The cell is a balanced one for 2C with the electrodes of Chen et al. 2020, doi 10.1149/1945-7111/ab9050, as it comes out
of `robust.py`. Deviations are standard deviations. Takes about three minutes, most of them to compile.
"""

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from inverse.cell_figures import ENERGY, RATIO, RETENTION, DischargeFigures  # noqa: E402
from inverse.coatings import Coating, Coatings, leaf  # noqa: E402
from inverse.problem import Bound, FigureProblem  # noqa: E402
from inverse.robust import judge  # noqa: E402
from inverse.scatter import Deviation, Scatter, normal_points  # noqa: E402
from inverse.space import Space, Variable  # noqa: E402
from inverse.tolerance import allocate, elasticities, gain_by_tolerance, interactions, spreads  # noqa: E402
from mesode.figures import CYCLE, _figure, png, styled  # noqa: E402
from solver.cell.discretise import Mesh  # noqa: E402
from solver.cell.library import chen2020  # noqa: E402
from solver.cell.protocol import DFN  # noqa: E402
from solver.numerics.march import March  # noqa: E402

LIMIT, WANTED = 815.0, (0.9, 0.99, 0.999)  # Wh/L at 2C, and the shares of cells that are to have it
SIDES = {"negative": (61.4e-6, 0.20, 5.86e-6), "positive": (44.5e-6, 0.213, 5.22e-6)}  # m, 1, m
free, deviations = [], []
for side, values in SIDES.items():
    for name, unit, value in zip(("thickness", "porosity", "particle_radius"), ("m", "", "m"), values, strict=True):
        free += [Variable(f"{side} {name}", unit, 0.5 * value, 2 * value, value, leaf(side, name))]
    deviations += [Deviation(f"{side} loading", "", 0.01, leaf(side, "heavier"))]
    deviations += [Deviation(f"{side} thickness", "m", 1e-6, leaf(side, "thicker"))]
    deviations += [Deviation(f"{side} radius", "", 0.025, leaf(side, "particle_radius"), relative=True)]
space = Space(Coatings(*(Coating(*values) for values in SIDES.values())), free)
figures = DischargeFigures(chen2020(), DFN(Mesh(8, 4, 8, 8), March(tolerance=2e-4)))
problem = FigureProblem(space, figures, ENERGY, bounds=[Bound(RETENTION), Bound(RATIO)])
x, scatter = space.start, Scatter(deviations, normal_points(6, 256))

found, crossed = elasticities(problem, x), interactions(problem, x, step=0.02)
for row, name, value in zip(found.table, found.figures, found.values, strict=True):
    by = (f"{variable} {e:+.3f}" for variable, e in zip(space.names, row, strict=True))
    print(f"{name} {value:.4g}; percent by percent:", ", ".join(by))
print(f"interactions: largest {np.abs(crossed.table).max():.2f}, asymmetry {crossed.asymmetry:.1%} of it")
spread = spreads(problem, scatter, x)[0]
copies = judge(FigureProblem(space, figures, ENERGY, bounds=[Bound(ENERGY, low=LIMIT)]), scatter, x)
print(
    f"{ENERGY} {spread.value:.1f} +- {spread.deviation:.1f}, {spread.yield_above(LIMIT):.1%} above {LIMIT:g};", end=" "
)
print(f"of 256 copies +- {copies[f'{ENERGY} deviation']:.1f}, {copies['yield']:.1%}")
bought, plans = gain_by_tolerance(spread, LIMIT), [allocate(spread, LIMIT, share) for share in WANTED]
for i, name in enumerate(spread.deviations):
    factors = ", ".join(f"{plan.factors[i]:.2f}" for plan in plans)
    print(f"{name}: {spread.shares[i]:.1%} of the variance, {bought[i]:+.3f} points of yield by percent, x {factors}")
for plan in plans:
    print(
        f"{plan.yield_:.1%}: costs {plan.cost:.2f} of that given; all alike x {plan.alike:.2f}, {plan.cost_alike:.2f}"
    )


@styled
def drawn():
    """Elasticities, interactions, and what each deviation may be."""
    figure, (left, middle, right) = _figure(15.0, 4.6, 1, 3)
    rows = np.arange(len(space.names))
    for k, name in enumerate(found.figures):
        left.barh(rows + 0.27 * (k - 1), found.table[k], 0.25, color=CYCLE[k], label=name)
    left.set(yticks=rows, yticklabels=space.names, xlabel="percent by percent", xlim=(-1.1, 1.8))
    left.invert_yaxis()
    left.legend(loc="center right", bbox_to_anchor=(1.0, 0.66), fontsize=8)
    size = np.abs(crossed.table).max()
    image = middle.imshow(crossed.table, cmap="RdBu_r", vmin=-size, vmax=size)
    middle.set(xticks=rows, yticks=rows, yticklabels=space.names, title="interactions in energy by volume")
    middle.set_xticks(rows, space.names, rotation=40, ha="right")
    middle.grid(visible=False)
    figure.colorbar(image, ax=middle, shrink=0.8)
    for k, plan in enumerate(plans):
        label = f"{plan.yield_:.1%} above it"
        right.barh(rows + 0.27 * (k - 1), plan.factors, 0.25, color=CYCLE[k], label=label)
    right.axvline(1.0, color="#555555", lw=1.0)
    right.set(yticks=rows, yticklabels=spread.deviations, xlabel="tolerance at least cost / that given", xlim=(0, 3.4))
    right.invert_yaxis()
    right.legend(loc="center right", fontsize=8, title=f"{LIMIT:g} Wh/L")
    return figure


with open("mesode_tolerance.png", "wb") as file:
    file.write(png(drawn()))
