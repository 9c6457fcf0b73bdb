"""Drying of the coated film in one dimension: solvent leaves at the surface and carries dissolved binder with it."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import is_concrete, require
from solver.numerics.real import real
from solver.numerics.solution import Result, Solution


class WetFilm(eqx.Module):
    """A coated film before drying, and what it becomes.

    **Arguments:** `thickness`, wet, m; `dried`, thickness at which the particles touch and shrinkage stops, m; `solid`,
    volume fraction of what is not dissolved (active material and carbon) in the wet film.
    """

    thickness: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    dried: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    solid: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        require("thickness", self.thickness, 1e-7, 1e-2, unit="m")
        require("dried", self.dried, 1e-7, 1e-2, unit="m")
        require("solid", self.solid, 0.0, 1.0)
        if is_concrete(self.thickness, self.dried, self.solid):
            if not float(self.solid * self.thickness) < float(self.dried) <= float(self.thickness):
                raise ValueError(
                    f"Argument `dried` must lie between the solids' own thickness, "
                    f"{1e6 * float(self.solid * self.thickness):.4g} um, and the wet thickness, "
                    f"{1e6 * float(self.thickness):.4g} um, but {1e6 * float(self.dried):.4g} um was given. "
                    "Check solids content and dried porosity."
                )


class BinderProfile(eqx.Module):
    """Binder through the dried film.

    **Arguments:** `depth`, (n,) cell centres, 0 at the collector and 1 at the surface; `mass`, (n,) binder per volume
    of film over its mean.
    """

    depth: Float[Array, " n"] = eqx.field(converter=jnp.asarray)
    mass: Float[Array, " n"] = eqx.field(converter=jnp.asarray)

    def at(self, depth: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Binder over its mean at any depth in 0 to 1, linear between cell centres."""
        return jnp.interp(depth, self.depth, self.mass)

    def surface(self):
        """Binder over its mean at the surface itself: the last two cells continued exponentially, as the skin is."""
        return self.mass[-1] * jnp.sqrt(self.mass[-1] / self.mass[-2])


class Drying(eqx.Module):
    """How the film dries.

    **Arguments:** `evaporation`, mass flux of solvent, kg/m2/s; `solvent_density`, kg/m3; `diffusivity`, of the
    dissolved binder in the solvent, m2/s; `zones`, shape (k,), a schedule: the flux over `evaporation` while each of k
    equal parts of the solvent leaves that shrinks the film; `cells`, `steps`, of the mesh and of time, `steps` a
    multiple of k.

    **Source:** PVDF in NMP about 1e-10 m2/s, Font et al. 2018, doi 10.1016/j.jpowsour.2018.04.097; NMP 1028 kg/m3 at
    298 K; laboratory drying 0.5 to 2 g/m2/s.
    """

    evaporation: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    solvent_density: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1028.0)
    diffusivity: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-10)
    zones: Float[Array, " k"] = eqx.field(converter=real, default=(1.0,))
    cells: int = eqx.field(static=True, default=64)
    steps: int = eqx.field(static=True, default=128)

    def __check_init__(self):
        require("evaporation", self.evaporation, 0.0, 1.0, unit="kg/m2/s")
        require("solvent_density", self.solvent_density, 1.0, 1e5, unit="kg/m3")
        require("diffusivity", self.diffusivity, 1e-16, 1e-4, unit="m2/s")
        require("zones", self.zones, 1e-6, 1e6)
        if self.zones.ndim != 1 or self.steps % self.zones.shape[0]:
            raise ValueError(
                f"Argument `steps` must be a multiple of the number of zones, but {self.steps} steps and zones of "
                f"shape {self.zones.shape} were given."
            )


def wet_film(
    areal_loading, fractions, densities, dissolved, solids_content, solvent_density, dried_porosity
) -> WetFilm:
    """The wet film of a recipe, from volumes per area: h = sum(w_i / rho_i) m + m (1 / s - 1) / rho_solvent.

    **Arguments:** `areal_loading`, m, kg/m2 of dry coating; `fractions`, (k,) w_i by mass of the dry coating;
    `densities`, (k,), kg/m3; `dissolved`, (k,) 1 where a component is dissolved in the solvent (binder), else 0;
    `solids_content`, s, mass of dry coating over mass of slurry; `solvent_density`, kg/m3; `dried_porosity`, of the
    dried coating, over all components.
    """
    volumes = areal_loading * jnp.asarray(fractions) / jnp.asarray(densities)
    solvent = areal_loading * (1 / solids_content - 1) / solvent_density
    wet = jnp.sum(volumes) + solvent
    undissolved = jnp.sum(volumes * (1 - jnp.asarray(dissolved)))
    return WetFilm(wet, jnp.sum(volumes) / (1 - dried_porosity), undissolved / wet)


