"""Where would moving the surface of the particles raise the energy at 2C most? Drawn on the structure, and checked.

The derivative of the energy of a resolved discharge with respect to the distance field of the particles, one reverse
pass for all of it, over the area of the surface at each corner: what a small displacement of the surface there gives.
The check moves the surface by what the map says, where it is most, and discharges again. A few minutes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

jax.config.update("jax_enable_x64", True)

from benchmarks import half_cells  # noqa: E402
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge  # noqa: E402
from solver.electrochemistry.resolved_solve import NewtonMethod  # noqa: E402
from solver.numerics.march import March, same_steps  # noqa: E402

SIDE, RATE = 16, 2.0
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
gain = -slope / np.where(area > 0, area, 1.0) * (area > 0.05 * area.max())  # J for each m3 of volume gained
scale = 1e-2 * voxel * half_cells.EDGE**2 / value * 100.0  # in % of the energy for 1 % of a voxel all over the section
gain = gain * scale
print(f"energy at {RATE:g}C: {value:.6g} J")
for name, where in (
    ("most", gain > np.quantile(gain[gain != 0], 0.9)),
    ("least", gain < np.quantile(gain[gain != 0], 0.1)),
):
    move = -STEP * voxel * where * near  # outwards
    up, down = (float(jax.jit(energy)(jnp.asarray(level + sign * move))) for sign in (1.0, -1.0))
    found, told = (up - down) / 2.0, float(np.sum(slope * move))
    print(f"moved outwards by {STEP} voxels where it gives {name}: {found:+.6e} J, the map says {told:+.6e} "
          f"({1e2 * abs(told / found - 1.0):.3f} % apart)")  # fmt: skip

limit = np.quantile(np.abs(gain[gain != 0]), 0.95)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
for axis, k in zip(axes, (SIDE // 4, SIDE // 2, 3 * SIDE // 4), strict=True):
    extent = [0.0, 1e6 * half_cells.EDGE] * 2
    solid = np.where(level[:, :, k] < 0, 0.75, np.where(film[:, :, k] < 0, 0.9, 1.0))
    axis.imshow(solid.T, cmap="gray", vmin=0, vmax=1, origin="lower", extent=extent)
    shown = np.ma.masked_where(gain[:, :, k] == 0, gain[:, :, k])
    drawn = axis.imshow(shown.T, cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower", extent=extent)
    axis.set(xlabel="from the collector / um", ylabel="y / um", title=f"z = {1e6 * k * voxel:.1f} um")
label = f"gain of energy at {RATE:g}C where the surface moves outwards by 1 % of a voxel,\n% for an area of the section"
figure.colorbar(drawn, ax=axes, label=label)
figure.savefig("mesode_gradient_map.png", dpi=150)
print("wrote mesode_gradient_map.png")
