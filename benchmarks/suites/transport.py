"""Tortuosity factor of voxel images, all that a user waits for: labelling, network, solve. Beside TauFactor.

Every input is solved at default settings (time, error), to a fixed residual (iterations) and in float64 to a tight one
(error); more and larger ones are in the suite `transport_large`. Ratios are of processor seconds, compilation excluded.
"""

import contextlib
import ctypes
import dataclasses
import gc
import json
import pathlib
import sys
import tempfile
import time

import equinox as eqx
import jax
import numpy as np

from benchmarks import images
from benchmarks.harness import against, aimed, ask_fresh, ask_peer, case, compiled_of, repeated
from benchmarks.peers.taufactor_peer import resident
from microstructure.grid import Grid
from microstructure.labels import clusters, percolating
from solver.numerics import aggregation
from solver.transport.conduct import Conduction, conduct, for_gradients
from solver.transport.effective import conduct_network, succeeded
from solver.transport.image import CONTRAST
from solver.transport.network import label_network

ERROR, TIGHT_ERROR = 1e-4, 1e-6  # of the tortuosity factor: at default settings in float32, at tight ones in float64
RESIDUAL, TIGHT_RESIDUAL = 1e-6, 1e-8  # at which iterations are counted; of the tight solves
COMPILE_S = 5.0  # of the wall, tracing included, as a user with one image waits
BYTES = {"binary": 45.0, "phases": 60.0}  # a voxel, at the peak, float32
GROWTH = {"pore": 1.5, "solid": 1.8}  # of the iterations from 64^3 to 256^3
GRADIENT_OVER_VALUE, GRADIENT_ERROR = 1.3, 1e-5
CLOSED_OVER_LABELLING = 2.0
_COMPILED = {}
SMALL = 128**3  # voxels: up to here solved in float64 too


@dataclasses.dataclass(frozen=True)
class Case:
    """A binary input with its limits: of the iterations to a fixed residual, of the processor seconds over TauFactor's.

    **Arguments:** `peer`, whether TauFactor is asked; `memory`, whether the peak of a fresh process is measured.
    """

    image: str
    phase: str
    steps: int
    ratio: float | None = None
    peer: bool = True
    memory: bool = False


CASES = (
    Case("spheres 64^3", "pore", 15, 1.0),
    Case("spheres 64^3", "solid", 25, 1.0),
    Case("spheres 100^3", "pore", 15, 1.0),
    Case("spheres 100^3", "solid", 25, 1.0),
    Case("spheres 128^3", "pore", 15, 0.2, memory=True),
    Case("spheres 128^3", "solid", 25, 0.2),
    Case("spheres 200^3", "pore", 15, 0.1, memory=True),
    Case("narrow 100^3", "pore", 40, 0.125),
    Case("narrow 128^3", "pore", 40, 0.125),
    Case("contacts 100^3", "solid", 40, 0.05),
    Case("serpentine 96^3", "pore", 40, 0.05),
    Case("spheres 256^3", "pore", 15, peer=False),
    Case("spheres 256^3", "solid", 25, peer=False),
)
LARGE = (
    Case("spheres 200^3", "solid", 25, 0.1),
    Case("spheres 251x301x301", "pore", 15, 0.1, memory=True),
    Case("soft 128^3", "pore", 15, 0.2),
    Case("soft 100^3", "solid", 25, 1.0),
)
CONTRAST_STEPS = 30


def measure(peers: bool = True, repeats: int = 3, cases=CASES) -> list[dict]:
    """Every case of the suite, as rows of plain numbers."""
    rows = [_binary(which, peers, repeats) for which in cases]
    for which, row in zip(cases, rows, strict=True):
        _add_growth(which, row, dict(zip(cases, rows, strict=True)))
    return rows + [_closed(peers)] + [_contrast(values) for values in images.FILM] + _gradient()


def measure_large(peers: bool = True) -> list[dict]:
    """More and larger inputs; minutes each, most of them TauFactor's."""
    return [_binary(which, peers, 3) for which in LARGE]


