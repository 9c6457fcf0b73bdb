"""From the voxels of an image to its effective transport: percolation first, then the solves. Outside `jit`."""

import dataclasses
from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from microstructure.grid import Grid
from microstructure.labels import Percolation, clusters, percolation
from solver.numerics import aggregation
from solver.numerics.layout import slabs
from solver.numerics.solution import Solution, raise_unless_successful

from .conduct import Conduction
from .convention import Convention
from .effective import conduct_all_axes, conduct_network
from .fields import Fields, local_fields
from .network import Conductor, Layout, Resistances, along_all_axes, between_plates, conductor

# Of conductances, and of areas over distance between the axes, above which coarse cells follow the strength of links.
CONTRAST, FLATNESS = 30.0, 4.0


class Effective(eqx.Module):
    """The effective transport of an image along one axis.

    **Arguments:** `axis`; `conductivity`, in the unit of the conductivities given; `tortuosity_factor`, mean
    conductivity of the voxels over it, infinite without a path; `volume_fraction`, of all that conducts,
    `percolating_fraction` and `dead_end_fraction`, joined to both plates and to one, all of the whole volume;
    `iterations`, `residual`; `error_estimate`, relative, of the conductivity; `flux_low`, `flux_high`, the currents at
    the two plates as conductivities; `field`, (nx, ny, nz), potential from 0 to 1, NaN where nothing flows, or `None`;
    `local`, [`solver.transport.fields.Fields`][], with it where the plates lie outside the voxels.
    """

    axis: int = eqx.field(static=True)
    conductivity: float
    tortuosity_factor: float
    volume_fraction: float
    percolating_fraction: float
    dead_end_fraction: float
    iterations: int = 0
    residual: float = 0.0
    error_estimate: float = 0.0
    flux_low: float = 0.0
    flux_high: float = 0.0
    field: np.ndarray | None = None
    local: Fields | None = None


def contact_resistances(labels, contacts: Mapping[tuple[int, int], float], low=0.0, high=0.0) -> Resistances:
    """The [`Resistances`][] of faces between voxels of two labels, joints too, and of the contacts to the two plates.

    **Arguments:** `labels`, (nx, ny, nz); `contacts`, by pairs of labels in any order, ohm m2 for S/m; `low`, `high`.
    """
    labels = np.asarray(labels)
    table = np.zeros((1 + max(int(labels.max()), *map(max, contacts)),) * 2, np.float32)
    for (one, other), value in contacts.items():
        table[one, other] = table[other, one] = value
    faces, joints = [], []
    for axis in range(3):
        n = labels.shape[axis]
        low_side, high_side = (np.take(labels, range(i, n - 1 + i), axis) for i in (0, 1))
        first, last = (np.take(labels, [i], axis) for i in (0, n - 1))
        faces.append(jnp.asarray(table[low_side, high_side]))
        joints.append(jnp.asarray(table[last, first]))
    return Resistances(tuple(faces), low, high, tuple(joints))


def effective_transport(
    k: np.ndarray,
    spacing=(1.0, 1.0, 1.0),
    axes: Sequence[int] = (0, 1, 2),
    *,
    periodic: tuple[bool, bool, bool] = (False, False, False),
    resistances: Resistances | None = None,
    convention: Convention | None = None,
    method: Conduction | None = None,
    fields: bool = False,
    devices: Sequence | None = None,
) -> list[Effective]:
    """Effective conductivity and tortuosity factor of an image along `axes`.

    **Arguments:** `k`, (nx, ny, nz), booleans or conductivities of the voxels in any unit, or (3, nx, ny, nz) along the
    axes, as [`solver.transport.network.label_field`][] makes them; `spacing`, voxel edges; `periodic`, axes whose sides
    are joined when they lie across the flux; `resistances`, [`contact_resistances`][]; `convention`, [`Convention`][];
    `method`, [`Conduction`][]; `fields`, whether to keep the potentials and what follows from them; `devices`, that
    share the volume in slabs along its longest axis, from `jax.devices()` (`None`: the default one holds all of it).

    **Raises:** `SolveError` when a solve did not reach its tolerance; `ValueError` for a tensor with zeros, and for a
    volume that cannot be cut.
    """
    k, convention, method = np.asarray(k), convention or Convention(), method or Conduction()
    _require_whole_tensors(k)
    method = _on_devices(method, k.shape[-3:], convention, devices)
    live = (k if k.ndim == 3 else k.max(axis=0)) > 0
    parts = _percolation(live, axes, periodic)
    ready = [axis for axis in axes if parts[axis].fraction > 0]
    solved, unit, layout = {}, 1.0, Layout(tuple(periodic), convention.at_nodes)
    if ready:
        members = np.any([parts[axis].through for axis in ready], axis=0)
        made, grid, unit = _conductor(k, members, spacing, resistances, method)
        solved = _solve(made, grid, ready, layout, method, fields)
    means = [_mean(k if k.ndim == 3 else k[axis], parts[axis].through, convention) for axis in axes]
    found = [
        _report(axis, solved.get(axis), parts[axis], live, mean, unit * convention.stretch(live.shape[axis]))
        for axis, mean in zip(axes, means, strict=True)
    ]
    if not fields:
        return found
    return [
        _with_fields(e, made, grid, layout, solved[e.axis].value[1], parts[e.axis].through) if e.axis in solved else e
        for e in found
    ]


