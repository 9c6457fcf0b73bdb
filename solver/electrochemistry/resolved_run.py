"""A constant-current discharge of a resolved half-cell, to a cut-off voltage."""

import equinox as eqx
import jax.numpy as jnp
import jax
from jax import lax
from jaxtyping import Array, Float

from ..numerics.march import March, System, march
from ..numerics.solution import Result, Solution
from ..numerics.written import written_linear
from ..numerics.flexible_gmres import flexible_gmres
from .half_cell import HalfCell, rest
from .resolved import ResolvedCell
from .resolved_slopes import eliminated
from .resolved_solve import NewtonMethod, newton_krylov, precondition

_LANDING = 1e-2  # the march lands its event within 2e-11 of the gap: to that over this, in shares of the cut-off


class ResolvedMethod(eqx.Module):
    """How a resolved cell is solved: `march`, steps in time; `newton`, each step."""

    march: March = eqx.field(default_factory=lambda: March(tolerance=5e-4, max_steps=120))
    newton: NewtonMethod = eqx.field(default_factory=NewtonMethod)


class Held(System):
    """A [`ResolvedCell`][] under its own current until the voltage falls to `level`; recorded are the voltage, V, and
    shares of what was drawn that salt and particles hold."""

    cell: ResolvedCell
    level: Float[Array, ""]
    newton: NewtonMethod

    def residual(self, w, past, gamma):
        return self.cell.residual(w, past, gamma)

    def solve(self, w, past, gamma):
        found = newton_krylov(self.cell, w, past, gamma, self.newton)
        return Solution(found.value, found.result, found.stats)

    def derivative(self, w, past, gamma):
        return w, past, gamma

    def pull_back(self, derivative, w_bar, y_bar):
        w, past, gamma = derivative
        w_bar = w_bar.at[: y_bar.shape[0]].add(y_bar)
        _, _, parts = eliminated(self.cell, w, past, gamma)
        made = precondition(self.cell, w, gamma, parts, self.newton)
        balances, kinetics = (jax.linear_transpose(f, w) for f in (parts.balances, parts.kinetics))

        def reduced(w_bar):
            """What is left for the rest when the kinetic equations answer for the reactions."""
            rest, reactions = parts.split(w_bar)
            return rest - parts.split(kinetics(written_linear(reactions / parts.by_reaction))[0])[0]

        other = jax.linear_transpose(made, parts.split(w)[0])
        solved = flexible_gmres(
            lambda rest: reduced(written_linear(balances(rest)[0])), reduced(w_bar),
            preconditioner=lambda r: other(r)[0], rtol=self.newton.adjoint,
            max_steps=8 * self.newton.inner, restart=self.newton.restart,
        )  # fmt: skip
        left = parts.split(w_bar - balances(solved.value)[0])[1]
        multiplier = -parts.whole(solved.value, left / parts.by_reaction)
        _, by_past = jax.vjp(lambda past: self.cell.residual(w, past, gamma), past)
        return multiplier, by_past(multiplier)[0]

    def state(self, w, past, gamma):
        return self.cell.state(w)

    def observe(self, w):
        return w[-1]

    def gap(self, w):
        return _LANDING * (w[-1] - self.level) / jnp.maximum(jnp.abs(self.level), 1.0)

    def distance(self, w, other):
        change = self.cell.cut(w - other)
        salt = jnp.max(jnp.abs(change.salt)) / self.cell.electrolyte.initial_concentration
        potentials = [jnp.max(jnp.abs(p)) for p in (change.lyte, change.solid, change.voltage)]
        return jnp.max(jnp.stack([salt, *potentials]))
