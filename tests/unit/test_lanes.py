"""Loops whose lanes end at different times."""

import jax
import jax.numpy as jnp
import numpy as np

from solver.numerics.lanes import where_active, while_lanes, write


def halvings(x, limit):
    """How often x can be halved before it is below the limit, and the values on the way."""

    def step(carry, active, limit):
        value, count, record = carry
        after = where_active(active, (0.5 * value, count + 1), (value, count))
        return *after, write(record, count, value - limit, active)

    start = x, jnp.asarray(0), jnp.zeros(8)
    return while_lanes(lambda carry: carry[0] > 1.0, step, start, limit)


def test_lanes_are_as_if_alone():
    x, limit = jnp.array([0.5, 3.0, 100.0, 9.0]), jnp.array([0.0, 1.0, 2.0, 3.0])
    for lanes, mine in ((limit, 0), (jnp.asarray(1.0), None)):
        found = jax.jit(jax.vmap(halvings, in_axes=(0, mine)))(x, lanes)
        for k in range(4):
            alone = halvings(x[k], lanes if mine is None else lanes[k])
            assert all(np.array_equal(a[k], b) for a, b in zip(found, alone, strict=True))


def test_lanes_of_lanes():
    x, limit = jnp.array([[0.5, 3.0, 100.0], [9.0, 1.0, 40.0]]), jnp.array([0.0, 1.0, 2.0])
    found = jax.jit(jax.vmap(jax.vmap(halvings), in_axes=(0, None)))(x, limit)
    assert np.array_equal(found[1], [[0, 2, 7], [4, 0, 6]])
    alone = halvings(x[1, 2], limit[2])
    assert all(np.array_equal(a[1, 2], b) for a, b in zip(found, alone, strict=True))


def sums(x, start):
    """The sum of x sin(n) over a clock n that counts from its start to 3, and what the clock says."""

    def step(carry, active, x):
        ticks, total = carry
        return where_active(active, (ticks + 1.0, total + x * jnp.sin(ticks)), carry)

    return while_lanes(lambda c: c[0] < 3.0, step, (start, jnp.zeros_like(x)), x, clock=lambda c: c[0])


def test_a_clock_without_lanes_ticks_once_for_all():
    x, start = jnp.array([1.0, 2.0, 5.0]), jnp.array([0.0, 2.0, 1.0])
    one, each = jax.vmap(sums, in_axes=(0, None)), jax.vmap(sums)
    for function, starts in ((one, start[0]), (each, start), (jax.vmap(each), start[None])):
        ticks, total = jax.jit(function)(x if starts.ndim < 2 else x[None], starts)
        begun = np.broadcast_to(starts, total.shape)
        expected = [sum(np.sin(np.arange(b, 3.0))) * v for b, v in zip(begun.ravel(), x, strict=True)]
        np.testing.assert_allclose(total.ravel(), expected, rtol=1e-15)
        assert np.all(ticks == 3.0)
    text = jax.jit(one).lower(x, start[0]).as_text()
    sines = [line for line in text.splitlines() if "stablehlo.sine" in line]
    assert sines and not any("3x" in line for line in sines)


def test_no_record_is_copied():
    """Under `vmap` nothing as large as the whole record is chosen between, as it would be in a plain loop."""

    def largest_choice(function):
        text = jax.jit(jax.vmap(function)).lower(jnp.ones(5), jnp.ones(5)).as_text()
        return max(
            int(np.prod([int(n) for n in line.rsplit("tensor<", 1)[1].split("x")[:-1]]))
            for line in text.splitlines()
            if "stablehlo.select" in line
        )

    def plain(x, limit):
        def step(carry):
            value, count, record = carry
            return 0.5 * value, count + 1, record.at[count].set(value - limit)

        return jax.lax.while_loop(lambda carry: carry[0] > 1.0, step, (x, jnp.asarray(0), jnp.zeros(8)))

    assert largest_choice(halvings) < 40 <= largest_choice(plain)
