"""What the particles of a film are: several active materials, each with its sizes, graded through the thickness."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .checks import is_concrete, require
from .sizes import Distribution, moment, sample, unit_draws


class Profile(eqx.Module):
    """A quantity through the thickness, linear between depths; only ratios count.

    **Arguments:** `values`, (k,), positive; `depths`, (k,), increasing, 0 at the collector and 1 at the separator,
    evenly spread by default. Two equal depths make a step, as between two layers.
    """

    values: Float[Array, " k"]
    depths: Float[Array, " k"]

    def __init__(self, values=(1.0, 1.0), depths=None):
        self.values = jnp.asarray(values)
        self.depths = jnp.linspace(0.0, 1.0, max(self.values.size, 2)) if depths is None else jnp.asarray(depths)

    def __check_init__(self):
        if self.values.ndim != 1 or self.values.shape[0] < 2 or self.values.shape != self.depths.shape:
            raise ValueError(
                f"Arguments `values` and `depths` of a profile must be lists of one length, at least 2, but the shapes "
                f"{self.values.shape} and {self.depths.shape} were given."
            )
        require("values", self.values, 0.0)
        require("depths", self.depths, 0.0, 1.0)
        if is_concrete(self.values):
            require("the largest of `values`", jnp.max(self.values), 1e-30)
        if is_concrete(self.depths):
            ends = float(self.depths[0]) == 0 and float(self.depths[-1]) == 1
            if not ends or bool(jnp.any(jnp.diff(self.depths) < 0)):
                raise ValueError("Argument `depths` must increase from 0 at the collector to 1 at the separator.")

    def at(self, depth: Float[Array, " n"]) -> Float[Array, " n"]:
        """The value at relative depths; where the profile steps, that of the far side."""
        i = jnp.clip(jnp.searchsorted(self.depths, lax.stop_gradient(depth), side="right") - 1, 0, len(self.depths) - 2)
        width = self.depths[i + 1] - self.depths[i]
        t = jnp.where(width > 0, (depth - self.depths[i]) / jnp.where(width > 0, width, 1), 1)
        return self.values[i] + t * (self.values[i + 1] - self.values[i])


def layers(values, shares=None) -> Profile:
    """A [`Profile`][] that is constant in each of several layers.

    **Arguments:** `values`, (k,), from the collector outwards; `shares`, (k,) of the thickness, equal by default.
    """
    values = jnp.asarray(values)
    shares = jnp.ones_like(values) if shares is None else jnp.asarray(shares)
    require("shares", shares, 1e-6)
    inner = jnp.cumsum(shares)[:-1] / jnp.sum(shares)
    depths = jnp.concatenate([jnp.zeros((1,)), jnp.repeat(inner, 2), jnp.ones((1,))])
    return Profile(jnp.repeat(values, 2), depths)


class Component(eqx.Module):
    """Particles of one material and one distribution of sizes.

    **Arguments:** `size`, distribution of the radii, m; `density`, kg/m3; `volume_share`, of all particles, any scale,
    static, because it sets whole numbers of particles; `material`, number of the material, static; `amount`, volume of
    these particles per volume of film through the thickness; `growth`, factor on their radii through the thickness.
    """

    size: Distribution
    density: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=4750.0)
    volume_share: float = eqx.field(static=True, default=1.0)
    material: int = eqx.field(static=True, default=0)
    amount: Profile = eqx.field(default_factory=Profile)
    growth: Profile = eqx.field(default_factory=Profile)

    def __check_init__(self):
        require("density", self.density, 100.0, 30000.0, unit="kg/m3")
        require("volume_share", self.volume_share, 1e-6, 1e6)
        require("material", self.material, 0, 1000)


class Blend(eqx.Module):
    """All the particles of a film.

    Bimodal: two components of one material. Several active materials: components of different `material`. Graded: an
    `amount` or `growth` that is not constant, as fines that are near the collector.

    **Arguments:** `components`, a tuple of [`Component`][].
    """

    components: tuple[Component, ...]

    def __check_init__(self):
        if not self.components:
            raise ValueError("Argument `components` must hold at least one component, but it is empty.")

    @property
    def volume_shares(self) -> Float[Array, " k"]:
        """Of the components, summing to 1."""
        shares = jnp.asarray([c.volume_share for c in self.components])
        return shares / jnp.sum(shares)

    @property
    def density(self) -> Float[Array, ""]:
        """Mass of all particles over their volume, kg/m3."""
        return jnp.sum(self.volume_shares * jnp.stack([c.density for c in self.components]))


def volume_shares(mass_shares, densities) -> tuple[float, ...]:
    """Shares of volume, summing to 1, from shares of mass and densities; concrete numbers."""
    volumes = np.asarray(mass_shares, float) / np.asarray(densities, float)
    return tuple(float(v) for v in volumes / volumes.sum())


class Draws(eqx.Module):
    """What a derivative holds fixed in a sample of a [`Blend`][], particles in the order of the components.

    **Arguments:** `size`, (N,) unit draws of the sizes; `depth`, (N,) unit draws of the depths; `correction`, (k,)
    factor on the radii of each component that makes its share of the volume exact in spite of whole numbers; `counts`,
    particles of each component, static.
    """

    size: Float[Array, " n"]
    depth: Float[Array, " n"]
    correction: Float[Array, " k"]
    counts: tuple[int, ...] = eqx.field(static=True)


def component_counts(blend: Blend, particles: int) -> tuple[int, ...]:
    """How many of so many particles belong to each component, by largest remainders, each at least one. Host only."""
    ideal = np.asarray(_relative_numbers(blend))
    ideal = particles * ideal / ideal.sum()
    counts = np.maximum(np.floor(ideal).astype(int), 1)
    order = np.argsort(np.floor(ideal) - ideal, kind="stable")
    counts[order[: max(particles - counts.sum(), 0)]] += 1
    if particles < 4 * len(counts) or ideal.min() < 2:
        least = int(np.ceil(2 * particles / ideal.min()))
        raise ValueError(
            f"Argument `particles` must be at least {max(least, 4 * len(counts))} for each component to have two, but "
            f"{particles} was given."
        )
    return tuple(int(c) for c in counts)


@eqx.filter_jit
def _relative_numbers(blend: Blend):
    """Of the particles of each component: its share of the volume over the mean volume of its particles."""
    mean = jnp.stack([moment(c.size, 3) * _mean_growth(c) for c in blend.components])
    return blend.volume_shares / mean


# Depths at which profiles are integrated: midpoints of equal slices.
_SLICES = 2000
_MIDDLES = (np.arange(_SLICES) + 0.5) / _SLICES


def _mean_growth(component: Component):
    """The mean volume of the component's particles over that of its distribution, because of their growth."""
    depth = jnp.asarray(_MIDDLES)
    amount, growth = component.amount.at(depth), component.growth.at(depth)
    return jnp.sum(amount) / jnp.sum(amount / growth**3)


