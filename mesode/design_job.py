"""A job as a design problem: from its keys to spaces and problems, and from the stages of a descent to results."""

import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from inverse import descend, sensitivity
from inverse.objective import (
    ArealCapacity,
    AverageVoltage,
    CapacityRetention,
    Carbon,
    CoatingThickness,
    Constraint,
    Cost,
    EnergyDensity,
    Porosity,
    PulseResistance,
    SpecificEnergy,
    TortuosityFactor,
)
from inverse.problem import Impossible
from inverse.problems.energy_density import ChainProblem, Sample
from inverse.space import Affine, Fraction, Leaf, Logarithmic, Space, Variable
from mesode.build import methods_of, recipe_of
from mesode.economics import economics_of
from mesode.job import Job, JobError
from mesode.keys import BY_PATH
from mesode.record import Stage
from microstructure.sizes import ByVolume, Mixture
from solver.numerics.solution import SolveError
from solver.transport.conduct import for_gradients

GRADIENT_COST = 2.5  # of a value and gradient with its sample, in values with theirs: measured 1.5 to 2.5
HELD = 0.02  # of its range, within which a variable counts as held by its bound
UNSEEN = 1_000_000  # added to the seed of the job for the packings on which a result is judged


def _first_log_normal(size):
    """The distribution of the first kind of particles, inside what counts it by volume or mixes it."""
    size = size.parts[0] if isinstance(size, Mixture) else size
    return size.shares if isinstance(size, ByVolume) else size


PLACES = {
    "recipe.areal_loading_mg_cm2": Leaf(lambda r: r.areal_loading),
    "recipe.composition.active": Fraction(0),
    "recipe.composition.carbon": Fraction(1),
    "recipe.composition.binder": Fraction(2),
    "recipe.size.median_radius_um": Leaf(lambda r: _first_log_normal(r.size).median),
    "drying.evaporation_flux_g_m2_s": Leaf(lambda r: r.evaporation),
    "calendering.gap_um": Leaf(lambda r: r.gap),
    "calendering.line_load_N_mm": Leaf(lambda r: r.line_load),
    "calendering.plate_pressure_MPa": Leaf(lambda r: r.plate_pressure),
    "electrolyte.concentration_mol_m3": Leaf(lambda r: r.salt),
}


def objective_of(job: Job, name: str):
    """The objective that a job names; what is not at 2C is at the slowest rate of the job."""
    slow, tables = float(min(job["run.c_rates"])), economics_of(job)
    return {
        "energy_2C_Wh_L": EnergyDensity(2.0),
        "energy_Wh_L": EnergyDensity(slow),
        "energy_Wh_kg": SpecificEnergy(slow),
        "areal_capacity_mAh_cm2": ArealCapacity(),
        "capacity_retention_2C": CapacityRetention(2.0, min(slow, 1.0)),
        "average_voltage_V": AverageVoltage(slow),
        "cost_USD_kWh": Cost(tables.prices, slow),
        "carbon_kg_CO2e_kWh": Carbon(tables.emissions, slow),
        "pulse_resistance_ohm_cm2": PulseResistance(),
        "porosity": Porosity(),
        "tortuosity_factor_x": TortuosityFactor(),
        "coating_thickness_um": CoatingThickness(),
    }[name]


def sense_of(job: Job) -> float:
    """1 where more of the objective of a design is better, -1 where less is."""
    return objective_of(job, job["design.objective"]).sense


def constraints_of(job: Job) -> list[Constraint]:
    """The figures that a design is to hold within bounds."""
    return [Constraint(name, objective_of(job, name), *bounds) for name, bounds in job.constraints.items()]


def variable(job: Job, path: str, low: float, high: float) -> Variable:
    """The variable of a key between bounds in its own unit."""
    key = BY_PATH[path]
    logarithmic = low > 0 and not isinstance(PLACES[path], Fraction)
    transform = Logarithmic() if logarithmic else Affine()
    return Variable(path, "", low * key.factor, high * key.factor, job.si(path), PLACES[path], transform)


def variables(job: Job, paths: Sequence[str]) -> list[Variable]:
    """Variables with the range of their keys; a fraction of zero has no ratio to keep and is left out."""
    return [variable(job, p, BY_PATH[p].low, BY_PATH[p].high) for p in paths if job[p] > 0]


