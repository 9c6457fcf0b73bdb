"""Block-tridiagonal systems of 2 by 2 blocks, the shape of every one-dimensional pair of coupled fields."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def _inverse(b):
    determinant = b[0, 0] * b[1, 1] - b[0, 1] * b[1, 0]
    return jnp.stack([b[1, 1], -b[0, 1], -b[1, 0], b[0, 0]]).reshape(2, 2) / determinant


def _product(a, b):
    """The matrix product written out: on a CPU a dot, or a stack of columns, takes the loop ten times as long."""
    return a[:, :1] * b[:1] + a[:, 1:] * b[1:]


def solve_blocks(lower: Array, diagonal: Array, upper: Array, rhs: Array) -> Array:
    """Solves A_i x_(i-1) + B_i x_i + C_i x_(i+1) = r_i by block elimination without pivoting (Thomas).

    **Arguments:** `lower`, `diagonal`, `upper`, shape (2, 2, n), the blocks A, B, C, of which A_0 and C_(n-1) are not
    used; `rhs`, shape (2, n) or (2, n, k).

    **Returns:** x, shaped as `rhs`.

    **Source:** Golub and Van Loan 2013, Matrix Computations, section 4.5.1, isbn 978-1421407944.
    """
    columns = rhs[..., None] if rhs.ndim == 2 else rhs
    rows = (*(jnp.moveaxis(m, -1, 0) for m in (lower, diagonal, upper)), jnp.moveaxis(columns, 1, 0))

    def eliminate(carry, row):
        a, b, c, r = row
        inverse = _inverse(b - _product(a, carry[0]))
        carry = _product(inverse, c), _product(inverse, r - _product(a, carry[1]))
        return carry, carry

    def substitute(x, row):
        x = row[1] - _product(row[0], x)
        return x, x

    start = jnp.zeros((2, 2), rhs.dtype), jnp.zeros((2, columns.shape[2]), rhs.dtype)
    _, reduced = lax.scan(eliminate, start, rows)
    _, x = lax.scan(substitute, start[1], reduced, reverse=True)
    return jnp.moveaxis(x, 0, 1).reshape(rhs.shape)


def solve_tridiagonal(lower: Array, diagonal: Array, upper: Array, rhs: Array) -> Array:
    """Solves a_i x_(i-1) + b_i x_i + c_i x_(i+1) = r_i: two neighbours make a block, which halves the loop.

    **Arguments:** `lower`, `diagonal`, `upper`, shape (n,), of which a_0 and c_(n-1) must be zero; `rhs`, shape (n, k).

    **Returns:** x, shaped as `rhs`.
    """
    n, odd = diagonal.shape[0], diagonal.shape[0] % 2
    a, b, c = (
        jnp.pad(m, (0, odd), constant_values=idle).reshape(-1, 2).T
        for m, idle in ((lower, 0.0), (diagonal, 1.0), (upper, 0.0))
    )
    nil = jnp.zeros_like(a[0])
    blocks = ([[nil, a[0]], [nil, nil]], [[b[0], c[0]], [a[1], b[1]]], [[nil, nil], [c[1], nil]])
    pairs = jnp.moveaxis(jnp.pad(rhs, ((0, odd), (0, 0))).reshape(-1, 2, rhs.shape[1]), 0, 1)
    x = solve_blocks(*(jnp.stack([jnp.stack(row) for row in block]) for block in blocks), pairs)
    return jnp.moveaxis(x, 1, 0).reshape(-1, rhs.shape[1])[:n]


def transpose_blocks(lower: Array, diagonal: Array, upper: Array) -> tuple[Array, Array, Array]:
    """The blocks of the transposed matrix: each block transposed, and the off-diagonals exchanged and shifted."""
    lower_t, diagonal_t, upper_t = (jnp.swapaxes(m, 0, 1) for m in (lower, diagonal, upper))
    ends = ((0, 0), (0, 0))
    return jnp.pad(upper_t[..., :-1], (*ends, (1, 0))), diagonal_t, jnp.pad(lower_t[..., 1:], (*ends, (0, 1)))


def multiply_blocks(lower: Array, diagonal: Array, upper: Array, x: Array) -> Array:
    """A_i x_(i-1) + B_i x_i + C_i x_(i+1), with shapes as in [`solve_blocks`][]."""
    ahead, behind = jnp.pad(x[:, 1:], ((0, 0), (0, 1))), jnp.pad(x[:, :-1], ((0, 0), (1, 0)))
    return sum(jnp.sum(m * v[None], axis=1) for m, v in ((lower, behind), (diagonal, x), (upper, ahead)))


def linear_solve_blocks(lower: Array, diagonal: Array, upper: Array, rhs: Array) -> Array:
    """[`solve_blocks`][], real or complex, with derivatives by one more solve, in either mode."""
    return lax.custom_linear_solve(
        lambda x: multiply_blocks(lower, diagonal, upper, x),
        rhs,
        solve=lambda _, b: solve_blocks(lower, diagonal, upper, b),
        transpose_solve=lambda _, b: solve_blocks(*transpose_blocks(lower, diagonal, upper), b),
    )
