"""TauFactor at its defaults on one image, one thread: processor time, memory, iterations and tortuosity factor.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output. Where it does not converge it stops at its own limit of iterations,
and the answer says so.
"""

import json
import math
import pathlib
import sys
import time


def solve(image: str, expected: float, repeats: int = 1) -> dict:
    """Plain numbers, or, where TauFactor cannot be run, a row that says why.

    **Arguments:** `image`, path of a .npy file, 1 where it conducts; `expected`, the tortuosity factor to compare with.
    """
    try:
        import importlib.metadata

        import numpy as np
        import taufactor
        import torch
    except ImportError as error:
        return {"peer": "taufactor", "not_run": f"could not be imported: {error}. Install mesode[peers] and torch."}
    torch.set_num_threads(1)
    conducts = np.load(image).astype(np.uint8)
    before, walls, processor = resident("VmRSS"), [], []
    for _ in range(repeats):
        solver = None
        wall, cpu = time.perf_counter(), time.process_time()
        solver = taufactor.Solver(conducts, device=torch.device("cpu"))
        solver.solve(verbose=False)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    tau = float(np.ravel(solver.tau)[0])
    return {
        "peer": f"taufactor {importlib.metadata.version('taufactor')}",
        "version_torch": torch.__version__,
        "median_s": float(np.median(walls)),
        "cpu_s": float(np.median(processor)),
        "bytes_per_voxel": None if before is None else (resident("VmHWM") - before) / conducts.size,
        "steps": int(solver.iter),
        "converged": bool(solver.converged),
        "tortuosity_factor": tau,
        "accuracy": {"tau_error": tau / expected - 1} if math.isfinite(expected) else {"tau": tau},
    }


def resident(which: str) -> int | None:
    """Memory of this process in bytes, now (`VmRSS`) or at its peak (`VmHWM`); `None` where the system does not say."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(which))
    except (OSError, StopIteration):
        return None


if __name__ == "__main__":
    question = json.load(sys.stdin)
    try:
        answer = solve(**question)
    except Exception as error:  # a peer that fails is a finding of the benchmark and not an end to it
        answer = {"peer": "taufactor", "not_run": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
