"""Where would moving the surface of the particles raise the energy at 2C most? Drawn on the structure, and checked.

The derivative of the energy of a resolved discharge with respect to the distance field of the particles, one reverse
pass for all of it, over the area of the surface near each corner: what a small displacement of the surface there gives.
The check moves the surface where the map says that it gives most, and where least, and discharges again. Ten minutes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from scipy.ndimage import gaussian_filter, map_coordinates

jax.config.update("jax_enable_x64", True)

from benchmarks import half_cells  # noqa: E402
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge  # noqa: E402
from solver.electrochemistry.resolved_solve import NewtonMethod  # noqa: E402
from solver.numerics.march import March, same_steps  # noqa: E402

SIDE, FINE, RATE = 24, 192, 2.0  # voxels a side, of the discharge and of what is drawn
STEP = 0.02  # voxels, by which the check moves the surface

level, film = half_cells.levels(SIDE)
base = half_cells.of_levels(level, film)
current = RATE * float(base.theoretical_capacity()) / 3600.0
newton = NewtonMethod(tolerance=1e-8)
freely = ResolvedMethod(March(tolerance=5e-4, max_steps=100), newton)
times = eqx.filter_jit(lambda cell: discharge(cell, current, freely).value.time)(base)
method = ResolvedMethod(March(schedule=same_steps(times), max_steps=100), newton)


def energy(level):
    cell = half_cells.of_levels(level, film, found=base.domains)
    return discharge(cell, current, method).value.energy


value, slope = jax.jit(jax.value_and_grad(energy))(jnp.asarray(level))
value, slope = float(value), np.asarray(slope)

voxel = half_cells.EDGE / SIDE
near = np.maximum(0.0, 1.0 - np.abs(level) / (1.5 * voxel))  # a hat of 1.5 voxels: area of the surface at each corner
area = near / near.sum() * float(jnp.sum(base.resolved(current).structure.particles[0].area))


def spread(x):
    """Over a voxel around each corner; the sides are periodic."""
    return gaussian_filter(x, 1.0, mode=("nearest", "wrap", "wrap"))


gain = spread(-slope) / np.maximum(spread(area), 1e-3 * area.max())  # J for each m3 of volume gained
gain = gain * 1e-8 * half_cells.EDGE**2 / value * 100.0  # in % of the energy, for 10 nm over an area of the section
print(f"energy at {RATE:g}C: {value:.6g} J")
at_surface = gain[near > 0.5]
evaluate = jax.jit(energy)
for name, where in (
    ("most", gain > np.quantile(at_surface, 0.9)),
    ("least", gain < np.quantile(at_surface, 0.1)),
):
    move = -STEP * voxel * where * near  # outwards
    up, down = (float(evaluate(jnp.asarray(level + sign * move))) for sign in (1.0, -1.0))
    found, told = (up - down) / 2.0, float(np.sum(slope * move))
    print(f"moved outwards by {STEP} voxels where it gives {name}: {found:+.5e} J, the map says {told:+.5e} "
          f"({1e2 * abs(told / found - 1.0):.3f} % apart)")  # fmt: skip

depth, shown = np.linspace(0.0, half_cells.EDGE, FINE + 1), (SIDE // 4, SIDE // 2, 3 * SIDE // 4)
outside, coated = half_cells.levels(FINE)
limits = np.quantile(at_surface, (0.03, 0.97))
figure, axes = plt.subplots(1, 3, figsize=(12, 4.0), layout="constrained", sharey=True)
for axis, k in zip(axes, shown, strict=True):
    slices = [x[:, :, k * FINE // SIDE] for x in (outside, coated)]
    phases = np.where(slices[0] < 0, 0.82, np.where(slices[1] < 0, 0.93, 1.0))
    axis.imshow(phases.T, cmap="gray", vmin=0, vmax=1, origin="lower", extent=[0.0, 1e6 * half_cells.EDGE] * 2)
    contour = axis.contour(1e6 * depth, 1e6 * depth, slices[0].T, levels=[0.0], linewidths=0.0)
    for path in contour.get_paths():
        for line in path.to_polygons(closed_only=False):
            places = 1e-6 * line.T / voxel
            colors = map_coordinates(gain[:, :, k], places, order=1, mode="nearest")
            parts = LineCollection(np.stack([line[:-1], line[1:]], 1), cmap="viridis", linewidths=4)
            parts.set_array(colors[:-1])
            parts.set_clim(*limits)
            drawn = axis.add_collection(parts)
    axis.set(xlabel="distance from the collector / um", title=f"z = {1e6 * k * voxel:.1f} um")
axes[0].set(ylabel="y / um")
label = f"energy at {RATE:g}C gained where the surface\nmoves out by 10 nm, in % for an area of the section"
figure.colorbar(drawn, ax=axes, label=label)
figure.savefig("mesode_gradient_map.png", dpi=150)
print("wrote mesode_gradient_map.png")
