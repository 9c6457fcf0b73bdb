"""Runs suites of benchmarks: times compiled functions, asks peers in their own process, and writes one table and one
JSON.

Times are medians over repeats with their interquartile range; `cpu_s` is process time over all threads, which a busy
machine disturbs least, and is what ratios are made of. Compiling is timed apart, with the compilation cache off.
"""

import datetime
import difflib
import importlib
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import equinox as eqx
import jax
import numpy as np

from mesode.record import commit, versions

SCHEMA = 1
SUITES = ("transport", "calender", "particles", "cell", "chain", "inverse", "resolved")
LARGE = ("transport_large", "particles_large")  # run only when they are named
PEERS_PYTHON = "MESODE_PEERS_PYTHON"  # names the interpreter of an environment that has the peers
_TIMEOUT = 1800  # s, that a peer may take for one case


def timed(function: Callable, arguments: Sequence = (), repeats: int = 5) -> tuple[object, dict]:
    """Compiles and repeats a function of arrays: its value, and the numbers of [`compiled_of`][] and [`repeated`][].

    **Arguments:** `function`, jitted or not; `repeats`, of the compiled function.
    """
    compiled, row = compiled_of(function, *arguments)
    value, times = repeated(lambda: compiled(*arguments), repeats)
    return value, row | times


def compiled_of(function: Callable, *arguments) -> tuple[Callable, dict]:
    """A function compiled for its arguments, with `compile_s`, `compile_cpu_s` (tracing included) and `memory_MiB`."""
    jitted = function if hasattr(function, "lower") else eqx.filter_jit(function)
    wall, cpu = time.perf_counter(), time.process_time()
    compiled = jitted.lower(*arguments).compile()
    row = {"compile_s": time.perf_counter() - wall, "compile_cpu_s": time.process_time() - cpu}
    return compiled, row | {"memory_MiB": _memory(compiled)}


def repeated(function: Callable, repeats: int = 5) -> tuple[object, dict]:
    """The value of a call without arguments, and the median, interquartile range and processor seconds of one call."""
    value = jax.block_until_ready(function())  # warm
    walls, processor = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        value = jax.block_until_ready(function())
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    low, median, high = np.quantile(walls, [0.25, 0.5, 0.75])
    row = {"median_s": float(median), "spread_s": float(high - low), "cpu_s": float(np.median(processor))}
    return value, row | {"repeats": repeats}


def _memory(compiled) -> float | None:
    """Bytes of arguments, results and work space of a compiled function, in MiB, as the compiler states them."""
    analysis = getattr(compiled, "compiled", compiled).memory_analysis()
    if analysis is None:
        return None
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(getattr(analysis, name) for name in parts) / 2**20


def case(suite: str, problem: str, size: dict, dtype: str, **measured) -> dict:
    """One row: what was solved, how large, where and how precisely, and what was measured."""
    device = jax.devices()[0]
    where = f"{device.device_kind} ({device.platform})"
    return {"suite": suite, "problem": problem, "size": size, "device": where, "dtype": dtype, **measured}


def against(row: dict, peer: dict, target: float | None = None) -> dict:
    """The row with a peer's answer, the ratio of processor seconds to the peer's, and whether a target ratio is met."""
    row = row | {"peer": peer["peer"]}
    if peer.get("cpu_s") is None:
        return row | {"peer_not_run": peer.get("not_run", "no reason given")}
    ratio = row["cpu_s"] / peer["cpu_s"]
    row |= {"peer_cpu_s": peer["cpu_s"], "peer_accuracy": peer.get("accuracy"), "ratio": ratio, "peer_detail": peer}
    row |= {"peer_converged": peer.get("converged", True)}
    return row if target is None else aimed(row, "ratio", target)


def aimed(row: dict, name: str, target: float) -> dict:
    """The row with one more target, an upper bound for one of its numbers, and whether it is met."""
    goal = {"of": name, "at_most": target, "found": row[name], "met": bool(row[name] <= target)}
    return row | {"targets": [*row.get("targets", ()), goal]}


def ask_peer(name: str, question: dict, *, timeout: float = _TIMEOUT) -> dict:
    """The answer of `benchmarks/peers/NAME_peer.py`, or a row that says why there is none.

    The peer runs in a process of its own, with the interpreter named in the environment variable MESODE_PEERS_PYTHON or
    else this one, on one thread. It reads the question as JSON and prints its answer as the last line.
    """
    script = pathlib.Path(__file__).parent / "peers" / f"{name}_peer.py"
    answer = _ask([os.environ.get(PEERS_PYTHON) or sys.executable, str(script)], question, timeout)
    return {"peer": name} | answer


