"""The stages of `mesode calender`: one increment of the plate each, plain arrays in between, and what comes out.

Where a line load or a pressure is asked for, trials come first, each a pass of its own, that find the gap.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesode import pressed, record
from mesode.build import methods_of, recipe_of
from mesode.chain import packing_stage, reference_of
from mesode.job import Job, JobError
from mesode.plan import GOALS
from mesode.record import Stage
from microstructure import store
from solver import pipeline
from solver.numerics.solution import Result, SolveError, raise_unless_successful
from solver.process import calender, target

PACKING = "packing"
TRIALS = 8  # passes that may be made to find the gap
CLOSE = 1e-3  # of the line load or pressure, relative, at which the gap is found


def stages(job: Job) -> list[Stage]:
    """The packing of the film, trials where the gap has to be found, and every increment of the plate."""
    method, press = methods_of(job).calendering, _Once(job)
    made = [Stage(PACKING, lambda state: packing_stage(job, job["run.seed"]))]
    names = [f"trial {k + 1} of at most {TRIALS}" for k in range(TRIALS if _has_goal(job) else 0)]
    for k, name in enumerate(names):
        before = names[k - 1] if k else None
        work = lambda state, before=before: press.trial(state, before)  # noqa: E731
        made.append(Stage(name, work, forget=(before,) if before else ()))
    count = method.passes * (method.load + method.unload)
    names = [f"increment {k + 1} of {count}" for k in range(count)]
    for k, name in enumerate(names):
        before = names[k - 1] if k else None
        work = lambda state, k=k, before=before: press.advance(state, k, before)  # noqa: E731
        # The next increment needs the carry of the last one only; the rows of all are kept beside it.
        made.append(Stage(name, work, forget=(before,) if before else ()))
    return made


def _has_goal(job: Job) -> bool:
    return any(job[path] > 0 for path in GOALS.values())


class _Once:
    """The film in its calender, made once from the saved packing, and its increments, compiled once."""

    def __init__(self, job: Job):
        self.job, self.given, self.gap, self.press = job, None, None, None
        self.step = eqx.filter_jit(calender.advance)
        self.inside = eqx.filter_jit(pressed.inside)

    def made(self, state: Mapping, gap: float) -> calender.Press:
        """The film before its first increment, to be pressed to `gap`, m."""
        if self.given is None:
            self.given = _film(self.job, state)
        if self.gap != gap:
            self.gap, self.press = gap, _prepared(self.given, gap)
        return self.press

    def trial(self, state: Mapping, before: str | None) -> dict:
        """A pass at the gap that the last trial proposed, and what is known after it; nothing where that is enough."""
        known = target.Known(**state[before]["known"]) if before else None
        if known is not None and abs(known.miss) <= CLOSE:
            return state[before]
        recipe, methods = recipe_of(self.job), methods_of(self.job)
        goal, method = pipeline.goal_of(recipe, methods), methods.calendering
        if known is None:
            known = target.begin(_film(self.job, state)[0].box[0], recipe.gap)
        press = self.made(state, float(known.gap))
        carry, thickness, pressure = press.first, [press.first[0][1]], [jnp.asarray(0.0)]
        for k in range(method.load + method.unload):
            carry, row = self.step(press, _loaded(carry), jax.tree.map(lambda a, k=k: a[k], press.stages))
            _require_rest(carry[3], k)
            thickness.append(row[0][1])
            pressure.append(row[1])
        course = jnp.stack(thickness) * press.unit, jnp.stack(pressure) * press.stress
        after = target.learn(known, goal, *course, method.load)
        if before is None and float(after.miss) < -CLOSE:
            raise JobError([_out_of_reach(self.job, recipe, goal, float(after.miss))])
        names = ("gap", "narrow", "wide", "tried", "miss")
        return {"known": {name: float(getattr(after, name)) for name in names}}

    def advance(self, state: Mapping, k: int, before: str | None) -> dict:
        """Increment `k`, from the saved carry and rows of the one before."""
        press = self.made(state, _gap(self.job, state))
        carry, saved = press.first, {}
        if before is not None:
            saved = state[before]
            carry = _unflattened(press.first, saved["carry"])
        start = _loaded(carry)
        carry, row = self.step(press, start, jax.tree.map(lambda a: a[k], press.stages))
        _require_rest(carry[3], k)
        shown, particles = self.inside(press, carry, start)
        lowest = methods_of(self.job).calendering.lowest
        kept = {"particles": particles} if k == lowest - 1 else {n: v for n, v in saved.items() if n == "particles"}
        return {
            "carry": {f"{i}": leaf for i, leaf in enumerate(jax.tree.leaves(carry))},
            "rows": _grown(saved.get("rows"), {f"{i}": leaf for i, leaf in enumerate(jax.tree.leaves(row))}),
            "inside": _grown(saved.get("inside"), shown),
            **kept,
        }


def _gap(job: Job, state: Mapping) -> float:
    """The gap of the job, or the one that the trials found, m."""
    found = next((name for name in state if name.startswith("trial")), None)
    if found is None:
        return float(recipe_of(job).gap)
    known = state[found]["known"]
    if abs(known["miss"]) > 0.02:
        raise SolveError(
            f"{TRIALS} trials came no nearer to the line load or pressure that is asked for than "
            f"{100 * abs(known['miss']):.1f} %. Raise `calendering.increments` or `grid.particles`, so that the course "
            "is smoother."
        )
    return float(known["tried"])


def _grown(rows: Mapping | None, row: Mapping) -> dict:
    """Rows of the increments so far with one more."""
    one = {name: np.asarray(value)[None] for name, value in row.items()}
    return one if rows is None else {name: np.concatenate([rows[name], value]) for name, value in one.items()}


def _loaded(carry):
    """A carry as it comes back from a file, so that increments are compiled once."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), carry)


