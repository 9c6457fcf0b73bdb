"""What does a porous-electrode model make of a real structure, beside a discharge of the structure itself?

    python examples/bridging.py image.tif 0.398 64

takes the first 64^3 voxels of 0.398 um of a label image (0 pore, 1 active, 2 carbon-binder; axis 0 through the
thickness, the separator after its last slice), discharges them resolved against lithium at C/2, 1C and 2C, and beside
them the porous electrodes of what is measured on the same voxels, one for each closure, and says which is nearest; see
docs/resolved.md. Without arguments, a small packing. 64^3 take about two minutes a rate on two cores.
"""

import sys
import time

import equinox as eqx
import jax
import matplotlib.pyplot as plt
import numpy as np

jax.config.update("jax_enable_x64", True)

from benchmarks import half_cells  # noqa: E402
from microstructure.images import read_image  # noqa: E402
from solver.bridging import effective, nearest  # noqa: E402
from solver.cell.discretise import Mesh  # noqa: E402
from solver.cell.protocol import DFN  # noqa: E402
from solver.closures import size_classes  # noqa: E402
from solver.electrochemistry.resolved_run import discharge  # noqa: E402
from solver.numerics.march import March  # noqa: E402
from solver.numerics.solution import Result  # noqa: E402

RATES, EMPTY = (0.5, 1.0, 2.0), 0.9084  # Chen 2020: stoichiometry of the discharged cathode
COLORS, STYLES = ("#0072b2", "#d55e00", "#009e73"), (":", "--", "-", "-.")

if len(sys.argv) > 3:
    side = int(sys.argv[3])
    cell = half_cells.image(read_image(sys.argv[1]).labels[:side, :side, :side], 1e-6 * float(sys.argv[2]))
else:
    cell = half_cells.packing(16)
found = effective(cell)
capacity = float(cell.theoretical_capacity(EMPTY))
classes = size_classes(found.uptake_radii)
print(f"porosity {float(found.porosity):.3f}, active {float(found.active_fraction):.3f}")
print(f"area {float(found.specific_area):.4g} 1/m, radius from it {1e6 * float(found.area_radius):.2f} um")
print("uptake radii", *(f"{1e6 * float(radius):.2f}" for radius in found.uptake_radii), "um, the first of diffusion")
sizes = " and ".join(f"{share:.3f} of {1e6 * r:.2f} um" for share, r in zip(classes.shares, classes.radii, strict=True))
print(f"classes: {sizes}; {int(classes.kept)} moments kept. {classes.reason}")
print(f"transport {float(found.electrolyte_transport):.4f} of free, {float(found.electronic_conductivity):.3g} S/m;")
print(f"    {float(found.electrode_transport):.4f} to where an even reaction is")

resolved, runs = eqx.filter_jit(discharge), []
for rate in RATES:
    begun = time.time()
    run = resolved(cell, rate * capacity / 3600.0)
    value = run.value
    assert run.result == Result.successful and bool(value.reached), run.result
    balance = abs(float(value.filling / value.capacity) - 1.0)
    print(f"{rate:g}C: resolved {float(value.capacity) / capacity:.4f} of the capacity, lithium to {balance:.1e},")
    print(f"    {int(run.stats['steps'])} steps, {int(run.stats['newton'])} corrections, {time.time() - begun:.0f} s")
    runs.append(value)
fine = DFN(Mesh(1, 20, 60, 30), March(tolerance=5e-5, max_steps=600))
best, every = nearest(cell, found, EMPTY, runs, method=fine)
for name, ones in every.items():
    print(f"porous electrode, {name}:")
    for rate, run, one in zip(RATES, runs, ones, strict=True):
        share = float(run.capacity) / capacity
        print(f"    {rate:g}C: {1e3 * one.voltage:.1f} mV rms, {1e3 * one.largest:.1f} at most in nine tenths of it,")
        print(f"        capacity {share * (1 + one.capacity):.4f}, {1e2 * one.capacity:+.2f} %")
print(f"nearest: {best}")

figure, axes = plt.subplots(1, 4, figsize=(13, 4.0), layout="constrained")
for k, (rate, run, color) in enumerate(zip(RATES, runs, COLORS, strict=True)):
    axes[0].plot(np.asarray(run.time) * float(run.current) / capacity, run.voltage, color=color, label=f"{rate:g}C")
    for (name, ones), style in zip(every.items(), STYLES, strict=True):
        one = ones[k]
        axes[0].plot(one.charge / capacity, one.resolved + one.gap, style, color=color, lw=0.8)
        axes[k + 1].plot(one.charge / capacity, 1e3 * one.gap, style, color=color, lw=1.5, label=name)
    axes[k + 1].axhline(0.0, color="0.7", lw=0.8)
    axes[k + 1].axvline(0.9 * float(run.capacity) / capacity, color="0.7", lw=0.8)
    axes[k + 1].set(title=f"{rate:g}C: porous less resolved / mV", ylim=(-70, 15))
axes[0].set(title="voltage / V", ylim=(3.45, 4.25))
axes[0].legend()
axes[1].legend(fontsize=8, loc="lower left")
figure.supxlabel("charge over theoretical capacity", fontsize=10)
figure.savefig("mesode_bridging.png", dpi=150)
print("wrote mesode_bridging.png")