def _on_devices(method: Conduction, shape, convention: Convention, devices) -> Conduction:
    if devices is None:
        return method
    if convention.at_nodes:
        raise ValueError("Plates at voxel centres leave out two slices, so the volume cannot be cut for `devices`.")
    return dataclasses.replace(method, slabs=slabs(shape, devices))


def _require_whole_tensors(k: np.ndarray) -> None:
    """Clusters are found without regard to direction, so each voxel has to conduct along all axes or none."""
    if k.ndim == 4 and np.any((k > 0).any(axis=0) & ~(k > 0).all(axis=0)):
        raise ValueError(
            "Argument `k` must be positive along all three axes of a voxel or zero along all, but some voxels conduct "
            "along one axis only; give the others a small conductivity."
        )


def _percolation(live: np.ndarray, axes, periodic) -> dict[int, Percolation]:
    """Clusters are numbered once, unless the sides that are joined differ between the axes."""
    pieces, found = {}, {}
    for axis in axes:
        joined = tuple(a for a in range(3) if periodic[a] and a != axis)
        if joined not in pieces:
            pieces[joined] = clusters(live, joined)
        found[axis] = percolation(pieces[joined], axis)
    return found


def _mean(k: np.ndarray, through: np.ndarray, convention: Convention) -> float:
    return float(np.mean(np.where(through, k, 0) if convention.percolating else k, dtype=float))


def _conductor(k, members, spacing, resistances, method: Conduction) -> tuple[Conductor, Grid, float]:
    """The conductances of the voxels that take part, the largest conductivity as unit; booleans where one is enough."""
    unit, spacing = float(k.max()), np.asarray(spacing, float)
    grid = Grid(members.shape, spacing / spacing.max())  # only the shape of the voxels matters
    cubes = np.ptp(spacing) == 0
    values = k[..., members]
    if resistances is None and cubes and k.ndim == 3 and values.min() == unit and method.dtype == np.float32:
        k = members
    else:
        k = np.where(members, k / unit if k.dtype != bool else k, 0).astype(method.dtype)
    if resistances is not None:
        resistances = jax.tree.map(lambda r: r * float(unit / spacing.max()), resistances)
    if method.slabs is not None:
        return _conductances(*method.slabs.place((k, grid, resistances))), grid, unit
    return _conductances(jnp.asarray(k), grid, resistances), grid, unit


@eqx.filter_jit
def _conductances(k, grid: Grid, resistances) -> Conductor:
    return conductor(k, grid, None, resistances)


def _solve(made: Conductor, grid: Grid, axes, layout: Layout, method: Conduction, fields) -> dict[int, Solution]:
    """One batched solve for all three axes where that pays and their sides are alike, else one for each.

    A batch fills an accelerator with small volumes; on a CPU it costs 1.7 times the three solves one by one.
    """
    spacing = np.asarray(grid.spacing)
    contrasted = _contrast(made) > CONTRAST or np.ptp(np.log(spacing)) > np.log(FLATNESS) / 2
    if len(axes) == 3 and layout == Layout() and jax.default_backend() != "cpu" and not contrasted and not method.slabs:
        batch = conduct_all_axes(along_all_axes(made, grid), method)
        return {axis: jax.tree.map(lambda leaf, a=axis: leaf[a], batch) for axis in axes}
    solved = {}
    for axis in axes:
        network = between_plates(made, grid, axis, layout)
        solution = conduct_network(network, method, aggregation.plan(network.faces) if contrasted else None)
        value, field = solution.value
        solved[axis] = Solution((value, field if fields else None), solution.result, solution.stats)
    return solved


def _contrast(made: Conductor) -> float:
    """The largest over the smallest conductance of the faces across which anything flows."""
    if made.interior[0].dtype == jnp.bool_:
        return 1.0
    largest, smallest = 0.0, np.inf
    for g in made.interior:
        largest = max(largest, float(jnp.max(g, initial=0)))
        smallest = min(smallest, float(jnp.min(jnp.where(g > 0, g, jnp.inf), initial=jnp.inf)))
    return largest / smallest if largest else 1.0


def _report(axis: int, solution: Solution | None, part: Percolation, live, mean: float, unit: float) -> Effective:
    fractions = (float(np.mean(live)), part.fraction, part.dead_end_fraction)
    if solution is None:
        return Effective(axis, 0.0, np.inf, *fractions)
    value, _ = raise_unless_successful(solution, f"Transport along {'xyz'[axis]}")
    conductivity, stats = float(value) * unit, solution.stats
    return Effective(
        axis,
        conductivity,
        mean / conductivity,
        *fractions,
        iterations=int(stats["steps"]),
        residual=float(stats["residual"]),
        error_estimate=float(stats["error_estimate"]),
        flux_low=float(stats["flux_low"]) * unit,
        flux_high=float(stats["flux_high"]) * unit,
    )


def _with_fields(found: Effective, made: Conductor, grid: Grid, layout: Layout, field, through) -> Effective:
    local, axis = None, found.axis
    if not layout.at_nodes:
        local = local_fields(between_plates(made, grid, axis, layout), field, axis)
        local = jax.tree.map(np.asarray, local)
    return dataclasses.replace(found, field=_shown(np.asarray(field), axis, through), local=local)


def _shown(field: np.ndarray, axis: int, through: np.ndarray) -> np.ndarray:
    """The field with the slices that are plates themselves, and nothing where nothing flows."""
    if field.shape != through.shape:
        width = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        field = np.pad(field, width)
        field[tuple(-1 if a == axis else slice(None) for a in range(3))] = 1
    return np.where(through, field, np.nan)
