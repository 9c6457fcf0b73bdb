"""What is not differentiated: chemistries, numbers of layers and other choices, enumerated around a search."""

from collections.abc import Callable, Mapping

import numpy as np

from .problem import Impossible
from .search import Evaluation, Log


def best_choice(logs: Mapping[str, Log], search: Callable[[Log], Evaluation]) -> tuple[str, dict[str, Evaluation]]:
    """The best of several problems, each searched: the name of the best, and the best design of each.

    Logs that were read from a checkpoint are replayed, so that a stopped enumeration goes on where it was. A choice of
    which no design can be solved, or none holds the bounds, is left out.

    **Arguments:** `logs`, of the problem of each choice, all with the same objective; `search`, such as
    [`Climb`][inverse.search.Climb].

    **Raises:** `ValueError` where the objectives differ; [`Impossible`][inverse.problem.Impossible] where no choice
    has a design.
    """
    wanted = {(log.problem.objective, log.problem.sense) for log in logs.values()}
    if len(wanted) != 1:
        names = ", ".join(sorted({name for name, _ in wanted})) or "none"
        raise ValueError(f"Argument `logs` must be of problems with one objective and one sense, but has: {names}.")
    found, scores, reasons = {}, {}, []
    for name, log in logs.items():
        try:
            best = search(log)
        except Impossible as error:
            reasons.append(f"{name}: {error}")
            continue
        if np.isfinite(log.score(best)):
            found[name], scores[name] = best, log.score(best)
        else:
            reasons.append(f"{name}: no design holds the bounds.")
    if not found:
        raise Impossible(f"None of the choices has a design. {' '.join(reasons)}")
    return max(scores, key=scores.get), found