def gradient_problem(job: Job) -> ChainProblem:
    """The chain around the recipe of the job, its patches with room for the steps of the differences."""
    paths = ("calendering.gap_um", "recipe.areal_loading_mg_cm2", "recipe.size.median_radius_um")
    space = Space(recipe_of(job), [variable(job, p, 0.97 * job[p], 1.03 * job[p]) for p in paths])
    return _problem(job, space, job["gradient.objective"])


def design_problem(job: Job, refine: float = 1.0) -> ChainProblem:
    """The chain over the design space of the job, on a grid with `refine` times the voxels along each edge."""
    try:
        space = Space(recipe_of(job), [variable(job, p, *bounds) for p, bounds in job.variables.items()])
    except ValueError as error:
        raise JobError([f"{job.source}: {error}"]) from error
    return _problem(job, space, job["design.objective"], constraints_of(job), refine)


def _problem(
    job: Job, space: Space, objective: str, constraints: Sequence[Constraint] = (), refine: float = 1.0
) -> ChainProblem:
    shape = tuple(round(refine * n) for n in job["grid.shape"])
    size = {"constraints": constraints, "particles": job["grid.particles"], "shape": shape}
    return ChainProblem(space, objective_of(job, objective), methods_of(job, for_gradients()), **size)


def gradient_stages(job: Job, problem: ChainProblem, found: Sequence[Variable]) -> list[Stage]:
    """For each packing seed the gradient, and for each variable a central difference."""
    recipe, samples = recipe_of(job), {}

    def function(seed, *, connected: bool):
        if seed not in samples:
            samples.clear()  # one at a time is enough
            samples[seed] = problem.sample(recipe, seed)
        sample = samples[seed] if connected else Sample(samples[seed].reference, None)
        return lambda changed: problem.of_recipe(changed, sample)

    def slope(seed):
        value, slopes = sensitivity.slopes(function(seed, connected=True), recipe, found)
        return {"value": value, "slopes": slopes}

    def difference(seed, v):
        slope, step = sensitivity.difference(function(seed, connected=False), recipe, v)
        return {"difference": slope, "step": step}

    stages = []
    for seed in _seeds(job, "run.realisations"):
        stages.append(Stage(f"seed {seed}: gradient", lambda state, s=seed: slope(s)))
        stages += [Stage(f"seed {seed}: {v.name}", lambda state, s=seed, v=v: difference(s, v)) for v in found]
    return stages


def judged(job: Job, state: Mapping, found: Sequence[Variable]) -> dict:
    """Value, gradient and trust, in the units of the keys; a derivative that is not trusted is left out."""
    seeds = _seeds(job, "run.realisations")
    value = float(np.mean([state[f"seed {s}: gradient"]["value"] for s in seeds]))
    gradient, trust = {}, {}
    for i, v in enumerate(found):
        factor = BY_PATH[v.name].factor
        slope = [np.atleast_1d(state[f"seed {s}: gradient"]["slopes"])[i] * factor for s in seeds]
        rows = [state[f"seed {s}: {v.name}"] for s in seeds]
        step = float(rows[0]["step"]) / factor
        verdict = sensitivity.judge(slope, [float(r["difference"]) * factor for r in rows], value, step)
        if verdict.trusted:
            gradient[v.name] = verdict.slope
        numbers = {"central_difference": verdict.difference, "step": step, "trusted": verdict.trusted}
        if len(seeds) > 1:
            numbers |= {"standard_error": verdict.standard_error, "spread": verdict.spread}
        trust[v.name] = numbers | {"verdict": verdict.verdict}
    return {"objective": job["gradient.objective"], "value": value, "gradient": gradient, "trust": trust}


