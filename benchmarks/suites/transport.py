"""Tortuosity factor of binary images, all that a user waits for: labelling, network, solve. Beside TauFactor."""

import pathlib
import tempfile
import time

import jax
import numpy as np

from benchmarks import images
from benchmarks.harness import against, aimed, ask_peer, case, compiled_of, repeated
from microstructure.grid import Grid
from microstructure.labels import percolating
from solver.numerics.solution import raise_unless_successful
from solver.transport.conduct import Conduction
from solver.transport.effective import conduct_network
from solver.transport.network import label_network

CASES = (
    ("spheres", 64, "pore"),
    ("spheres", 64, "solid"),
    ("spheres", 128, "pore"),
    ("spheres", 128, "solid"),
    ("serpentine", 96, "pore"),
)
PEER_SHARE = 0.2  # of TauFactor's processor seconds at its defaults, the target
TAU_ERROR = 1e-4  # and of the error in the tortuosity factor


def measure(peers: bool = True, repeats: int = 5, cases=CASES) -> list[dict]:
    """Every case of the suite, as rows of plain numbers."""
    return [_case(*which, peers, repeats) for which in cases]


def _case(kind: str, n: int, phase: str, peers: bool, repeats: int) -> dict:
    expected, solid = images.REFERENCES[kind, n, phase], images.solid(kind, n)
    mask = solid if phase == "solid" else ~solid
    size, stages = {"voxels": mask.size, "shape": list(mask.shape)}, _Stages(mask)
    (tau, stats), row = repeated(stages.run, repeats)
    row |= stages.compiling | {"parts_cpu_s": stages.parts()}
    row |= {"accuracy": {"tau_error": tau / expected - 1, "estimate": float(stats["error_estimate"])}}
    row |= {"steps": int(stats["steps"]), "tortuosity_factor": tau}
    row = case("transport", f"{kind} {n}^3 {phase}", size, "float32", **row)
    row["tau_error"] = abs(tau / expected - 1)
    row = aimed(row, "tau_error", TAU_ERROR)
    if not peers:
        return row
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "image.npy"
        np.save(path, mask)
        answer = ask_peer("taufactor", {"image": str(path), "expected": expected})
    return against(row, answer, PEER_SHARE if n >= 128 else None)


class _Stages:
    """The stages for one image, compiled: from the mask to the tortuosity factor."""

    def __init__(self, mask: np.ndarray):
        self.mask, self.grid = mask, Grid(mask.shape, np.ones(3))
        wall, cpu = time.perf_counter(), time.process_time()
        network = jax.block_until_ready(self.network(self.connected()))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.solve, row = compiled_of(conduct_network, network, Conduction())
        row["compile_s"] += wall
        row["compile_cpu_s"] += cpu
        self.compiling = row

    def connected(self):
        return percolating(self.mask, 0)

    def network(self, connected):
        return label_network(connected.astype(np.uint8), {1: 1.0}, self.grid, 0)

    def run(self):
        solution = self.solve(self.network(self.connected()), Conduction())
        conductivity, _ = raise_unless_successful(solution, "Transport")
        return float(self.mask.mean()) / float(conductivity), solution.stats

    def parts(self) -> dict:
        """Processor seconds of each stage."""
        connected, label = repeated(self.connected, 3)
        network, build = repeated(lambda: self.network(connected), 3)
        _, solve = repeated(lambda: self.solve(network, Conduction()), 3)
        return {"labelling": label["cpu_s"], "network": build["cpu_s"], "solve": solve["cpu_s"]}
