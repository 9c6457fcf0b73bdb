"""Run by `test_resolved_slabs` in a process of its own, which has two devices: prints what it found as JSON."""

import json
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import half_cells
from solver.electrochemistry.resolved_run import ResolvedMethod, discharge
from solver.electrochemistry.resolved_solve import NewtonMethod
from solver.electrochemistry.resolved_vector import across, flat, last, part
from solver.numerics.march import March
from tests import resolved_block

STEPS, DURATION = 8, 600.0  # s


def vectors(shape) -> dict:
    """Two fields, a slice and a number in one vector of two rows and back again."""
    cut, random = across(shape, jax.devices()), np.random.default_rng(0)
    field, other, slice_ = (jnp.asarray(random.random((n, *shape[1:]))) for n in (shape[0], shape[0], 1))
    fields = [field, other, slice_, jnp.asarray(7.0)]

    @jax.jit
    def through(fields):
        w = flat(fields, cut)
        starts = (0, field.size, 2 * field.size)
        return w, [part(w, start, x.shape, cut) for start, x in zip(starts, fields[:3], strict=True)], last(w)

    w, back, number = through(fields)
    same = all(bool(jnp.all(a == b)) for a, b in zip(fields, [*back, number], strict=True))
    return {
        "axis": cut.axis,
        "same": same,
        "norms": [float(jnp.linalg.norm(x)) for x in (w, flat(fields))],
        "held": [list(s.data.shape) for x in (w, back[0]) for s in x.addressable_shards],
    }


def discharges(cell, *, gradient: bool) -> dict:
    """The same steps on one device and on two: voltages, bytes on each device, and how far the gradients are apart."""
    current = cell.theoretical_capacity() / 3600.0
    times = jnp.concatenate([jnp.zeros(1), DURATION * jnp.linspace(0.1, 1.0, STEPS) ** 2])
    method = ResolvedMethod(March(max_steps=STEPS, schedule=times), NewtonMethod(tolerance=1e-8, adjoint=1e-9))
    found = {"voltages": [], "bytes": []}
    slopes = []
    for devices in (None, jax.devices()):

        def energy(cell, devices=devices):
            solution = discharge(cell, current, method, duration=DURATION, devices=devices)
            return solution.value.energy, solution.value.voltage

        whole = eqx.filter_value_and_grad(energy, has_aux=True) if gradient else lambda c, f=energy: (f(c), None)
        made = eqx.filter_jit(whole).lower(cell).compile()
        needs = made.compiled.memory_analysis()
        found["bytes"].append(needs.argument_size_in_bytes + needs.temp_size_in_bytes)
        (_, voltage), slope = made(cell)
        found["voltages"].append(np.asarray(voltage).tolist())
        slopes.append([np.asarray(x) for x in jax.tree.leaves(slope)])
    off = [np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-300) for a, b in zip(*slopes, strict=True)]
    return found | {"gradient": max(off, default=0.0)}


def main(what: str) -> dict:
    if what == "vectors":
        return {"y": vectors((3, 6, 4)), "z": vectors((3, 5, 4))}
    if what == "packing":
        return discharges(half_cells.packing(8), gradient=True)
    return discharges(half_cells.image(resolved_block.labels(), 1e-6), gradient=False)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(json.dumps(main(sys.argv[1])))
