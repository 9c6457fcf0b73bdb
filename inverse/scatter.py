"""Manufacturing scatter: which numbers of a design are made how far from what was meant, and copies so made."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.stats import norm, qmc

from microstructure.checks import require
from solver.numerics.real import real

from .space import Leaf


class Deviation(eqx.Module):
    """How far a leaf of a design is made from what was meant, independently of all others.

    **Arguments:** `name`; `unit`, of `size`: that of the leaf, or "" where it is a share of the leaf's value
    (`relative`); `size`, the standard deviation of normal points, or the half-width of a box; `place`, the leaf.
    """

    name: str = eqx.field(static=True)
    unit: str = eqx.field(static=True)
    size: Float[Array, ""] = eqx.field(converter=real)
    place: Leaf
    relative: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        require(f"size of {self.name}", self.size, 1e-15, unit=self.unit, hint="Leave out what does not deviate.")

    def move(self, design: PyTree, point: Array) -> PyTree:
        """The design with the leaf moved by `point` times the size."""
        value = self.place.read(design)
        by = point * self.size * (value if self.relative else 1.0)
        return eqx.tree_at(self.place.where, design, value + by)


class Scatter(eqx.Module):
    """Independent [`Deviation`][]s of a design, and the fixed points at which it is looked at: common to all designs.

    **Arguments:** `deviations`, d of them; `points`, in units of their sizes, shape (K, d).
    """

    deviations: tuple[Deviation, ...] = eqx.field(converter=tuple)
    points: Float[Array, "K d"] = eqx.field(converter=real)

    def __check_init__(self):
        names = self.names
        if not names:
            raise ValueError("Argument `deviations` must hold at least one deviation, but none was given.")
        if len(set(names)) < len(names):
            raise ValueError(f"The deviations of a scatter must differ, but {', '.join(names)} were given.")
        if self.points.ndim != 2 or self.points.shape[1] != len(names) or not self.points.shape[0]:
            raise ValueError(
                f"Argument `points` must have the shape (copies, {len(names)}), but {self.points.shape} was given."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the deviations."""
        return tuple(d.name for d in self.deviations)

    def copy(self, design: PyTree, point: Float[Array, " d"]) -> PyTree:
        """The design as it is made at a point."""
        for deviation, p in zip(self.deviations, point, strict=True):
            design = deviation.move(design, p)
        return design


def corners(d: int) -> np.ndarray:
    """The middle and all corners of the box, for a worst case: (1 + 2^d, d)."""
    signs = (np.arange(2**d)[:, None] >> np.arange(d)) & 1
    return np.concatenate([np.zeros((1, d)), 2.0 * signs - 1.0])


def normal_points(d: int, copies: int, seed: int = 0) -> np.ndarray:
    """Antithetic pairs of normal points from a scrambled Sobol sequence, shape (copies, d): of mean zero, and scaled to
    unit variance along each axis.

    **Arguments:** `copies`, a power of two, at least 4.
    """
    half = norm.ppf(_sobol(d, copies // 2, seed, copies))
    points = np.concatenate([half, -half])
    return points / np.sqrt(np.mean(points**2, axis=0))


def box_points(d: int, copies: int, seed: int = 0) -> np.ndarray:
    """Points spread evenly in the box from a scrambled Sobol sequence, shape (copies, d).

    **Arguments:** `copies`, a power of two, at least 2.
    """
    return 2.0 * _sobol(d, copies, seed, copies) - 1.0


def _sobol(d, count, seed, asked):
    if count < 2 or count & (count - 1):
        raise ValueError(f"Argument `copies` must be a power of two, at least 4, but {asked} was given.")
    return qmc.Sobol(d, rng=seed).random(count)


def each(figures: Callable, names: tuple[str, ...], scatter: Scatter, design: PyTree, lanes: int = 1):
    """Figures of all copies of a design, shape (K, number of names): one run a copy.

    The derivatives of all figures of a copy are found with its values, from the same run, so that any number of
    cotangents of the whole costs no further run.

    **Arguments:** `lanes`, how many copies are run side by side; the others follow them.
    """
    return _each(design, figures, scatter, names, lanes)


def _of_copies(function, scatter, lanes):
    """`function` of a point, for all points."""
    return jax.lax.map(function, scatter.points, batch_size=lanes if lanes > 1 else None)


def _stacked(figures, names, scatter, design, point):
    found = figures(scatter.copy(design, point))
    return jnp.stack([jnp.asarray(found[name], point.dtype) for name in names])


@eqx.filter_custom_vjp
def _each(design, figures, scatter, names, lanes):
    return _of_copies(functools.partial(_stacked, figures, names, scatter, design), scatter, lanes)


@_each.def_fwd
def _each_forward(perturbed, design, figures, scatter, names, lanes):
    free, fixed = eqx.partition(design, perturbed)
    identity = jnp.eye(len(names), dtype=scatter.points.dtype)

    def one(point):
        values, pull = jax.vjp(lambda free: _stacked(figures, names, scatter, eqx.combine(free, fixed), point), free)
        return values, jax.vmap(pull)(identity)[0]

    return _of_copies(one, scatter, lanes)


@_each.def_bwd
def _each_backward(slopes, cotangent, perturbed, design, figures, scatter, names, lanes):
    return jax.tree.map(lambda slope: jnp.tensordot(cotangent, slope, 2), slopes)
