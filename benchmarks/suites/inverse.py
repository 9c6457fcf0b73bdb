"""Inverse design: exact answers, solves to the optimum beside methods without derivatives, resumed searches, a step of
the chain, and calibration.

Solves are forward-equivalent: an evaluation with derivatives counts as `GRADIENT_COST`. A search has arrived when its
best design is within 1 % of the best that any search has found. Every search begins at the start of the problem and at
designs drawn at random, the same for all; rows give the median, with a search that has not arrived when its budget was
spent counted with that budget.
"""

import importlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import aimed, case
from benchmarks.suites import inverse_fit
from inverse.challenge import Challenge, errors
from inverse.search import DerivativeFree, Log, RandomSearch, solves_to

EXACT = ("reaction_zone", "linear_porous_electrode")
CONTESTED = ("reaction_zone", "graded_electrode", "thickness_and_porosity", "cheapest_at_rate", "graded_cell")
EXACT_TO = 1e-6
FEWER, FROM_VARIABLES = 0.1, 8  # solves over those of the best other method, where there are so many variables
STEP_OVER_FORWARD = 5.0
BUDGET = 20  # in solves of the climb
STARTS = 3
WITHOUT = {
    "random search": RandomSearch(),
    "Nelder-Mead": DerivativeFree("Nelder-Mead"),
    "Powell": DerivativeFree("Powell"),
    "COBYQA": DerivativeFree("COBYQA"),
    "differential evolution": DerivativeFree("differential evolution"),
}


def measure(peers: bool = True) -> list[dict]:
    """Every case of the suite, as rows of plain numbers, one by one."""
    for name in EXACT:
        yield _exact(name)
    for name in CONTESTED:
        yield _contest(name, peers)
    yield _resumed("reaction_zone")
    yield _chain_step()
    yield from inverse_fit.measure(peers=peers)


def _challenge(name: str) -> Challenge:
    return importlib.import_module(f"inverse.problems.{name}").challenge()


def _row(name: str, challenge: Challenge, **measured) -> dict:
    size = {"variables": len(challenge.problem.space.variables), "held": len(challenge.problem.bounds)}
    return case("inverse", name, size, "float64", **measured)


def _exact(name: str) -> dict:
    """A search for an optimum that is known exactly."""
    challenge, begun = _challenge(name), time.process_time()
    log = Log(challenge.problem)
    found = challenge.climb(log)
    deviations = errors(challenge.known, challenge.problem, found.x, found.figures)
    row = _row(f"exact: {name}", challenge, cpu_s=time.process_time() - begun, solves=log.solves, accuracy=deviations)
    return aimed(row | {"off": max(deviations.values())}, "off", EXACT_TO)


def _contest(name: str, peers: bool) -> dict:
    """Solves to within 1 % of the optimum, of the climb and of methods without derivatives."""
    challenge = _challenge(name)
    space, generator = challenge.problem.space, np.random.default_rng(0)
    starts = [np.asarray(space.start), *generator.uniform(0.2, 0.8, (STARTS - 1, len(space.variables)))]
    climbs = [_log(challenge, challenge.climb, x, np.inf) for x in starts]
    budget = BUDGET * max(log.solves for log in climbs)
    others = {k: [_log(challenge, method, x, budget) for x in starts] for k, method in WITHOUT.items() if peers}
    everything = [*climbs, *(log for logs in others.values() for log in logs)]
    best = max(log.score(log.best) for log in everything if log.evaluations)
    row = _row(name, challenge, solves=_median(climbs, best, budget), budget=budget, optimum=best)
    row["climb_finds_percent_of_optimum"] = [100 * log.score(log.best) / best for log in climbs]
    if not others:
        return row
    row["others"] = {name: _median(logs, best, budget) for name, logs in others.items()}
    row["arrived"] = {name: sum(solves_to(log, best) < np.inf for log in logs) for name, logs in others.items()}
    fastest = min(row["others"].values())
    row |= {"ratio": row["solves"] / fastest, "fastest_other": min(row["others"], key=row["others"].get)}
    many = len(space.variables) >= FROM_VARIABLES
    return aimed(row, "ratio", FEWER) if many else row


def _log(challenge: Challenge, method, start, budget: float) -> Log:
    log = Log(challenge.problem, budget=budget)
    method(log, start)
    return log


def _median(logs, best: float, budget: float) -> float:
    return float(np.median([min(solves_to(log, best), budget) for log in logs]))


def _resumed(name: str) -> dict:
    """A search killed after each of its evaluations in turn, and begun again from those that it had made."""
    challenge = _challenge(name)
    whole = _log(challenge, challenge.climb, None, np.inf).evaluations
    differ = 0
    for killed in range(1, len(whole)):
        log = Log(challenge.problem, known=whole[:killed])
        challenge.climb(log)
        differ += _bytes(log.evaluations) != _bytes(whole)
    row = _row(f"resume after a kill: {name}", challenge, kills=len(whole) - 1, differ=differ)
    return aimed(row, "differ", 0)


def _bytes(evaluations) -> list[bytes]:
    return [b"".join([e.x.tobytes(), np.asarray(list(e.figures.values())).tobytes(), e.slopes.tobytes()])
            for e in evaluations]  # fmt: skip


def _chain_step() -> dict:
    """A step of the descent of the whole chain, packing included, over a forward run."""
    from mesode.commands.optimise import BUILT_IN
    from mesode.design_job import design_problem
    from mesode.job import parse_job

    problem = design_problem(parse_job(BUILT_IN, "built-in example", []))
    x = problem.space.start

    def forward(seed):
        return problem.value(x, problem.prepare(x, seed))

    def step(seed):
        return problem.value_and_grad(x, problem.prepare(x, seed))

    whole, part = ([_seconds(function, seed) for seed in range(4)][1:] for function in (step, forward))
    row = case("inverse", "a design step of the chain", {"particles": 400, "variables": 4}, "float64")
    row |= {"cpu_s": float(np.median(whole)), "forward_cpu_s": float(np.median(part))}
    return aimed(row | {"over_forward": row["cpu_s"] / row["forward_cpu_s"]}, "over_forward", STEP_OVER_FORWARD)


def _seconds(function, seed: int) -> float:
    begun = time.process_time()
    jax.block_until_ready(jax.tree.map(jnp.asarray, function(seed)))
    return time.process_time() - begun
