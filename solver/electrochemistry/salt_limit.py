"""The current that the salt of a structure can carry, before any discharge: steady transport with an even reaction.

At rest in time the lithium, or evenly a second electrode, gives salt off and the particles take it in, and the cations'
share of the current that the field does not carry comes by diffusion:

    div(b D grad c) = (1 - t+) a j / F,   theta(c) = integral of D dc,

which is linear in theta. The limit is the current at which the least concentration is zero while the salt in the cell
is what it was.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from microstructure.units import faraday

from ..numerics.flux import apply, pad
from ..numerics.linear import linear_solve
from ..numerics.multigrid import build
from ..numerics.solution import Solution, raise_unless_successful
from .resolved import ResolvedCell
from .resolved_power import over
from .stencil import network
from .voxel_cell import VoxelCell

FITTED = 3.0  # times the initial concentration, above which the diffusivity is held: fits of it end about there
_LOOSE = 1e-6  # of a middling link, by which a level that nothing else holds is held
_HIGHEST = 60.0  # times the initial concentration, end of the table of theta


def salt_limit(cell: VoxelCell, system: ResolvedCell, share: float = 1.0) -> float:
    """The current, A, that the salt can carry to the `share` of the reacting area of the (positive) electrode nearest
    to the separator, evenly.

    A discharge above that of the whole area runs out of salt deep in the electrode, and one above that of a tenth
    reaches hardly any of it. On the host, without derivatives.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"Argument `share` must lie above 0 and up to 1, but {share:g} was given.")
    solution = drops(system, jnp.asarray(_nearest(system, share)))
    drop = np.asarray(raise_unless_successful(solution, "The limit of the salt")[0])
    storage = np.asarray(system.structure.storage)
    wet = storage > 0
    return _limit(cell, drop[wet], storage[wet])


def _nearest(system: ResolvedCell, share: float) -> np.ndarray:
    """The weight of each slice that leaves the `share` of the reacting area nearest to the separator."""
    area = sum(np.asarray(jnp.sum(p.area, axis=(1, 2))) for p in system.structure.particles if not p.grounded)
    beyond = np.cumsum(area[::-1])[::-1] - area  # nearer to the separator than the slice
    wanted = share * area.sum() - beyond
    return np.clip(wanted / np.where(area > 0, area, 1.0), 0.0, 1.0)


@eqx.filter_jit
def drops(system: ResolvedCell, weight: Array) -> Solution:
    """By how much theta falls to each voxel for a unit of flux, 1/m, from the lithium, or but for a constant.

    **Arguments:** `weight`, of each slice, by which its area takes part in the even reaction.

    **Returns:** a `Solution` of the fall, (nx, ny, nz), and of its mean over what reacts; differentiable in `system`.
    """
    s = system.structure
    sink, source = jnp.zeros(s.shape), jnp.zeros(s.shape)
    for p in s.particles:
        if p.grounded:
            source = source + p.lyte.lay(p.area, s.periodic)
        else:
            sink = sink + p.lyte.lay(p.area * weight[:, None, None], s.periodic)
    share = sink / jnp.sum(sink)
    given = share
    if s.ground is None:
        held = pad(over(s.metal_area, s.metal_path), 0, s.shape[0] - 1, 0)
    else:
        given = share - source / jnp.sum(source)
        held = _LOOSE * jnp.mean(s.lyte_links[0]) * s.storage / jnp.mean(s.storage)
    faces = network(s.lyte_links, s.periodic, held)
    cycle = build(lax.stop_gradient(faces), slabs=system.slabs)
    solution = linear_solve(lambda x: apply(faces, x), given, preconditioner=cycle, rtol=1e-6, max_steps=300)
    return Solution((solution.value, jnp.sum(share * solution.value)), solution.result, solution.stats)


def _limit(cell: VoxelCell, drop: np.ndarray, storage: np.ndarray) -> float:
    """The current whose least concentration is zero, by bisection."""
    lyte = cell.electrolyte
    initial, share = float(lyte.initial_concentration), (1.0 - float(lyte.transference_number)) / faraday
    salt = initial * np.concatenate([np.linspace(0.0, FITTED, 301), np.linspace(FITTED, _HIGHEST, 301)[1:]])
    diffusivity = np.asarray(lyte.transport(jnp.asarray(np.minimum(salt, FITTED * initial)), cell.temperature)[0])
    theta = np.concatenate([[0.0], np.cumsum(np.diff(salt) * 0.5 * (diffusivity[1:] + diffusivity[:-1]))])
    rise = share * (drop.max() - drop)  # of theta over where it is zero, for one ampere

    def excess(current):
        return np.sum(storage * np.interp(current * rise, theta, salt)) / np.sum(storage) - initial

    low, high = 0.0, theta[-1] / max(float(rise.max()), 1e-300)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return 0.5 * (low + high)
