"""Energy by volume against the time from 10 to 80 % of charge without plating: the front, and the designs on it.

Both coatings of the LG M50 of Chen et al. 2020, doi 10.1149/1945-7111/ab9050, are free in thickness and porosity at an
N/P of 1.05 to 1.3. Takes a few minutes, most of them to compile.
"""

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from inverse.cell_figures import ENERGY, RATIO, TIME, ChargeFigures, DischargeFigures  # noqa: E402
from inverse.coatings import coatings_of, leaf  # noqa: E402
from inverse.pareto import front  # noqa: E402
from inverse.problem import Bound, FigureProblem  # noqa: E402
from inverse.search import Climb  # noqa: E402
from inverse.space import Logarithmic, Space, Variable  # noqa: E402
from mesode.figures import CYCLE, _figure, png, styled  # noqa: E402
from solver.cell.discretise import Mesh  # noqa: E402
from solver.cell.library import chen2020  # noqa: E402
from solver.cell.protocol import DFN  # noqa: E402
from solver.numerics.march import March  # noqa: E402

START = {"negative": (85.2e-6, 0.25), "positive": (70e-6, 0.335)}  # m, 1
REFERENCE = (600.0, 60.0)  # Wh/L and min, of the hyper-volume
free = []
for side, (thickness, porosity) in START.items():
    free += [Variable(f"{side}_thickness", "m", 2e-5, 2e-4, thickness, leaf(side, "thickness"), Logarithmic())]
    free += [Variable(f"{side}_porosity", "", 0.2, 0.5, porosity, leaf(side, "porosity"))]
coarse = ChargeFigures(DischargeFigures(chen2020(), DFN(Mesh(8, 4, 8, 8), March(tolerance=1e-3)), 1 / 3))
space = Space(coatings_of(chen2020()), free)
problem = FigureProblem(space, coarse, ENERGY, bounds=[Bound(RATIO, 1.05, 1.3)])
thin = space.locate(space.insert(np.array([4e-5, 0.35, 3e-5, 0.35])))  # a second start for each point
found = front(problem, TIME, -1.0, Climb(60, 1e-6), 11, np.geomspace, starts=[np.asarray(thin)])
fine = FigureProblem(space, ChargeFigures(DischargeFigures(chen2020(), DFN(), 1 / 3)), ENERGY)
finer = [fine.measure(point.best.x) for point in found.points]
for (energy, minutes), again, values in zip(found.values, finer, found.designs, strict=True):
    um, share = 1e6 * values[::2], values[1::2]
    print(
        f"{energy:.1f} Wh/L, {minutes:.1f} min ({again[ENERGY]:.1f}, {again[TIME]:.1f} on the default mesh):",
        f"negative {um[0]:.0f} um at {share[0]:.3f}, positive {um[1]:.0f} um at {share[1]:.3f}, N/P {again[RATIO]:.3f}",
    )
area = found.hypervolume(REFERENCE)
alike = sum(np.ptp(p.scores) < 1e-3 * abs(max(p.scores)) for p in found.points if np.all(np.isfinite(p.scores)))
print(f"both starts come to the same within 0.1 % at {alike} of {len(found.points)} points")
print(f"hyper-volume {area:.0f} Wh/L min from {REFERENCE}, {len(found.dominated)} dominated, {found.solves:.0f} solves")


@styled
def drawn():
    """The front, and the variables along it."""
    figure, (left, middle, right) = _figure(13.0, 4.2, 1, 3)
    energy, minutes = found.values.T
    steps = np.concatenate([minutes[::-1], np.asarray(REFERENCE[1:])])
    left.fill_between(steps, REFERENCE[0], np.append(energy[::-1], energy[0]), step="post", color=CYCLE[4], alpha=0.25)
    left.plot(minutes, energy, "o-", label="coarse mesh, searched")
    left.plot([f[TIME] for f in finer], [f[ENERGY] for f in finer], "x", color=CYCLE[1], label="default mesh")
    left.annotate(f"hyper-volume {area:.0f} Wh/L min", (0.97, 0.06), xycoords="axes fraction", ha="right")
    left.set(
        ylabel="energy at C/3 by volume of the stack / (Wh/L)",
        ylim=(REFERENCE[0], 1.05 * energy[0]),
        xlim=(None, REFERENCE[1]),
    )
    for axis, first, scale, name in ((middle, 0, 1e6, "thickness / µm"), (right, 1, 100, "porosity / %")):
        for k, side in enumerate(START):
            axis.plot(minutes, scale * found.designs[:, first + 2 * k], "o-", color=CYCLE[k], label=side)
        axis.set(ylabel=name, ylim=(0, None))
    for axis in (left, middle, right):
        axis.set_xlabel("10 to 80 % without plating / min")
        axis.legend(loc="upper left" if axis is not right else "best")
    return figure


with open("mesode_pareto.png", "wb") as file:
    file.write(png(drawn()))