def _unflattened(like, saved: Mapping):
    leaves, tree = jax.tree.flatten(like)
    return jax.tree.unflatten(tree, [jnp.asarray(saved[f"{i}"], leaf.dtype) for i, leaf in enumerate(leaves)])


def _require_rest(result, k: int) -> None:
    if not (result == Result.successful).item():
        raise SolveError(
            f"Increment {k + 1} of calendering found no equilibrium: {Result[result]} Raise `calendering.increments`, "
            "so that each step of the plate is shorter."
        )


def _out_of_reach(job: Job, recipe, goal, miss: float) -> str:
    path = next(path for path in GOALS.values() if job[path] > 0)
    return (
        f"{job.source}: `{path}` = {job[path]:g} is not reached: at the smallest gap, `calendering.gap_um` = "
        f"{job['calendering.gap_um']:g}, the film gives {job[path] * np.exp(miss):.4g}; lower the gap or ask for less."
    )


def _film(job: Job, state: Mapping):
    """The dried film, its pairs and how it is pressed."""
    reference, methods = reference_of(job, state[PACKING]), methods_of(job)
    return reference.settled, reference.pairs, methods


def _prepared(given, gap: float) -> calender.Press:
    film, pairs, methods = given
    how = (methods.contact, methods.bonds, methods.calendering, methods.friction)
    return calender.prepare(film, pairs, jnp.asarray(gap), *how)


def write(output, job: Job, state: Mapping) -> dict:
    """Writes the file and returns the figures, in the units of their names."""
    saved = state[next(name for name in state if name.startswith("increment"))]
    given = _film(job, state)
    press = _prepared(given, _gap(job, state))
    carry = _unflattened(press.first, saved["carry"])
    shapes = eqx.filter_eval_shape(calender.advance, press, carry, jax.tree.map(lambda a: a[0], press.stages))[1]
    rows = _unflattened(shapes, saved["rows"])
    film = raise_unless_successful(calender.conclude(press, given[0], carry, rows), "Calendering")
    figures, run = pressed.results(job, given[0], film, saved, press, carry)
    particles = run.pop("particles")
    run = {"command": "calender", **run, "job": job.text(), "provenance": record.provenance(job["run.seed"])}
    store.write(output, run, particles=particles)
    return figures
