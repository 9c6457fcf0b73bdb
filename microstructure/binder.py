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
    particle radius; `sharpness`, the smoothing of the union of particles, in voxels; `reach`, how far from a particle
    carbon-binder can sit, over the mean radius. All assumed: no source gives them; they are for calibration.
    """

    bridging: Array = eqx.field(converter=jnp.asarray, default=0.5)
    width: Array = eqx.field(converter=jnp.asarray, default=0.15)
    sharpness: Array = eqx.field(converter=jnp.asarray, default=0.25)
    reach: Array = eqx.field(converter=jnp.asarray, default=0.6)


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
    content: Float[Array, "nx+1"],
    active_fraction: Array,
    binder_fraction: Array,
    coating: Coating,
    mean_radius: Array,
) -> Phases:
    """Active material, carbon-binder and pore on a grid, with exact volumes of the first two.

    Where particles overlap, their union is smaller than their volume: it is let out by an even distance to make up.

    **Arguments:** `spheres`, distances at the voxel corners; `content`, binder over its mean at the corner planes from
    collector to surface; `active_fraction`, `binder_fraction`, of the block, nanopores included; `mean_radius`, m.

    **Returns:** `Phases` named active, binder, pore.
    """
    blur = BLUR * grid.spacing
    swell = solve_level(_shifted_volume, (spheres.sharp, blur), active_fraction, jnp.zeros_like(mean_radius), 3)
    active = spheres.sharp - swell
    film = (1 - coating.bridging) * coating.width * mean_radius
    bridges = coating.bridging * jnp.maximum(spheres.sharp - spheres.blunt, 0) / jnp.log(2.0)
    thickness = content[:, None, None] * (film + bridges)
    area = jnp.sum(surface.interface_area(surface.apertures(lax.stop_gradient(active)), grid.face_areas))
    thin = binder_fraction * grid.volume / (area * film)
    inside = surface.volume_fraction(active, blur)
    amount = solve_level(_coated_volume, (active, thickness, inside, blur), active_fraction + binder_fraction, thin)
    return nested((active, active - amount * thickness), grid, NAMES, BLUR)


def _shifted_volume(shift, args):
    corners, blur = args
    return jnp.mean(surface.volume_fraction(corners - shift, blur))


def _coated_volume(amount, args):
    corners, thickness, inside, blur = args
    return jnp.mean(jnp.maximum(surface.volume_fraction(corners - amount * thickness, blur), inside))
