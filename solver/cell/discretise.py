"""A cell put on a mesh: profiles through the thickness as values of cells, and the state at rest."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from microstructure.units import faraday

from .cell import Cell, Electrode, LithiumMetal, stoichiometries_at
from .particles import Particles
from .porous import PorousCell, Span


class Mesh(eqx.Module):
    """Numbers of cells through the thickness of each layer, and of modes in each particle."""

    negative: int = eqx.field(static=True, default=30)
    separator: int = eqx.field(static=True, default=10)
    positive: int = eqx.field(static=True, default=20)
    particle: int = eqx.field(static=True, default=14)


def layers_of(cell: Cell, mesh: Mesh) -> list:
    """(layer, number of cells) from the negative collector, or the lithium, on."""
    both = [(cell.separator, mesh.separator), (cell.positive, mesh.positive)]
    return both if isinstance(cell.negative, LithiumMetal) else [(cell.negative, mesh.negative), *both]


def widths(cell: Cell, mesh: Mesh) -> Array:
    """Of all cells, m."""
    return jnp.concatenate([jnp.broadcast_to(layer.thickness / n, (n,)) for layer, n in layers_of(cell, mesh)])


def on_cells(value: Array, count: int) -> Array:
    """A value, or a profile of means over equal slabs from the collector of the left side on, on `count` cells: means
    over each."""
    if value.ndim == 0:
        return jnp.broadcast_to(value, (count,))
    slabs = value.shape[0]
    edges, cells = np.arange(slabs + 1) / slabs, np.arange(count + 1) / count
    low, high = np.maximum(edges[None, :-1], cells[:-1, None]), np.minimum(edges[None, 1:], cells[1:, None])
    return jnp.asarray(count * np.maximum(high - low, 0)) @ value


def solid_halves(cell: Cell, mesh: Mesh) -> Array:
    """Resistances of the half cells to electrons, ohm m2, zero in the separator."""
    width = widths(cell, mesh)
    conductivity = jnp.concatenate([on_cells(_conductivity(layer), count) for layer, count in layers_of(cell, mesh)])
    return jnp.where(conductivity > 0, 0.5 * width / jnp.where(conductivity > 0, conductivity, 1.0), 0.0)


def build(cell: Cell, current: Array, mesh: Mesh) -> PorousCell:
    """The system of `cell` on `mesh` under `current` in A/m2, positive on discharge."""
    layers, width, solid_half = layers_of(cell, mesh), widths(cell, mesh), solid_halves(cell, mesh)

    def joined(value):
        return jnp.concatenate([on_cells(value(layer), count) for layer, count in layers])

    spans, particles, at = [], [], 0
    for layer, count in layers:
        if isinstance(layer, Electrode):
            particles += _classes(layer, len(spans), at, count, mesh.particle)
            spans.append(Span(at, count))
        at += count
    half = isinstance(cell.negative, LithiumMetal)
    return PorousCell(
        storage=joined(lambda layer: layer.porosity) * width,
        half_path=0.5 * width / joined(lambda layer: layer.electrolyte_transport),
        solid_resistance=solid_half[:-1] + solid_half[1:],
        electrodes=tuple(spans),
        particles=tuple(particles),
        metal=cell.negative if half else None,
        electrolyte=cell.electrolyte,
        temperature=cell.temperature,
        current=current,
        series_resistance=cell.contact_resistance + solid_half[-1] + (0.0 if half else solid_half[0]),
        capacitance=None if cell.positive.double_layer is None else jnp.concatenate([_charged(*x) for x in layers]),
    )


def _charged(layer, count: int) -> Array:
    """Capacitance of the double layers of a layer's cells, F/m2 of electrode area."""
    if not isinstance(layer, Electrode):
        return jnp.zeros(count)
    area = sum(on_cells(kind.specific_area, count) for kind in layer.classes)
    return layer.double_layer * area * layer.thickness / count


def _conductivity(layer) -> Array:
    return layer.electronic_conductivity if isinstance(layer, Electrode) else jnp.zeros_like(layer.thickness)


def _classes(electrode: Electrode, number: int, first: int, count: int, modes: int) -> list[Particles]:
    """All classes of particles of an electrode, on its cells."""
    width, found = electrode.thickness / count, []
    for kind in electrode.classes:
        radius, capacity = on_cells(kind.particle_radius, count), kind.material.maximum_concentration
        found.append(
            Particles(
                area=on_cells(kind.specific_area, count) * width,
                radius=radius,
                gain=3.0 / (faraday * radius * capacity),
                material=kind.material,
                electrode=number,
                first=first,
                count=count,
                modes=modes,
            )
        )
    return found


def rest(system: PorousCell, cell: Cell, state_of_charge: Array) -> tuple[Array, Array]:
    """The state y at rest, and a guess for w under load: uniform reaction and the potential that it needs.

    Double layers hold the potential, so that there is no reaction yet.
    """
    c = jnp.broadcast_to(system.electrolyte.initial_concentration, (system.size,))
    stoichiometry = stoichiometries_at(cell, state_of_charge)
    signs = [-1.0] if system.metal is not None else [1.0, -1.0]
    surface = system.summed([p.area * jnp.ones(p.count) for p in system.particles])
    amplitudes, current, psi, idle = [], [], {}, {}
    for p, x in zip(system.particles, stoichiometry, strict=True):
        filled = jnp.broadcast_to(x, (p.count,))
        amplitudes.append(jnp.concatenate([filled, jnp.zeros(p.size - p.count, filled.dtype)]))
        load = signs[p.electrode] * system.current if system.capacitance is None else jnp.zeros_like(system.current)
        j = jnp.broadcast_to(load / jnp.sum(surface[p.electrode]), (p.count,))
        current.append(j)
        psi.setdefault(p.electrode, p.equilibrium(p.local(c), j, filled, system.temperature))
        idle.setdefault(p.electrode, p.material.potential_at(filled, system.temperature))
    charged = () if system.capacitance is None else idle.values()
    return jnp.concatenate([c, *amplitudes, *charged]), jnp.concatenate([c, *psi.values(), *current])
