"""PyBaMM's porous-electrode model of a half-cell at constant current, on a mesh of any fineness.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output.
"""

import json
import sys


def discharge(name: str, c_rate: float, cells: int, shells: int, tolerance: float = 1e-8, points: int = 21) -> dict:
    """The isothermal discharge from the initial state to the lower cut-off.

    **Arguments:** `name`, Xu2019, or Chen2020, whose positive electrode then stands against the lithium and behind the
    separator of Xu2019, to 3.5 V; `cells` in each layer and `shells` in each particle, graded to the surface (stretch
    2); `tolerance` of the solver, relative and absolute; `points` at which the voltage is given, even in time from 0.6
    to 95 %. The solver evaluates its own polynomials there: nothing is interpolated afterwards.

    **Returns:** `time_s`, `voltage_V`, `end_time_s`; or why there is none.
    """
    try:
        import numpy as np
        import pybamm
    except ImportError as error:
        return {"peer": "pybamm", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    model = pybamm.lithium_ion.DFN({"working electrode": "positive"})
    values = pybamm.ParameterValues(name)
    if name != "Xu2019":
        _against_lithium(values, pybamm.ParameterValues("Xu2019"))
    graded = pybamm.MeshGenerator(pybamm.Exponential1DSubMesh, {"side": "right", "stretch": 2.0})
    simulation = pybamm.Simulation(
        model,
        parameter_values=values,
        solver=pybamm.IDAKLUSolver(rtol=tolerance, atol=tolerance, options={"num_threads": 1}),
        C_rate=c_rate,
        var_pts=model.default_var_pts | {"x_s": cells, "x_p": cells, "r_p": shells},
        submesh_types=model.default_submesh_types | {"positive particle": graded},
    )
    end = float(simulation.solve([0, 2.5 * 3600 / c_rate]).t[-1])
    times = np.linspace(0.006, 0.95, points) * end
    solution = simulation.solve([0, 0.96 * end], t_interp=times)
    inside = np.isin(solution.t, times)
    return {
        "peer": f"pybamm {pybamm.__version__}",
        "time_s": times.tolist(),
        "voltage_V": solution["Terminal voltage [V]"].entries[inside].tolist(),
        "end_time_s": end,
    }


def _against_lithium(values, other) -> None:
    """Lithium metal and the separator of Xu et al. 2019 in place of the negative electrode and the separator."""
    for key in ("Separator thickness [m]", "Separator porosity"):
        values[key] = other[key]
    values.update({key: other[key] for key in other.keys() if "ithium metal" in key}, check_already_exists=False)
    values["Lower voltage cut-off [V]"] = 3.5
    values["Upper voltage cut-off [V]"] = 4.3


if __name__ == "__main__":
    print(json.dumps(discharge(**json.load(sys.stdin))))
