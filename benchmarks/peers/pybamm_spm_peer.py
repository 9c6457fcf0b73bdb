"""PyBaMM's single-particle models at constant current, on a mesh of any fineness.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output.
"""

import json
import sys
import time


def discharge(
    model: str,
    name: str,
    c_rate: float = 1.0,
    conductivity: str = "default",
    cells: int | None = None,
    shells: int | None = None,
    tolerance: float | None = None,
    lithium: bool = False,
    points: int = 21,
    repeats: int = 1,
) -> dict:
    """The isothermal discharge of the charged cell to its lower cut-off.

    **Arguments:** `model`, SPM, SPMe or DFN; `name` of a PyBaMM parameter set; `conductivity`, its option "electrolyte
    conductivity"; `cells` in each layer and `shells` in each particle, graded to the surface (stretch 2), else its own
    mesh; `tolerance` of the solver; `lithium`, whether the positive electrode stands against lithium metal, in the cell
    of `solver.cell.library.half_cell` with an electrolyte of 1 S/m, since only the conductivity at the mean
    concentration can be had there, to 3.5 V; `points` at which the voltage is given, even in time from 0.6 to 95 %;
    `repeats` of the solve that is timed, of a simulation built and solved before.

    **Returns:** `time_s`, `voltage_V`, `end_time_s`, `energy_Wh`, `seconds` and `cpu_seconds`; or why there is none.
    """
    try:
        import numpy as np
        import pybamm
    except ImportError as error:
        return {"peer": "pybamm", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    options = {} if conductivity == "default" else {"electrolyte conductivity": conductivity}
    options |= {"working electrode": "positive"} if lithium else {}
    made = getattr(pybamm.lithium_ion, model)(options)
    values = pybamm.ParameterValues(name)
    if lithium:
        _against_lithium(pybamm, values)
    meshes = {} if cells is None else _meshes(pybamm, made, cells, shells)
    accuracy = {} if tolerance is None else {"rtol": tolerance, "atol": tolerance}
    solver = pybamm.IDAKLUSolver(options={"num_threads": 1}, **accuracy)
    simulation = pybamm.Simulation(made, parameter_values=values, solver=solver, C_rate=c_rate, **meshes)
    horizon = [0, 1.5 * 3600 / c_rate]
    simulation.solve(horizon)
    walls, processor = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        solution = simulation.solve(horizon)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    if points > 0 and accuracy:  # between the large steps of a plain solve the voltage would be interpolated
        solution = simulation.solve(np.linspace(*horizon, 3001))
    end = float(solution.t[-1])
    times = np.linspace(0.006, 0.95, points) * end
    power = solution["Terminal voltage [V]"].entries * solution["Current [A]"].entries
    return {
        "peer": f"pybamm {pybamm.__version__}",
        "time_s": times.tolist(),
        "voltage_V": solution["Terminal voltage [V]"](times).tolist(),
        "end_time_s": end,
        "energy_Wh": float(np.trapezoid(power, solution.t)) / 3600,
        "seconds": float(np.median(walls)),
        "cpu_seconds": float(np.median(processor)),
    }


def _meshes(pybamm, made, cells, shells) -> dict:
    """Even cells in each layer, and shells graded to the surface."""
    points = dict.fromkeys(("x_n", "x_s", "x_p"), cells) | dict.fromkeys(("r_n", "r_p"), shells)
    graded = pybamm.MeshGenerator(pybamm.Exponential1DSubMesh, {"side": "right", "stretch": 2.0})
    kinds = {kind: graded for kind in made.default_submesh_types if kind.endswith("ve particle")}
    return {"var_pts": made.default_var_pts | points, "submesh_types": made.default_submesh_types | kinds}


def _against_lithium(pybamm, values) -> None:
    """Lithium metal and the separator of Xu et al. 2019 in place of the negative electrode and the separator."""
    other = pybamm.ParameterValues("Xu2019")
    for key in ("Separator thickness [m]", "Separator porosity"):
        values[key] = other[key]
    values.update({key: other[key] for key in other.keys() if "ithium metal" in key}, check_already_exists=False)
    values["Electrolyte conductivity [S.m-1]"] = 1.0
    values["Lower voltage cut-off [V]"] = 3.5
    values["Upper voltage cut-off [V]"] = 4.3


if __name__ == "__main__":
    print(json.dumps(discharge(**json.load(sys.stdin))))
