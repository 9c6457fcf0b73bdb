"""The main job as a user meets it: help, a cold and a warm `mesode run`, and the cost of the gradient of the chain."""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import aimed, case, repeated
from microstructure.recipe import Recipe
from microstructure.sizes import LogNormal
from solver import pipeline

# Targets on two processor cores.
HELP_S, COLD_S, WARM_S, MEMORY_MIB, GRADIENT_OVER_VALUE = 0.3, 120.0, 45.0, 4096.0, 4.0
PARTICLES, SHAPE = 400, (96, 64, 64)


def measure(peers: bool = True, repeats: int = 3) -> list[dict]:
    """Every case of the suite, as rows of plain numbers. No peer covers the chain."""
    return [_help(), *_runs(), *_gradient(repeats)]


def child(arguments: list[str], environment: dict, folder) -> tuple[dict, str]:
    """Runs `mesode` in a new process: wall and processor seconds and the peak of its memory, and what it printed.

    **Raises:** `RuntimeError` with the last line of its errors, if it fails.
    """
    out, errors = pathlib.Path(folder) / "out", pathlib.Path(folder) / "errors"
    with out.open("w") as stdout, errors.open("w") as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "mesode.cli", *arguments],
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=os.environ | environment,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        last = (errors.read_text().strip().splitlines() or [""])[-1]
        raise RuntimeError(f"`mesode {' '.join(arguments)}` ended with exit code {process.returncode}: {last}")
    row = {"median_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "memory_MiB": used.ru_maxrss / 1024}
    return row, out.read_text()


def _paths() -> dict:
    """The environment in which a new process finds this program from any folder."""
    root = str(pathlib.Path(__file__).parents[2])
    return {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _help(repeats: int = 7) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        rows = [child(["--help"], _paths(), folder)[0] for _ in range(repeats)]
    low, median, high = np.quantile([row["median_s"] for row in rows], [0.25, 0.5, 0.75])
    processor = float(np.median([row["cpu_s"] for row in rows]))
    row = {"median_s": float(median), "spread_s": float(high - low), "cpu_s": processor}
    row["repeats"] = repeats  # no memory: a process as small as this shows the peak of its parent before it
    return aimed(case("chain", "mesode --help", {}, "-", **row), "median_s", HELP_S)


def _runs() -> list[dict]:
    """The built-in job with an empty compilation cache, and once more with the cache that it left."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        environment = _paths() | {"JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(folder) / "cache")}
        for name, limit in (("cold", COLD_S), ("warm", WARM_S)):
            row, text = child(["run", "--json", "--quiet", "--output", f"{name}.h5"], environment, folder)
            found = json.loads(text.strip().splitlines()[-1])
            row |= {"compile_s": found["compile_seconds"], "kpis": found["kpis"]}
            row = case("chain", f"mesode run, {name}", {"particles": PARTICLES, "shape": SHAPE}, "float64", **row)
            rows.append(aimed(aimed(row, "median_s", limit), "memory_MiB", MEMORY_MIB))
    return rows


def example() -> Recipe:
    """A recipe like that of the built-in job."""
    return Recipe(
        size=LogNormal(3e-6, math.exp(0.3)),
        composition=jnp.asarray([0.96, 0.02, 0.02]),
        densities=jnp.asarray([4780.0, 1900.0, 1780.0]),  # kg/m3; only the time of the computation matters here
        areal_loading=0.14,
        gap=44e-6,
    )


def _gradient(repeats: int) -> list[dict]:
    """Stack energy density from the settled packing on: the value, and the value with the gradient in the recipe."""
    recipe = example()
    reference = pipeline.prepare(recipe, jax.random.key(0), PARTICLES, SHAPE)
    connected = pipeline.connections(recipe, reference)
    methods, size = pipeline.Methods(), {"particles": PARTICLES, "shape": SHAPE}

    def value(recipe):
        return pipeline.energy_density(recipe, reference, connected, methods)

    found, row = _first_and_repeated(lambda: value(recipe), repeats)
    row["energy_Wh_L"] = float(found)
    _, both = _first_and_repeated(lambda: eqx.filter_value_and_grad(value)(recipe), repeats)
    both["over_value"] = both["cpu_s"] / row["cpu_s"]
    return [
        case("chain", "recipe to Wh/L, value", size, "float64", **row),
        aimed(
            case("chain", "recipe to Wh/L, with gradient", size, "float64", **both), "over_value", GRADIENT_OVER_VALUE
        ),
    ]


def _first_and_repeated(function, repeats):
    """Like `repeated`, with the excess of the first call, which compiles, as `compile_s` and `compile_cpu_s`."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(function())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    value, row = repeated(function, repeats)
    return value, {"compile_s": wall - row["median_s"], "compile_cpu_s": cpu - row["cpu_s"]} | row
