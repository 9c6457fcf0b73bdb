"""PyBaMM at its defaults, on the same discharge: processor time and error against the same refined curve.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output.
"""

import json
import sys
import time


def discharge(name: str, c_rate: float, times, voltages, repeats: int = 20) -> dict:
    """The isothermal DFN of PyBaMM with its default mesh and solver.

    Only the solve is timed, of a simulation that has been built and solved once before.

    **Arguments:** `name` of a PyBaMM parameter set; `times` s and `voltages` V of the refined curve.

    **Returns:** plain numbers, or, where PyBaMM cannot be run, a row that says why.
    """
    try:
        import numpy as np
        import pybamm
    except ImportError as error:
        return {"peer": "pybamm", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    try:
        return _measure(pybamm, np, name, c_rate, np.asarray(times), np.asarray(voltages), repeats)
    except Exception as error:  # a peer that fails is a finding of the benchmark and not an end to it
        return {"peer": "pybamm", "not_run": f"{type(error).__name__}: {error}"}


def _measure(pybamm, np, name, c_rate, times, voltages, repeats):
    start = time.perf_counter()
    simulation = pybamm.Simulation(
        pybamm.lithium_ion.DFN(), parameter_values=pybamm.ParameterValues(name), C_rate=c_rate
    )
    horizon = [0, 1.2 * 3600 / c_rate]
    solution = simulation.solve(horizon)
    first = time.perf_counter() - start
    walls, cpu = [], time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        solution = simulation.solve(horizon)
        walls.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / repeats
    low, median, high = np.quantile(walls, [0.25, 0.5, 0.75])
    error = solution["Terminal voltage [V]"](times) - voltages
    return {
        "peer": f"pybamm {pybamm.__version__}",
        "compile_s": first - median,
        "median_s": median,
        "spread_s": high - low,
        "cpu_s": cpu,
        "accuracy": {"rms_mV": 1e3 * float(np.sqrt(np.mean(error**2)))},
    }


if __name__ == "__main__":
    print(json.dumps(discharge(**json.load(sys.stdin))))