class Stages:
    """The stages for one image, compiled: from the labels to the effective conductivity along the first axis.

    **Arguments:** `labels`, of voxels; `conductivities`, by label; `dtype`, of the network, by default float32, or
    boolean for a single conductivity.
    """

    def __init__(self, labels, conductivities: dict, dtype=None):
        self.labels = labels
        self.conductivities = {label: value for label, value in conductivities.items() if value > 0}
        values = self.conductivities.values()
        self.dtype = (np.float32 if len(values) > 1 else bool) if dtype is None else dtype
        self.contrasted = max(values) > CONTRAST * min(values)
        self.grid = Grid(labels.shape, np.ones(3))
        wall, cpu = time.perf_counter(), time.process_time()
        network = jax.block_until_ready(self.network(self.connected()))
        row = {"compile_s": time.perf_counter() - wall, "compile_cpu_s": time.process_time() - cpu}
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(self.network(self.connected()))
        row["compile_s"] -= time.perf_counter() - wall
        row["compile_cpu_s"] -= time.process_time() - cpu
        self.solve, of_solve = _compiled(network, self.plan(network))
        self.compiling = of_solve | {name: row[name] + of_solve[name] for name in row}

    def connected(self):
        return percolating(np.isin(self.labels, list(self.conductivities)), 0)

    def network(self, connected):
        return label_network(self.labels, self.conductivities, self.grid, 0, connected, self.dtype)

    def plan(self, network):
        return aggregation.plan(network.faces) if self.contrasted else None

    def run(self, method: Conduction | None = None) -> tuple[float, dict]:
        """The conductivity and the figures of the solve; `parts`, the processor seconds of each stage."""
        clock = [time.process_time()]
        connected = self.connected()
        clock.append(time.process_time())
        network = jax.block_until_ready(self.network(connected))
        clock.append(time.process_time())
        plan = self.plan(network)
        clock.append(time.process_time())
        solution = jax.block_until_ready(self.solve(network, Conduction() if method is None else method, plan))
        clock.append(time.process_time())
        self.parts = dict(zip(("labelling", "network", "plan", "solve"), np.diff(clock).tolist(), strict=True))
        return float(solution.value[0]), solution.stats | {"converged": succeeded(solution)}


def _compiled(network, plan) -> tuple:
    """The compiled solve for all networks of one size and precision, and what compiling it took."""
    leaves, kind = jax.tree.flatten((network, plan))
    key = kind, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    if key not in _COMPILED:
        _COMPILED[key] = compiled_of(conduct_network, network, Conduction(), plan)
    return _COMPILED[key]


def _solved(labels, conductivities: dict, expected: float, steps: int, repeats: int) -> dict:
    """The numbers of one input and their targets.

    **Arguments:** `expected`, conductivity; `steps`, limit of the iterations; `repeats`, of the timed run.
    """
    stages = Stages(labels, conductivities)
    (found, stats), row = repeated(stages.run, repeats)
    row |= stages.compiling | {"parts_cpu_s": stages.parts, "conductivity": found, "steps": int(stats["steps"])}
    row["error_estimate"] = float(stats["error_estimate"])
    fixed = stages.run(for_gradients(RESIDUAL))[1]
    row |= {"steps_to_residual": int(fixed["steps"]), "converged": stats["converged"] and fixed["converged"]}
    row["solve_bytes_per_voxel"] = None if row["memory_MiB"] is None else row["memory_MiB"] * 2**20 / labels.size
    row["tau_error"] = abs(expected / found - 1)
    row = aimed(row, "tau_error", ERROR)
    row = aimed(aimed(row, "steps_to_residual", steps), "compile_s", COMPILE_S)
    if labels.size <= SMALL:
        tight, stats = Stages(labels, conductivities, np.float64).run(for_gradients(TIGHT_RESIDUAL))
        row |= {"tight_error": abs(expected / tight - 1), "tight_steps": int(stats["steps"])}
        row = aimed(row, "tight_error", TIGHT_ERROR)
    return row


def _with_memory(row: dict, labels, conductivities, limit: float) -> dict:
    """The row with the peak memory of a run in a fresh process above what it held before."""
    answer = _beside(labels, lambda path: ask_fresh(__name__, {"labels": path, "conductivities": conductivities}))
    row["bytes_per_voxel"] = answer.get("bytes_per_voxel")
    if row["bytes_per_voxel"] is None:
        return row | {"memory_not_run": answer.get("not_run", "the system does not tell the peak of a process")}
    return aimed(row, "bytes_per_voxel", limit)


def _binary(which: Case, peers: bool, repeats: int) -> dict:
    mask = images.phase(which.image, which.phase)
    fraction, tau = float(mask.mean()), images.IMAGES[which.image].tau[which.phase]
    labels, conductivities = mask.astype(np.uint8), {1: 1.0}
    row = _solved(labels, conductivities, fraction / tau, which.steps, repeats)
    if which.memory:
        row = _with_memory(row, labels, conductivities, BYTES["binary"])
    row["tortuosity_factor"] = fraction / row["conductivity"]
    row = case("transport", f"{which.image} {which.phase}", _size(mask), "float32", **row)
    return against(row, _taufactor(mask, tau), which.ratio) if peers and which.peer else row


def _taufactor(mask, tau: float) -> dict:
    """TauFactor's answer, the median of three runs where they are short."""
    question = {"expected": tau, "repeats": 3 if mask.size <= 64**3 else 1}
    return _beside(mask, lambda path: ask_peer("taufactor", {"image": path, **question}))


