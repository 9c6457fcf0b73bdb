"""PyBaMM on a protocol of sentences: the isothermal DFN through `pybamm.Experiment`, on a mesh of any fineness.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output.
"""

import json
import sys


def protocol(name: str, sentences: list[str], cells: int) -> dict:
    """What each step of PyBaMM did, from the start that the parameter set names.

    **Arguments:** `name` of a PyBaMM parameter set; `sentences`; `cells` in each electrode, the separator and each
    particle.

    **Returns:** by step `duration_s`, `capacity_Ah`, positive on discharge, `voltage_V` at its end and
    `current_A` there; where PyBaMM is not there, a row saying why.
    """
    try:
        import pybamm
    except ImportError as error:
        return {"peer": "pybamm", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    mesh = dict.fromkeys(("x_n", "x_s", "x_p", "r_n", "r_p"), cells)
    simulation = pybamm.Simulation(
        pybamm.lithium_ion.DFN(),
        experiment=pybamm.Experiment(sentences),
        parameter_values=pybamm.ParameterValues(name),
        var_pts=mesh,
        solver=pybamm.IDAKLUSolver(rtol=1e-7, atol=1e-9),
    )
    steps = [step for cycle in simulation.solve().cycles for step in cycle.steps]
    drawn = [step["Discharge capacity [A.h]"].entries for step in steps]
    return {
        "peer": f"pybamm {pybamm.__version__}",
        "duration_s": [float(step.t[-1] - step.t[0]) for step in steps],
        "capacity_Ah": [float(charge[-1] - charge[0]) for charge in drawn],
        "voltage_V": [float(step["Terminal voltage [V]"].entries[-1]) for step in steps],
        "current_A": [float(step["Current [A]"].entries[-1]) for step in steps],
    }


if __name__ == "__main__":
    print(json.dumps(protocol(**json.load(sys.stdin))))