def design_stages(job: Job, problem: ChainProblem, say: Callable[[str], None]) -> list[Stage]:
    """The steps of the descent, the designs of a random search, and both results on each unseen seed."""
    method = descend.Descent(steps=job["design.steps"], rate=job["design.learning_rate"])
    seeds, begin, sense = _seeds(job, "design.samples"), descend.begin(problem, method), sense_of(job)

    def step(k, state):
        before = begin if k == 0 else descend.from_arrays(begin, state[f"step {k}"])
        try:
            after = descend.advance(problem, method, before, seeds)
        except Impossible as error:
            if k == 0:
                raise JobError([f"{job.source}: {error}"]) from error
            say(f"step {k + 1}: {error}")
            return state[f"step {k}"]
        values = ", ".join(f"{p.split('.')[-1]} {v:.4g}" for p, v in _shown(problem, after.history["x"][k]).items())
        merit = sense * float(after.history["objective"][k])
        say(f"step {k + 1}: {job['design.objective']} {merit:.5g} at {values}")
        return descend.to_arrays(after)

    def draw(k, state):
        x, value = random_design(problem, seeds, (job["run.seed"], k))
        best = state.get(f"random {k}", {"objective": -math.inf})
        say(f"random {k + 1}: {sense * value:.5g}")
        return {"x": x, "objective": value} if value > float(best["objective"]) else best

    def unseen(seed, state):
        designs = {"start": np.asarray(problem.space.start), "best": _last(job, state)["best_x"]}
        if _random(job):
            designs["random"] = state[f"random {_random(job)}"]["x"]
        return {name: measure(judge, jnp.asarray(x), seed) for name, x in designs.items()}

    def coarse(state):
        x = jnp.asarray(_last(job, state)["best_x"])
        return {"objective": float(np.mean([measure(problem, x, seed)["objective"] for seed in _unseen(job)]))}

    def check(state):
        found = check_gradient(problem, problem.space.start, seeds[0])
        say(found["verdict"])
        return found

    judge = design_problem(job, job["design.refine"]) if job["design.refine"] > 1 else problem
    stages = [Stage("gradient check", check)] + [
        Stage(f"step {k + 1}", lambda state, k=k: step(k, state), (f"step {k}",)) for k in range(job["design.steps"])
    ]
    stages += [
        Stage(f"random {k + 1}", lambda state, k=k: draw(k, state), (f"random {k}",)) for k in range(_random(job))
    ]
    stages += [Stage("coarse", coarse)] if job["design.refine"] > 1 else []
    return stages + [Stage(f"unseen {s}", lambda state, s=s: unseen(s, state)) for s in _unseen(job)]


def check_gradient(problem: ChainProblem, x, seed: int) -> dict:
    """The slope of what is maximised along its own gradient at `x`, against central differences of three lengths of
    the same packing, in the unit box."""
    sample = problem.prepare(x, seed)
    _, gradient = problem.value_and_grad(x, sample)
    slope = float(np.linalg.norm(gradient))
    along = np.asarray(gradient) / max(slope, 1e-300)
    room = min(0.04, 0.99 * float(np.min(np.where(along == 0, np.inf, np.minimum(x, 1 - x) / np.abs(along)))))
    lengths = [room, room / 2, room / 4]
    found = [
        (float(problem.value(x + h * along, sample)) - float(problem.value(x - h * along, sample))) / (2 * h)
        for h in lengths
    ]
    off = min(abs(d / slope - 1.0) for d in found) if slope > 0 else math.inf
    good = off <= sensitivity.TOLERANCE
    verdict = f"gradient check: slope {slope:.5g}, central differences {', '.join(f'{d:.5g}' for d in found)}: " + (
        f"agree to {100 * off:.2g} %" if good else "they DISAGREE; do not trust this descent"
    )
    return {"slope": slope, "lengths": lengths, "differences": found, "off": off, "verdict": verdict}


def random_design(problem: ChainProblem, seeds: Sequence[int], entropy) -> tuple[np.ndarray, float]:
    """A design drawn uniformly from what can be made, and what is maximised; minus infinity where a solve fails."""
    generator = np.random.default_rng(entropy)
    for _ in range(1000):
        x = generator.uniform(size=len(problem.space.variables))
        try:
            found = [problem.measure(jnp.asarray(x), seed) for seed in seeds]
            return x, float(np.mean([one.get("merit", one["objective"]) for one in found]))
        except Impossible:
            continue
        except SolveError:
            return x, -math.inf
    raise Impossible("No design that can be made was found at random; narrow the bounds.")


def measure(problem: ChainProblem, x, seed: int) -> dict[str, float]:
    """What [`ChainProblem.measure`][] gives; an undefined objective where this packing cannot be made."""
    try:
        return problem.measure(x, seed)
    except (Impossible, SolveError):
        return {"objective": math.nan}


