"""Where solid and electrolyte meet: how the fields on both sides of a cut voxel are brought to the interface.

The fields live at voxel centres, those of voxels that a phase hardly fills included. The interface in a voxel is a
plane that cuts off the share f of the phase, with the unit normal n out of it. The side of the phase is read as

    w_0 = f / (f + (1 - f) Q),   w_a = (1 - f) n_a^2 f_a / (f + (1 - f) Q),   Q = sum_a n_a^2 f_a,

from the voxel itself and from its three neighbours that lie deeper in the phase, with their shares f_a. What the
reaction takes or gives is laid down with the same weights, so that the coupling of the potentials is symmetric and
what leaves one side enters the other. For a plane normal to an axis this is linear interpolation at a depth of half a
voxel. A voxel that holds next to nothing of a phase neither drives nor receives anything: nothing is divided by a small
share.

Between the weighted centre and the surface the flux is that of the reaction, over the distance

    d = sum_ij w_i w_j max(Z_i, Z_j),

Z the depths of the centres below the plane: the mean depth of what is laid down, and how much of it lies above where
the field is read. Exact for a steady flux through planes normal to an axis, wherever they cut, and it makes the whole
second order.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure import surface

from ..numerics.written import written_linear
from .stencil import following, preceding, wraps

_EDGE = 1e-6  # share of a voxel nearer than which to empty or full the place of the plane is not resolved
_FLAT = 1e-3  # length of the vector of an interface, in faces, below which it has no direction


class Reading(eqx.Module):
    """How one side of the interface is read.

    **Arguments:** `weights`, for each axis the share that the neighbour has, negative for the one before and positive
    for the one after, (nx, ny, nz); the voxel itself has what is left of one; `distance`, of the surface, m.
    """

    weights: tuple[Array, Array, Array]
    distance: Float[Array, "nx ny nz"]

    def read(self, x: Array, periodic: bool) -> Array:
        """The field `x` of one side, as the interface in each voxel sees it."""
        out = x
        for axis, weight in enumerate(self._as(x)):
            wrap = wraps(periodic)[axis]
            out = out + jnp.maximum(weight, 0.0) * (following(x, axis, wrap) - x)
            out = out + jnp.maximum(-weight, 0.0) * (preceding(x, axis, wrap) - x)
        return out

    def lay(self, x: Array, periodic: bool) -> Array:
        """What the interfaces give, laid down on the voxels of one side: the transpose of [`Reading.read`][]."""
        out = x
        for axis, weight in enumerate(self._as(x)):
            wrap = wraps(periodic)[axis]
            up, down = jnp.maximum(weight, 0.0) * x, jnp.maximum(-weight, 0.0) * x
            out = out - up - down + preceding(up, axis, wrap) + following(down, axis, wrap)
        return out

    def _as(self, x: Array):
        return [w.astype(x.dtype) for w in self.weights]


def normals(faces: tuple[Array, Array, Array], face_areas: Float[Array, "3"]) -> tuple[Array, Array, Array]:
    """The unit normal out of a phase in each voxel, from its apertures; shorter than one where there is hardly any."""
    vector = [v * face_areas[a] for a, v in enumerate(surface.interface(faces))]
    size = jnp.sqrt(sum(v**2 for v in vector) + (_FLAT * jnp.max(face_areas)) ** 2)
    return tuple(written_linear(v / size) for v in vector)


def plane_offset(share: Array, normal: tuple[Array, Array, Array], spacing: Float[Array, "3"]) -> Array:
    """How far, m, the plane with the unit `normal` that leaves `share` of a voxel behind it is above the centre.

    By bisection, and one step of Newton's method that carries the derivative.
    """
    share = jnp.clip(share, _EDGE, 1.0 - _EDGE)
    slopes = tuple(n * spacing[a] for a, n in enumerate(normal))
    blur = (jnp.zeros((), share.dtype),) * 3
    reach = 0.5 * sum(jnp.abs(s) for s in slopes) + 0.05 * jnp.min(spacing)
    held, still = lax.stop_gradient(share), lax.stop_gradient(slopes)

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        less = surface.half_space(-middle, still, blur) < held
        return jnp.where(less, middle, low), jnp.where(less, high, middle)

    low, high = lax.fori_loop(0, 40, halve, lax.stop_gradient((-reach, reach)))
    offset = 0.5 * (low + high)
    _, slope = jax.jvp(lambda t: surface.half_space(-t, still, blur), (offset,), (jnp.ones_like(offset),))
    lack = share - surface.half_space(-offset, slopes, blur)
    steep = slope * jnp.min(spacing) > 1e-3
    # Zero in value: what bisection left is rounding.
    offset = offset + jnp.where(steep, (lack - lax.stop_gradient(lack)) / jnp.where(steep, slope, 1.0), 0.0)
    corner = 0.5 * sum(jnp.abs(s) for s in slopes)
    return written_linear(jnp.clip(offset, -corner, corner))


def reading(share: Array, normal, offset: Array, spacing: Float[Array, "3"], periodic: bool) -> tuple[Reading, Array]:
    """The [`Reading`][] of the side that `normal` points out of, and how well it can be read: Q + f, zero where
    there is nothing of it.

    **Arguments:** `share`, of each voxel that the side fills and that takes part; `offset`, of the plane above the
    centre along `normal`, m.
    """
    near, deeper = [], []
    for axis, n in enumerate(normal):
        wrap = wraps(periodic)[axis]
        beside = jnp.where(n > 0, preceding(share, axis, wrap), following(share, axis, wrap))
        near.append(written_linear(n**2 * beside))
        deeper.append(jnp.abs(n) * spacing[axis])
    around = sum(near)
    total = share + (1.0 - share) * around
    there = total > 1e-12
    safe = jnp.where(there, total, 1.0)
    parts = [written_linear(jnp.where(there, (1.0 - share) * q / safe, 0.0)) for q in near]
    own = 1.0 - sum(parts)
    weights = [own, *parts]
    depths = [offset, *(offset + d for d in deeper)]
    distance = sum(
        w * v * jnp.maximum(a, b)
        for w, a in zip(weights, depths, strict=True)
        for v, b in zip(weights, depths, strict=True)
    )
    signed = tuple(jnp.where(n > 0, -w, w) for n, w in zip(normal, parts, strict=True))
    return Reading(signed, jnp.maximum(jnp.where(there, distance, 0.0), 0.0)), share + around