def _depth_at(weight: Float[Array, " s"], share: Float[Array, " n"]) -> Float[Array, " n"]:
    """The relative depth below which the `share` of a weight, given per slice, lies."""
    below = jnp.concatenate([jnp.zeros((1,)), jnp.cumsum(weight)]) / jnp.sum(weight)
    # Slices without any weight would make the depth ambiguous.
    below = below + 1e-12 * jnp.arange(_SLICES + 1.0)
    return jnp.interp(share, below / below[-1], jnp.linspace(0.0, 1.0, _SLICES + 1))


def _per_component(blend: Blend, draws: Draws):
    start = 0
    for index, (component, count) in enumerate(zip(blend.components, draws.counts, strict=True)):
        yield index, component, slice(start, start + count)
        start += count


def draw(key, blend: Blend, counts: tuple[int, ...]) -> Draws:
    """The fixed part of a sample.

    **Arguments:** `key`, of `jax.random`; `counts`, particles of each component, from [`component_counts`][].
    """
    keys = jax.random.split(key, 2 * len(counts))
    size = jnp.concatenate([unit_draws(k, n) for k, n in zip(keys[::2], counts, strict=True)])
    depth = jnp.concatenate([unit_draws(k, n) for k, n in zip(keys[1::2], counts, strict=True)])
    raw = Draws(size, depth, jnp.ones((len(counts),)), counts)
    volume = radii(blend, raw) ** 3
    held = jnp.stack([jnp.sum(volume[part]) for _, _, part in _per_component(blend, raw)])
    wanted = blend.volume_shares * jnp.sum(held)
    return Draws(size, depth, (wanted / held) ** (1 / 3), counts)


def radii(blend: Blend, draws: Draws) -> Float[Array, " n"]:
    """Radii, m: smooth in every parameter of the distributions and profiles, at fixed `draws`."""
    out = []
    for index, component, part in _per_component(blend, draws):
        factor = component.growth.at(_first_depth(component, draws.depth[part]))
        out.append(lax.stop_gradient(draws.correction[index]) * factor * sample(component.size, draws.size[part]))
    return jnp.concatenate(out)


def _first_depth(component: Component, share):
    """Depths that give each slice its number of particles: large ones are fewer for the same volume."""
    depth = jnp.asarray(_MIDDLES)
    return _depth_at(component.amount.at(depth) / component.growth.at(depth) ** 3, share)


def depths(blend: Blend, draws: Draws, radii: Float[Array, " n"]) -> Float[Array, " n"]:
    """Relative depths, 0 at the collector, such that every slice holds its volume of each component to one particle.

    Particles keep the order of their draws; each lies where the profile has as much volume below it as the particles
    before it and half of its own.
    """
    out = []
    for _, component, part in _per_component(blend, draws):
        order = jnp.argsort(draws.depth[part])
        volume = radii[part][order] ** 3
        middle = (jnp.cumsum(volume) - 0.5 * volume) / jnp.sum(volume)
        placed = _depth_at(component.amount.at(jnp.asarray(_MIDDLES)), middle)
        out.append(jnp.zeros_like(placed).at[order].set(placed))
    return jnp.concatenate(out)


def material_of(blend: Blend, draws: Draws) -> tuple[Int[Array, " n"], Float[Array, " m"]]:
    """The number of the material of each particle, and the density of each material, kg/m3."""
    numbers = sorted({c.material for c in blend.components})
    if numbers != list(range(len(numbers))):
        raise ValueError(f"The materials of a blend must be numbered 0, 1, 2, ..., but they are {numbers}.")
    of = jnp.concatenate(
        [jnp.full((part.stop - part.start,), c.material) for _, c, part in _per_component(blend, draws)]
    )
    return of, jnp.stack([next(c.density for c in blend.components if c.material == m) for m in numbers])
