"""Electrodes and separator as two conductors on voxels: links of electrons and of ions, and the faces where they meet.

A cell is put together from pieces along axis 0: an electrode from its collector on, the layers of the separator, and
beyond them lithium or a second electrode, turned so that its collector comes last.
"""

import itertools
from collections.abc import Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require
from microstructure.grid import Grid
from microstructure.voxel import Phases

from ..numerics.flux import slice_of
from ..numerics.real import real
from .roles import Role
from .stencil import following, in_series, wraps


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


class Face(eqx.Module):
    """An end of a piece along axis 0: `area`, open to ions, m2, and `path`, from the middle of the outermost slice to
    it, m over relative transport; (1, ny, nz)."""

    area: Array
    path: Array

    @property
    def link(self) -> Array:
        """m."""
        return self.area / self.path


class Piece(eqx.Module):
    """A part of the thickness, before it is known which voxels take part; all arrays (n, ny, nz) unless said.

    **Arguments:** `electrons`, `ions`, the share of each voxel that conducts them; `solid_links`, S, and `lyte_links`,
    m (to be multiplied by a property of the free electrolyte), by axis; `storage`, volume of electrolyte in each voxel,
    m3; `transport`, relative, and `solid`, electronic conductivity, S/m, of each voxel; `widths` of the slices, m,
    (n,); `plates`, electronic links of the first and the last slice to what touches them, S, (1, ny, nz); `faces`, the
    same for ions.
    """

    electrons: Array
    ions: Array
    solid_links: tuple[Array, Array, Array]
    lyte_links: tuple[Array, Array, Array]
    storage: Array
    transport: Array
    solid: Array
    widths: Float[Array, " n"]
    plates: tuple[Array, Array]
    faces: tuple[Face, Face]


class Conductors(eqx.Module):
    """A cell as two conductors: the fields of its [`Piece`][]s one after the other, and what ends it.

    **Arguments:** `plate`, S, of the first slice to the collector; `ground`, S, of the last slice to the collector of
    the second electrode, `None` against lithium; `metal_area`, m2, and `metal_path`, m over the relative transport, to
    the lithium, an area of zero where there is none, all (1, ny, nz); `slices`, of the electrode, the separator and the
    second electrode, static.
    """

    electrons: Array
    ions: Array
    solid_links: tuple[Array, Array, Array]
    lyte_links: tuple[Array, Array, Array]
    storage: Array
    transport: Array
    solid: Array
    widths: Float[Array, " n"]
    plate: Array
    ground: Array | None
    metal_area: Array
    metal_path: Array
    slices: tuple[int, int, int] = eqx.field(static=True)


def _mean(phases: Phases, values: list[Array | None]) -> tuple[Array, Array]:
    """The share of each voxel in phases with a value, and the mean of it over them."""
    there = [i for i, v in enumerate(values) if v is not None]
    share = sum((phases.fractions[i] for i in there), jnp.zeros(phases.grid.shape))
    amount = sum((phases.fractions[i] * values[i] for i in there), jnp.zeros(phases.grid.shape))
    filled = share > 0
    return share, jnp.where(filled, amount / jnp.where(filled, share, 1.0), 0.0)


def openings(phases: Phases, there: list[bool], periodic: bool) -> list[Array]:
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


def links(k: Array, openings: list[Array], grid: Grid, periodic: bool) -> list[Array]:
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


def coating(phases: Phases, roles: Mapping[str, Role], periodic: bool) -> Piece:
    """An electrode in double precision, of the [`Role`][] of each phase by name."""
    grid, ordered = phases.grid, [roles[name] for name in phases.names]
    electrons, ions = [r.electrons for r in ordered], [r.ions for r in ordered]
    with_electrons, sigma = _mean(phases, [r.conductivity for r in ordered])
    with_ions, transport = _mean(phases, [r.transport for r in ordered])
    storage = sum((phases.fractions[i] * r.porosity for i, r in enumerate(ordered) if r.ions), jnp.zeros(grid.shape))
    area, width, n = grid.face_areas[0], grid.spacing[0], grid.shape[0]
    plates, faces = [], []
    for end in (0, -1):
        plates.append(_end(phases, electrons, end) * 2.0 * slice_of(sigma, 0, end % n) * area / width)
        at = slice_of(transport, 0, end % n)
        opened = jnp.where(at > 0, _end(phases, ions, end), 0.0)
        faces.append(Face(opened * area, 0.5 * width / jnp.where(at > 0, at, 1.0)))
    return Piece(
        with_electrons, with_ions,
        tuple(links(sigma, openings(phases, electrons, periodic), grid, periodic)),
        tuple(links(transport, openings(phases, ions, periodic), grid, periodic)),
        storage * grid.voxel_volume, transport, sigma, jnp.full(n, 1.0) * width, tuple(plates), tuple(faces),
    )  # fmt: skip


