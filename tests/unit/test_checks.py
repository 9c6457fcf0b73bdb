"""The one sentence in which an argument is refused."""

import jax
import numpy as np
import pytest

from microstructure.checks import is_concrete, require


@pytest.mark.parametrize(
    "arguments, options, sentence",
    [
        (("porosity", 1.3, 0, 1), {}, "Argument `porosity` must lie between 0 and 1, but 1.3 was given."),
        (("gap", -1e-6, 0.0), {"unit": "m"}, "Argument `gap` must be at least 0 m, but -1e-06 m was given."),
        (("rate", 7, -np.inf, 5), {}, "Argument `rate` must be at most 5, but 7 was given."),
        (("x", "wide", 0, 1), {}, "Argument `x` must lie between 0 and 1, but 'wide' was given."),
        (("x", np.nan), {}, "Argument `x` must be finite, but nan was given."),
        (("x", np.inf, 0.0, 1.0), {}, "Argument `x` must lie between 0 and 1, but inf was given."),
        (("x", [0.5, 2.0, -1.0], 0, 1), {"hint": "Use it."}, "must lie between 0 and 1, but 2 was given. Use it."),
    ],
)
def test_the_sentence(arguments, options, sentence):
    with pytest.raises(ValueError) as error:
        require(*arguments, **options)
    assert str(error.value).endswith(sentence)


def test_the_bounds_themselves_are_allowed():
    require("x", [0, 1], 0, 1)
    require("x", np.asarray([True, False]), 0, 1)
    require("x", 1e300)
    require("x", [])


def test_what_is_traced_passes_unseen():
    seen = []

    @jax.jit
    def double(x):
        seen.append(is_concrete(x))
        require("x", x, 0, 1)
        return 2 * x

    assert double(5.0) == 10
    assert seen == [False]
    assert is_concrete(np.ones(3), 2.0)
