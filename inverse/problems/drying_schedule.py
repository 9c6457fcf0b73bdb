"""How fast to dry, zone by zone, so that the binder does not gather at the surface."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from inverse.challenge import Challenge, Variant
from inverse.problem import Bound, FigureProblem
from inverse.search import Climb
from inverse.space import Leaf, Logarithmic, Space, Variable, profile
from solver.process.drying import Drying, WetFilm, dry_film, shrinking_time, wet_film

ZONES = 8
MOST, OTHERS = 1.5, (1.2, 2.0, 3.0)  # binder at the surface over its mean
LOW, HIGH = 0.1, 4.0  # flux over EVAPORATION, within what dryers of electrodes reach
EVAPORATION = 1e-3  # kg/m2/s


def film() -> WetFilm:
    """140 g/m2 of NMC, carbon and PVDF (96/2/2) in NMP at 65 % solids, dried to half pores."""
    loading, shares, densities = 0.14, [0.96, 0.02, 0.02], [4750.0, 1900.0, 1780.0]
    return wet_film(loading, shares, densities, [0.0, 0.0, 1.0], 0.65, 1028.0, 0.5)


class Dried(eqx.Module):
    """Figures of a film under a way of drying: `wet`, the film."""

    wet: WetFilm

    def __call__(self, drying: Drying) -> dict[str, Array]:
        """How long the film shrinks, and binder at the surface and at the collector over its mean."""
        profile = dry_film(self.wet, drying).value
        return {
            "shrinking_time_s": shrinking_time(self.wet, drying),
            "binder_at_surface": profile.surface(),
            "binder_at_collector": profile.mass[0],
            "first_flux_g_m2_s": 1e3 * drying.evaporation * drying.zones[0],
            "last_flux_g_m2_s": 1e3 * drying.evaporation * drying.zones[-1],
        }


def problem(most: float = MOST, zones: int = ZONES, cells: int = 64, steps: int = 128) -> FigureProblem:
    """The shortest shrinking with no more than so much binder at the surface; with one zone at an even flux."""
    drying = Drying(EVAPORATION, zones=jnp.ones(zones), cells=cells, steps=steps)
    if zones > 1:
        free = profile("flux", "", LOW, HIGH, 0.5, lambda d: d.zones, zones, Logarithmic())
    else:
        low, high = LOW * EVAPORATION, HIGH * EVAPORATION
        even = Leaf(lambda d: d.evaporation)
        free = [Variable("evaporation", "kg/m2/s", low, high, 0.5 * EVAPORATION, even, Logarithmic())]
    return FigureProblem(
        Space(drying, tuple(free)), Dried(film()), "shrinking_time_s", -1.0, [Bound("binder_at_surface", high=most)]
    )


def challenge() -> Challenge:
    """The question for half again as much binder at the surface as on average, and for other limits."""
    return Challenge(
        "drying_schedule",
        "In which order of fast and slow does a film shrink soonest with at most 1.5 times the mean binder at its top?",
        problem(),
        literature="Zones of different flux save half of the drying energy in a model of Argonne, OSTI 1431318.",
        uniform=problem(zones=1),
        finer=problem(cells=256, steps=512),
        along="binder_at_surface",
        at=MOST,
        variants=tuple(Variant(most, problem(most)) for most in OTHERS),
        shown=("shrinking_time_s", "first_flux_g_m2_s", "last_flux_g_m2_s"),
        climb=Climb(steps=200, tolerance=1e-10),
    )
