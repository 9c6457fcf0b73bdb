"""Rigid bodies that confine a packing, and what drives them: collector, plate and roll; speed and pressure."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.checks import require


class Touch(eqx.Module):
    """How each particle meets a body: `overlap` (N,), m; `normal` (3, N), from particle to body; `velocity` (3, N) of
    the body's surface there, m/s; `radius` (N,), reduced with the body's own, m.
    """

    overlap: Array
    normal: Array
    velocity: Array
    radius: Array


class Fixed(eqx.Module):
    """Stays where it is."""

    def speed(self, before, pressure, step):
        """The speed away from the collector, m/s."""
        return jnp.zeros_like(before)


class Moving(eqx.Module):
    """Moves at a constant speed.

    **Arguments:** `velocity`, m/s, positive away from the collector.
    """

    velocity: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def speed(self, before, pressure, step):
        """The speed away from the collector, m/s."""
        return self.velocity


class Servo(eqx.Module):
    """Seeks a pressure: moves by `gain` times what is missing, no faster than `limit`, and lags by `lag`.

    **Arguments:** `pressure`, Pa, wanted on the body; `gain`, m/(s Pa); `limit`, m/s; `lag`, s.
    """

    pressure: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    gain: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    limit: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    lag: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)

    def __check_init__(self):
        require("pressure", self.pressure, 0.0, 1e13, unit="Pa")
        require("gain", self.gain, 0.0, unit="m/(s Pa)")
        require("limit", self.limit, 0.0, 1e4, unit="m/s")
        require("lag", self.lag, 0.0, unit="s")

    def speed(self, before, pressure, step):
        """The speed away from the collector, m/s."""
        wanted = jnp.clip(self.gain * (pressure - self.pressure), -self.limit, self.limit)
        return before + (wanted - before) * step / (step + self.lag)


class Plane(eqx.Module):
    """A plane across the thickness: the collector (`above` false) or a plate above the particles.

    **Arguments:** `drive`; `above`; `compliance`, (1 - nu^2) / E, and `shear`, (2 - nu) / G of the plane, 1/Pa, 0 if
    rigid. LAMMPS' `granular` walls are of the particles' material whatever else is said (measured, 22 Jul 2025).
    """

    drive: Fixed | Moving | Servo = eqx.field(default_factory=Fixed)
    above: bool = eqx.field(static=True, default=False)
    compliance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    shear: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)

    def touch(self, height, speed, positions, radii, time) -> Touch:
        """Every particle against the plane at `height`, m, that moves at `speed`, m/s."""
        side = 1.0 if self.above else -1.0
        overlap = radii - side * (height - positions[0])
        normal = jnp.broadcast_to(jnp.asarray([side, 0.0, 0.0])[:, None], positions.shape)
        velocity = jnp.broadcast_to(
            jnp.stack([speed, jnp.zeros_like(speed), jnp.zeros_like(speed)])[:, None], positions.shape
        )
        return Touch(overlap, normal, velocity, radii)


class Roll(eqx.Module):
    """A rigid roll above the particles, its axle along axis 1, that travels along axis 2; not periodic along axis 2.

    The height of its state is that of its lowest line. Rolling without slip on a web at rest means spin = travel /
    radius.

    **Arguments:** `radius`, m; `start`, position of the axle along axis 2 at time 0, m; `travel`, its speed, m/s;
    `spin`, rad/s, positive when the lowest line then moves towards -2 relative to the axle;
    `compliance`, `shear` as in [`Plane`][].
    """

    radius: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    start: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    travel: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    spin: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    drive: Fixed | Moving | Servo = eqx.field(default_factory=Fixed)
    compliance: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    shear: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)

    def __check_init__(self):
        require("radius", self.radius, 1e-6, 10.0, unit="m")

    def touch(self, height, speed, positions, radii, time) -> Touch:
        """Every particle against the roll whose lowest line is at `height`, m."""
        across = self.start + self.travel * time - positions[2]
        # Heights are small against the radius: what is left of the distance to the axle must not be lost in it.
        up = height - positions[0]
        gap = _beyond(up, across, self.radius)
        distance = self.radius + gap
        normal = jnp.stack([(self.radius + up) / distance, jnp.zeros_like(up), across / distance])
        # The surface at -normal * radius from the axle turns about axis 1.
        around = self.spin * self.radius
        zero = jnp.zeros_like(up)
        velocity = jnp.stack([speed + around * normal[2], zero, self.travel - around * normal[0]])
        return Touch(radii - gap, normal, velocity, radii * self.radius / (radii + self.radius))


def _beyond(up, across, radius):
    """sqrt((R + u)^2 + a^2) - R without loss of digits."""
    total = 2 * radius * up + up**2 + across**2
    return total / (jnp.sqrt(radius**2 + total) + radius)
