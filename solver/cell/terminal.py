"""A cell whose current follows from what is held at its terminals, and whose temperature may follow from its heat."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.march import System
from ..numerics.root import newton
from .cell import Thermal
from .control import OBSERVED, Control, Limits
from .elimination import Elimination, corrected, eliminated
from .heat import heat
from .memory import Memory, memory
from .porous import PorousCell
from .single_particle import SingleParticle


class Terminal(System):
    """The cell under a [`Control`][] until one of its [`Limits`][].

    Unknowns W: w of the porous electrode, the charge q, the current I and, with `thermal`, the temperature T. State Y:
    y of the porous electrode, the time t since the start of the step, the charge q and, with `thermal`, T. Recorded
    are voltage, current, temperature, plating potential (0 where the negative electrode is lithium) and charge.
    `before` is the charge drawn before this step, C/m2.

    Newton's correction borders that of the porous electrode by the rows and columns of I and T.
    """

    porous: PorousCell | SingleParticle
    control: Control
    limits: Limits
    thermal: Thermal | None
    before: Float[Array, ""]

    # --- layout -----------------------------------------------------------------------------------------------------

    @property
    def border(self) -> int:
        """1, or 2 with a temperature."""
        return 1 if self.thermal is None else 2

    def parts(self, unknowns: Array) -> tuple[Array, Array, Array]:
        """w, q and the (I,) or (I, T)."""
        k = self.border
        return unknowns[: -k - 1], unknowns[-k - 1], unknowns[-k:]

    def loaded(self, z: Array) -> PorousCell | SingleParticle:
        """The porous electrode at the current and temperature z."""
        return self.porous.under(z[0], self.porous.temperature if self.thermal is None else z[1])

    def begin(self, y: Array, w: Array, current: Array) -> tuple[Array, Array]:
        """State and unknowns from those of the porous electrode at its own temperature, no time and no charge gone."""
        warm = [] if self.thermal is None else [self.porous.temperature[None]]
        zero = jnp.zeros(1)
        return jnp.concatenate([y, zero, zero, *warm]), jnp.concatenate([w, zero, current[None], *warm])

    def again(self, state: Array) -> Array:
        """The state with the time at zero: the start of a further step."""
        return state.at[state.shape[0] - self.border - 1].set(0.0)

    def porous_state(self, state: Array) -> Array:
        """y of the porous electrode."""
        return state[: state.shape[0] - self.border - 1]

    # --- equations --------------------------------------------------------------------------------------------------

    def residual(self, unknowns, past, gamma):
        w, q, z = self.parts(unknowns)
        inner = self.loaded(z).residual(w, self.porous_state(past), gamma)
        charge = q - past[-self.border] - gamma * z[0]
        return jnp.concatenate([inner, charge[None], self._balance(w, z, past, gamma)])

    def _balance(self, w, z, past, gamma):
        """What the terminals and the heat lack."""
        system = self.loaded(z)
        time = past[-self.border - 1] + gamma
        terminals = self.control.lack(z[0], system.voltage(w), system.plating_potential(w), time)[None]
        if self.thermal is None:
            return terminals
        made = heat(system, w, self.porous_state(past), gamma).total
        lost = self.thermal.cooling * (z[1] - self.thermal.ambient)
        warming = z[1] - past[-1] - gamma * (made - lost) / self.thermal.heat_capacity
        return jnp.concatenate([terminals, warming[None]])

    def state(self, unknowns, past, gamma):
        w, q, z = self.parts(unknowns)
        inner = self.loaded(z).state(w, self.porous_state(past), gamma)
        time = past[-self.border - 1] + gamma
        return jnp.concatenate([inner, time[None], q[None], z[1:]])

    def observe(self, unknowns):
        w, q, z = self.parts(unknowns)
        system = self.loaded(z)
        return jnp.stack([system.voltage(w), z[0], system.temperature, system.plating_potential(w), q])

    def gaps(self, unknowns):
        """[`Limits.gaps`][] at the unknowns."""
        voltage, current, temperature, plating, drawn = self.observe(unknowns)
        passed = jnp.abs(drawn - self.before)
        return self.limits.gaps(jnp.stack([voltage, jnp.abs(current), temperature, plating, passed, drawn]))

    def gap(self, unknowns):
        return jnp.min(self.gaps(unknowns))

    def distance(self, unknowns, other):
        """The largest of that of the porous electrode, the change of the temperature over 30 K and, where a small
        current ends the step, its relative change.

        Volts alone do not see a current that fades: a hold of Chen 2020 at 4.2 V from C/2 to C/50 ended 35 s early in
        3484 s; so it ends 5 s early, in 60 steps instead of 38.
        """
        w, _, z = self.parts(unknowns)
        v, _, u = self.parts(other)
        end = self.limits.lower[OBSERVED.index("current")]
        fading = jnp.where(jnp.isfinite(end), jnp.abs(end), jnp.inf)
        inner = jnp.maximum(self.porous.distance(w, v), jnp.abs(z[0] - u[0]) / (jnp.abs(z[0]) + fading))
        return inner if self.thermal is None else jnp.maximum(inner, jnp.abs(z[1] - u[1]) / 30.0)

    # --- Newton -----------------------------------------------------------------------------------------------------

    def _bordered(self, unknowns, past, gamma):
        """The inner derivative eliminated, columns (len(w), k), rows (k, len(w)) and corner (k, k) of the border."""
        w, _, z = self.parts(unknowns)
        y = self.porous_state(past)
        columns = jax.jacfwd(lambda z: self.loaded(z).residual(w, y, gamma))(z)
        rows, corner = jax.jacrev(lambda w, z: self._balance(w, z, past, gamma), argnums=(0, 1))(w, z)
        return eliminated(self.loaded(z), w, y, gamma), columns, rows, corner

    def solve(self, unknowns, past, gamma):
        def correct(unknowns):
            w, q, z = self.parts(unknowns)
            lack = self.residual(unknowns, past, gamma)
            inner, lack_q, outer = self.parts(lack)
            elimination, columns, rows, corner = self._bordered(unknowns, past, gamma)
            x = elimination.solve(self.porous, jnp.concatenate([-inner[:, None], columns], axis=1))
            dz = _small_solve(corner - rows @ x[:, 1:], -outer - rows @ x[:, 0])
            bound = jnp.asarray([jnp.inf, 20.0][: self.border])  # K
            dz = jnp.clip(dz, -bound, bound)
            w, size = corrected(self.porous.layout, w, x[:, 0] - x[:, 1:] @ dz, inner)
            relative = jnp.abs(dz) / jnp.asarray([10.0, 30.0][: self.border])  # A/m2, K
            dq = gamma * dz[0] - lack_q
            return jnp.concatenate([w, (q + dq)[None], z + dz]), jnp.maximum(size, jnp.max(relative))

        return newton(correct, unknowns, tolerance=1e-11, max_steps=25)

    def derivative(self, unknowns, past, gamma):
        w, _, z = self.parts(unknowns)
        system, y = self.loaded(z), self.porous_state(past)
        return _Derivative(
            *self._bordered(unknowns, past, gamma),
            gamma=gamma,
            memory=memory(system, w, y, gamma),
            past_rows=jax.jacrev(lambda past: self._balance(w, z, past, gamma))(past),
            state_columns=jax.jacfwd(lambda z: self.loaded(z).state(w, y, gamma))(z),
        )

    def pull_back(self, derivative, w_bar, y_bar):
        d, layout, inner_bar = derivative, self.porous.layout, self.porous_state(y_bar)
        for_w, for_q, for_z = self.parts(w_bar)
        for_w = for_w + d.memory.to_unknowns(layout, inner_bar)
        for_q = for_q + y_bar[-self.border]
        # The row of the charge is q - past - gamma I; the temperature is both an unknown and a part of the state.
        for_z = for_z + inner_bar @ d.state_columns
        for_z = for_z.at[0].add(d.gamma * for_q).at[1:].add(y_bar[y_bar.shape[0] - self.border + 1 :])
        x = d.elimination.solve_transposed(self.porous, jnp.concatenate([for_w[:, None], d.rows.T], axis=1))
        x_z = _small_solve(d.corner.T - d.columns.T @ x[:, 1:], for_z - d.columns.T @ x[:, 0])
        multiplier = -jnp.concatenate([x[:, 0] - x[:, 1:] @ x_z, for_q[None], x_z])
        lacking, charge, outer = self.parts(multiplier)
        inner = d.memory.to_past(layout, lacking, inner_bar)
        border = jnp.stack([y_bar[-self.border - 1], -charge, *jnp.zeros(self.border - 1)])
        # A step's end time is the time before and the step: time passes through, and what is held may depend on it.
        return multiplier, jnp.concatenate([inner, border]) + outer @ d.past_rows


class _Derivative(eqx.Module):
    """A step linearised: of the equations of the porous electrode in w, eliminated, and, `columns`, in I and T; `rows`
    and `corner`, of those of the border; `gamma`; the [`Memory`][]; `past_rows`, of those of the border in the past;
    `state_columns`, of the state in I and T."""

    elimination: Elimination
    columns: Array
    rows: Array
    corner: Array
    gamma: Array
    memory: Memory
    past_rows: Array
    state_columns: Array


def _small_solve(matrix, rhs):
    """Systems of one or two equations, written out."""
    if matrix.shape[0] == 1:
        return rhs / matrix[0, 0]
    (a, b), (c, d) = matrix
    return jnp.stack([d * rhs[0] - b * rhs[1], a * rhs[1] - c * rhs[0]]) / (a * d - b * c)
