"""Closures of the porous electrode: what stands in it for a solid whose uptake is measured.

The porous-electrode model has spheres where the structure has a solid. The slow uptake of the solid is known by its
uptake radii r_j ([`solver.transport.uptake`][]), so that with y = (R / r_1)^2 of spheres spread over the volume

    mean(y) = 1,   mean(y^2) = (r_2 / r_1)^4,   mean(y^3) = (r_3 / r_1)^6.

Two sizes, with two radii and a share, keep all three: they are the two-point Gauss quadrature of these moments. With
the variance v = s^2 and the skewness t of y, sizes and shares are

    y = 1 - d s  of the share 1 / (1 + d^2),   y = 1 + s / d  of the share d^2 / (1 + d^2),   1 / d - d = t.

Any d in reach keeps mean and variance, and any v above zero can be kept. So where the third moment asks for a class
too small or too rare, d goes to the end of its reach and two moments are kept; where the solid is less spread than one
sphere (a plate has (r_2 / r_1)^4 = 0.84, a cylinder 0.93) both classes are all but equal and one is kept, by which they
are the sphere of the diffusion radius.

The area is no fourth moment to be kept by sizes: of all spheres with a diffusion radius those of one size have the
least area, and solids that are not made of spheres have less. So classes react in proportion to their area, and
together as fast as the measured area does ([`solver.handover.sized`][]).

A closure is a function of an `Electrode` with the measured transport and area, and of the `Effective` properties
([`solver.bridging`][]) that it has them from, and gives the electrode that stands for the structure.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from microstructure.checks import require

from .handover import diffusing, sized

_EVEN = 1e-4  # variance of R^2 over the square of its mean, below which a solid has one size: 1 % of it
_SMALLEST = 0.01  # y of a class at least, a tenth of the diffusion radius
_SKEWEST = 9.9  # skewness at most, either way: a class has at least 1 % of the volume


class SizeClasses(eqx.Module):
    """Spheres of two sizes that stand for a solid.

    **Arguments:** `shares` of its volume and `radii`, m, both (2,), the smaller size first; `kept`, how many moments of
    its uptake they keep, 1 to 3.
    """

    shares: Float[Array, "2"]
    radii: Float[Array, "2"]
    kept: Int[Array, ""]

    @property
    def reason(self) -> str:
        """Why fewer than three moments are kept, in a sentence, or nothing; outside `jit`."""
        return {
            1: "The solid is no more spread than one sphere, so both classes have the diffusion radius.",
            2: "Three moments of the uptake would need a class below a tenth of the diffusion radius or 1 % of the "
            "volume, so the classes keep two.",
            3: "",
        }[int(self.kept)]


def size_classes(radii: Float[Array, " n"]) -> SizeClasses:
    """Two sizes of spheres with the first three moments of an uptake, or as many of them as spheres can have.

    In closed form, differentiable; continuous where fewer moments are kept.

    **Arguments:** `radii`, m, of the orders 1 to at least 3, from [`solver.transport.uptake.uptake_radii`][].

    **Raises:** `ValueError` for fewer than three radii, or for radii out of range.

    **Source:** two-point quadrature from three moments, Golub and Welsch 1969, doi 10.1090/S0025-5718-69-99647-1.
    """
    radii = jnp.asarray(radii)
    if radii.ndim != 1 or radii.shape[0] < 3:
        raise ValueError(
            f"Argument `radii` must hold at least 3 uptake radii, but has the shape {radii.shape}. Ask `uptake_radii` "
            "for two solves."
        )
    require("radii", radii, 1e-10, 1e-2, unit="m")
    second, third = (radii[1] / radii[0]) ** 4, (radii[2] / radii[0]) ** 6
    variance = jnp.maximum(second - 1.0, _EVEN)
    spread = jnp.sqrt(variance)
    skewness = (third - 3.0 * second + 2.0) / spread**3
    # 1 / d - d falls with d: the least skewness is that of the largest d in reach.
    reach = (1.0 - _SMALLEST) / spread
    least = jnp.maximum(1.0 / reach - reach, -_SKEWEST)
    held = jnp.clip(skewness, least, jnp.maximum(_SKEWEST, least))
    d = 0.5 * (jnp.sqrt(held**2 + 4.0) - held)
    places = jnp.stack([1.0 - d * spread, 1.0 + spread / d])
    shares = jnp.stack([1.0, d * d]) / (1.0 + d * d)
    kept = jnp.where(second - 1.0 > _EVEN, jnp.where(skewness == held, 3, 2), 1)
    return SizeClasses(shares, radii[0] * jnp.sqrt(places), kept)


def of_area(electrode, found):
    """One sphere with the measured area per volume: `electrode` as it is handed over."""
    return electrode


def of_diffusion(electrode, found):
    """One sphere with the slow uptake of the solid."""
    return diffusing(electrode, found.diffusion_radius)


def of_two_sizes(electrode, found):
    """Two sizes of spheres with the first three moments of the uptake of the solid, as far as spheres can have them."""
    classes = size_classes(found.uptake_radii)
    return sized(electrode, tuple(classes.shares), tuple(classes.radii))


def to_the_reaction(closure: Callable) -> Callable:
    """`closure` with the transport in the pores that an even reaction meets, dead ends counted (electrode tortuosity),
    for that between two plates."""

    def closed(electrode, found):
        return dataclasses.replace(closure(electrode, found), electrolyte_transport=found.electrode_transport)

    return closed


CLOSURES = {
    "area": of_area,
    "diffusion": of_diffusion,
    "two sizes": of_two_sizes,
    "two sizes, electrode tortuosity": to_the_reaction(of_two_sizes),
}
