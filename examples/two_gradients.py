"""What does a change of structure or material do to the energy: asked of the structure, and of its porous electrode?

A packing of spheres under a film of carbon-binder is discharged against lithium, resolved; and so is the porous
electrode of what is measured on its voxels. Both derivatives go back to the same numbers, that of the porous electrode
through the effective properties: two reverse passes. About ten minutes, most of it compilation.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

from benchmarks import half_cells  # noqa: E402
from solver.bridging import measured, porous  # noqa: E402
from solver.cell.discretise import Mesh  # noqa: E402
from solver.cell.protocol import DFN  # noqa: E402
from solver.cell.protocol import discharge as porous_discharge  # noqa: E402
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge  # noqa: E402
from solver.numerics.march import March  # noqa: E402

SIDE, RATE, EMPTY = 16, 2.0, 0.9084  # Chen 2020: stoichiometry of the discharged cathode
RADIUS, FILM = 3.5e-6, half_cells.FILM  # m, by shares of which surfaces move
level, film = half_cells.levels(SIDE)
base = half_cells.of_levels(level, film)
current = RATE * float(base.theoretical_capacity(EMPTY)) / 3600.0
method = ResolvedMethod(March(tolerance=5e-4, max_steps=100))
mesh = DFN(Mesh(1, 20, 40, 20), March(tolerance=1e-4, max_steps=300))


def materials(cell):
    active = cell.roles["active"].material
    electrolyte, stack = cell.electrolyte, cell.separator
    return [active.diffusivity, active.kinetics.rate, electrolyte.initial_concentration,
            electrolyte.transference_number, cell.roles["active"].conductivity, cell.roles["binder"].transport,
            stack.transport]  # fmt: skip


NAMES = ("all radii", "thickness of the film", "solid diffusivity", "rate of reaction", "salt", "transference number",
         "conductivity of the active", "transport in the binder", "transport in the separator")  # fmt: skip


def changed(shares):
    """The half-cell with each number of `NAMES` larger by a share."""
    out = RADIUS * shares[0]
    cell = half_cells.of_levels(level - out, film - out - FILM * shares[1], found=base.domains)
    return eqx.tree_at(materials, cell, [x * (1.0 + s) for x, s in zip(materials(cell), shares[2:], strict=True)])


def resolved_energy(shares):
    return discharge(changed(shares), current, method).value.energy


def porous_energy(shares):
    cell = changed(shares)
    other = porous(cell, measured(cell).value, EMPTY)
    return porous_discharge(other, current / cell.section, mesh).value.energy * cell.section


shares = jnp.zeros(len(NAMES))
(one, here), (two, there) = (jax.jit(jax.value_and_grad(f))(shares) for f in (resolved_energy, porous_energy))
print(f"energy at {RATE:g}C: {float(one):.5g} J resolved, {float(two):.5g} J as a porous electrode")
print(f"{'% of energy for 1 % more of':32}{'resolved':>10}{'porous':>10}")
for name, a, b in zip(NAMES, here / one, there / two, strict=True):
    print(f"{name:32}{float(a):10.4f}{float(b):10.4f}")
