"""What does a porous-electrode model make of a real structure, beside a discharge of the structure itself?

    python examples/bridging.py image.tif 0.398 64

takes the first 64^3 voxels of 0.398 um of a label image (0 pore, 1 active, 2 carbon-binder; axis 0 through the
thickness, the separator after its last slice), discharges them resolved against lithium at C/2, 1C and 2C, and beside
them the porous electrode of what is measured on the same voxels; see docs/resolved.md. Without arguments, a small
packing. 64^3 take about two minutes a rate on two cores.
"""

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

jax.config.update("jax_enable_x64", True)

from benchmarks import half_cells  # noqa: E402
from microstructure.images import read_image  # noqa: E402
from solver.bridging import effective, porous  # noqa: E402
from solver.cell.discretise import Mesh  # noqa: E402
from solver.cell.protocol import DFN  # noqa: E402
from solver.cell.protocol import discharge as porous_discharge  # noqa: E402
from solver.electrochemistry.resolved_run import discharge  # noqa: E402
from solver.numerics.march import March  # noqa: E402
from solver.numerics.solution import Result  # noqa: E402

RATES, EMPTY = (0.5, 1.0, 2.0), 0.9084  # Chen 2020: stoichiometry of the discharged cathode
COLORS = ("#0072b2", "#d55e00", "#009e73")

if len(sys.argv) > 3:
    side = int(sys.argv[3])
    cell = half_cells.image(read_image(sys.argv[1]).labels[:side, :side, :side], 1e-6 * float(sys.argv[2]))
else:
    cell = half_cells.packing(16)
found = effective(cell)
capacity = cell.theoretical_capacity(EMPTY)
print(f"porosity {float(found.porosity):.3f}, active {float(found.active_fraction):.3f}")
print(f"area {float(found.specific_area):.4g} 1/m, radius from it {1e6 * float(found.area_radius):.2f} um")
print(f"diffusion radius {1e6 * float(found.diffusion_radius):.2f} um")
print(f"transport {float(found.electrolyte_transport):.4f} of free, {float(found.electronic_conductivity):.3g} S/m")

resolved = eqx.filter_jit(discharge)
homogenised = eqx.filter_jit(porous_discharge)
fine = DFN(Mesh(1, 20, 60, 30), March(tolerance=5e-5, max_steps=600))
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for rate, color in zip(RATES, COLORS, strict=True):
    current, begun = rate * capacity / 3600.0, time.time()
    run = resolved(cell, current)
    value = run.value
    assert run.result == Result.successful and bool(value.reached), run.result
    drawn = np.asarray(value.time) * float(value.current) / float(capacity)
    left.plot(drawn, value.voltage, color=color, lw=2, label=f"{rate:g}C")
    share = float(value.capacity / capacity)
    balance = abs(float(value.filling / value.capacity) - 1.0)
    print(f"{rate:g}C: resolved {share:.4f} of the capacity, lithium balances to {balance:.1e},")
    print(f"    {int(run.stats['steps'])} steps, {int(run.stats['newton'])} corrections, {time.time() - begun:.0f} s")
    for radius, style in (("diffusion", "--"), ("area", ":")):
        other = homogenised(porous(cell, found, EMPTY, radius), current / cell.section, fine).value
        ends = float(other.end_time * current / capacity)
        grid = np.linspace(0.0, 0.995 * min(share, ends), 400)
        seconds = grid * float(capacity / current)
        theirs = np.asarray(other.voltage_at(jnp.asarray(seconds)))
        off = 1e3 * (theirs - np.interp(seconds, value.time, value.voltage))
        left.plot(grid, theirs, style, color=color, lw=1.2)
        right.plot(grid, off, style, color=color, lw=1.5, label=f"{rate:g}C, {radius} radius")
        core = off[grid < 0.9 * share]
        print(f"    porous electrode, {radius} radius: capacity {ends:.4f}, {1e2 * (ends / share - 1):+.2f} %,")
        print(
            f"        {np.sqrt(np.mean(core**2)):.1f} mV rms, {np.max(np.abs(core)):.1f} at most in nine tenths of it"
        )
left.set(xlabel="charge over theoretical capacity", ylabel="voltage / V")
left.set_title(
    "resolved (solid), porous electrode with spheres of\nthe diffusion radius (dashed), of the area (dotted)",
    fontsize=9,
)
left.legend()
right.set(xlabel="charge over theoretical capacity", ylabel="porous less resolved / mV", ylim=(-75, 45))
right.axhline(0.0, color="0.7", lw=0.8)
right.legend(fontsize=8)
figure.savefig("mesode_bridging.png", dpi=150)
print("wrote mesode_bridging.png")
