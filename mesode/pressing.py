"""The stages of `mesode calender`: one increment of the plate each, plain arrays in between, and what comes out."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesode import record
from mesode.build import methods_of, recipe_of
from mesode.chain import packing_stage, reference_of
from mesode.job import Job
from mesode.record import Stage
from microstructure import store
from microstructure.packing import Packing, wrapped
from microstructure.units import N_mm, um
from solver.numerics.solution import Result, SolveError, raise_unless_successful
from solver.process import calender
from solver.process.nip import Nip, compaction, line_load

PACKING = "packing"


def stages(job: Job) -> list[Stage]:
    """The packing of the film, and every increment of the plate."""
    method = methods_of(job).calendering
    count = method.passes * (method.load + method.unload)
    names = [f"increment {k + 1} of {count}" for k in range(count)]
    made = [Stage(PACKING, lambda state: packing_stage(job, job["run.seed"]))]
    press = _Once(job)
    for k, name in enumerate(names):
        before = names[k - 1] if k else None
        work = lambda state, k=k, before=before: press.advance(state, k, before)  # noqa: E731
        # The next increment needs the carry of the last one only; the rows of all are kept beside it.
        made.append(Stage(name, work, forget=(before,) if before else ()))
    return made


class _Once:
    """The film in its calender, made once from the saved packing, and its increments, compiled once."""

    def __init__(self, job: Job):
        self.job, self.press = job, None
        self.step = eqx.filter_jit(calender.advance)

    def made(self, state: Mapping) -> calender.Press:
        """The film before its first increment."""
        if self.press is None:
            self.press = _prepared(self.job, state)[1]
        return self.press

    def advance(self, state: Mapping, k: int, before: str | None) -> dict:
        """Increment `k`, from the saved carry and rows of the one before."""
        press = self.made(state)
        leaves, tree = jax.tree.flatten(press.first)
        leaves = [jnp.asarray(np.asarray(leaf)) for leaf in leaves]  # as they come back from a file: compiled once
        rows = {}
        if before is not None:
            saved = state[before]
            leaves = [jnp.asarray(saved["carry"][f"{i}"], leaf.dtype) for i, leaf in enumerate(leaves)]
            rows = saved["rows"]
        stage = jax.tree.map(lambda a: a[k], press.stages)
        carry, row = self.step(press, jax.tree.unflatten(tree, leaves), stage)
        _require_rest(carry[3], k)
        grown = {
            f"{i}": np.concatenate([rows[f"{i}"], np.asarray(leaf)[None]]) if rows else np.asarray(leaf)[None]
            for i, leaf in enumerate(jax.tree.leaves(row))
        }
        return {"carry": {f"{i}": leaf for i, leaf in enumerate(jax.tree.leaves(carry))}, "rows": grown}


def _require_rest(result, k: int) -> None:
    if not (result == Result.successful).item():
        raise SolveError(
            f"Increment {k + 1} of calendering found no equilibrium: {Result[result]} Raise `calendering.increments`, "
            "so that each step of the plate is shorter."
        )


def _prepared(job: Job, state: Mapping):
    """The dried film and the same in its calender."""
    recipe, methods = recipe_of(job), methods_of(job)
    reference = reference_of(job, state[PACKING])
    film = reference.settled
    given = (methods.contact, methods.bonds, methods.calendering, methods.friction)
    return film, calender.prepare(film, reference.pairs, recipe.gap, *given)


def _concluded(job: Job, state: Mapping):
    """The dried film and the calendered one, from the state after the last increment."""
    film, press = _prepared(job, state)
    saved = next(value for name, value in state.items() if name != PACKING)
    leaves, tree = jax.tree.flatten(press.first)
    carry = jax.tree.unflatten(tree, [jnp.asarray(saved["carry"][f"{i}"], a.dtype) for i, a in enumerate(leaves)])
    shapes = eqx.filter_eval_shape(calender.advance, press, carry, jax.tree.map(lambda a: a[0], press.stages))[1]
    leaves, tree = jax.tree.flatten(shapes)
    rows = jax.tree.unflatten(tree, [jnp.asarray(saved["rows"][f"{i}"], a.dtype) for i, a in enumerate(leaves)])
    solution = calender.conclude(press, film, carry, rows)
    return film, raise_unless_successful(solution, "Calendering")


def write(output, job: Job, state: Mapping) -> dict:
    """Writes the file and returns the figures, in the units of their names."""
    film, pressed = _concluded(job, state)
    solid = float(np.sum(recipe_of(job).solid_thickness))
    thickness, pressure = np.asarray(pressed.thickness), np.asarray(pressed.pressure)
    porosity, lowest = 1 - solid / thickness, methods_of(job).calendering.lowest
    nip = Nip(job.si("calendering.roll_diameter_mm"), job.si("calendering.web_speed_m_min"))
    figures = {
        "porosity": porosity.tolist(),
        "pressure_MPa": (pressure / 1e6).tolist(),
        "thickness_um": (thickness / um).tolist(),
        "springback_percent": 100 * float(pressed.springback),
        "coordination_number": float(pressed.coordination),
        "largest_overlap": float(pressed.overlap),
        "line_load_N_per_mm": float(line_load(nip, *map(jnp.asarray, (thickness, pressure)), lowest)) / N_mm,
        "time_in_nip_ms": 1e3 * float(nip.duration(thickness[lowest], thickness[0])),
        "friction": float(job["calendering.friction"]),
        "compaction": _fit(pressure[: lowest + 1] / 1e6, porosity[: lowest + 1]),
    }
    packing = wrapped(pressed.packing)
    arrays = {"positions": np.asarray(packing.positions), "radii": np.asarray(packing.radii)}
    run = {
        "command": "calender",
        "calendering": {"thickness_m": thickness, "pressure_Pa": pressure, "porosity": porosity},
        "kpis": {k: v for k, v in figures.items() if isinstance(v, float)},
        "structure": {
            "dried": _arrays(film),
            "loaded": _arrays(pressed.loaded),
            "calendered": _arrays(pressed.packing),
        },
        "job": job.text(),
        "provenance": record.provenance(job["run.seed"]),
    }
    store.write(output, run, particles=arrays)
    return figures


def _arrays(packing: Packing) -> dict:
    return {"positions": packing.positions, "radii": packing.radii, "box": packing.box}


def _fit(pressure, porosity) -> dict | None:
    """The exponential law of the loading curve, or nothing where the film was not pressed."""
    try:
        law = compaction(pressure, porosity)
    except ValueError:
        return None
    return {"least": law.least, "first": law.first, "resistance_MPa": law.resistance, "error": law.error}
