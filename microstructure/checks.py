"""Checks of arguments, outside `jit`: one sentence that names the argument, the value, the range and what to do."""

import jax
import numpy as np


def is_concrete(*values) -> bool:
    """Whether all values can be looked at, that is, none of them is being traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def require(name: str, value, low: float = -np.inf, high: float = np.inf, *, unit: str = "", hint: str = "") -> None:
    """Raises a `ValueError` unless `value` is finite and lies in [low, high]; traced values pass unseen.

    **Arguments:** `name`, as the user wrote it; `value`, number or array; `low`, `high`, inclusive; `unit`, for the
    message only; `hint`, a sentence that says what to do.
    """
    if not is_concrete(value):
        return
    array = np.asarray(value)
    if array.dtype.kind in "fiub" and np.all(np.isfinite(array)) and np.all((array >= low) & (array <= high)):
        return
    array = np.atleast_1d(array)
    finite = array[~np.isfinite(array)] if array.dtype.kind == "f" else array[:0]
    outside = array[(array < low) | (array > high)] if array.dtype.kind in "fiub" else array.ravel()
    culprit = (finite if finite.size else outside).ravel()[0]
    given = f"{culprit:g}{f' {unit}' if unit else ''}" if array.dtype.kind in "fiub" else repr(culprit.item())
    unit = f" {unit}" if unit else ""
    if np.isinf(low) and np.isinf(high):
        bounds = "be finite"
    elif np.isinf(high):
        bounds = f"be at least {low:g}{unit}"
    elif np.isinf(low):
        bounds = f"be at most {high:g}{unit}"
    else:
        bounds = f"lie between {low:g} and {high:g}{unit}"
    message = f"Argument `{name}` must {bounds}, but {given} was given."
    raise ValueError(f"{message} {hint}".strip())
