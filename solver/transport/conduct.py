"""Steady conduction between two plates: the field, the effective conductivity, and its variational derivative."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from solver.numerics import multigrid
from solver.numerics.flux import Faces, apply, difference
from solver.numerics.linear import EnergyStop, conjugate_gradients
from solver.numerics.solution import Result, Solution


class Network(eqx.Module):
    """A conductor between plates at its two ends along axis 0, as conductances of voxel faces.

    **Arguments:** `faces`, with `plate` the sum of the two links below; `low`, `high`, shape (ny, nz), links of the
    first and last slice to the plates at potential 0 and 1; `length`, m; `area`, m2. Conductances in S (or m3/s for
    diffusion).
    """

    faces: Faces
    low: Float[Array, "ny nz"]
    high: Float[Array, "ny nz"]
    length: Array = eqx.field(converter=jnp.asarray)
    area: Array = eqx.field(converter=jnp.asarray)


class Conduction(eqx.Module):
    """How [`conduct`][] solves. Every field has a working default.

    **Arguments:** `energy_rtol`, wanted relative error of the effective conductivity (it stops the solve); `rtol`,
    residual at which to stop in any case; `max_steps`; `degree`, Chebyshev smoothing steps of the multigrid.
    Gradients need a small residual: set `energy_rtol` to zero for them, as [`for_gradients`][] does.
    """

    energy_rtol: Array = eqx.field(converter=jnp.asarray, default=5e-5)
    rtol: Array = eqx.field(converter=jnp.asarray, default=1e-7)
    max_steps: int = eqx.field(static=True, default=1000)
    degree: int = eqx.field(static=True, default=3)


def for_gradients(rtol: float = 1e-6) -> Conduction:
    """The method that stops on the residual, as the gradient needs it."""
    return Conduction(energy_rtol=0.0, rtol=rtol)


def conduct(network: Network, method: Conduction | None = None) -> Solution:
    """The effective conductivity of a network between plates, by the energy that it dissipates.

    k_eff = (L / A) sum over faces of g (step of phi)^2, with phi = 0 and 1 on the plates. The error of the energy is
    the square of that of the field, and its derivative in g is the squared step itself: no adjoint solve is needed,
    because phi is stationary. First derivatives only: a second one would need the derivative of phi.

    **Arguments:** `network`, [`Network`][]; `method`, [`Conduction`][].

    **Returns:** a `Solution` of (effective conductivity in S/m, field of shape (nx, ny, nz)), with `steps`, `residual`,
    `error_estimate` (relative, from the energy) and both plate currents as conductivities in the stats.

    **Source:** Milton 2002, The Theory of Composites, doi 10.1017/CBO9780511613357, ch. 13.
    """
    method = Conduction() if method is None else method
    solution = _solve(lax.stop_gradient(network), method)
    return _outcome(network, lax.stop_gradient(solution))


@eqx.filter_jit
def _outcome(network: Network, solution: Solution) -> Solution:
    """What [`conduct`][] returns, from the solved field."""
    field, scale = solution.value, network.length / network.area
    energy = _energy(network, field)
    flux_low, flux_high = _plate_fluxes(network, field)
    stats = {
        "steps": solution.stats["steps"],
        "residual": solution.stats["residual"],
        "error_estimate": solution.stats["energy_drop"] / _safe(energy).astype(field.dtype),
        "flux_low": lax.stop_gradient(scale * flux_low),
        "flux_high": lax.stop_gradient(scale * flux_high),
    }
    return Solution((scale * energy, field), solution.result, stats)


def _safe(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)


def _ramp(shape, dtype) -> Array:
    """The potential of a uniform conductor, at voxel centres."""
    n = shape[0]
    ramp = (jnp.arange(n, dtype=dtype) + jnp.asarray(0.5, dtype)) / jnp.asarray(n, dtype)
    return jnp.broadcast_to(ramp[:, None, None], shape)


@eqx.filter_jit
def _solve(network: Network, method: Conduction) -> Solution:
    """The field. Compiled by itself: it is the same within a derivative as without."""
    faces = network.faces
    ramp = _ramp(faces.shape, faces.plate.dtype)
    last = jnp.zeros_like(faces.plate).at[-1].set(network.high)
    b = last - apply(faces, ramp)
    stop = EnergyStop(method.energy_rtol, _energy(network, ramp))
    cycle = multigrid.build(faces, degree=method.degree)
    solution = conjugate_gradients(
        lambda x: apply(faces, x),
        b,
        preconditioner=cycle,
        rtol=method.rtol,
        max_steps=method.max_steps,
        energy_stop=stop,
    )
    empty = jnp.sum(network.low) * jnp.sum(network.high) == 0
    result = Result.where(empty, Result.no_path, solution.result)
    return Solution(ramp + solution.value, result, solution.stats)


def _total(x: Array) -> Array:
    """The sum of `x` accumulated in float64 where the process allows it."""
    return jnp.sum(x, dtype=jnp.result_type(float))


def _energy(network: Network, field: Array) -> Array:
    """Dissipated power at unit potential difference, S."""
    total = _total(network.low * field[0] ** 2) + _total(network.high * (1 - field[-1]) ** 2)
    for axis, conductance in enumerate(network.faces.interior):
        total = total + _total(conductance * difference(field, axis) ** 2)
    return total


def _plate_fluxes(network: Network, field: Array) -> tuple[Array, Array]:
    return _total(network.low * field[0]), _total(network.high * (1 - field[-1]))