def _beside(array, ask) -> dict:
    """What another process answers when it is given the path of an array."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "image.npy"
        np.save(path, array)
        return ask(str(path))


def _size(array) -> dict:
    return {"voxels": array.size, "shape": list(array.shape)}


def _add_growth(which: Case, row: dict, rows: dict) -> None:
    """Puts the growth of the iterations since 64^3, and its target, into the row of a 256^3 input."""
    small = next((r for c, r in rows.items() if (c.image, c.phase) == ("spheres 64^3", which.phase)), None)
    if which.image == "spheres 256^3" and small is not None:
        row["growth"] = row["steps_to_residual"] / small["steps_to_residual"]
        row["targets"] = aimed(row, "growth", GROWTH[which.phase])["targets"]


def _closed(peers: bool) -> dict:
    """No path: conductivity zero at the cost of labelling, without a solve."""
    mask = images.phase("closed 100^3", "pore")
    _, labelling = repeated(lambda: clusters(mask), 3)
    connected, row = repeated(lambda: percolating(mask, 0), 3)
    row |= {"accuracy": {"connected_voxels": int(connected.sum())}}
    row["over_labelling"] = row["cpu_s"] / labelling["cpu_s"]
    row = case("transport", "closed 100^3 pore, no path", _size(mask), "-", **row)
    row = aimed(row, "over_labelling", CLOSED_OVER_LABELLING)
    return against(row, _taufactor(mask, np.inf)) if peers else row


def _contrast(values: tuple[float, ...]) -> dict:
    """Films and bridges of binder between active particles: conductivities far apart inside one connected part."""
    labels, conductivities = images.solid("film 96^3"), dict(enumerate(values))
    row = _solved(labels, conductivities, images.FILM[values], CONTRAST_STEPS, 3)
    if values == next(iter(images.FILM)):
        row = _with_memory(row, labels, conductivities, BYTES["phases"])
    return case("transport", f"film 96^3 {', '.join(f'{v:g}' for v in values)}", _size(labels), "float32", **row)


def _gradient(repeats: int = 5) -> list[dict]:
    """The gradient in all conductances: its cost over the value's at equal residual, and its error in float64."""

    def value(network):
        return conduct(network, for_gradients(RESIDUAL)).value[0]

    labels = images.phase("spheres 128^3", "pore").astype(np.uint8)
    stages = Stages(labels, {1: 1.0}, np.float32)
    network = stages.network(stages.connected())
    alone, _ = compiled_of(eqx.filter_jit(value), network)
    both, row = compiled_of(eqx.filter_jit(eqx.filter_value_and_grad(value)), network)
    cost = [(repeated(lambda: alone(network), 1)[1], repeated(lambda: both(network), 1)[1]) for _ in range(repeats)]
    row |= {name: float(np.median([second[name] for _, second in cost])) for name in ("median_s", "cpu_s")}
    row["over_value"] = float(np.median([second["cpu_s"] / first["cpu_s"] for first, second in cost]))
    row = case("transport", "spheres 128^3 pore, with gradient", _size(labels), "float32", **row)
    return [aimed(row, "over_value", GRADIENT_OVER_VALUE), _gradient_error()]


def _gradient_error(step: float = 1e-4) -> dict:
    """The derivative along a random change of all interior conductances against central differences."""
    labels = images.phase("spheres 64^3", "pore").astype(np.uint8)
    stages, draw = Stages(labels, {1: 1.0}, np.float64), np.random.default_rng(0)
    network = stages.network(stages.connected())

    def interior(network):
        return network.faces.x, network.faces.y, network.faces.z

    changes = [g * draw.standard_normal(g.shape) for g in interior(network)]

    def value(h):
        moved = [g + h * change for g, change in zip(interior(network), changes, strict=True)]
        return conduct(eqx.tree_at(interior, network, moved), for_gradients(TIGHT_RESIDUAL)).value[0]

    (_, slope), row = repeated(lambda: jax.value_and_grad(value)(0.0), 1)
    expected = (value(step) - value(-step)) / (2 * step)
    row["gradient_error"] = abs(float(slope / expected) - 1)
    row = case("transport", "spheres 64^3 pore, gradient", _size(labels), "float64", **row)
    return aimed(row, "gradient_error", GRADIENT_ERROR)


def peak(labels: str, conductivities: dict) -> dict:
    """Bytes a voxel at the peak of a run above what the process held before it, with everything compiled.

    **Arguments:** `labels`, path of a .npy file; `conductivities`, by label.
    """
    stages = Stages(np.load(labels), {int(label): value for label, value in conductivities.items()})
    stages.run()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # so that what was freed does not count as held
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    except OSError as error:
        return {"not_run": f"the peak of a process cannot be reset: {error.strerror}"}
    before = resident("VmRSS")
    stages.run()
    return {"bytes_per_voxel": (resident("VmHWM") - before) / stages.labels.size}


if __name__ == "__main__":
    from mesode import process

    process.configure()
    print(json.dumps(peak(**json.load(sys.stdin))))