def peclet(film: WetFilm, drying: Drying):
    """Evaporation velocity times wet thickness over diffusivity: how strongly binder migrates."""
    return drying.evaporation / drying.solvent_density * film.thickness / drying.diffusivity


def shrinking_time(film: WetFilm, drying: Drying):
    """How long the film takes to shrink, s; the pores empty afterwards."""
    leaving = (film.thickness - film.dried) * drying.solvent_density
    return leaving / drying.evaporation * jnp.mean(1.0 / drying.zones)


def _bernoulli(z):
    """z / (exp(z) - 1), smooth at 0."""
    small = jnp.abs(z) < 1e-3
    safe = jnp.where(small, 1.0, z)
    return jnp.where(small, 1 - z / 2 + z**2 / 12, safe / jnp.expm1(safe))


def _solve_tridiagonal(lower, diagonal, upper, b):
    """Thomas' algorithm as two scans; every row dominates, so no pivoting. Runs on every device, differentiable."""

    def forward(carry, row):
        c_before, d_before = carry
        low, dia, up, right = row
        pivot = dia - low * c_before
        c, d = up / pivot, (right - low * d_before) / pivot
        return (c, d), (c, d)

    zero = jnp.zeros_like(b[0])
    _, (c, d) = lax.scan(forward, (zero, zero), (lower, diagonal, upper, b))

    def backward(after, row):
        c, d = row
        x = d - c * after
        return x, x

    _, x = lax.scan(backward, zero, (c, d), reverse=True)
    return x


def dry_film(film: WetFilm, drying: Drying | None = None) -> Solution:
    """Binder through the film when shrinkage stops.

    The solids move down uniformly with the surface, the liquid rises through them at q = E xi and drags the dissolved
    binder, which diffuses back: with xi = z / h, m = h phi_l c,

        dm/dt + d/dxi(E xi c - (D phi_l^1.5 / h) dc/dxi) = 0, no flux at both ends,

    by finite volumes with exponentially fitted fluxes and an L-stable two-stage implicit step. Mass is conserved to
    round-off. What happens when the pores empty afterwards is not modelled. Differentiable in every number.

    **Returns:** a `Solution` with a [`BinderProfile`][]; `peclet` and `mass_error` in its stats.

    **Source:** Font, Protas, Richardson and Foster 2018, doi 10.1016/j.jpowsour.2018.04.097; fluxes Scharfetter and
    Gummel 1969, doi 10.1109/T-ED.1969.16566; step Alexander 1977, doi 10.1137/0714068.
    """
    drying = drying or Drying()
    # In units of the wet thickness and of the time in which it would evaporate; E = 1, D = 1 / Pe.
    # Below 1e-5 the profile is flat to 1e-5, and a stiffer system would only lose digits of mass.
    diffusion = 1 / jnp.maximum(peclet(film, drying), 1e-5)
    solid, end = film.solid, film.dried / film.thickness
    count, width = drying.cells, 1 / drying.cells
    faces = jnp.arange(1.0, count) * width
    zero = jnp.zeros((1,))

    def rate(t, flux):
        """Tridiagonal matrix A(t) of dm/dt = A m, as (lower, diagonal, upper)."""
        height = 1 - t
        liquid = height - solid
        spread = diffusion / flux * (liquid / height) ** 1.5 / (height * width)
        up, down = spread * _bernoulli(-faces / spread), spread * _bernoulli(faces / spread)
        up, down = up / (liquid * width), down / (liquid * width)
        leaving = jnp.concatenate([up, zero]) + jnp.concatenate([zero, down])
        return jnp.concatenate([zero, up]), -leaving, jnp.concatenate([down, zero])

    stage = 1 - 2**-0.5  # SDIRK2: both stages implicit with the same share of the step
    shares = jnp.arange(float(drying.steps)) / drying.steps

    def advance(mass, now):
        share, flux = now
        dt = (1 - end) / drying.steps
        start = share * (1 - end)

        def implicit(value, t):
            low, dia, up = rate(t, flux)
            inside = _solve_tridiagonal(-stage * dt * low, 1 - stage * dt * dia, -stage * dt * up, value)
            return inside, (inside - value) / (stage * dt)

        _, first = implicit(mass, start + stage * dt)
        after, _ = implicit(mass + (1 - stage) * dt * first, start + dt)
        return after, None

    fluxes = jnp.repeat(drying.zones, drying.steps // drying.zones.shape[0])
    mass, _ = lax.scan(advance, jnp.ones((count,)), (shares, fluxes))
    error = jnp.abs(jnp.mean(mass) - 1)
    result = Result.where(jnp.isfinite(error), Result.successful, Result.not_finite)
    profile = BinderProfile((jnp.arange(float(count)) + 0.5) * width, mass)
    return Solution(profile, result, {"peclet": peclet(film, drying), "mass_error": error})
