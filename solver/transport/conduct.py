"""Steady conduction between two plates: the field, the effective conductivity, and their derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from solver.numerics import aggregate, multigrid
from solver.numerics.aggregation import Plan
from solver.numerics.flux import Faces, Plates, apply, difference, pad, slice_of
from solver.numerics.layout import Slabs
from solver.numerics.linear import EnergyStop, conjugate_gradients, linear_solve
from solver.numerics.precise import total
from solver.numerics.solution import Result, Solution


class Network(eqx.Module):
    """A conductor between two plates, at potential 0 below the first slice of an axis and 1 above its last.

    **Arguments:** `faces`, conductances in any unit, the plates among its `ends`; `direction`, shape (3,), one for the
    axis between the plates, zero for the others; `scale`, the effective conductivity of a unit conductance between the
    plates: length over area times the unit of the conductances.
    """

    faces: Faces
    direction: Float[Array, "3"]
    scale: Array


class Conduction(eqx.Module):
    """How [`conduct`][] solves. Every field has a working default.

    **Arguments:** `energy_rtol`, wanted relative error of the effective conductivity (it stops the solve); `rtol`,
    residual at which to stop in any case; `max_steps`; `degree`, Chebyshev smoothing steps of the multigrid; `dtype`,
    of the networks that are made for it, float32 or float64 (sums are float64, and the multigrid float32, in any case);
    `slabs`, where the network was placed, if on several devices ([`solver.numerics.layout.slabs`][]).
    Gradients need a small residual: set `energy_rtol` to zero for them, as [`for_gradients`][] does.
    """

    energy_rtol: Array = eqx.field(converter=jnp.asarray, default=5e-5)
    rtol: Array = eqx.field(converter=jnp.asarray, default=1e-7)
    max_steps: int = eqx.field(static=True, default=1000)
    degree: int = eqx.field(static=True, default=3)
    dtype: np.dtype = eqx.field(static=True, default=np.float32)
    slabs: Slabs | None = eqx.field(static=True, default=None)


def for_gradients(rtol: float = 1e-6, dtype=np.float32) -> Conduction:
    """The method that stops on the residual, as the gradient needs it."""
    return Conduction(energy_rtol=0.0, rtol=rtol, dtype=dtype)


def conduct(network: Network, method: Conduction | None = None, plan: Plan | None = None) -> Solution:
    """The effective conductivity of a network between plates, by the energy that it dissipates.

    k_eff = (L / A) sum over faces of g (step of phi)^2, with phi = 0 and 1 on the plates. The error of the energy is
    the square of that of the field, and its derivative in g is the squared step itself: no adjoint solve is needed,
    because phi is stationary. A second derivative, and any derivative of the field, costs one more solve with the same
    matrix and preconditioner; forward and reverse mode both work.

    **Arguments:** `network`, [`Network`][]; `method`, [`Conduction`][]; `plan`, from
    [`solver.numerics.aggregation.plan`][], for conductivities that differ by more than a factor of ten inside it.

    **Returns:** a `Solution` of (effective conductivity in S/m, field of shape (nx, ny, nz)), with `steps`, `residual`,
    `error_estimate` (relative, from the energy) and both plate currents as conductivities in the stats.

    **Source:** Milton 2002, The Theory of Composites, doi 10.1017/CBO9780511613357, ch. 13.
    """
    method = Conduction() if method is None else method
    solution = lax.stop_gradient(_solve(lax.stop_gradient(network), method, plan))
    return _outcome(network, method, plan, solution)


@eqx.filter_jit
def _outcome(network: Network, method: Conduction, plan, solution: Solution) -> Solution:
    """What [`conduct`][] returns, from the solved field."""
    power = _power(network, method, plan, solution.value)
    field = _field(network, method, plan, solution.value)
    flux_low, flux_high = plate_fluxes(lax.stop_gradient(network), solution.value)
    stats = {
        "steps": solution.stats["steps"],
        "residual": solution.stats["residual"],
        "error_estimate": solution.stats["energy_drop"] / _safe(lax.stop_gradient(power)).astype(field.dtype),
        "flux_low": lax.stop_gradient(network.scale) * flux_low,
        "flux_high": lax.stop_gradient(network.scale) * flux_high,
    }
    return Solution((network.scale * power, field), solution.result, stats)


@jax.custom_jvp
def _field(network: Network, method: Conduction, plan, field: Array) -> Array:
    """`field`, which solves the network, with its derivative: one linear solve."""
    return field


@_field.defjvp
def _field_jvp(primals, tangents):
    """A dphi = db - dA phi, by [`linear_solve`][], so that it can be differentiated again."""
    network, method, plan, field = primals
    field = _field(network, method, plan, field)
    _, moved = jax.jvp(lambda n: source(n, field.dtype) - apply(n.faces, field), (network,), (tangents[0],))
    step = linear_solve(
        lambda x: apply(network.faces, x),
        moved,
        preconditioner=_preconditioner(lax.stop_gradient(network.faces), method, plan),
        rtol=method.rtol,
        max_steps=method.max_steps,
    )
    return field, step.value


@jax.custom_jvp
def _power(network: Network, method: Conduction, plan, field: Array) -> Array:
    """Dissipated power at the solved field, whose derivative in the field is zero."""
    return energy(network, field)


@_power.defjvp
def _power_jvp(primals, tangents):
    network, method, plan, field = primals
    solved = _field(network, method, plan, field)  # a derivative of this derivative moves the field
    _, slope = jax.jvp(lambda n: energy(n, solved), (network,), (tangents[0],))
    return _power(network, method, plan, field), slope


def _safe(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)


def _ramp(network: Network, dtype) -> Array:
    """The potential of a uniform conductor, at voxel centres."""
    shape, out = network.faces.shape, jnp.zeros((), dtype)
    for axis, n in enumerate(shape):
        line = (jnp.arange(n, dtype=dtype) + jnp.asarray(0.5, dtype)) / jnp.asarray(n, dtype)
        out = out + network.direction[axis].astype(dtype) * line.reshape([-1 if a == axis else 1 for a in range(3)])
    return jnp.broadcast_to(out, shape)


def _plates(faces: Faces):
    return [(axis, end) for axis, end in enumerate(faces.ends) if isinstance(end, Plates)]


def source(network: Network, dtype) -> Array:
    """The right-hand side: the current from the upper plate at potential one."""
    out, shape = jnp.zeros((), dtype), network.faces.shape
    for axis, end in _plates(network.faces):
        out = out + pad(end.high.astype(dtype), axis, shape[axis] - 1, 0)
    return out


def _dtype(network: Network):
    """The precision of the field: float64 where a conductance is."""
    leaves = jax.tree.leaves(network.faces)
    return jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in leaves) else jnp.float32


def _preconditioner(faces: Faces, method: Conduction, plan: Plan | None):
    if plan is not None:
        return aggregate.build(faces, plan, degree=method.degree)
    return multigrid.build(faces, degree=method.degree, slabs=method.slabs)


@eqx.filter_jit
def _solve(network: Network, method: Conduction, plan) -> Solution:
    """The field. Compiled by itself: it is the same within a derivative as without."""
    faces, dtype = network.faces, _dtype(network)
    ramp = _ramp(network, dtype)
    solution = conjugate_gradients(
        lambda x: apply(faces, x),
        source(network, dtype) - apply(faces, ramp),
        preconditioner=_preconditioner(faces, method, plan),
        rtol=method.rtol,
        max_steps=method.max_steps,
        energy_stop=EnergyStop(method.energy_rtol, energy(network, ramp)),
    )
    open_ends = [jnp.sum(end.low) * jnp.sum(end.high) for _, end in _plates(faces)]
    result = Result.where(sum(open_ends) == 0, Result.no_path, solution.result)
    return Solution(ramp + solution.value, result, solution.stats)


def energy(network: Network, field: Array) -> Array:
    """Dissipated power at unit potential difference, in the unit of the conductances."""
    power, dtype = jnp.zeros((), jnp.result_type(float)), field.dtype
    for axis, conductance in enumerate(network.faces.interior):
        power = power + total(conductance.astype(dtype) * difference(field, axis) ** 2)
    for axis, end in _plates(network.faces):
        first, last = slice_of(field, axis, 0), slice_of(field, axis, field.shape[axis] - 1)
        power = power + total(end.low.astype(dtype) * first**2) + total(end.high.astype(dtype) * (1 - last) ** 2)
    for axis, end in enumerate(network.faces.ends):
        if end is not None and not isinstance(end, Plates):
            step = slice_of(field, axis, 0) - slice_of(field, axis, field.shape[axis] - 1)
            power = power + total(end.link.astype(dtype) * step**2)
    return power


def plate_fluxes(network: Network, field: Array) -> tuple[Array, Array]:
    """The currents out of the lower and into the upper plate, in the unit of the conductances."""
    low, high = jnp.zeros((), jnp.result_type(float)), jnp.zeros((), jnp.result_type(float))
    for axis, end in _plates(network.faces):
        first, last = slice_of(field, axis, 0), slice_of(field, axis, field.shape[axis] - 1)
        low = low + total(end.low.astype(field.dtype) * first)
        high = high + total(end.high.astype(field.dtype) * (1 - last))
    return low, high
