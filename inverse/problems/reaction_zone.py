"""An electrode design with a known answer: the ohmically limited reaction-zone electrode."""

import math

import equinox as eqx
from jaxtyping import Array, Float

from inverse.challenge import Challenge, Known
from inverse.problem import FigureProblem
from inverse.search import Climb
from inverse.space import Leaf, Logarithmic, Space, Variable
from solver.numerics.real import real


class ReactionZone(eqx.Module):
    """An electrode in which a sharp reaction zone moves away from the separator, limited by the electrolyte.

    Discharged in time t at the current i = q (1 - eps) L / t, the mean voltage is V = U - i L / (2 kappa eps^b). The
    energy per area q (1 - eps) L V is largest at eps = b / (1 + b) and L = sqrt(2 kappa eps^b U t / (3 q (1 - eps))),
    where V = 2 U / 3.

    **Arguments:** `porosity`, eps; `thickness`, L, m; `exponent`, b of Bruggeman; `conductivity`, kappa, S/m; `charge`,
    q, of the solid, C/m3; `time`, t, s; `voltage`, U, V.

    **Source:** derived from the assumptions of Newman 1995, doi 10.1149/1.2043956: fast kinetics, no concentration
    gradients, a solid that conducts well.
    """

    porosity: Float[Array, ""] = eqx.field(converter=real, default=0.3)
    thickness: Float[Array, ""] = eqx.field(converter=real, default=3e-4)
    exponent: Float[Array, ""] = eqx.field(converter=real, default=1.5)
    conductivity: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    charge: Float[Array, ""] = eqx.field(converter=real, default=2e9)
    time: Float[Array, ""] = eqx.field(converter=real, default=3600.0)
    voltage: Float[Array, ""] = eqx.field(converter=real, default=3.8)

    @property
    def mean_voltage(self) -> Array:
        """Mean voltage of the discharge, V."""
        current = self.charge * (1 - self.porosity) * self.thickness / self.time
        return self.voltage - current * self.thickness / (2 * self.conductivity * self.porosity**self.exponent)

    @property
    def energy(self) -> Array:
        """Energy per area, J/m2."""
        return self.charge * (1 - self.porosity) * self.thickness * self.mean_voltage


def figures(zone: ReactionZone) -> dict[str, Array]:
    """Energy per area and mean voltage."""
    return {"energy_J_m2": zone.energy, "mean_voltage_V": zone.mean_voltage}


def _porosity(zone: ReactionZone) -> Array:
    return zone.porosity


def _thickness(zone: ReactionZone) -> Array:
    return zone.thickness


def problem(zone: ReactionZone | None = None) -> FigureProblem:
    """The largest energy per area over porosity and thickness, from those of `zone`."""
    zone = ReactionZone() if zone is None else zone
    free = (
        Variable("porosity", "", 0.1, 0.9, zone.porosity, Leaf(_porosity)),
        Variable("thickness", "m", 1e-4, 1e-2, zone.thickness, Leaf(_thickness), Logarithmic()),
    )
    return FigureProblem(Space(zone, free), figures, "energy_J_m2")


def optimum(zone: ReactionZone) -> dict[str, float]:
    """The optimum in closed form."""
    b, kappa, charge, time, voltage = (
        float(v) for v in (zone.exponent, zone.conductivity, zone.charge, zone.time, zone.voltage)
    )
    porosity = b / (1 + b)
    thickness = math.sqrt(2 * kappa * porosity**b * voltage * time / (3 * charge * (1 - porosity)))
    return {"porosity": porosity, "thickness": thickness, "mean_voltage_V": 2 * voltage / 3}


def challenge() -> Challenge:
    """The question, with its answer."""
    zone = ReactionZone()
    return Challenge(
        "reaction_zone",
        "Which porosity and thickness give an electrode limited by its electrolyte the most energy per area in an "
        "hour's discharge?",
        problem(zone),
        known=Known(
            optimum(zone), 1e-6, "closed form, from the assumptions of Newman 1995, doi 10.1149/1.2043956"
        ),
        climb=Climb(steps=200, tolerance=1e-15),
    )  # fmt: skip
