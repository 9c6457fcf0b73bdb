"""TauFactor at its defaults on one image, one thread: processor time and tortuosity factor.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output.
"""

import json
import sys
import time


def solve(image: str, expected: float, repeats: int = 2) -> dict:
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
    walls, processor = [], []
    for _ in range(repeats):
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
        "steps": int(solver.iter),
        "accuracy": {"tau_error": tau / expected - 1},
    }


if __name__ == "__main__":
    question = json.load(sys.stdin)
    try:
        answer = solve(**question)
    except Exception as error:  # a peer that fails is a finding of the benchmark and not an end to it
        answer = {"peer": "taufactor", "not_run": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
