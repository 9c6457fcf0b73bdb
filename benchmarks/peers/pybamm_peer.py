"""PyBaMM on the same discharges: processor time and error against the same refined curves.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output. The `task` of a question names the function that answers it.
"""

import json
import sys
import time

INPUTS = (
    "Negative electrode thickness [m]",
    "Positive electrode thickness [m]",
    "Negative electrode porosity",
    "Positive electrode porosity",
    "Negative particle radius [m]",
)


def discharge(name, c_rate, times, voltages, repeats=20, cells=None, shells=None, rtol=None, curve=False):
    """The isothermal DFN of PyBaMM, by default with its default mesh and solver.

    Only the solve is timed, of a simulation that has been built and solved once before.

    **Arguments:** `name` of a PyBaMM parameter set; `times` s and `voltages` V of the refined curve; `cells` in each
    layer; `shells` in each particle; `rtol` of the solver; `curve`, whether to answer with the voltages too.

    **Returns:** plain numbers, or, where PyBaMM cannot be run, a row that says why.
    """

    def question(pybamm, np):
        start = time.perf_counter()
        values = pybamm.ParameterValues(name)
        simulation = _simulation(pybamm, values, _points(cells, shells), rtol, C_rate=c_rate)
        horizon = [0, 1.2 * 3600 / c_rate]
        solution = simulation.solve(horizon)
        first = time.perf_counter() - start
        row, solution = _timed(np, lambda: simulation.solve(horizon), repeats)
        found = solution["Terminal voltage [V]"](np.asarray(times))
        accuracy = {"rms_mV": _rms(np, found, voltages), "end_time_s": float(solution.t[-1])}
        row |= {"compile_s": first - row["median_s"], "accuracy": accuracy}
        return row | ({"voltage_V": found.tolist()} if curve else {})

    return _asked(question)


def batch(name, c_rate, scales, times, voltages, repeats=3) -> dict:
    """One list of designs of five inputs each, on one thread.

    **Arguments:** `scales`, shape (designs, 5), factors on the values of `INPUTS`; `times` and `voltages`, shape
    (designs, n), of refined solutions.

    **Returns:** as `discharge`; the time is that of the whole list, the rms error is over all designs.
    """

    def question(pybamm, np):
        start = time.perf_counter()
        values = pybamm.ParameterValues(name)
        at_one = [values[key] for key in INPUTS]
        designs = [dict(zip(INPUTS, np.asarray(row) * at_one, strict=True)) for row in scales]
        values.update(dict.fromkeys(INPUTS, "[input]"))
        simulation = _simulation(pybamm, values, {}, None, symbolic_mesh=True, C_rate=c_rate)
        horizon = [0, 1.5 * 3600 / c_rate]
        simulation.solve(horizon, inputs=designs[:1])
        first = time.perf_counter() - start
        row, solutions = _timed(np, lambda: simulation.solve(horizon, inputs=designs), repeats)
        found = [s["Terminal voltage [V]"](np.asarray(t)) for s, t in zip(solutions, times, strict=True)]
        return {"compile_s": first, **row, "accuracy": {"rms_mV": _rms(np, np.stack(found), voltages)}}

    return _asked(question)


def _asked(question) -> dict:
    """The answer with the name and version of the peer, or why there is none: a peer that fails is a finding."""
    try:
        import numpy as np
        import pybamm
    except ImportError as error:
        return {"peer": "pybamm", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    try:
        return {"peer": f"pybamm {pybamm.__version__}", **question(pybamm, np)}
    except Exception as error:
        return {"peer": "pybamm", "not_run": f"{type(error).__name__}: {error}"}


def _points(cells, shells):
    layers = {} if cells is None else {f"x_{layer}": cells for layer in "nsp"}
    return layers | ({} if shells is None else {f"r_{layer}": shells for layer in "np"})


def _simulation(pybamm, values, points, rtol, symbolic_mesh=False, **options):
    model = pybamm.lithium_ion.DFN()
    solver = pybamm.IDAKLUSolver(options={"num_threads": 1}, **({} if rtol is None else {"rtol": rtol, "atol": rtol}))
    if points:
        options["var_pts"] = model.default_var_pts | points
    if symbolic_mesh:  # the default mesh does not take lengths that are inputs
        meshes = {k: pybamm.SymbolicUniform1DSubMesh for k in model.default_submesh_types if "current" not in k}
        options["submesh_types"] = model.default_submesh_types | meshes
    return pybamm.Simulation(model, parameter_values=values, solver=solver, **options)


def _timed(np, solve, repeats):
    walls, processor = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        solution = solve()
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    low, median, high = (float(q) for q in np.quantile(walls, [0.25, 0.5, 0.75]))
    return {"median_s": median, "spread_s": high - low, "cpu_s": float(np.median(processor))}, solution


def _rms(np, found, expected):
    return 1e3 * float(np.sqrt(np.mean((found - np.asarray(expected)) ** 2)))


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps({"discharge": discharge, "batch": batch}[asked.pop("task", "discharge")](**asked)))
