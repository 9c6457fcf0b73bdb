"""The linear porous electrode: its resistance in closed form, or exactly in layers, and the best porosity."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from scipy import optimize

from inverse.challenge import Challenge, Known
from inverse.problem import FigureProblem
from inverse.search import Climb
from inverse.space import Leaf, Space, Variable
from microstructure.units import um
from solver.numerics.real import real


class LinearElectrode(eqx.Module):
    """A porous electrode under a small load: Ohm's law in electrolyte and solid, linear kinetics between them.

    In each layer kappa = kappa_0 eps^b, sigma = sigma_0 (1 - eps)^b, and the reacting area is a_0 (1 - eps).

    **Arguments:** `porosity`, eps of the layers from the collector to the separator, shape (k,), or one for all;
    `shares` of the layers in the thickness, shape (k,) and over their sum, even by default; `thickness`, m;
    `electrolyte_conductivity`, kappa_0, S/m; `solid_conductivity`, sigma_0, S/m; `solid_area`, a_0, per volume of
    solid, 1/m; `transfer`, g, current density per overpotential, S/m2; `exponent`, b.

    **Source:** Euler and Nonnenmacher 1960, doi 10.1016/0013-4686(60)87025-5; Newman and Tobias 1962, doi
    10.1149/1.2425269.
    """

    porosity: Float[Array, "..."] = eqx.field(converter=real, default=0.3)
    shares: Float[Array, "..."] = eqx.field(converter=real, default=1.0)
    thickness: Float[Array, ""] = eqx.field(converter=real, default=80 * um)
    electrolyte_conductivity: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    solid_conductivity: Float[Array, ""] = eqx.field(converter=real, default=100.0)
    solid_area: Float[Array, ""] = eqx.field(converter=real, default=6e5)
    transfer: Float[Array, ""] = eqx.field(converter=real, default=200.0)
    exponent: Float[Array, ""] = eqx.field(converter=real, default=1.5)

    @property
    def parts(self) -> Array:
        """The shares of the layers in the thickness, summing to one."""
        shares = jnp.broadcast_to(self.shares, self.porosity.shape)
        return shares / jnp.sum(shares)

    @property
    def effective(self) -> tuple[Array, Array, Array]:
        """kappa and sigma, S/m, and the conductance of the reaction per volume, a g, S/m3, of the layers."""
        solid = 1.0 - self.porosity
        kappa = self.electrolyte_conductivity * self.porosity**self.exponent
        return kappa, self.solid_conductivity * solid**self.exponent, self.solid_area * solid * self.transfer


def closed_form(electrode: LinearElectrode) -> Array:
    """The resistance of an even electrode, ohm m2.

    R = L / (kappa + sigma) [1 + (2 + (sigma / kappa + kappa / sigma) cosh nu) / (nu sinh nu)] with
    nu = L sqrt(a g (1 / kappa + 1 / sigma)).
    """
    (kappa, sigma, reaction), length = electrode.effective, electrode.thickness
    nu = length * jnp.sqrt(reaction * (1 / kappa + 1 / sigma))
    inside = (2 + (sigma / kappa + kappa / sigma) * jnp.cosh(nu)) / (nu * jnp.sinh(nu))
    return length / (kappa + sigma) * (1 + inside)


def layered(electrode: LinearElectrode) -> Array:
    """The resistance of an electrode of layers, ohm m2, exact where the layers are even.

    It is the least power that a current of 1 can spend: the integral of i^2 / kappa + (1 - i)^2 / sigma + (di/dx)^2 /
    (a g) over the ionic current i, 0 at the collector and 1 at the separator. In a layer that is a quadratic form of i
    at its two ends, about i* = kappa / (kappa + sigma); what is left is a tridiagonal system for i between the layers.
    """
    kappa, sigma, reaction = electrode.effective
    length = electrode.thickness * electrode.parts
    root = jnp.sqrt(reaction * (1 / kappa + 1 / sigma))
    nu, stiffness, rest = root * length, root / reaction, kappa / (kappa + sigma)
    alone, joint = stiffness / jnp.tanh(nu), stiffness / jnp.sinh(nu)
    # Power: sum of alone (u^2 + v^2) - 2 joint u v, with u and v the current at the ends of a layer less its i*.
    pull = rest * (alone - joint)
    floor = jnp.sum(length / (kappa + sigma))

    def power(ends):
        u, v = ends[:-1] - rest, ends[1:] - rest
        return jnp.sum(alone * (u * u + v * v) - 2 * joint * u * v) + floor

    if kappa.shape[0] == 1:
        return power(jnp.asarray([0.0, 1.0]))
    right = (pull[:-1] + pull[1:]).at[-1].add(joint[-1])
    none = jnp.zeros(1)
    inner = lax.linalg.tridiagonal_solve(
        jnp.concatenate([none, -joint[1:-1]]),
        alone[:-1] + alone[1:],
        jnp.concatenate([-joint[1:-1], none]),
        right[:, None],
    )[:, 0]
    return power(jnp.concatenate([none, lax.stop_gradient(inner), jnp.ones(1)]))  # variational: inner ones do not count


def porosity_of(electrode: LinearElectrode) -> Array:
    """Where the porosity is."""
    return electrode.porosity


def figures(electrode: LinearElectrode) -> dict[str, Array]:
    """Resistance, and the share of solid in the volume."""
    resistance = closed_form(electrode) if electrode.porosity.ndim == 0 else layered(electrode)
    solid = 1.0 - jnp.sum(electrode.parts * electrode.porosity)
    return {"resistance_ohm_cm2": resistance * 1e4, "solid_fraction": solid}


def even_problem(electrode: LinearElectrode | None = None) -> FigureProblem:
    """The least resistance over one porosity."""
    electrode = LinearElectrode() if electrode is None else electrode
    free = Variable("porosity", "", 0.05, 0.9, electrode.porosity, Leaf(porosity_of))
    return FigureProblem(Space(electrode, (free,)), figures, "resistance_ohm_cm2", sense=-1.0)


def optimum(electrode: LinearElectrode, low: float = 0.05, high: float = 0.9) -> dict[str, float]:
    """The porosity of least resistance, a root of the closed form's derivative, and the resistance there.

    In numpy and SciPy alone, the derivative by a step along the imaginary axis (Squire and Trapp 1998, doi
    10.1137/S003614459631241X), which is exact to rounding: nothing is shared with what a search uses.
    """
    names = ("thickness", "electrolyte_conductivity", "solid_conductivity", "solid_area", "transfer", "exponent")
    length, kappa_0, sigma_0, area, transfer, b = (float(getattr(electrode, name)) for name in names)

    def resistance(porosity):
        kappa, sigma = kappa_0 * porosity**b, sigma_0 * (1 - porosity) ** b
        nu = length * np.sqrt(area * (1 - porosity) * transfer * (1 / kappa + 1 / sigma))
        inside = (2 + (sigma / kappa + kappa / sigma) * np.cosh(nu)) / (nu * np.sinh(nu))
        return length / (kappa + sigma) * (1 + inside)

    porosity = optimize.brentq(lambda p: resistance(p + 1e-30j).imag / 1e-30, low, high, xtol=1e-14, rtol=1e-14)
    return {"porosity": float(porosity), "resistance_ohm_cm2": float(1e4 * resistance(porosity))}


def challenge() -> Challenge:
    """The question, with its answer."""
    electrode = LinearElectrode()
    source = "root of the derivative of the closed form of Newman and Tobias 1962, doi 10.1149/1.2425269"
    return Challenge(
        "linear_porous_electrode",
        "Which porosity gives a porous electrode of a given thickness the least resistance?",
        even_problem(electrode),
        known=Known(optimum(electrode), 1e-6, source),
        climb=Climb(steps=200, tolerance=1e-15),
    )


def layers_of(layers: int, electrode: LinearElectrode | None = None, porosity=None) -> LinearElectrode:
    """`electrode` in so many layers, all of the same porosity and thickness."""
    electrode = LinearElectrode() if electrode is None else electrode
    porosity = electrode.porosity if porosity is None else porosity
    parts = jnp.full(layers, real(porosity)), jnp.ones(layers)
    return eqx.tree_at(lambda e: (e.porosity, e.shares), electrode, parts)
