"""The gallery: a named design problem solved, compared with honest baselines, and saved after every evaluation."""

import difflib
import importlib
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import numpy as np

from inverse import challenge as challenges
from inverse.challenge import Challenge
from inverse.gradient_check import gradient_check
from inverse.problem import FigureProblem, Impossible
from inverse.search import FEASIBLE, GRADIENT_COST, DerivativeFree, Evaluation, Log, RandomSearch, solves_to, violation
from mesode import record
from mesode.process import Stop, StopWatch
from microstructure import store
from microstructure.units import mAh_cm2, um

NAMES = (
    "reaction_zone", "linear_porous_electrode", "graded_electrode", "graded_fixed_mass", "graded_cell",
    "thickness_and_porosity", "active_mass_ratio", "fast_charge", "cheapest_at_rate",
    "drying_schedule", "calendering_load", "new_batch", "full_chain",
)  # fmt: skip
SECONDS = 1.0  # between savings of a baseline
SHOWN = {"m": (1 / um, "um"), "C/m2": (1 / mAh_cm2, "mAh_cm2")}  # units that a variable is told in


def named(name: str) -> Challenge:
    """The challenge of a name; a `ValueError` that knows the nearest one otherwise."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
        hint = f"; did you mean `{near[0]}`?" if near else "."
        raise ValueError(f"`{name}` is no problem of the gallery{hint} `--problem list` names them all.")
    return importlib.import_module(f"inverse.problems.{name}").challenge()


class Checkpoint:
    """The evaluations of every search of a design, by its name, saved beside the output.

    **Arguments:** `output`, the run file; `challenge`; `seed`; `watch`, which may ask to stop; `resume`.
    """

    def __init__(self, output, challenge: Challenge, seed: int, watch: StopWatch, *, resume: bool):
        self.path, self.watch, self.name = record.checkpoint_path(output), watch, challenge.name
        self.fingerprint = _fingerprint(challenge, seed)
        self.logs: dict[str, Log] = {}
        self.known = self._load() if resume and self.path.is_file() else {}
        self.saved = time.monotonic()

    def log(self, name: str, problem: FigureProblem, budget=np.inf, *, careful: bool = True, tell=None) -> Log:
        """A log under a name that goes on from what was saved of it.

        **Arguments:** `careful`, whether every evaluation is saved, and not one a second; `tell`, called with each.
        """

        def after(evaluation: Evaluation) -> None:
            stop = self.watch.reason
            if careful or stop or time.monotonic() - self.saved > SECONDS:
                self.save()
            if tell is not None:
                tell(self.logs[name], evaluation)
            if stop:
                raise Stop(f"Stopped by {stop}; the evaluations are saved, go on with --resume.")

        self.logs[name] = Log(problem, self.known.get(name, ()), after, budget)
        return self.logs[name]

    def save(self) -> None:
        """Writes all evaluations."""
        logs = self.known | {name: max(log.evaluations, log.known, key=len) for name, log in self.logs.items()}
        content = {name: packed(evaluations) for name, evaluations in logs.items() if evaluations}
        store.write(self.path, {"fingerprint": self.fingerprint, "problem": self.name, "logs": content})
        self.saved = time.monotonic()

    def _load(self) -> dict[str, list[Evaluation]]:
        data = store.read(self.path)
        if data.get("problem") != self.name:
            other = f"the problem `{data['problem']}`" if "problem" in data else "another command"
            raise ValueError(f"Checkpoint `{self.path}` belongs to {other}; run without --resume.")
        if data["fingerprint"] != self.fingerprint:
            raise ValueError(
                f"Checkpoint `{self.path}` belongs to another version of `{self.name}` or another seed; run without "
                "--resume, or with the same ones."
            )
        return {name: unpacked(rows) for name, rows in data["logs"].items()}


def _fingerprint(challenge: Challenge, seed: int) -> str:
    """What a checkpoint must agree with: all numbers of the problem, how it is searched, versions and seed."""
    numbers = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(eqx.filter(challenge, eqx.is_array)))
    space, climb, versions = challenge.problem.space, challenge.climb, record.versions()
    text = [
        challenge.name,
        *space.names,
        *map(str, (climb.steps, climb.tolerance, challenge.starts, seed)),
        numbers.hex(),
    ]
    return record.identity(*text, *(versions.get(name, "") for name in ("mesode", "jax", "jaxlib", "scipy", "numpy")))


def packed(evaluations: Sequence[Evaluation]) -> dict:
    """Evaluations as arrays by name, with `derivatives` where slopes are known."""
    slopes = next((e.slopes for e in evaluations if e.slopes is not None), np.zeros((0, 0)))
    empty = np.full(slopes.shape, np.nan)
    return {
        "x": np.stack([e.x for e in evaluations]),
        "figures": {name: np.asarray([e.figures[name] for e in evaluations]) for name in evaluations[0].figures},
        "slopes": np.stack([empty if e.slopes is None else e.slopes for e in evaluations]),
        "derivatives": np.asarray([e.slopes is not None for e in evaluations]),
    }


def unpacked(rows: Mapping) -> list[Evaluation]:
    """The evaluations of [`packed`][] again, to the bit."""
    figures = [
        dict(zip(rows["figures"], values, strict=True)) for values in zip(*rows["figures"].values(), strict=True)
    ]
    return [
        Evaluation(np.asarray(x), {n: float(v) for n, v in row.items()}, np.asarray(slopes) if known else None)
        for x, row, slopes, known in zip(rows["x"], figures, rows["slopes"], rows["derivatives"], strict=True)
    ]


def solve(challenge: Challenge, saved: Checkpoint, seed: int, say: Callable[[str], None]) -> dict:
    """The design with its check, its baselines, its neighbours and its judgement on the finer mesh: a run file."""
    if challenge.hold:
        challenge = eqx.tree_at(lambda c: c.problem, challenge, challenge.problem.held(challenge.problem.space.start))
    problem = challenge.problem
    check = _checked(problem, saved, seed, say)

    def tell(log: Log, evaluation: Evaluation) -> None:
        say(f"evaluation {len(log.evaluations)}: {_line(problem, evaluation)}")

    climb = saved.log("climb", problem, tell=tell)
    best = challenge.search(climb, seed)
    require_feasible(problem, best)
    found = {
        "problem": challenge.name,
        "question": challenge.question,
        "literature": challenge.literature,
        "objective": problem.objective,
        "sense": problem.sense,
        "gradient_cost": GRADIENT_COST,
        "check": check,
        "variables": _variables(problem, climb.evaluations[0].x, best.x),
        "at_bounds": _at_bounds(problem, best.x),
        "figures": {"start": climb.evaluations[0].figures, "best": best.figures},
        "held": {b.figure: {"low": float(b.low), "high": float(b.high)} for b in problem.bounds},
    }
    if challenge.known is not None:
        found["known"] = _known(challenge, best)
    found["baselines"] = baselines(challenge, saved, climb, seed, say)
    uniform = saved.logs.get("uniform")
    if uniform is not None:
        found["figures"]["best uniform"] = uniform.best.figures
    found["figures"] |= _finer(challenge, saved, best, uniform, say)
    found["figures"]["random search"] = saved.logs["random search"].best.figures
    found["variants"] = _variants(challenge, saved, best, say)
    found["history"] = {name: packed(log.evaluations) for name, log in saved.logs.items()}
    return found


def _checked(problem: FigureProblem, saved: Checkpoint, seed: int, say) -> dict:
    """The gradient check as numbers by figure; it refuses a search that would follow wrong derivatives."""
    found = gradient_check(saved.log("check", problem.held(problem.space.start)), seed=seed)
    for name, row in found.items():
        say(f"gradient check of {name}: {row.verdict}")
    if refused := [name for name, row in found.items() if not row.trusted]:
        raise Impossible(
            f"The search cannot start: the gradient check of `{refused[0]}` says: {found[refused[0]].verdict}"
        )
    return {
        name: {"slope": r.slope, "differences": r.differences, "errors": r.errors, "verdict": r.verdict}
        for name, r in found.items()
    }


def require_feasible(problem: FigureProblem, best: Evaluation) -> None:
    """A sentence where no design was found that holds the bounds."""
    if violation(problem, best.figures) <= FEASIBLE:
        return
    worst = max(problem.bounds, key=lambda b: b.violation(best.figures[b.figure]))
    value = best.figures[worst.figure]
    raise Impossible(
        f"No design was found that holds `{worst.figure}` between {float(worst.low):g} and {float(worst.high):g}: the "
        f"nearest has {value:.5g}. Widen the bounds of the figures or of the variables."
    )


def baselines(challenge: Challenge, saved: Checkpoint, climb: Log, seed: int, say) -> dict:
    """What the start, the best uniform design, random search and methods without derivatives reach, at equal solves."""
    problem, budget = challenge.problem, climb.solves
    top = climb.score(climb.best)
    rows = {
        "climb": _row(climb, top),
        "start": {"best": climb.evaluations[0].figures[problem.objective], "solves": 1.0},
    }
    if challenge.uniform is not None:
        uniform = saved.log("uniform", challenge.uniform)
        challenge.search(uniform, seed)
        rows["best uniform"] = _row(uniform, top)
    searches = {"random search": RandomSearch(seed)} | {name: DerivativeFree(name, seed) for name in challenge.others}
    for name, search in searches.items():
        share = challenge.more_random if name == "random search" else 1.0
        log = saved.log(name, problem, share * budget, careful=False)
        search(log)
        rows[name] = _row(log, top)
    for name, row in rows.items():
        say(f"{name}: {problem.objective} {row['best']:.6g} after {row['solves']:.0f} solves")
    return rows


def _row(log: Log, top: float) -> dict:
    """The best objective of a log that holds the bounds, NaN where none does, what it cost, and its way to 1 %."""
    score = log.score(log.best)
    best = log.problem.sense * score if np.isfinite(score) else np.nan
    solves, course = log.course()
    return {
        "best": best,
        "solves": log.solves,
        "solves_to_1_percent": solves_to(log, top),
        "course": {"solves": solves, "best": log.problem.sense * np.where(np.isfinite(course), course, np.nan)},
    }


def _finer(challenge: Challenge, saved: Checkpoint, best: Evaluation, uniform: Log | None, say) -> dict:
    """Start, best and best uniform design on the finer mesh."""
    if challenge.finer is None:
        return {}
    say("the design on the finer mesh")
    log = saved.log("finer", challenge.finer)
    rows = {
        "start, finer": log.evaluate(np.asarray(challenge.problem.space.start), derivatives=False).figures,
        "best, finer": log.evaluate(best.x, derivatives=False).figures,
        "random search, finer": log.evaluate(saved.logs["random search"].best.x, derivatives=False).figures,
    }
    if uniform is not None:
        both = eqx.tree_at(lambda p: p.figures, challenge.uniform, challenge.finer.figures)
        log = saved.log("uniform, finer", both)
        rows["best uniform, finer"] = log.evaluate(uniform.best.x, derivatives=False).figures
    return rows


def _variants(challenge: Challenge, saved: Checkpoint, best: Evaluation, say) -> dict:
    """The same question along its axis, each climb begun at the nearest condition solved before."""
    problem, rows = challenge.problem, {}
    if challenge.variants:
        own = _variables(problem, best.x, best.x)
        rows[f"{challenge.at:g}"] = {"at": challenge.at, "figures": best.figures} | {
            "variables": {name: row["best"] for name, row in own.items()}
        }
    for variant in sorted(challenge.variants, key=lambda v: v.at):
        log = saved.log(f"variant {variant.at:g}", variant.problem)
        same = variant.problem.space.names == problem.space.names
        found = challenge.climb(log, best.x if same else None)
        held = violation(variant.problem, found.figures) <= FEASIBLE
        figures = found.figures if held else {name: np.nan for name in found.figures}
        say(
            f"at {challenge.along} {variant.at:g}: {_line(variant.problem, found)}{'' if held else ', bounds not held'}"
        )
        values = {} if not same else _variables(problem, found.x, found.x)
        rows[f"{variant.at:g}"] = {"at": variant.at, "figures": figures, "solves": log.solves} | {
            "variables": {name: row["best"] for name, row in values.items()}
        }
    return {"along": challenge.along, "shown": list(challenge.shown), "rows": rows} if rows else {}


def _known(challenge: Challenge, best: Evaluation) -> dict:
    errors = challenges.errors(challenge.known, challenge.problem, best.x, best.figures)
    return {
        "values": dict(challenge.known.values),
        "errors": errors,
        "tolerance": challenge.known.tolerance,
        "met": challenges.met(challenge.known, errors),
        "source": challenge.known.source,
    }


def told(variable) -> tuple[str, float]:
    """The name of a variable with the unit in which it is told, and what turns SI into it."""
    factor, suffix = SHOWN.get(variable.unit, (1.0, variable.unit))
    return f"{variable.name}_{suffix.replace('/', '_')}" if suffix else variable.name, factor


def _variables(problem: FigureProblem, start, best) -> dict:
    """Start, best and bounds of every variable in the units they are told in."""
    ends = [challenges.values_of(problem, x) for x in (start, best)]
    rows = {}
    for v in problem.space.variables:
        name, factor = told(v)
        low, high = float(v.low) * factor, float(v.high) * factor
        rows[name] = {"start": ends[0][v.name] * factor, "best": ends[1][v.name] * factor, "low": low, "high": high}
    return rows


def _at_bounds(problem: FigureProblem, x) -> dict[str, str]:
    """The variables that lie at a bound, by the names they are told by."""
    sides = problem.space.at_bounds(x)
    return {told(v)[0]: sides[v.name] for v in problem.space.variables if v.name in sides}


def _line(problem: FigureProblem, evaluation: Evaluation, most: int = 4) -> str:
    """A design in a line: what was wanted of it, and its first variables."""
    figures = ", ".join(f"{name} {evaluation.figures[name]:.6g}" for name in problem.wanted)
    rows = list(_variables(problem, evaluation.x, evaluation.x).items())
    more = ", ..." if len(rows) > most else ""
    return f"{figures} at " + ", ".join(f"{name} {row['best']:.4g}" for name, row in rows[:most]) + more


def run(challenge: Challenge, output: pathlib.Path, seed: int, watch: StopWatch, *, resume: bool, say) -> dict:
    """Solves a challenge, writes its run file, removes its checkpoint, and returns what the file holds."""
    if watch.reason:
        raise Stop(f"Stopped by {watch.reason} before the first evaluation; go on with --resume.")
    saved = Checkpoint(output, challenge, seed, watch, resume=resume)
    if resume:
        count = sum(map(len, saved.known.values()))
        say(f"resumed after {count} evaluations" if count else "no checkpoint found, so the design begins anew")
    found = solve(challenge, saved, seed, say)
    store.write(output, {"gallery": found, "provenance": record.provenance(seed)})
    record.finish(output)
    return found
