"""Random close packing: frictionless spheres brought to the point where they jam, periodic on all sides."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from microstructure.checks import require
from solver.numerics.solution import Result, Solution, SolveError
from solver.process.overlaps import Overlaps, pair_overlaps, push, separate


class Jamming(eqx.Module):
    """How spheres are brought to jamming.

    **Arguments:** `start`, solid fraction of the first minimum, well above jamming; `excess`, solid fractions above
    jamming at which the packing is measured, decreasing: the last sets how well jamming is located; `hertzian`, contact
    forces as the overlap to the power 1.5 instead of 1; `precision`, largest force that is left, over that of a contact
    at the excess in question; `steps`, of the search in each minimum.
    """

    start: float = eqx.field(static=True, default=0.68)
    excess: tuple[float, ...] = eqx.field(static=True, default=(2e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6))
    hertzian: bool = eqx.field(static=True, default=False)
    precision: float = eqx.field(static=True, default=1e-6)
    steps: int = eqx.field(static=True, default=100000)

    def __check_init__(self):
        require("start", self.start, 0.5, 0.85)
        require("excess", np.asarray(self.excess), 1e-9, 0.1)
        if len(self.excess) < 2 or any(np.diff(self.excess) >= 0):
            raise ValueError(
                f"Argument `excess` must hold at least two decreasing fractions, but {self.excess} was given."
            )


class Jammed(eqx.Module):
    """A packing at jamming, and what it was at each excess above it.

    **Arguments:** `positions`, (N, 3), `radii`, (N,), `box`, (3,), m, at the last excess; `fraction`, the solid
    fraction at jamming; `excess`, (s,) the solid fractions above it; `pressure`, (s,) over the stiffness of a contact,
    in units of the mean radius; `coordination`, (s,) contacts of a particle, rattlers left out; `rattlers`, (s,) share
    of particles that are held by fewer than four contacts; `contacts`, (s,) number of contacts that bear load.
    """

    positions: Float[Array, "n 3"]
    radii: Float[Array, " n"]
    box: Float[Array, " 3"]
    fraction: Float[Array, ""]
    excess: Float[Array, " s"]
    pressure: Float[Array, " s"]
    coordination: Float[Array, " s"]
    rattlers: Float[Array, " s"]
    contacts: Float[Array, " s"]


@eqx.filter_jit
def _measure(positions, state: Overlaps):
    """Pressure from the virial, and the overlap of each pair."""
    _, distance, overlap = pair_overlaps(positions, state)
    virial = jnp.sum(push(overlap, state.hertzian) * distance)
    return virial / (3 * jnp.prod(state.box)), overlap


def backbone(first, second, touching, count: int, least: int = 4):
    """Which contacts bear load and which particles are held, after rattlers are taken away until none is left.

    **Arguments:** `first`, `second`, (P,) of each pair; `touching`, (P,) booleans; `count`, of particles; `least`,
    contacts that hold a particle: one more than the dimensions.

    **Returns:** (P,) and (N,) booleans.
    """
    first, second, bears = np.asarray(first), np.asarray(second), np.asarray(touching, bool)
    held = np.ones(count, bool)
    while True:
        touches = np.bincount(first[bears], minlength=count) + np.bincount(second[bears], minlength=count)
        loose = held & (touches < least)
        if not loose.any():
            return bears, held
        held &= ~loose
        bears = bears & held[first] & held[second]


class _Search:
    """The minima of one sample: what the steps to jamming share."""

    def __init__(self, shape, positions, method):
        self.shape, self.positions, self.method = shape, positions, method
        self.side = (4 / 3 * np.pi * np.sum(shape**3)) ** (1 / 3)  # of the box at a solid fraction of 1
        self.capacity, self.steps = 0, 0

    def minimum(self, fraction, tolerance):
        """Positions, pressure and contacts of the minimum at a solid fraction, from the last one mapped affinely."""
        side = self.side / fraction ** (1 / 3)
        box, method = np.full(3, side), self.method
        solution = separate(
            self.positions * side,
            self.shape,
            box,
            box,
            tolerance=tolerance,
            hertzian=method.hertzian,
            skin=0.4,
            steps=method.steps,
            capacity=self.capacity,
        )
        state = solution.stats["state"]
        self.capacity, self.steps = state.near.first.shape[0], self.steps + solution.stats["steps"]
        pressure, overlap = _measure(jnp.asarray(solution.value), state)
        bears, held = backbone(state.near.first, state.near.second, overlap > 0, len(self.shape))
        return solution.value / side, float(pressure), int(bears.sum()), held


def _loaded(search: _Search, fraction, last, estimate, force_power):
    """The minimum at a solid fraction, or nearer to the last one under load where all contacts are lost there."""
    for _ in range(40):
        excess = max(fraction - estimate, 1e-9) if estimate is not None else 0.03
        positions, *found = search.minimum(fraction, search.method.precision * (0.3 * excess) ** force_power)
        if found[1] > 0:
            search.positions = positions
            return fraction, *found
        # Below jamming: half way back, or up where there was no load yet.
        fraction = 0.5 * (fraction + last[0]) if last else fraction + 0.02
    return None


def jam(key, radii: Float[Array, " n"], method: Jamming | None = None) -> Solution:
    """Quenches spheres from random positions above jamming and decompresses them to it.

    The energy of the overlaps is minimised at falling solid fractions. The pressure, to the power 1 or 2/3 of the force
    law, is linear in the excess over jamming, and is extrapolated from the last two minima to zero; each next fraction
    is that estimate plus the next excess. A step that loses all contacts is halved. Host only; a sample, which carries
    no derivative.

    **Arguments:** `key`, of `jax.random`; `radii`, (N,), m.

    **Returns:** a `Solution` with a [`Jammed`][]; `steps` of the searches in its stats.

    **Source:** O'Hern, Silbert, Liu and Nagel 2003, doi 10.1103/PhysRevE.68.011306.
    """
    method = method or Jamming()
    radii = np.asarray(radii, float)
    require("the number of `radii`", radii.size, 30, hint="Fewer spheres than this meet their own images.")
    unit = radii.mean()
    search = _Search(radii / unit, np.asarray(jax.random.uniform(key, (radii.size, 3))), method)
    force_power = 1.5 if method.hertzian else 1.0

    last, rows, result, estimate = None, [], Result.successful, None
    for target in (None, None, *method.excess):
        for _ in range(6 if bool(result == Result.successful) else 0):
            if target is not None:
                fraction = estimate + target
            else:
                fraction = method.start if last is None else last[0] - 0.01
            found = _loaded(search, fraction, last, estimate, force_power)
            if found is None:
                result = Result.max_steps
                break
            fraction, pressure, contacts, held = found
            load = pressure ** (1 / force_power)
            if last is not None and fraction != last[0]:
                estimate = fraction - load * (last[0] - fraction) / (last[1] - load)
            last = (fraction, load)
            # Extrapolated over a large step the estimate may be off by more than the excess that is wanted.
            if target is None or abs(fraction - estimate - target) < 0.3 * target:
                break
        if target is not None and bool(result == Result.successful):
            rows.append((fraction, pressure, contacts, held.sum()))
    if not rows:
        raise SolveError(f"Jamming: no minimum under load was found. {Result[result]}")
    fractions, pressures, contacts, held = (np.asarray(column, float) for column in zip(*rows, strict=True))
    side = unit * search.side / fractions[-1] ** (1 / 3)
    value = Jammed(
        jnp.asarray(search.positions * side),
        jnp.asarray(radii),
        jnp.full(3, side),
        jnp.asarray(estimate),
        jnp.asarray(fractions - estimate),
        jnp.asarray(pressures),
        jnp.asarray(2 * contacts / held),
        jnp.asarray(1 - held / radii.size),
        jnp.asarray(contacts),
    )
    return Solution(value, result, {"steps": jnp.asarray(search.steps)})
