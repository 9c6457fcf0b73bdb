"""A structure as the network that a resolved cell solves on: what is stored, what is linked, where it reacts."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from microstructure.checks import require
from microstructure.grid import Grid
from microstructure.voxel import Phases

from ..numerics.aggregation import Plan
from ..numerics.flux import slice_of
from ..numerics.real import real
from ..numerics.written import written_linear
from .domains import Domains
from .interface import Reading, normals, plane_offset, reading
from .roles import Role
from .stencil import following, in_series, preceding, wraps

_READABLE = 0.02  # share of a phase in and around a voxel below which its interface there goes to its neighbours


class SeparatorStack(eqx.Module):
    """A homogenised separator glued on the last slice in layers; [`separator_on`][] makes one that suits the voxels.

    **Arguments:** `thickness`, m; `porosity`; `transport`, effective over free diffusivity; `relative`, widths of the
    layers from the electrode on, in any unit, static. Layers thicker than 2.4 voxels are wide make linear solves slow.
    """

    thickness: Float[Array, ""] = eqx.field(converter=real)
    porosity: Float[Array, ""] = eqx.field(converter=real)
    transport: Float[Array, ""] = eqx.field(converter=real)
    relative: tuple[float, ...] = eqx.field(static=True, default=(1.0,) * 8)

    def __check_init__(self):
        require("thickness", self.thickness, 1e-9, 1e-2, unit="m")
        require("porosity", self.porosity, 1e-6, 1.0)
        require("transport", self.transport, 1e-12, 1.0)

    @property
    def layers(self) -> int:
        return len(self.relative)

    def widths(self) -> Float[Array, " layers"]:
        """Of the layers, from the electrode on, m."""
        relative = np.asarray(self.relative)
        return self.thickness * jnp.asarray(relative / relative.sum())


def separator_on(spacing, thickness: float, porosity, transport) -> SeparatorStack:
    """A [`SeparatorStack`][] on voxels of `spacing`, (3,), m, outside `jit`: layers from one voxel, each 1.3 times the
    one before, up to 2.4 times the narrower of the two sides of a voxel."""
    spacing = np.asarray(spacing, float)
    most, widths = 2.4 * float(np.min(spacing[1:])), [float(spacing[0])]
    while sum(widths) < thickness:
        widths.append(max(min(1.3 * widths[-1], most), widths[0]))
    return SeparatorStack(thickness, porosity, transport, tuple(w / widths[0] for w in widths))


class Conductors(eqx.Module):
    """Electrode and separator as two conductors, before it is known which voxels take part.

    **Arguments:** `electrons`, `ions`, the share of each voxel that conducts them; `solid_links`, S, and `lyte_links`,
    m (to be multiplied by a property of the free electrolyte), by axis; `storage`, volume of electrolyte in each voxel,
    m3; `transport`, of each voxel, relative; `solid`, electronic conductivity of each voxel, S/m; `plate`, S, to the
    collector, (1, ny, nz); `metal_area`, m2, and `metal_path`, m, over the relative transport, to the lithium,
    (1, ny, nz). All others (nx, ny, nz), with the layers of the separator in nx.
    """

    electrons: Array
    ions: Array
    solid_links: tuple[Array, Array, Array]
    lyte_links: tuple[Array, Array, Array]
    storage: Array
    transport: Array
    solid: Array
    plate: Array
    metal_area: Array
    metal_path: Array


class Particles(eqx.Module):
    """One active phase.

    **Arguments:** `storage`, its volume in each voxel, m3; `links`, m, to be multiplied by a diffusivity; `area`, of
    its interface with electrolyte in each voxel, m2; `solid`, `lyte`, the [`Reading`][] of both sides; `solid_path`,
    m / (S/m), `lyte_path`, m over relative transport, from where they are read to the surface.
    """

    storage: Array
    links: tuple[Array, Array, Array]
    area: Array
    solid: Reading
    lyte: Reading
    solid_path: Array
    lyte_path: Array


class Structure(eqx.Module):
    """All that a resolved cell takes from its geometry, as in [`Conductors`][], with only what takes part.

    **Arguments:** `particles`, by active phase; `with_electrons`, `with_ions`, the voxels that take part; `joined`, as
    in [`Domains`][]; `section`, area of the cell, m2; `periodic`, whether the sides are joined, static.
    """

    particles: tuple[Particles, ...]
    storage: Array
    lyte_links: tuple[Array, Array, Array]
    solid_links: tuple[Array, Array, Array]
    plate: Array
    metal_area: Array
    metal_path: Array
    section: Array
    with_electrons: Bool[Array, "nx ny nz"]
    with_ions: Bool[Array, "nx ny nz"]
    joined: Plan | None
    periodic: bool = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.storage.shape


def _mean(phases: Phases, values: list[Array | None]) -> tuple[Array, Array]:
    """The share of each voxel in phases with a value, and the mean of it over them."""
    there = [i for i, v in enumerate(values) if v is not None]
    share = sum((phases.fractions[i] for i in there), jnp.zeros(phases.grid.shape))
    amount = sum((phases.fractions[i] * values[i] for i in there), jnp.zeros(phases.grid.shape))
    filled = share > 0
    return share, jnp.where(filled, amount / jnp.where(filled, share, 1.0), 0.0)


def _openings(phases: Phases, there: list[bool], periodic: bool) -> list[Array]:
    """The open share of the link of each voxel to the next, by axis."""
    out = []
    for axis in range(3):
        whole = sum((phases.apertures[axis][i] for i, t in enumerate(there) if t), jnp.zeros(1))
        whole = jnp.broadcast_to(whole, phases.apertures[axis].shape[1:])
        n = phases.grid.shape[axis]
        inner = lax.slice_in_dim(whole, 1, n, axis=axis)
        joint = slice_of(whole, axis, 0) * float(wraps(periodic)[axis])
        out.append(jnp.concatenate([inner, joint], axis=axis))
    return out


def _links(k: Array, openings: list[Array], grid: Grid, periodic: bool) -> list[Array]:
    """Conductances to the next voxel: the two half voxels in series, through what is open between them."""
    out = []
    for axis in range(3):
        half = 2.0 * k * grid.face_areas[axis] / grid.spacing[axis]
        out.append(openings[axis] * in_series(half, following(half, axis, wraps(periodic)[axis])))
    return out


def _end(phases: Phases, there: list[bool], index: int) -> Array:
    """The open share of the outermost faces of axis 0, (1, ny, nz)."""
    faces = phases.apertures[0]
    total = sum((faces[i] for i, t in enumerate(there) if t), jnp.zeros(faces.shape[1:]))
    return slice_of(total, 0, index % faces.shape[1])


def double(phases: Phases) -> Phases:
    """`phases` in the default precision."""
    dtype = jnp.result_type(float)
    return eqx.tree_at(
        lambda p: (p.fractions, p.apertures, p.areas, p.grid.spacing),
        phases,
        (
            phases.fractions.astype(dtype),
            tuple(a.astype(dtype) for a in phases.apertures),
            phases.areas.astype(dtype),
            phases.grid.spacing.astype(dtype),
        ),
    )


def conductors(phases: Phases, roles: Mapping[str, Role], stack: SeparatorStack | None, periodic: bool) -> Conductors:
    """The [`Conductors`][] of a structure in double precision, of the [`Role`][] of each phase by name."""
    grid, ordered = phases.grid, [roles[name] for name in phases.names]
    electrons, ions = [r.electrons for r in ordered], [r.ions for r in ordered]
    with_electrons, sigma = _mean(phases, [r.conductivity for r in ordered])
    with_ions, transport = _mean(phases, [r.transport for r in ordered])
    area, width = grid.face_areas[0], grid.spacing[0]
    solid_links = _links(sigma, _openings(phases, electrons, periodic), grid, periodic)
    lyte_links = _links(transport, _openings(phases, ions, periodic), grid, periodic)
    storage = (
        sum((phases.fractions[i] * r.porosity for i, r in enumerate(ordered) if r.ions), jnp.zeros(grid.shape))
        * grid.voxel_volume
    )
    plate = _end(phases, electrons, 0) * 2.0 * slice_of(sigma, 0, 0) * area / width
    last = slice_of(transport, 0, grid.shape[0] - 1)
    open_top = jnp.where(last > 0, _end(phases, ions, -1), 0.0)
    made = Conductors(
        with_electrons, with_ions, tuple(solid_links), tuple(lyte_links), storage, transport, sigma, plate,
        metal_area=open_top * area, metal_path=0.5 * width / jnp.where(last > 0, last, 1.0),
    )  # fmt: skip
    return made if stack is None else _stacked(made, grid, stack, open_top, periodic)


def _stacked(made: Conductors, grid: Grid, stack: SeparatorStack, open_top: Array, periodic: bool) -> Conductors:
    """`made` with the layers of the separator after its last slice."""
    widths, (_, ny, nz) = stack.widths(), grid.shape
    layers, area = stack.layers, grid.face_areas[0]

    def layered(values):
        return jnp.broadcast_to(values[:, None, None], (layers, ny, nz))

    def beyond(x, extra):
        return jnp.concatenate([x, jnp.broadcast_to(jnp.asarray(extra, x.dtype), (layers, ny, nz))])

    n = grid.shape[0]
    half = 2.0 * stack.transport * area / widths
    below = 2.0 * slice_of(made.transport, 0, n - 1) * open_top * area / grid.spacing[0]
    joint = in_series(below, jnp.broadcast_to(half[0], below.shape))
    between = jnp.concatenate([in_series(half[:-1], half[1:]), jnp.zeros(1)])
    first = jnp.concatenate([lax.slice_in_dim(made.lyte_links[0], 0, n - 1, axis=0), joint, layered(between)])
    sides = []
    for axis, other in ((1, 2), (2, 1)):
        link = layered(stack.transport * widths * grid.spacing[other] / grid.spacing[axis])
        last = jnp.arange(grid.shape[axis]) == grid.shape[axis] - 1
        shut = last.reshape([-1 if a == axis else 1 for a in range(3)]) & ~jnp.asarray(periodic)
        sides.append(jnp.concatenate([made.lyte_links[axis], jnp.where(shut, 0.0, link)]))
    volume = stack.porosity * area * widths
    return Conductors(
        electrons=beyond(made.electrons, 0.0),
        ions=beyond(made.ions, 1.0),
        solid_links=tuple(beyond(g, 0.0) for g in made.solid_links),
        lyte_links=(first, *sides),
        storage=jnp.concatenate([made.storage, layered(volume)]),
        transport=beyond(made.transport, stack.transport),
        solid=beyond(made.solid, 0.0),
        plate=made.plate,
        metal_area=jnp.full((1, ny, nz), 1.0) * area,
        metal_path=jnp.full((1, ny, nz), 0.5) * widths[-1] / stack.transport,
    )


def _both(mask: Array, links: tuple[Array, ...], periodic: bool) -> tuple[Array, ...]:
    """Only the links between voxels of `mask`."""
    share = mask.astype(links[0].dtype)
    return tuple(g * share * following(share, a, wraps(periodic)[a]) for a, g in enumerate(links))


def structure(phases: Phases, roles: Mapping[str, Role], made: Conductors, found: Domains, periodic: bool) -> Structure:
    """The [`Structure`][] of `phases` in double precision; `made`, its [`conductors`][]; `found`, which take part."""
    solid, lyte = jnp.asarray(found.solid), jnp.asarray(found.lyte)
    particles = [
        _particles(phases, roles, i, made, solid, lyte, periodic)
        for i, name in enumerate(phases.names)
        if roles[name].material is not None
    ]
    taking = lyte.astype(made.storage.dtype)
    return Structure(
        tuple(particles),
        storage=made.storage * taking,
        lyte_links=_both(lyte, made.lyte_links, periodic),
        solid_links=_both(solid, made.solid_links, periodic),
        plate=jnp.where(slice_of(solid, 0, 0), made.plate, 0.0),
        metal_area=jnp.where(slice_of(lyte, 0, lyte.shape[0] - 1), made.metal_area, 0.0),
        metal_path=made.metal_path,
        section=phases.grid.face_areas[0] * float(np.prod(phases.grid.shape[1:])),
        with_electrons=solid,
        with_ions=lyte,
        joined=found.joined,
        periodic=periodic,
    )


def _box_sum(x: Array) -> Array:
    """The sum over the 27 voxels around each."""
    for axis in range(3):
        x = written_linear(x + following(x, axis, False) + preceding(x, axis, False))
    return x


def _particles(phases, roles, index, made, solid, lyte, periodic) -> Particles:
    """The [`Particles`][] of the phase with number `index`."""
    grid, shape = phases.grid, made.storage.shape
    more = shape[0] - grid.shape[0]

    def grown(x):
        return jnp.pad(x, [(0, more), (0, 0), (0, 0)])

    ordered = [roles[name] for name in phases.names]
    own = phases.fractions[index]
    wet = sum((phases.fractions[i] for i, r in enumerate(ordered) if r.ions), jnp.zeros(grid.shape))
    dry = sum((phases.fractions[i] for i, r in enumerate(ordered) if i != index and not r.ions), jnp.zeros(grid.shape))
    out = normals(tuple(a[index] for a in phases.apertures), grid.face_areas)
    into = tuple(-n for n in out)
    offset = plane_offset(own, out, grid.spacing)

    # Where both sides are there at all; a label image has some area in voxels that see only one of them.
    seen = [reading(x, n, t, grid.spacing, periodic)[1] for x, n, t in ((own, out, offset), (wet, into, -offset))]
    touching = reading(dry, into, -offset, grid.spacing, periodic)[1]
    both = (seen[0] > _READABLE) & (seen[1] > _READABLE)
    area = phases.areas[index] * jnp.where(both, seen[1] / jnp.where(both, seen[1] + touching, 1.0), 0.0)
    lost = jnp.where(both, 0.0, phases.areas[index])
    host = (both & (phases.areas[index] > 0)).astype(own.dtype)
    hosts = _box_sum(host)
    area = area + host * _box_sum(jnp.where(hosts > 0, lost / jnp.where(hosts > 0, hosts, 1.0), 0.0))

    n = grid.shape[0]
    solid_side, on_solid = reading(jnp.where(solid[:n], own, 0.0), out, offset, grid.spacing, periodic)
    lyte_side, on_lyte = reading(jnp.where(lyte[:n], wet, 0.0), into, -offset, grid.spacing, periodic)
    area = jnp.where((on_solid > _READABLE) & (on_lyte > _READABLE), area, 0.0)
    sigma = solid_side.read(jnp.where(solid[:n], made.solid[:n], 0.0), periodic)
    transport = lyte_side.read(jnp.where(lyte[:n], made.transport[:n], 0.0), periodic)
    here = (own > 0) & solid[:n]
    openings = [jnp.zeros(()) + o for o in _openings(phases, [i == index for i in range(len(ordered))], periodic)]
    links = _links(jnp.where(here, 1.0, 0.0), openings, grid, periodic)

    def over(distance, k):
        return grown(jnp.where((area > 0) & (k > 0), distance / jnp.where(k > 0, k, 1.0), 0.0))

    def whole(side):
        return Reading(tuple(grown(w) for w in side.weights), grown(side.distance))

    return Particles(
        storage=grown(jnp.where(here, own, 0.0) * grid.voxel_volume),
        links=tuple(grown(g) for g in links),
        area=grown(area),
        solid=whole(solid_side),
        lyte=whole(lyte_side),
        solid_path=over(solid_side.distance, sigma),
        lyte_path=over(lyte_side.distance, transport),
    )