def layers(stack: SeparatorStack, grid: Grid, periodic: bool) -> Piece:
    """The separator as layers with the sides of `grid`."""
    widths, area, shape = stack.widths(), grid.face_areas[0], (stack.layers, *grid.shape[1:])

    def layered(values):
        return jnp.broadcast_to(jnp.asarray(values, float).reshape(-1, 1, 1), shape)

    half = 2.0 * stack.transport * area / widths
    ions = [layered(jnp.concatenate([in_series(half[:-1], half[1:]), jnp.zeros(1)]))]
    for axis, other in ((1, 2), (2, 1)):
        link = layered(stack.transport * widths * grid.spacing[other] / grid.spacing[axis])
        last = jnp.arange(grid.shape[axis]) == grid.shape[axis] - 1
        shut = last.reshape([-1 if a == axis else 1 for a in range(3)]) & ~jnp.asarray(periodic)
        ions.append(jnp.where(shut, 0.0, link))
    none, end = layered(0.0), jnp.full((1, *shape[1:]), 1.0)
    faces = tuple(Face(end * area, end * 0.5 * widths[k] / stack.transport) for k in (0, stack.layers - 1))
    return Piece(
        none, layered(1.0), (none,) * 3, tuple(ions), layered(stack.porosity * area * widths),
        layered(stack.transport), none, widths, (0.0 * end, 0.0 * end), faces,
    )  # fmt: skip


def _along(pieces: Sequence[Piece]) -> dict:
    """The fields of all `pieces` one after the other, by name, joined face to face for ions."""

    def joined(name):
        return jnp.concatenate([getattr(p, name) for p in pieces])

    names = ("electrons", "ions", "storage", "transport", "solid", "widths")
    found = {name: joined(name) for name in names}
    found["solid_links"] = tuple(jnp.concatenate([p.solid_links[a] for p in pieces]) for a in range(3))
    through = []
    for low, high in itertools.pairwise(pieces):
        inner = low.lyte_links[0]
        through += [lax.slice_in_dim(inner, 0, inner.shape[0] - 1), in_series(low.faces[1].link, high.faces[0].link)]
    first = jnp.concatenate([*through, pieces[-1].lyte_links[0]])
    sides = (jnp.concatenate([p.lyte_links[a] for p in pieces]) for a in (1, 2))
    return found | {"lyte_links": (first, *sides)}


def against_lithium(
    phases: Phases, roles: Mapping[str, Role], stack: SeparatorStack | None, periodic: bool
) -> Conductors:
    """The [`Conductors`][] of an electrode, of the [`Role`][] of each phase by name, against lithium."""
    electrode = coating(phases, roles, periodic)
    pieces = [electrode] if stack is None else [electrode, layers(stack, phases.grid, periodic)]
    face = pieces[-1].faces[1]
    return Conductors(
        **_along(pieces), plate=electrode.plates[0], ground=None, metal_area=face.area, metal_path=face.path,
        slices=(phases.grid.shape[0], 0 if stack is None else stack.layers, 0),
    )  # fmt: skip


def turned(phases: Phases) -> Phases:
    """`phases` with axis 0 the other way round."""
    return Phases(
        phases.grid,
        phases.fractions[:, ::-1],
        (phases.apertures[0][:, ::-1], phases.apertures[1][:, ::-1], phases.apertures[2][:, ::-1]),
        phases.areas[:, ::-1],
        phases.names,
    )


def face_to_face(
    electrode: tuple[Phases, Mapping[str, Role]],
    stack: SeparatorStack,
    other: tuple[Phases, Mapping[str, Role]],
    periodic: bool,
) -> Conductors:
    """The [`Conductors`][] of two electrodes, the second already [`turned`][], with the separator between them."""
    first, second = coating(*electrode, periodic), coating(*other, periodic)
    grid = electrode[0].grid
    nothing = jnp.zeros((1, *grid.shape[1:]))
    return Conductors(
        **_along([first, layers(stack, grid, periodic), second]), plate=first.plates[0], ground=second.plates[1],
        metal_area=nothing, metal_path=nothing,
        slices=(grid.shape[0], stack.layers, other[0].grid.shape[0]),
    )  # fmt: skip