def designed(job: Job, problem: ChainProblem, state: Mapping) -> dict:
    """The result of a design, from the state after its stages."""
    last, judged = _last(job, state), [state[f"unseen {s}"] for s in _unseen(job)]
    x = np.asarray(last["best_x"])
    values = {name: np.asarray([float(j[name]["objective"]) for j in judged]) for name in judged[0]}
    mean, sense = {name: mean_and_error(v) for name, v in values.items()}, sense_of(job)
    metrics = {
        "objective_name": job["design.objective"],
        **_gain(values["best"], values["start"], sense),
        "objective_standard_error": mean["best"][1],
        "start_standard_error": mean["start"][1],
        "unseen_seeds": len(judged),
        "failed_seeds": {name: int(np.sum(~np.isfinite(v))) for name, v in values.items()},
        "start": _shown(problem, problem.space.start) | _averages([j["start"] for j in judged]),
        "best": _averages([j["best"] for j in judged]),
    }
    if job.constraints:
        each = {name: _averages([j[name] for j in judged]) for name in values}
        metrics["constraints"] = {
            name: {"low": low, "high": high, **{side: found.get(name, math.nan) for side, found in each.items()}}
            for name, (low, high) in job.constraints.items()
        }
    metrics["gradient_check"] = {k: v for k, v in state["gradient check"].items() if k != "lengths"}
    if "coarse" in state:
        coarse = float(state["coarse"]["objective"])
        metrics["on_the_grid_of_the_descent"] = coarse
        metrics["refined_over_coarse_percent"] = 100 * (mean["best"][0] / coarse - 1)
    if "random" in values:
        random = _gain(values["random"], values["start"], sense)
        found = _shown(problem, state[f"random {_random(job)}"]["x"])
        metrics["random_search"] = {"objective": mean["random"][0], **random, "variables": found}
    steps, samples = int(last["step"]), job["design.samples"]
    names = problem.space.names
    history = {k.removeprefix("history['").removesuffix("']"): v for k, v in last.items() if k.startswith("history")}
    history["objective"] = sense * np.asarray(history["objective"])
    history["values"] = np.asarray([list(_shown(problem, row).values()) for row in history["x"][:steps]])
    return {
        "variables": _shown(problem, x),
        "objective": mean["best"][0],
        "start": mean["start"][0],
        "metrics": metrics,
        "bounds": problem.space.at_bounds(x, HELD),
        "solves": {
            "gradients": steps * samples,
            "in_values": steps * samples * GRADIENT_COST,
            "random_search": _random(job) * samples,
        },
        "history": history | {"names": list(names), "unseen": values},
    }


def _gain(values, start, sense: float) -> dict[str, float]:
    """By how much a design is better; less of what is to be small is a gain."""
    gain, error = mean_and_error(100 * sense * (values - start) / np.abs(np.nanmean(start)))
    return {"gain_percent": gain, "gain_standard_error_percent": error}


def _averages(rows: Sequence[Mapping]) -> dict[str, float]:
    names = dict.fromkeys(k for row in rows for k in row)  # a packing that failed has its objective only
    return {k: mean_and_error([float(r.get(k, math.nan)) for r in rows])[0] for k in names}


def _shown(problem: ChainProblem, x) -> dict[str, float]:
    """The variables at `x` in the units of their keys."""
    values = np.asarray(problem.space.values(jnp.asarray(x)))
    return {name: float(v) / BY_PATH[name].factor for name, v in zip(problem.space.names, values, strict=True)}


def _last(job: Job, state: Mapping) -> Mapping:
    return state[f"step {job['design.steps']}"]


def _random(job: Job) -> int:
    """How many random designs cost as much as the descent."""
    if job["design.baseline"] != "random search":
        return 0
    return math.ceil(job["design.steps"] * GRADIENT_COST * job["design.baseline_budget"])


def _seeds(job: Job, key: str) -> list[int]:
    return [job["run.seed"] + k for k in range(job[key])]


def _unseen(job: Job) -> list[int]:
    return [job["run.seed"] + UNSEEN + k for k in range(job["design.unseen"])]


def mean_and_error(values) -> tuple[float, float]:
    """Mean and standard error of the finite values."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not values.size:
        return math.nan, math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(values.size)) if values.size > 1 else math.nan