def ask_fresh(module: str, question: dict, *, timeout: float = _TIMEOUT) -> dict:
    """The answer of a module of this program, run as a script in a new process; `not_run` says why there is none."""
    root = str(pathlib.Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return _ask([sys.executable, "-m", module], question, timeout, {"PYTHONPATH": path})


def _ask(command: list[str], question: dict, timeout: float, environment: dict | None = None) -> dict:
    """The JSON object that a process prints as its last line when it is given another; one thread for BLAS."""
    single = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    try:
        run = subprocess.run(
            command,
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | single | (environment or {}),
        )
    except OSError as error:
        return {"not_run": f"{PEERS_PYTHON} names no interpreter: {error.strerror}"}
    except subprocess.TimeoutExpired:
        return {"not_run": f"took longer than {timeout:g} s"}
    lines = run.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
        return answer if isinstance(answer, dict) else {"not_run": "no answer"}
    except (IndexError, json.JSONDecodeError):
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        return {"not_run": last}


def run(suites: Sequence[str] = (), *, peers: bool = True, done: Callable[[str, dict], None] = lambda *_: None) -> dict:
    """The record of the named suites, or of all but the large: schema version, provenance, and a row for each case.

    A suite that fails is one row that says so, and the others still run.

    **Arguments:** `done`, called with the name of the suite after each of its cases and the record so far, which may be
    kept.
    """
    names = list(dict.fromkeys(suites)) or list(SUITES)
    for name in names:
        require_suite(name)
    cached = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    record = {"schema": SCHEMA, "provenance": _provenance(names), "load_average": {}, "cases": []}
    try:
        for name in names:
            for row in _suite(name, peers):
                record["cases"].append(_plain(row))
                record["load_average"][name] = [round(load, 2) for load in os.getloadavg()]
                done(name, record)
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    return record


def require_suite(name: str) -> None:
    """Raises a `ValueError` if there is no such suite."""
    known = (*SUITES, *LARGE)
    if name in known:
        return
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    raise ValueError(f"Suite `{name}` is not one of {', '.join(known)}.{hint}")


def _suite(name: str, peers: bool) -> Iterator[dict]:
    """The rows of a suite, as they come where it makes them one by one, and one that says where it failed."""
    try:
        yield from importlib.import_module(f"benchmarks.suites.{name}").measure(peers=peers)
    except Exception as error:
        yield {"suite": name, "problem": "the rest of the suite", "failed": f"{type(error).__name__}: {error}"}


def _provenance(names) -> dict:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "suites": names,
        "commit": commit(),
        "versions": versions(),
        "devices": [f"{d.device_kind} ({d.platform})" for d in jax.devices()],
        "x64": bool(jax.config.jax_enable_x64),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """The model of the processor, where the system says it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _plain(value):
    """The value in JSON's own types; what is not finite becomes null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write(record: dict, path) -> None:
    """Writes a record as JSON, whole or not at all."""
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def table(record: dict) -> str:
    """The cases of a record as lines of text."""
    head = f"{'suite':10} {'problem':34} {'compile':>8} {'median':>9} {'spread':>8} {'CPU':>8} {'MiB':>7}"
    lines = [f"{head}  {'peer CPU':>9} {'ratio':>6}  accuracy and target"]
    return "\n".join(lines + [_line(row) for row in record["cases"]])


def _line(row: dict) -> str:
    start = f"{row['suite']:10} {row['problem'][:34]:34}"
    if "failed" in row:
        return f"{start} failed: {row['failed']}"
    numbers = [("compile_s", 8, 2), ("median_s", 9, 4), ("spread_s", 8, 4), ("cpu_s", 8, 3), ("memory_MiB", 7, 0)]
    cells = " ".join(_number(row.get(name), width, digits) for name, width, digits in numbers)
    peer = f"{_number(row.get('peer_cpu_s'), 9, 3)} {_number(row.get('ratio'), 6, 3)}"
    notes = [f"{name} {value:.3g}" for name, value in (row.get("accuracy") or {}).items() if value is not None]
    for goal in row.get("targets", ()):
        end = "met" if goal["met"] else "MISSED"
        notes.append(f"{goal['of']} {goal['found']:.3g} <= {goal['at_most']:g} {end}")
    if not row.get("peer_converged", True):
        notes.append(f"{row['peer']} did not converge in {row['peer_detail'].get('steps')} steps")
    if "peer_not_run" in row:
        notes.append(f"{row['peer']} not run: {row['peer_not_run']}")
    return f"{start} {cells}  {peer}  {', '.join(notes)}".rstrip()


def _number(value, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
