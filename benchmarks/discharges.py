"""The discharges that the suite `cell` is about: parameter sets, meshes, designs, and what an error is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solver.cell.discretise import Mesh
from solver.cell.library import chen2020, marquis2019
from solver.cell.protocol import DFN, discharge
from solver.numerics.march import March, same_steps

CELLS = {"Marquis2019": (marquis2019, 0.680616), "Chen2020": (chen2020, 5.0)}  # and the nominal capacity, Ah
RATES = {"Marquis2019": (0.1, 0.5, 1.0, 2.0, 3.0), "Chen2020": (0.1, 0.5, 1.0, 2.0)}
REFINED = DFN(Mesh(120, 40, 80, 24), March(tolerance=1e-5, max_steps=1000))
EVEN = DFN(Mesh(20, 20, 20))  # the cells of PyBaMM's default mesh; ours has as many, but more in the negative
# End time s, capacity Ah and energy Wh of Marquis 2019 by an independent Chebyshev-collocation solution, rtol 1e-9.
CONVERGED = {
    0.1: (37052.909, 0.700522, 2.59456), 0.5: (7327.177, 0.692638, 2.53308), 1.0: (3617.752, 0.683972, 2.47221),
    2.0: (1765.401, 0.667533, 2.37177), 3.0: (1147.811, 0.651016, 2.28072),
}  # fmt: skip


def problem(name, c_rate):
    """The cell and the current density, A/m2."""
    make, capacity = CELLS[name]
    cell = make()
    return cell, jnp.asarray(capacity * c_rate) / cell.area


@eqx.filter_jit
def run(cell, current, method):
    """A `Solution` of a discharge."""
    return discharge(cell, current, method)


def window(end, count=300):
    """Times between 0.6 and 95 % of a discharge, in which a voltage error is taken."""
    return jnp.linspace(0.006 * end, 0.95 * end, count)


@eqx.filter_jit
def voltage_at(value, times):
    return value.voltage_at(times)


def refined(name, c_rate, method=REFINED):
    """Times s, voltages V, and the whole value of a refined discharge."""
    value = run(*problem(name, c_rate), method).value
    times = window(value.end_time)
    return times, np.asarray(voltage_at(value, times)), value


def rms(found, expected):
    """Root mean square of a difference of voltages, in mV."""
    return 1e3 * float(np.sqrt(np.mean((np.asarray(found) - np.asarray(expected)) ** 2)))


def size(method):
    mesh = method.mesh
    cells = mesh.negative + mesh.separator + mesh.positive
    return {"cells": cells, "particle_modes": mesh.particle, "unknowns": cells + 2 * (mesh.negative + mesh.positive)}


def design(name, scale):
    """The cell with five inputs changed as PyBaMM changes them: both thicknesses and porosities, and one radius.

    Active fractions stay; the electrolyte's transport follows the porosity by Bruggeman's law, and so does, in
    Marquis 2019, the conductivity of the solid; the reacting area is that of spheres.

    **Arguments:** `scale`, shape (5,), factors in the order of `INPUTS` of the peer.
    """
    cell = CELLS[name][0]()
    thickness, porosity, radius = (scale[0], scale[1]), (scale[2], scale[3]), (scale[4], jnp.ones_like(scale[4]))
    exponent = {"Marquis2019": 1.5, "Chen2020": 0.0}[name]
    electrodes = []
    for k, old in enumerate((cell.negative, cell.positive)):
        solid = ((1.0 - old.porosity * porosity[k]) / (1.0 - old.porosity)) ** exponent
        changed = {
            "thickness": old.thickness * thickness[k],
            "porosity": old.porosity * porosity[k],
            "electrolyte_transport": old.electrolyte_transport * porosity[k] ** 1.5,
            "electronic_conductivity": old.electronic_conductivity * solid,
            "particle_radius": old.particle_radius * radius[k],
            "specific_area": old.specific_area / radius[k],
        }
        electrodes.append(eqx.tree_at(lambda e, keys=tuple(changed): [getattr(e, x) for x in keys], old,
                                      list(changed.values())))  # fmt: skip
    return eqx.tree_at(lambda c: (c.negative, c.positive), cell, tuple(electrodes))


def scales(count, spread=0.1, seed=0):
    """Random factors of designs, shape (count, 5), within `spread` of one."""
    return np.random.default_rng(seed).uniform(1 - spread, 1 + spread, size=(count, 5))


def batch(name, c_rate, method, *, alone=False):
    """A function of factors, shape (n, 5), and times: end times, shape (n,), and voltages there, shape (n, m).

    **Arguments:** `alone`, one design after the other and at its own `window`, for solutions too large to be held all.
    """
    current = problem(name, c_rate)[1]

    def one(scale, times):
        value = discharge(design(name, scale), current, method).value
        return value.end_time, value.voltage_at(window(value.end_time, 60) if times is None else times)

    if alone:
        return jax.jit(lambda scale, _: jax.lax.map(lambda s: one(s, None), scale))
    return jax.jit(jax.vmap(one))


# Twenty parameters of a cell, for derivatives with respect to factors on them.
PARAMETERS = tuple(
    lambda c, side=side, name=name: getattr(getattr(c, side), name)
    for side in ("negative", "positive")
    for name in ("thickness", "porosity", "specific_area", "particle_radius", "electrolyte_transport",
                 "electronic_conductivity", "stoichiometry_full")
) + (
    lambda c: c.separator.thickness, lambda c: c.separator.electrolyte_transport, lambda c: c.lower_cutoff,
    lambda c: c.electrolyte.initial_concentration, lambda c: c.electrolyte.transference_number, lambda c: c.temperature,
)  # fmt: skip


def scaled(cell, scale):
    """The cell with each of `PARAMETERS` times a factor, shape (20,)."""
    values = [leaf(cell) * s for leaf, s in zip(PARAMETERS, scale, strict=True)]
    return eqx.tree_at(lambda c: [leaf(c) for leaf in PARAMETERS], cell, values)


def replayed(cell, current, mesh, max_steps=150):
    """A method that replays the steps of one adaptive run."""
    solution = run(cell, current, DFN(mesh, March(max_steps=max_steps, tolerance=1e-3)))
    return DFN(mesh, March(max_steps=max_steps, schedule=same_steps(solution.value.time)))


def central(function, at=1.0, step=2.5e-5):
    """The derivative by central differences at two steps, extrapolated."""
    half, full = ((function(at + k * step) - function(at - k * step)) / (2 * k * step) for k in (1, 2))
    return np.asarray((4 * half - full) / 3)
