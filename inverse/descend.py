"""Gradient ascent in the unit box with Optax: clipped, projected, stepping back from designs that cannot be made."""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from solver.numerics.solution import SolveError

from .problem import Impossible, Problem


class Descent(eqx.Module):
    """How to descend.

    **Arguments:** `steps`; `rate`, largest step in the unit box, decaying along a cosine to `final_rate` times it;
    `clip`, largest norm of the gradient, taken relative to the objective at the start; `retreats`, how many
    designs on the way of a step are tried before it is given up; `kind`, from a schedule to an Optax transformation.
    """

    steps: int = eqx.field(static=True, default=12)
    rate: float = eqx.field(static=True, default=0.1)
    final_rate: float = eqx.field(static=True, default=0.1)
    clip: float = eqx.field(static=True, default=1.0)
    retreats: int = eqx.field(static=True, default=6)
    kind: Callable = eqx.field(static=True, default=optax.adam)

    def transformation(self) -> optax.GradientTransformation:
        """The Optax transformation: clip, then `kind` with the schedule."""
        schedule = optax.cosine_decay_schedule(self.rate, max(self.steps, 1), self.final_rate)
        return optax.chain(optax.clip_by_global_norm(self.clip), self.kind(schedule))


class State(eqx.Module):
    """Where a descent stands: a pytree of arrays, enough to go on to the same numbers.

    **Arguments:** `x`, where the next step starts, and `optimiser`; `scale`, the objective at the start; `best_x`,
    `best`, the best design so far; `step`; `history`, per step: the designs, objectives, gradients, retreats.
    """

    x: Float[Array, " n"]
    optimiser: PyTree
    scale: Float[Array, ""]
    best_x: Float[Array, " n"]
    best: Float[Array, ""]
    step: Array
    history: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The mean over the seeds of objective and gradient at a design."""

    value: float
    gradient: np.ndarray


def begin(problem: Problem, method: Descent) -> State:
    """The state before the first step."""
    x = problem.space.start
    n, steps = x.shape[0], method.steps
    history = {
        "x": jnp.full((steps, n), jnp.nan, x.dtype),
        "objective": jnp.full(steps, jnp.nan, x.dtype),
        "gradient": jnp.full((steps, n), jnp.nan, x.dtype),
        "retreats": jnp.zeros(steps),
    }
    nothing = jnp.asarray(-jnp.inf)
    optimiser = method.transformation().init(x)
    return State(x, optimiser, jnp.asarray(jnp.nan), x, nothing, jnp.asarray(0), history)


def advance(problem: Problem, method: Descent, state: State, seeds: Sequence[int]) -> State:
    """One step: evaluates the design, keeps it if it is the best, moves on along the gradient.

    A design that cannot be made, or whose objective or gradient is not finite, is rejected: the step that led to it is
    halved, and after `retreats` trials the design before is kept.

    **Raises:** [`Impossible`][] when the start itself cannot be made.
    """
    k = int(state.step)
    x, found, retreats = _evaluate(problem, method, state, seeds)
    value, gradient = jnp.asarray(found.value), jnp.asarray(found.gradient)
    scale = jnp.maximum(jnp.abs(value), 1e-30) if k == 0 else state.scale
    moved, optimiser = _update(method, state.optimiser, x, gradient / scale)
    better = value > state.best
    entry = {"x": x, "objective": value, "gradient": gradient, "retreats": jnp.asarray(float(retreats))}
    return State(
        x=moved,
        optimiser=optimiser,
        scale=scale,
        best_x=jnp.where(better, x, state.best_x),
        best=jnp.where(better, value, state.best),
        step=state.step + 1,
        history={name: rows.at[k].set(entry[name]) for name, rows in state.history.items()},
    )


@eqx.filter_jit
def _update(method: Descent, optimiser: PyTree, x, ascent) -> tuple[Array, PyTree]:
    """The next design, projected onto the box."""
    # Optax mixes integer counts with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimiser = method.transformation().update(-ascent, optimiser, x)
    return jnp.clip(x + updates, 0.0, 1.0), optimiser


def _evaluate(problem, method, state: State, seeds) -> tuple[Array, Evaluation, int]:
    """The design of the step, or the nearest one on the way to it that can be made; at worst the one before."""
    k, x = int(state.step), state.x
    before = x if k == 0 else state.history["x"][k - 1]
    for retreats in range(method.retreats if k else 1):
        try:
            return x, evaluate(problem, x, seeds), retreats
        except (Impossible, SolveError) as error:
            if k == 0:
                raise Impossible(f"The descent cannot start: {error}") from error
            x = before + 0.5 * (x - before)
    known = Evaluation(float(state.history["objective"][k - 1]), np.asarray(state.history["gradient"][k - 1]))
    return before, known, method.retreats


def evaluate(problem: Problem, x, seeds: Sequence[int]) -> Evaluation:
    """The mean of objective and gradient over the seeds; [`Impossible`][] if they are not finite."""
    pairs = [problem.value_and_grad(x, problem.prepare(x, seed)) for seed in seeds]
    value = float(np.mean([float(v) for v, _ in pairs]))
    gradient = np.mean([np.asarray(g) for _, g in pairs], axis=0)
    if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
        raise Impossible("The objective or its gradient is not finite at this design.")
    return Evaluation(value, gradient)


def descend(
    problem: Problem,
    method: Descent,
    seeds: Sequence[int],
    state: State | None = None,
    after: Callable[[State], bool] = lambda state: False,
) -> State:
    """All steps from `state`, or from the start; `after` each one says whether to stop there."""
    state = begin(problem, method) if state is None else state
    while int(state.step) < method.steps:
        state = advance(problem, method, state, seeds)
        if after(state):
            break
    return state


def idle(state: State, names: Sequence[str]) -> list[str]:
    """Variables whose derivative was exactly zero in every step: the objective does not see them."""
    gradient = np.asarray(state.history["gradient"])[: int(state.step)]
    return [name for name, column in zip(names, gradient.T, strict=True) if gradient.size and not np.any(column)]


def to_arrays(state: State) -> dict[str, np.ndarray]:
    """The state as arrays by name, for a file."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def from_arrays(like: State, arrays) -> State:
    """The state of [`to_arrays`][] again, in the structure of `like`."""
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    leaves = [jnp.asarray(arrays[_name(path)], leaf.dtype).reshape(leaf.shape) for path, leaf in paths]
    return jax.tree_util.tree_unflatten(structure, leaves)


def _name(path) -> str:
    return jax.tree_util.keystr(path).strip(".").replace("/", "_")
