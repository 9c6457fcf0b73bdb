"""The carbon-binder: a film on the particles and bridges between them, placed by the drying profile, volumes exact."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from . import surface
from .grid import Grid
from .rasterise import Union
from .voxel import Phases, nested

NAMES = ("active", "binder", "pore")


class Coating(eqx.Module):
    """How carbon-binder sits on the particles.

    The coat at a point is lambda m(x) ((1 - b) w + b (d_sharp - d_blunt) / log 2): a film of even thickness, and
    bridges where two surfaces are near each other, both scaled by the local binder content m(x) and by one lambda that
    makes the total volume exact.

    **Arguments:** `bridging`, b, the share that goes to bridges, 0 to 1; `width`, w, the bridging length over the mean
    particle radius; `sharpness`, the smoothing of the union of particles, in (sub-)voxels; `reach`, how far from a
    particle carbon-binder can sit, over the mean radius. All assumed: no source gives them; they are for calibration.
    `refine`, sub-voxels in a voxel along each axis in which particles and coat are cut, static: 2 resolves the narrow
    gaps around contacts better, at about eight times the work of the voxels.
    """

    bridging: Array = eqx.field(converter=jnp.asarray, default=0.5)
    width: Array = eqx.field(converter=jnp.asarray, default=0.15)
    sharpness: Array = eqx.field(converter=jnp.asarray, default=0.25)
    reach: Array = eqx.field(converter=jnp.asarray, default=0.6)
    refine: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.refine < 1:
            raise ValueError(f"Argument `refine` must be at least 1, but {self.refine} was given.")


def solve_level(volume: Callable, args: PyTree, target: Array, start: Array, steps: int = 5) -> Array:
    """The level at which a growing `volume(level, args)` meets `target`, by Newton's method, differentiable in `args`.

    Only the last step carries a derivative, and its slope carries none, which is the implicit function theorem.
    """
    fixed = lax.stop_gradient(args)

    def newton(_, level):
        value, slope = jax.jvp(lambda s: volume(s, fixed), (level,), (jnp.ones_like(level),))
        return level - (value - lax.stop_gradient(target)) / slope

    level = lax.fori_loop(0, steps, newton, lax.stop_gradient(start))
    _, slope = jax.jvp(lambda s: volume(s, fixed), (level,), (jnp.ones_like(level),))
    return level - (volume(level, args) - target) / slope


BLUR = 0.3  # of surfaces that meet, in voxels: the least that keeps derivatives of the chain smooth over 1 % steps


def coat(
    spheres: Union,
    grid: Grid,
    content: Float[Array, " planes"],
    active_fraction: Array,
    binder_fraction: Array,
    coating: Coating,
    mean_radius: Array,
) -> Phases:
    """Active material, carbon-binder and pore on a grid, with exact volumes of the first two.

    Where particles overlap, their union is smaller than their volume: it is let out by an even distance to make up.

    **Arguments:** `spheres`, distances at the corners of voxels or sub-voxels; `content`, binder over its mean at the
    planes of those corners from collector to surface; `active_fraction`, `binder_fraction`, of the block, nanopores
    included; `mean_radius`, m.

    **Returns:** `Phases` named active, binder, pore.
    """
    refine = surface.refinement(spheres.sharp, grid.shape)
    fine = grid.refined(refine)
    cut = _Cut(BLUR * fine.spacing, refine > 1)
    swell = solve_level(_shifted_volume, (spheres.sharp, cut), active_fraction, jnp.zeros_like(mean_radius), 3)
    active = spheres.sharp - swell
    film = (1 - coating.bridging) * coating.width * mean_radius
    bridges = coating.bridging * jnp.maximum(spheres.sharp - spheres.blunt, 0) / jnp.log(2.0)
    thickness = content[:, None, None] * (film + bridges)
    faces = surface.apertures(lax.stop_gradient(active), curved=cut.curved)
    area = jnp.sum(surface.interface_area(faces, fine.face_areas))
    thin = binder_fraction * grid.volume / (area * film)
    inside = cut.volume_fraction(active)
    amount = solve_level(_coated_volume, (active, thickness, inside, cut), active_fraction + binder_fraction, thin)
    return nested((active, active - amount * thickness), grid, NAMES, BLUR)


class _Cut(eqx.Module):
    """How the volumes of level sets are cut, as [`nested`][] does it."""

    blur: Float[Array, "3"]
    curved: bool = eqx.field(static=True)

    def volume_fraction(self, corners: Array) -> Array:
        return surface.volume_fraction(corners, self.blur, self.curved)


def _shifted_volume(shift, args):
    corners, cut = args
    return jnp.mean(cut.volume_fraction(corners - shift))


def _coated_volume(amount, args):
    corners, thickness, inside, cut = args
    return jnp.mean(jnp.maximum(cut.volume_fraction(corners - amount * thickness), inside))
