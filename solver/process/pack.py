"""Random films of many particles: any blend of sizes and materials, graded through the thickness, in seconds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from microstructure.blend import Blend, Draws, component_counts, depths, draw, material_of, radii
from microstructure.checks import require
from microstructure.packing import Packing, solid_fraction
from microstructure.particles import Particles, areal_loading
from solver.numerics.solution import Result, Solution
from solver.process.overlaps import near_pairs, separate


class Target(eqx.Module):
    """What a film is to be; give two of the three, and the third follows as loading = fraction density thickness.

    **Arguments:** `thickness`, m; `areal_loading`, mass of the particles per area, kg/m2; `solid_fraction`, volume of
    the particles over that of the film.
    """

    thickness: jax.Array | None = eqx.field(converter=lambda x: None if x is None else jnp.asarray(x), default=None)
    areal_loading: jax.Array | None = eqx.field(converter=lambda x: None if x is None else jnp.asarray(x), default=None)
    solid_fraction: jax.Array | None = eqx.field(
        converter=lambda x: None if x is None else jnp.asarray(x), default=None
    )

    def __check_init__(self):
        given = {
            name: value
            for name, value in (
                ("thickness", self.thickness),
                ("areal_loading", self.areal_loading),
                ("solid_fraction", self.solid_fraction),
            )
            if value is not None
        }
        if len(given) != 2:
            raise ValueError(
                "Exactly two of `thickness`, `areal_loading` and `solid_fraction` must be given, but "
                f"{', '.join(given) or 'none'} was given."
            )
        if self.thickness is not None:
            require("thickness", self.thickness, 1e-7, 1e-2, unit="m")
        if self.areal_loading is not None:
            require("areal_loading", self.areal_loading, 1e-4, 10.0, unit="kg/m2")
        if self.solid_fraction is not None:
            require("solid_fraction", self.solid_fraction, 0.01, 0.9)

    def height(self, density):
        """The thickness, m, of particles of mean `density`, kg/m3."""
        if self.thickness is not None:
            return self.thickness
        return self.areal_loading / (density * self.solid_fraction)

    def area(self, radii, mass):
        """Of the piece of film that holds particles of `radii`, m, and total `mass`, kg, in m2."""
        if self.areal_loading is not None:
            return mass / self.areal_loading
        return 4 / 3 * jnp.pi * jnp.sum(radii**3) / (self.solid_fraction * self.thickness)


class Packer(eqx.Module):
    """How a film is packed.

    **Arguments:** `coating`, `densest`, `tolerance`, as of [`solver.process.settle.Settling`][]; `steps`, of the search
    in all.
    """

    coating: float = eqx.field(static=True, default=0.05)
    densest: float = eqx.field(static=True, default=0.585)
    tolerance: float = eqx.field(static=True, default=1e-4)
    steps: int = eqx.field(static=True, default=20000)


def film_box(blend: Blend, draws: Draws, target: Target):
    """Radii, (N,), and box, (3,), of the film, m: smooth in blend and target, which the piece of film meets exactly."""
    sizes = radii(blend, draws)
    of, densities = material_of(blend, draws)
    mass = 4 / 3 * jnp.pi * jnp.sum(densities[of] * sizes**3)
    side = jnp.sqrt(target.area(sizes, mass))
    return sizes, jnp.stack([target.height(blend.density), side, side])


def place(key, blend: Blend, draws: Draws, sizes, box) -> Packing:
    """Centres at their depths and at random sideways; spheres may overlap each other but not the two planes."""
    lateral = jax.random.uniform(key, (sizes.shape[0], 2)) * box[1:]
    # Those that belong to the first or last radius of the film touch its planes, as the first layer of a packing does.
    depth = jnp.clip(depths(blend, draws, sizes) * box[0], sizes, box[0] - sizes)
    return Packing(jnp.concatenate([depth[:, None], lateral], axis=1), sizes, box)


@eqx.filter_jit
def _placed(key, blend: Blend, counts: tuple[int, ...], target: Target):
    """Draws and starting packing, in one piece so that sizes are compiled once."""
    drawing, placing = jax.random.split(key)
    draws = draw(drawing, blend, counts)
    return draws, place(placing, blend, draws, *film_box(blend, draws, target))


def _require_room(packing: Packing) -> None:
    """Raises a `ValueError` where the largest particle does not fit between the planes or beside its own image."""
    widest, box = 2 * float(packing.radii.max()), np.asarray(packing.box)
    for edge, needed, name, cure in (
        (box[0], widest, "thick", "smaller particles or a higher loading"),
        (box[1], 2.1 * widest, "wide", "smaller particles, or more of them"),
    ):
        if edge < needed:
            raise ValueError(
                f"The film must be at least {1e6 * needed:.3g} um {name} for particles of up to {1e6 * widest:.3g} um "
                f"across, but it is {1e6 * edge:.3g} um; use {cure}."
            )


def packed_film(
    key, blend: Blend, particles: int, target: Target, method: Packer | None = None, progress=None
) -> Solution:
    """A film of so many spheres without overlap, exactly as thick, heavy and dense as its target says.

    Draws sizes and depths, places the spheres and parts them by the engine of [`solver.process.overlaps`][], with a
    thin coating that keeps surfaces apart, as carbon and binder do. The width of the piece of film follows from the
    loading. Profiles are met as placed; parting moves a sphere by about its radius, so that steps are rounded over that
    length. Host only; the packing is a sample, which carries no derivative: radii and box do, through [`film_box`][].

    **Arguments:** `key`, of `jax.random`; `progress`, called with steps and largest force now and then.

    **Returns:** a `Solution` with [`microstructure.particles.Particles`][]; `jammed` when they do not fit. `draws`,
    `overlap` (largest, over the reduced radius), `fraction`, `areal_loading` and `steps` are in its stats.
    """
    draws, start = _placed(key, blend, component_counts(blend, particles), target)
    _require_room(start)
    method = method or Packer()
    packing, stats = part(start, method, progress)
    value = Particles(packing, *material_of(blend, draws))
    result = Result.where(stats["overlap"] < method.tolerance, Result.successful, Result.jammed)
    stats |= {"draws": draws, "fraction": solid_fraction(packing), "areal_loading": areal_loading(value)}
    return Solution(value, result, stats)


def part(packing: Packing, method: Packer | None = None, progress=None) -> tuple[Packing, dict]:
    """The packing with overlaps parted as far as they can be, and `overlap`, `residual` and `steps`. Host only."""
    method = method or Packer()
    unit = float(jnp.mean(packing.radii))
    sizes, box = np.asarray(packing.radii) / unit, np.asarray(packing.box) / unit
    period = box * [0, 1, 1]
    coat = 1 + float(np.clip((method.densest / float(solid_fraction(packing))) ** (1 / 3) - 1, 1e-3, method.coating))
    positions = np.asarray(packing.positions) / unit
    solution = separate(positions, sizes * coat, box, period, tolerance=1e-4, steps=method.steps, progress=progress)
    parted = Packing(jnp.asarray(solution.value * unit), packing.radii, packing.box)
    stats = {
        "overlap": jnp.asarray(worst_overlap(parted)),
        "residual": jnp.asarray(solution.stats["residual"]),
        "steps": jnp.asarray(solution.stats["steps"]),
    }
    return parted, stats


def contacts(packing: Packing, gap: float = 0.0):
    """Pairs whose surfaces are at most `gap`, m, apart, (P,) and (P,), and their overlaps, (P,), m. Host only."""
    x, r, box = (np.asarray(a, float) for a in (packing.positions, packing.radii, packing.box))
    period = box * [0, 1, 1]
    i, j = near_pairs(x, r, period, gap)
    d = x[j] - x[i]
    d -= period * np.round(d / np.where(period > 0, period, 1))
    return i, j, r[i] + r[j] - np.sqrt(np.sum(d * d, axis=1))


def worst_overlap(packing: Packing) -> float:
    """[`microstructure.packing.largest_overlap`][] from near pairs only, for large packings. Host only."""
    r, depth = np.asarray(packing.radii), np.asarray(packing.positions[:, 0])
    i, j, overlap = contacts(packing)
    planes = np.maximum(r - depth, depth + r - float(packing.box[0])) / r
    return float(max(np.max(overlap * (r[i] + r[j]) / (r[i] * r[j]), initial=0), planes.max(), 0))
