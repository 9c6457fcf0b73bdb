"""The electrode tortuosity factor: what the impedance of a symmetric blocking cell measures."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from microstructure.grid import Grid
from microstructure.labels import clusters
from solver.numerics import multigrid
from solver.numerics.flux import Faces, Plates, apply
from solver.numerics.linear import linear_solve
from solver.numerics.precise import total, vdot
from solver.numerics.solution import Solution

from .conduct import Conduction
from .network import Conductor, conductor


def blocking_resistance(made: Conductor, source: Float[Array, "nx ny nz"], method: Conduction) -> Solution:
    """The ionic resistance R_ion / 3 of pores whose double layer is charged evenly, from the separator at the far end.

    A phi = s / sum(s), with the separator at potential zero and nothing through the collector; R = s . phi / sum(s).
    Differentiable to any order, at one more solve each.

    **Arguments:** `made`, [`solver.transport.network.conductor`][]; `source`, the charging current of each voxel, any
    unit, zero where nothing conducts; `method`, of which `rtol`, `max_steps` and `degree` count.

    **Returns:** a `Solution` of (resistance in units of the inverse of the conductances, potential).
    """
    shut = jnp.zeros_like(made.ends[0].low)
    faces = Faces(*made.interior, (Plates(shut, made.ends[0].high), None, None))
    share = source / total(source).astype(source.dtype)
    solution = linear_solve(
        lambda x: apply(faces, x),
        share,
        preconditioner=multigrid.build(faces, degree=method.degree),
        rtol=method.rtol,
        max_steps=method.max_steps,
    )
    return Solution((vdot(share, solution.value), solution.value), solution.result, solution.stats)


blocking = eqx.filter_jit(blocking_resistance)


def electrode_tortuosity_factor(pore: np.ndarray, spacing=(1.0, 1.0, 1.0), method=None) -> Solution:
    """The electrode tortuosity factor of an image, separator at the far end of axis 0. Outside `jit`.

    tau_e = porosity A kappa R_ion / L, where R_ion / 3 is the resistance at low frequency of a symmetric cell whose
    electrodes only charge their double layer. The charge lies on the faces between pore and solid, and pores that do
    not reach the separator take no part. Other than the tortuosity factor between two plates it sees dead ends.

    **Arguments:** `pore`, (nx, ny, nz), boolean; `spacing`, voxel edges; `method`, [`Conduction`][].

    **Returns:** a `Solution` of (tortuosity factor, potential); infinite where no pore reaches the separator.

    **Source:** Landesfeind et al. 2016, doi 10.1149/2.1141607jes; Nguyen et al. 2020, doi 10.1038/s41524-020-00386-4.
    """
    pieces = clusters(pore)
    reaching = np.isin(pieces, np.setdiff1d(pieces[-1], 0))
    spacing, method = np.asarray(spacing, float) / np.max(spacing), method or Conduction()
    grid = Grid(pore.shape, spacing)
    weights = jnp.asarray(_wetted_faces(reaching, pore, spacing), method.dtype)
    solution = blocking(_conductor(jnp.asarray(reaching, method.dtype), grid), weights, method)
    resistance, field = solution.value
    nx, ny, nz = pore.shape
    flow = ny * nz * float(np.min(spacing) ** 2 / spacing[0] ** 2)  # area over the thickness of a slice, in units
    factor = 3.0 * float(np.mean(pore)) * flow / nx * resistance
    return Solution((jnp.where(weights.any(), factor, jnp.inf), field), solution.result, solution.stats)


_conductor = eqx.filter_jit(conductor)


def _wetted_faces(reaching: np.ndarray, pore: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The area of faces against solid of each voxel; counted, since only the shares matter."""
    area = np.zeros(pore.shape, np.float32)
    for axis in range(3):
        face = np.prod(spacing) / spacing[axis]
        for here, there in (((slice(None, -1)), slice(1, None)), (slice(1, None), slice(None, -1))):
            at, beside = ([slice(None)] * 3 for _ in range(2))
            at[axis], beside[axis] = here, there
            area[tuple(at)] += np.float32(face) * (reaching[tuple(at)] & ~pore[tuple(beside)])
    return area
