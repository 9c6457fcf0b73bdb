"""Impedance of the porous cell at any state, without error of the mesh to second order."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from microstructure.checks import require

from ..electrochemistry.laws import Table
from ..numerics.real import real
from .cell import Cell, Electrode, stoichiometries_at
from .discretise import Mesh, build, layers_of
from .linearise import State, linearise
from .porous import PorousCell
from .protocol import Fields


class EIS(eqx.Module):
    """Electrochemical impedance spectroscopy of the porous-electrode model.

    Salt and potentials are solved on `mesh` and on one of twice as many cells, and extrapolated (Richardson); particles
    are exact. Double layers are the cell's own.

    **Arguments:** `mesh`, a [`Mesh`][], whose number of modes is not used; `series_resistance`, ohm m2, and
    `inductance`, H, of what the cell does not hold, such as leads and tabs.

    **Source:** Doyle, Meyers and Newman 2000, doi 10.1149/1.1393162.
    """

    mesh: Mesh = Mesh(20, 10, 20)
    series_resistance: Float[Array, ""] = eqx.field(converter=real, default=0.0)
    inductance: Float[Array, ""] = eqx.field(converter=real, default=0.0)

    def __check_init__(self):
        require("series_resistance", self.series_resistance, 0.0, 1e3, unit="ohm m2")
        require("inductance", self.inductance, 0.0, 1.0, unit="H")


class Impedance(eqx.Module):
    """A spectrum.

    **Arguments:** `frequency`, Hz, shape (f,); `specific`, -dV/di with the current positive on discharge, complex,
    shape (f,), ohm m2; `correction`, what the extrapolation added to the finer mesh, complex, shape (f,), ohm m2, well
    above the error that is left; `area` of the cell, m2.
    """

    frequency: Float[Array, " f"]
    specific: Complex[Array, " f"]
    correction: Complex[Array, " f"]
    area: Float[Array, ""]

    @property
    def of_cell(self) -> Array:
        """-dV/dI of the whole cell, complex, shape (f,), ohm."""
        return self.specific / self.area.astype(self.specific.dtype)


def impedance(
    cell: Cell,
    frequency,
    method: EIS | None = None,
    *,
    state_of_charge=0.5,
    state: Fields | None = None,
    current_density=0.0,
) -> Impedance:
    """The impedance of a cell at rest, or at the instant of a run.

    **Arguments:** `frequency`, Hz, shape (f,), positive; `method`, by default `EIS()`; `state_of_charge`, of a cell at
    rest; or `state`, the profiles of a run such as [`Discharge`][]`.final`, with the `current_density` that flows there
    and goes on, A/m2, positive on discharge.

    **Returns:** an [`Impedance`][], differentiable in every number of `cell`, of `method` and of the state.
    """
    if cell.temperature.dtype != jnp.float64:
        raise ValueError("Impedance needs float64, but the cell holds float32. Enable x64 before making the cell.")
    require("frequency", frequency, 1e-12, 1e12, unit="Hz")
    require("state_of_charge", state_of_charge, 0.0, 1.0)
    method = EIS() if method is None else method
    frequency, charged, current = (
        jnp.asarray(x, cell.temperature.dtype) for x in (frequency, state_of_charge, current_density)
    )
    exponent = jax.lax.complex(jnp.zeros_like(frequency), 2.0 * jnp.pi * frequency)

    def on(mesh):
        system = build(cell, current, mesh)
        here = at_rest(system, cell, charged) if state is None else resampled(state, cell, mesh)
        return jax.vmap(linearise(system, here).impedance)(exponent)

    fine, coarse = on(_twice(method.mesh)), on(method.mesh)
    correction = (fine - coarse) / 3.0
    leads = jax.lax.complex(
        jnp.broadcast_to(method.series_resistance, frequency.shape),
        2.0 * jnp.pi * frequency * method.inductance * cell.area,
    )
    return Impedance(frequency, fine + correction + leads, correction, cell.area)


def at_rest(system: PorousCell, cell: Cell, state_of_charge: Array) -> State:
    """The state of a cell at rest."""
    stoichiometry = stoichiometries_at(cell, state_of_charge)
    return State(
        concentration=jnp.broadcast_to(system.electrolyte.initial_concentration, (system.size,)),
        reaction=tuple(jnp.zeros(p.count) for p in system.particles),
        surface=tuple(jnp.broadcast_to(x, (p.count,)) for p, x in zip(system.particles, stoichiometry, strict=True)),
    )


def _twice(mesh: Mesh) -> Mesh:
    return Mesh(2 * mesh.negative, 2 * mesh.separator, 2 * mesh.positive, mesh.particle)


def resampled(fields: Fields, cell: Cell, mesh: Mesh) -> State:
    """The profiles of a run on another mesh, straight between the centres of the cells of each layer."""
    layers, given = layers_of(cell, mesh), iter([x.shape[0] for x in fields.surface])
    # Cells of each electrode in the fields, which its classes share; the rest are the separator's.
    counts = [[next(given) for _ in e.classes][0] if isinstance(e, Electrode) else 0 for e, _ in layers]
    between = fields.depth.shape[0] - sum(counts)
    salt, kinetic, start, at = [], [], jnp.zeros_like(cell.separator.thickness), 0
    for (layer, count), old in zip(layers, counts, strict=True):
        old = old or between
        here = start + jnp.asarray((np.arange(count) + 0.5) / count) * layer.thickness
        depth = fields.depth[at : at + old]
        salt.append(Table(depth, fields.concentration[at : at + old])(here))
        for _ in layer.classes if isinstance(layer, Electrode) else ():
            k = len(kinetic)
            kinetic.append((Table(depth, fields.reaction[k])(here), Table(depth, fields.surface[k])(here)))
        start, at = start + layer.thickness, at + old
    reaction, surface = zip(*kinetic, strict=True)
    return State(jnp.concatenate(salt), reaction, surface)
