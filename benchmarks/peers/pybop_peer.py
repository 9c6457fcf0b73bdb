"""An optimiser of PyBOP, asked for designs of a box and told what they are worth, so that it fits the same data with
the same model and only its search is compared.

A script of its own, because the peer lives in another environment. It reads the question as JSON from the first line of
standard input. After that each line it prints is a JSON list of designs, and the next line it reads their losses; the
last line is an object with what it found. `optimiser` names a class of PyBOP, `XNES` being what its `Optimisation` took
as long as it had a default, with PyBOP's own population, step size and stopping rules.
"""

import json
import sys


def main() -> dict:
    """The whole conversation."""
    question = json.loads(sys.stdin.readline())
    out, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    try:
        import numpy as np
        import pybop
    except ImportError as error:
        return {"not_run": f"could not be imported: {error}. Install pybop and name its python."}

    def values(designs):
        out.write(json.dumps([list(map(float, x)) for x in designs]) + "\n")
        out.flush()
        return np.asarray(json.loads(sys.stdin.readline()), float)

    class Asked(pybop.Problem):
        def evaluate_batch(self, inputs, calculate_sensitivities=False):
            found = pybop.costs.evaluation.Evaluation()
            found.preallocate(inputs=inputs, calculate_sensitivities=False)
            found.values[:] = values([list(x.values()) for x in inputs])
            return found

    try:
        np.random.seed(question.get("seed", 0))
        start = question["start"]
        free = {f"x{k}": pybop.Parameter(bounds=(0.0, 1.0), initial_value=x) for k, x in enumerate(start)}
        simulator = pybop.BaseSimulator(parameters=free)
        problem = Asked(simulator=simulator)
        options = pybop.PintsOptions(max_iterations=question["iterations"], **question.get("options", {}))
        result = getattr(pybop, question["optimiser"])(problem, options=options).run()
        return {"peer": f"pybop {pybop.__version__}", "x": [float(v) for v in np.ravel(result.x)]}
    except Exception as error:
        return {"not_run": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    stdout = sys.stdout
    answer = main()
    stdout.write(json.dumps(answer) + "\n")
