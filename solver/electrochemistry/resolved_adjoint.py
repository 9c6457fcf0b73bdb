"""The transposed linear solve of a derivative of the resolved cell: in single precision, refined in double."""

import jax
from jaxtyping import Array

from ..numerics.flexible_gmres import flexible_gmres
from ..numerics.refine import refined
from ..numerics.written import written_linear
from .resolved import ResolvedCell
from .resolved_precondition import SINGLE, precondition, single
from .resolved_slopes import Eliminated, eliminated
from .resolved_solve import NewtonMethod


class _Transposed:
    """J^T with the reactions eliminated: what of it the rest has to answer for, and what follows for the reactions."""

    def __init__(self, parts: Eliminated, w: Array):
        self.parts = parts
        self.balances, self.kinetics = (jax.linear_transpose(f, w) for f in (parts.balances, parts.kinetics))

    def reduce(self, w_bar: Array) -> Array:
        """What is left for the rest when the kinetic equations answer for the reactions."""
        rest, reactions = self.parts.split(w_bar)
        return rest - self.parts.split(self.kinetics(written_linear(reactions / self.parts.by_reaction))[0])[0]

    def apply(self, rest: Array) -> Array:
        return self.reduce(written_linear(self.balances(rest)[0]))

    def whole(self, rest: Array, w_bar: Array) -> Array:
        """The multipliers of all equations, those of the reactions from the rest's."""
        left = self.parts.split(w_bar - self.balances(rest)[0])[1]
        return self.parts.whole(rest, left / self.parts.by_reaction)


def transposed_solve(cell: ResolvedCell, w: Array, gamma: Array, w_bar: Array, method: NewtonMethod) -> Array:
    """J^-T w_bar, J the derivative of the equations at w."""
    light, small = single(cell), w.astype(SINGLE)
    parts = eliminated(cell, w, gamma)
    rough = single(parts)
    made = precondition(light, small, rough.slopes, method.degree)
    exact, close = _Transposed(parts, w), _Transposed(rough, small)
    back = jax.linear_transpose(made, close.parts.split(small)[0])

    def correction(left):
        solved = flexible_gmres(
            close.apply, left.astype(SINGLE), preconditioner=lambda r: back(r)[0], rtol=method.forcing,
            max_steps=method.inner, restart=method.inner,
        )  # fmt: skip
        return solved.value.astype(left.dtype)

    solved = refined(exact.apply, exact.reduce(w_bar), correction, rtol=method.adjoint)
    return exact.whole(solved.value, w_bar)
