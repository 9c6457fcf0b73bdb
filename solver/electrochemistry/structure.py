"""A structure as the network that a resolved cell solves on: what is stored, what is linked, where it reacts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from microstructure.voxel import Phases

from ..numerics.aggregation import Plan
from ..numerics.flux import slice_of
from ..numerics.written import written_linear
from .conductors import Conductors, links, openings
from .domains import Domains
from .interface import Reading, normals, plane_offset, reading
from .roles import Role
from .stencil import following, preceding, wraps

_READABLE = 0.02  # share of a phase in and around a voxel below which its interface there goes to its neighbours


class Particles(eqx.Module):
    """One active phase.

    **Arguments:** `storage`, its volume in each voxel, m3; `links`, m, to be multiplied by a diffusivity; `area`, of
    its interface with electrolyte in each voxel, m2; `solid`, `lyte`, the [`Reading`][] of both sides; `solid_path`,
    m / (S/m), `lyte_path`, m over relative transport, from where they are read to the surface; `grounded`, whether it
    belongs to the second electrode, whose collector is at potential zero, static.
    """

    storage: Array
    links: tuple[Array, Array, Array]
    area: Array
    solid: Reading
    lyte: Reading
    solid_path: Array
    lyte_path: Array
    grounded: bool = eqx.field(static=True, default=False)


class Structure(eqx.Module):
    """All that a resolved cell takes from its geometry, as in [`Conductors`][], with only what takes part.

    **Arguments:** `particles`, by active phase; `with_electrons`, `with_ions`, the voxels that take part; `joined`, as
    in [`Domains`][]; `section`, area of the cell, m2; `slices`, of the electrode, the separator and the second
    electrode, and `periodic`, whether the sides are joined, static.
    """

    particles: tuple[Particles, ...]
    storage: Array
    lyte_links: tuple[Array, Array, Array]
    solid_links: tuple[Array, Array, Array]
    widths: Float[Array, " nx"]
    plate: Array
    ground: Array | None
    metal_area: Array
    metal_path: Array
    section: Array
    with_electrons: Bool[Array, "nx ny nz"]
    with_ions: Bool[Array, "nx ny nz"]
    joined: Plan | None
    slices: tuple[int, int, int] = eqx.field(static=True)
    periodic: bool = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.storage.shape

    @property
    def first_electrode(self) -> Bool[Array, "nx 1 1"]:
        """The slices of the first electrode, whose collector is at the voltage."""
        return (np.arange(self.shape[0]) < self.slices[0])[:, None, None]

    @property
    def voxel_volumes(self) -> Float[Array, "nx 1 1"]:
        """m3."""
        return (self.widths * self.section / float(np.prod(self.shape[1:])))[:, None, None]


class Part(NamedTuple):
    """An electrode of a cell: `phases`, their `roles` by name, its `first` slice in the cell, and whether it is the
    second one, `grounded`."""

    phases: Phases
    roles: Mapping[str, Role]
    first: int = 0
    grounded: bool = False


def _both(mask: Array, links: tuple[Array, ...], periodic: bool) -> tuple[Array, ...]:
    """Only the links between voxels of `mask`."""
    share = mask.astype(links[0].dtype)
    return tuple(g * share * following(share, a, wraps(periodic)[a]) for a, g in enumerate(links))


def structure(parts: Sequence[Part], made: Conductors, found: Domains, periodic: bool) -> Structure:
    """The [`Structure`][] of the electrodes of a cell in double precision; `made`, its conductors; `found`, which
    voxels take part."""
    solid, lyte = jnp.asarray(found.solid), jnp.asarray(found.lyte)
    particles = [
        _particles(part, i, made, solid, lyte, periodic)
        for part in parts
        for i, name in enumerate(part.phases.names)
        if part.roles[name].material is not None
    ]
    taking, last, grid = lyte.astype(made.storage.dtype), lyte.shape[0] - 1, parts[0].phases.grid
    return Structure(
        tuple(particles),
        storage=made.storage * taking,
        lyte_links=_both(lyte, made.lyte_links, periodic),
        solid_links=_both(solid, made.solid_links, periodic),
        widths=made.widths,
        plate=jnp.where(slice_of(solid, 0, 0), made.plate, 0.0),
        ground=None if made.ground is None else jnp.where(slice_of(solid, 0, last), made.ground, 0.0),
        metal_area=jnp.where(slice_of(lyte, 0, last), made.metal_area, 0.0),
        metal_path=made.metal_path,
        section=grid.face_areas[0] * float(np.prod(grid.shape[1:])),
        with_electrons=solid,
        with_ions=lyte,
        joined=found.joined,
        slices=made.slices,
        periodic=periodic,
    )


def _box_sum(x: Array) -> Array:
    """The sum over the 27 voxels around each."""
    for axis in range(3):
        x = written_linear(x + following(x, axis, False) + preceding(x, axis, False))
    return x


def _particles(part: Part, index: int, made: Conductors, solid, lyte, periodic) -> Particles:
    """The [`Particles`][] of the phase with number `index`."""
    phases, roles, first, grounded = part
    grid, ends = phases.grid, (first, first + phases.grid.shape[0])

    def own_slices(x):
        return x[ends[0] : ends[1]]

    def grown(x):
        return jnp.pad(x, [(first, made.storage.shape[0] - ends[1]), (0, 0), (0, 0)])

    solid, lyte = own_slices(solid), own_slices(lyte)
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

    solid_side, on_solid = reading(jnp.where(solid, own, 0.0), out, offset, grid.spacing, periodic)
    lyte_side, on_lyte = reading(jnp.where(lyte, wet, 0.0), into, -offset, grid.spacing, periodic)
    area = jnp.where((on_solid > _READABLE) & (on_lyte > _READABLE), area, 0.0)
    sigma = solid_side.read(jnp.where(solid, own_slices(made.solid), 0.0), periodic)
    transport = lyte_side.read(jnp.where(lyte, own_slices(made.transport), 0.0), periodic)
    here = (own > 0) & solid
    opened = [jnp.zeros(()) + o for o in openings(phases, [i == index for i in range(len(ordered))], periodic)]

    def over(distance, k):
        return grown(jnp.where((area > 0) & (k > 0), distance / jnp.where(k > 0, k, 1.0), 0.0))

    def whole(side):
        return Reading(tuple(grown(w) for w in side.weights), grown(side.distance))

    return Particles(
        storage=grown(jnp.where(here, own, 0.0) * grid.voxel_volume),
        links=tuple(grown(g) for g in links(jnp.where(here, 1.0, 0.0), opened, grid, periodic)),
        area=grown(area),
        solid=whole(solid_side),
        lyte=whole(lyte_side),
        solid_path=over(solid_side.distance, sigma),
        lyte_path=over(lyte_side.distance, transport),
        grounded=grounded,
    )
