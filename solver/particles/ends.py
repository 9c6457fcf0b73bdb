"""What the laws of bonds share: the size of each bond, and how the particles at its two ends lie and move."""

import equinox as eqx
from jaxtyping import Array, Float


class Size(eqx.Module):
    """Of each bond: `length` (B,), m, between the centres where it carries nothing; `thickness` (B,), m, of what
    deforms, the length of a beam or the gap that binder fills; `radius` (B,), m; `held` (B,), 1 where it holds from the
    start, 0 where it does so once it has been pressed.
    """

    length: Float[Array, " b"]
    thickness: Float[Array, " b"]
    radius: Float[Array, " b"]
    held: Float[Array, " b"]


class Ends(eqx.Module):
    """The two particles of each bond: `relative` (3, B), from the first to the second, m; `velocity` (3, B), of the
    first against the second, m/s; `spins`, a pair of (3, B), rad/s.
    """

    relative: Float[Array, "3 b"]
    velocity: Float[Array, "3 b"]
    spins: tuple[Array, Array]
