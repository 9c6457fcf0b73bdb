"""What is held during a step of a protocol, and what ends it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..numerics.real import real


class Control(eqx.Module):
    """One equation for the terminals: a I + b V + p V I + e P = s(t), with I positive on discharge and P the plating
    potential, phi_s - phi_e of the negative electrode at the separator.

    **Arguments:** `current`, a, m2/A; `voltage`, b, 1/V; `power`, p, m2/W; `plating`, e, 1/V: the units that make the
    sum a number in those of `values`, s at the `times`, s, from the start of the step, shape (k,); between them s is
    linear, and constant after the last.
    """

    current: Float[Array, ""] = eqx.field(converter=real)
    voltage: Float[Array, ""] = eqx.field(converter=real)
    power: Float[Array, ""] = eqx.field(converter=real)
    plating: Float[Array, ""] = eqx.field(converter=real)
    values: Float[Array, " k"] = eqx.field(converter=real)
    times: Float[Array, " k"] = eqx.field(converter=real)

    def lack(self, current: Array, voltage: Array, plating: Array, time: Array) -> Array:
        """The left side minus the right."""
        left = self.current * current + self.voltage * voltage + self.power * voltage * current
        return left + self.plating * plating - jnp.interp(time, self.times, self.values)


def constant_current(value) -> Control:
    """`value`, A/m2, positive on discharge, 0 for rest."""
    return Control(1.0, 0.0, 0.0, 0.0, jnp.asarray(value)[None], [0.0])


def constant_voltage(value) -> Control:
    """`value`, V."""
    return Control(0.0, 1.0, 0.0, 0.0, jnp.asarray(value)[None], [0.0])


def constant_power(value) -> Control:
    """`value`, W/m2, positive on discharge."""
    return Control(0.0, 0.0, 1.0, 0.0, jnp.asarray(value)[None], [0.0])


def constant_resistance(value) -> Control:
    """`value`, ohm m2: V = R I."""
    return Control(-jnp.asarray(value), 1.0, 0.0, 0.0, [0.0], [0.0])


def plating_limit(value) -> Control:
    """Holds the plating potential at `value`, V; lithium plates below 0."""
    return Control(0.0, 0.0, 0.0, 1.0, jnp.asarray(value)[None], [0.0])


def current_table(times, values) -> Control:
    """A drive cycle: `values`, A/m2, at `times`, s, linear between."""
    return Control(1.0, 0.0, 0.0, 0.0, values, times)


OBSERVED = ("voltage", "current", "temperature", "plating", "charge", "drawn")
_COUNT = len(OBSERVED)


class Limits(eqx.Module):
    """What ends a step: each of `OBSERVED` below `lower` or above `upper`, infinite where it is no end.

    Voltage, V; magnitude of the current, A/m2; temperature, K; plating potential, V; magnitude of the charge passed in
    the step, C/m2; charge drawn since the start of the protocol, C/m2, less what was put in. Shapes (6,).
    """

    lower: Float[Array, " 6"] = eqx.field(converter=real, default_factory=lambda: jnp.full(_COUNT, -jnp.inf))
    upper: Float[Array, " 6"] = eqx.field(converter=real, default_factory=lambda: jnp.full(_COUNT, jnp.inf))

    def gaps(self, observed: Array) -> Array:
        """How far each is from its end, over the end where that is above 1, shape (12,); 1e3 where there is none."""
        limits = jnp.concatenate([self.lower, self.upper])
        ends = jnp.isfinite(limits)
        safe = jnp.where(ends, limits, 1.0)
        twice = jnp.concatenate([observed, observed])
        sign = jnp.asarray([1.0] * _COUNT + [-1.0] * _COUNT)
        return jnp.where(ends, sign * (jnp.where(ends, twice, 0.0) - safe) / jnp.maximum(jnp.abs(safe), 1.0), 1e3)


def limits(**ends: tuple) -> Limits:
    """Limits by name: `limits(voltage=(2.5, None), current=(0.1, None))`, each (lower, upper)."""
    low = [ends.get(name, (None, None))[0] for name in OBSERVED]
    high = [ends.get(name, (None, None))[1] for name in OBSERVED]
    return Limits(
        jnp.stack([jnp.asarray(-jnp.inf if x is None else x, float) for x in low]),
        jnp.stack([jnp.asarray(jnp.inf if x is None else x, float) for x in high]),
    )
