"""Where arrays lie when several devices share one volume: in slabs along its longest axis.

The code of a solve is that of one device. Its arrays are placed in slabs, the compiler cuts the stencils along, and
neighbours exchange one slice on each side. What is too small to be worth the exchange is held whole by every device.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

TOGETHER = 2**18  # cells that hardly fill one accelerator: below this a step waits for neighbours longer than it counts


class Slabs(eqx.Module):
    """A volume in slabs of equal thickness, one for each device; make it with [`slabs`][].

    **Arguments:** `mesh`, of the devices, with one axis; `axis`, the axis of the volume that is cut; `length`, its
    number of voxels. All static.
    """

    mesh: Mesh = eqx.field(static=True)
    axis: int = eqx.field(static=True)
    length: int = eqx.field(static=True)

    def place(self, tree):
        """`tree` with its arrays on the devices: in slabs where they are as long as the volume, and else whole.

        The faces across the cut, one fewer than voxels, cannot be cut evenly: each device holds all of them.
        """
        arrays, rest = eqx.partition(tree, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda x: jax.device_put(x, self._sharding(x)), arrays), rest)

    def together(self, tree):
        """`tree`, inside `jit`, with its small arrays whole on every device."""
        whole = NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(lambda x: lax.with_sharding_constraint(x, whole) if x.size <= TOGETHER else x, tree)

    def apart(self, field: Array) -> Array:
        """`field`, shape (nx, ny, nz), of this or a coarser grid, inside `jit`, in slabs where it can be cut evenly.

        Said of what is gathered next: else the compiler would gather what it is computed from, which is larger.
        """
        if field.shape[self.axis] % self.mesh.size:
            return field
        cut = PartitionSpec(*(self.mesh.axis_names[0] if axis == self.axis else None for axis in range(3)))
        return lax.with_sharding_constraint(field, NamedSharding(self.mesh, cut))

    def laid(self, tree):
        """[`Slabs.place`][] inside `jit`."""
        arrays, rest = eqx.partition(tree, eqx.is_array)
        laid = jax.tree.map(lambda x: lax.with_sharding_constraint(x, self._sharding(x)), arrays)
        return eqx.combine(laid, rest)

    def rows(self, field: Array) -> Array:
        """`field`, shape (nx, ny, nz) or a slice of it along an axis that is not cut, with the voxels of each slab in
        a row, (slabs, n / slabs); of a single number, which the first row takes, (slabs, 1)."""
        count, axis, shape = self.mesh.size, self.axis, field.shape
        if not shape:
            return jnp.pad(field.reshape(1, 1), ((0, count - 1), (0, 0)))
        apart = field.reshape(*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
        return self.by_row(jnp.moveaxis(apart, axis, 0).reshape(count, -1))

    def field(self, rows: Array, shape: Sequence[int]) -> Array:
        """The field of `shape` whose [`Slabs.rows`][] these are."""
        count, axis = self.mesh.size, self.axis
        apart = self.by_row(rows).reshape(count, *shape[:axis], shape[axis] // count, *shape[axis + 1 :])
        return self.apart(jnp.moveaxis(apart, 0, axis).reshape(shape))

    def by_row(self, rows: Array) -> Array:
        """`rows`, shape (slabs, n), inside `jit`, each with its device."""
        return lax.with_sharding_constraint(rows, self._on_rows(rows))

    def place_rows(self, tree):
        """`tree` with its arrays of shape (..., slabs, n) on the devices, a row each, and all else whole."""
        arrays, rest = eqx.partition(tree, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda x: jax.device_put(x, self._on_rows(x)), arrays), rest)

    def _on_rows(self, array: Array) -> NamedSharding:
        cut = array.ndim > 1 and array.shape[-2] == self.mesh.size
        spec = [None] * (array.ndim - 2) + [self.mesh.axis_names[0]] if cut else []
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def _sharding(self, array: Array) -> NamedSharding:
        axis = self.axis + array.ndim - 3  # a leading axis, as of a tensor in each voxel, is not cut
        cut = axis >= 0 and array.shape[axis] == self.length
        spec = [self.mesh.axis_names[0] if cut and a == axis else None for a in range(array.ndim)]
        return NamedSharding(self.mesh, PartitionSpec(*spec))


def slabs(shape: Sequence[int], devices: Sequence, axes: Sequence[int] = (0, 1, 2)) -> Slabs:
    """The [`Slabs`][] of a volume of `shape` voxels on `devices`: along the longest of `axes` that can be cut evenly.

    **Raises:** `ValueError` where no axis can.
    """
    count = len(devices)
    if not count:
        raise ValueError("Argument `devices` must name at least one device, but it is empty.")
    even = [axis for axis in axes if shape[axis] % count == 0]
    if not even:
        sides = "no side" if len(axes) == 3 else f"neither {' nor '.join('xyz'[axis] for axis in axes)}"
        raise ValueError(
            f"A volume of {' x '.join(map(str, shape))} voxels cannot be cut into {count} slabs of equal thickness: "
            f"{sides} is a multiple of {count}. Crop the volume or use another number of devices."
        )
    mesh = jax.make_mesh((count,), ("slab",), axis_types=(AxisType.Auto,), devices=list(devices))
    axis = max(even, key=lambda a: shape[a])
    return Slabs(mesh, axis, int(shape[axis]))
