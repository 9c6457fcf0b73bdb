"""PyBaMM on a BPX file: the isothermal DFN at constant current, on a mesh of any fineness.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output. It needs `pybamm` and `bpx` there.
"""

import json
import sys


def discharge(path: str, current: float, cells: int, points: int = 300) -> dict:
    """The curve of PyBaMM from the start that the file names to the lower cut-off.

    **Arguments:** `path` of the BPX file; `current`, A; `cells` in each electrode, the separator and each particle;
    `points` at which the voltage is given, even in time.

    **Returns:** `time_s`, `voltage_V`, `end_time_s`, `capacity_Ah`; where PyBaMM cannot run, a row saying why.
    """
    try:
        import warnings

        import numpy as np
        import pybamm

        warnings.simplefilter("ignore")
        parameters = pybamm.ParameterValues.create_from_bpx(path)
    except ImportError as error:
        return {"peer": "pybamm", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    parameters["Current function [A]"] = current
    mesh = dict.fromkeys(("x_n", "x_s", "x_p", "r_n", "r_p"), cells)
    solver = pybamm.IDAKLUSolver(rtol=1e-7, atol=1e-9)
    model = pybamm.lithium_ion.DFN()
    simulation = pybamm.Simulation(model, parameter_values=parameters, var_pts=mesh, solver=solver)
    hours = 1.5 * float(parameters["Nominal cell capacity [A.h]"]) / current
    solution = simulation.solve([0, 3600 * hours])
    end = float(solution.t[-1])
    time = np.linspace(0, end, points)
    return {
        "peer": f"pybamm {pybamm.__version__}",
        "time_s": time.tolist(),
        "voltage_V": solution["Terminal voltage [V]"](time).tolist(),
        "end_time_s": end,
        "capacity_Ah": current * end / 3600,
    }


if __name__ == "__main__":
    print(json.dumps(discharge(**json.load(sys.stdin))))
