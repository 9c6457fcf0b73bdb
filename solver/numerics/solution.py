"""What every loop returns: the value, how it ended, and what it cost."""

import equinox as eqx
from jaxtyping import Array, PyTree


class Result(eqx.Enumeration):
    """How a loop ended. Under `jit` this is data; `raise_unless_successful` turns it into a sentence outside."""

    successful = ""
    max_steps = (
        "The solver took its allowed number of steps without reaching the tolerance. Allow more steps or loosen it."
    )
    not_finite = "The solver met a value that is not finite. Check the inputs for zero, negative or extreme values."
    stagnated = "The solver stopped making progress above the tolerance. Use float64 or loosen the tolerance."
    no_path = "The phase does not connect the two ends, so the effective property is zero and the tortuosity infinite."
    jammed = (
        "The particles do not fit: this active-material fraction is above random close packing. Raise the porosity."
    )
    over_capacity = "A fixed-size list was too small for this state. Build it again with a larger capacity."
    out_of_reach = (
        "What was asked for is not reached within the range that is searched. Widen the range or ask for less."
    )


class Solution(eqx.Module):
    """The outcome of a loop.

    **Arguments:** `value`, what was solved for; `result`, a [`Result`][]; `stats`, a dictionary of numbers such as
    `steps` and `residual`.
    """

    value: PyTree
    result: eqx.Enumeration
    stats: dict[str, PyTree[Array]]


class SolveError(RuntimeError):
    """A solver did not succeed; the message says what to do."""


def raise_unless_successful(solution: Solution, what: str):
    """The value of `solution`, or a `SolveError` that names `what` was being solved. Call it outside `jit` only."""
    if (solution.result == Result.successful).item():
        return solution.value
    raise SolveError(f"{what}: {Result[solution.result]}")
