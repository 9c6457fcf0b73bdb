"""The grid of voxels: how many, and how large."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .checks import require


class Grid(eqx.Module):
    """A block of voxels; index 0 of axis 0 is at the current collector.

    **Arguments:** `shape`, (nx, ny, nz), static; `spacing`, shape (3,), voxel size along each axis, m. The spacing is a
    traced leaf, so that thickness and lateral size can be differentiated at a fixed number of voxels.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    spacing: Float[Array, "3"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"Argument `shape` must hold three positive counts, but {self.shape} was given.")
        require("spacing", self.spacing, 1e-12, 1.0, unit="m")

    @property
    def size(self) -> Float[Array, "3"]:
        """Edge lengths of the block, m."""
        return self.spacing * jnp.asarray(self.shape, self.spacing.dtype)

    @property
    def voxel_volume(self) -> Array:
        """m3."""
        return jnp.prod(self.spacing)

    @property
    def volume(self) -> Array:
        """m3."""
        return jnp.prod(self.size)

    @property
    def face_areas(self) -> Float[Array, "3"]:
        """Area of a voxel face normal to each axis, m2."""
        return self.voxel_volume / self.spacing

    def refined(self, factor: int) -> "Grid":
        """The grid with `factor` sub-voxels in each voxel along each axis."""
        return Grid(tuple(factor * n for n in self.shape), self.spacing / factor)


def box_grid(shape: tuple[int, int, int], box) -> Grid:
    """The grid of `shape` that fills a box with edge lengths `box`, shape (3,), m."""
    return Grid(shape, box / jnp.asarray(shape, jnp.result_type(float)))
