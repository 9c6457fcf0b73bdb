"""PyBaMM's impedance of the same cell, at its default mesh: processor time and spectrum.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output.
"""

import json
import sys
import time


def impedance(name: str, frequencies, double_layer: bool, real, imaginary, repeats: int = 5) -> dict:
    """The DFN of PyBaMM, linearised at the initial state of a parameter set, one sparse solve a frequency.

    Only the solve is timed, of a simulation that has been built and solved once before.

    **Arguments:** `name` of a PyBaMM parameter set; `frequencies`, Hz; `double_layer`, whether there is one, with the
    capacitance of the set; `real` and `imaginary` parts of the refined impedance, ohm.

    **Returns:** plain numbers, or, where PyBaMM cannot be run, a row that says why.
    """
    try:
        import numpy as np
        import pybamm
    except ImportError as error:
        return {"peer": "pybamm", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    try:
        expected = np.asarray(real) + 1j * np.asarray(imaginary)
        return _measure(pybamm, np, name, np.asarray(frequencies), double_layer, expected, repeats)
    except Exception as error:  # a peer that fails is a finding of the benchmark and not an end to it
        return {"peer": "pybamm", "not_run": f"{type(error).__name__}: {error}"}


def _measure(pybamm, np, name, frequencies, double_layer, expected, repeats):
    start, first_cpu = time.perf_counter(), time.process_time()
    model = pybamm.lithium_ion.DFN({"surface form": "differential" if double_layer else "algebraic"})
    simulation = pybamm.EISSimulation(model, parameter_values=pybamm.ParameterValues(name))
    solution = simulation.solve(frequencies)
    first, first_cpu = time.perf_counter() - start, time.process_time() - first_cpu
    walls, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        solution = simulation.solve(frequencies)
        walls.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    low, median, high = np.quantile(walls, [0.25, 0.5, 0.75])
    error = np.abs(np.asarray(solution.impedance) / expected - 1.0)
    return {
        "peer": f"pybamm {pybamm.__version__}",
        "compile_s": first - median,
        "first_cpu_s": first_cpu,
        "median_s": median,
        "spread_s": high - low,
        "cpu_s": float(np.median(cpu)),
        "accuracy": {"max_relative_error": float(error.max()), "at_Hz": float(frequencies[error.argmax()])},
    }


if __name__ == "__main__":
    print(json.dumps(impedance(**json.load(sys.stdin))))
