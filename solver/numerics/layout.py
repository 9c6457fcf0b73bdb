"""Where arrays lie when several devices share one volume: in slabs along its longest axis.

The code of a solve is that of one device. Its arrays are placed in slabs, the compiler cuts the stencils along, and
neighbours exchange one slice on each side. What is too small to be worth the exchange is held whole by every device.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
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

    def _sharding(self, array: Array) -> NamedSharding:
        axis = self.axis + array.ndim - 3  # a leading axis, as of a tensor in each voxel, is not cut
        cut = axis >= 0 and array.shape[axis] == self.length
        spec = [self.mesh.axis_names[0] if cut and a == axis else None for a in range(array.ndim)]
        return NamedSharding(self.mesh, PartitionSpec(*spec))


def slabs(shape: Sequence[int], devices: Sequence) -> Slabs:
    """The [`Slabs`][] of a volume of `shape` voxels on `devices`: along the longest axis that can be cut evenly.

    **Raises:** `ValueError` where no axis can.
    """
    count = len(devices)
    if not count:
        raise ValueError("Argument `devices` must name at least one device, but it is empty.")
    even = [axis for axis in range(3) if shape[axis] % count == 0]
    if not even:
        raise ValueError(
            f"A volume of {' x '.join(map(str, shape))} voxels cannot be cut into {count} slabs of equal thickness: no "
            f"side is a multiple of {count}. Crop the volume or use another number of devices."
        )
    mesh = jax.make_mesh((count,), ("slab",), axis_types=(AxisType.Auto,), devices=list(devices))
    axis = max(even, key=lambda a: shape[a])
    return Slabs(mesh, axis, int(shape[axis]))
