"""Published parameter sets as values."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from microstructure.exchange.formula import parse_formula
from microstructure.units import faraday, gas_constant

from ..electrochemistry.electrolyte import Electrolyte
from ..electrochemistry.intercalation import Intercalation
from ..electrochemistry.kinetics import InsertionKinetics, MetalKinetics
from ..electrochemistry.laws import Exponential, ExponentialTanh, Expression, Law, PowerSum
from ..numerics.real import real
from .cell import Cell, Electrode, LithiumMetal, Separator, Thermal

# Stoichiometry of (negative, positive) at rest at the lower cut-off with the lithium of the charged cell, computed.
CHEN_EMPTY = (0.026345790270646097, 0.8539746746300467)
MARQUIS_EMPTY = (0.18322252117811832, 0.961024694977169)
XU_EMPTY = 0.9780006316199928  # at rest at the lower cut-off, computed
_REFERENCE_SALT = 1000.0  # mol/m3, at which rate constants are given


def _rate(prefactor, maximum_concentration):
    """k in mol/m2/s from the form j0 = m sqrt(c c_s (c_max - c_s)), m in (A/m2) (m3/mol)^1.5."""
    return prefactor * maximum_concentration * _REFERENCE_SALT**0.5 / faraday


def nyman_electrolyte(initial_concentration=1000.0) -> Electrolyte:
    """LiPF6 in EC:EMC 3:7 by weight at 298 K.

    **Source:** Nyman, Behm and Lindbergh 2008, doi 10.1016/j.electacta.2008.04.023; the transference number and unit
    thermodynamic factor with which it is used in Chen et al. 2020, doi 10.1149/1945-7111/ab9050.
    """
    return Electrolyte(
        initial_concentration=initial_concentration,
        diffusivity=PowerSum([8.794e-11, -3.972e-10, 4.862e-10], 1000.0, (2.0, 1.0, 0.0)),  # m2/s, Nyman 2008
        conductivity=PowerSum([0.1297, -2.51, 3.329], 1000.0, (3.0, 1.5, 1.0)),  # S/m, Nyman 2008
        transference_number=0.2594,  # Chen 2020, table VII, from Nyman 2008
    )


def capiglia_electrolyte(initial_concentration=1000.0) -> Electrolyte:
    """LiPF6 in EC:DMC at 298 K.

    **Source:** Capiglia et al. 1999, doi 10.1016/S0378-7753(98)00237-7, in the fits used by Marquis et al. 2019,
    doi 10.1149/2.0341915jes.
    """
    return Electrolyte(
        initial_concentration=initial_concentration,
        diffusivity=Exponential(5.34e-10, -0.65e-3),  # m2/s and m3/mol, Marquis 2019, table A-II
        conductivity=PowerSum([0.0911, 1.9101, -1.052, 0.1554], 1000.0, (0.0, 1.0, 2.0, 3.0)),  # S/m, Marquis 2019
        transference_number=0.4,  # Marquis 2019, table A-I
        diffusivity_activation_energy=37040.0,  # J/mol, Marquis 2019
        conductivity_activation_energy=34700.0,  # J/mol, Marquis 2019
    )


def chen_graphite() -> Intercalation:
    """Graphite with silicon oxide of the LG M50. **Source:** Chen et al. 2020, doi 10.1149/1945-7111/ab9050."""
    capacity = 33133.0  # mol/m3, Chen 2020, table VII
    return Intercalation(
        maximum_concentration=capacity,
        diffusivity=3.3e-14,  # m2/s, Chen 2020, table VII
        open_circuit_potential=ExponentialTanh(  # V, Chen 2020, equation 9
            constant=0.2482,
            slope=0.0,
            exponentials=[[1.9793, -39.3631]],
            steps=[[-0.0909, 29.8538, 0.1234], [-0.04478, 14.9159, 0.2769], [-0.0205, 30.4444, 0.6103]],
        ),
        kinetics=InsertionKinetics(_rate(6.48e-7, capacity), _REFERENCE_SALT, 35000.0),  # Chen 2020, table VII
    )


def chen_nmc() -> Intercalation:
    """NMC 811 of the LG M50. **Source:** Chen et al. 2020, doi 10.1149/1945-7111/ab9050."""
    capacity = 63104.0  # mol/m3, Chen 2020, table VII
    return Intercalation(
        maximum_concentration=capacity,
        diffusivity=4e-15,  # m2/s, Chen 2020, table VII
        open_circuit_potential=ExponentialTanh(  # V, Chen 2020, equation 8
            constant=4.4875,
            slope=-0.8090,
            exponentials=[[0.0, 0.0]],
            steps=[[-0.0428, 18.5138, 0.5542], [-17.7326, 15.7890, 0.3117], [17.5842, 15.9308, 0.3120]],
        ),
        kinetics=InsertionKinetics(_rate(3.42e-6, capacity), _REFERENCE_SALT, 17800.0),  # Chen 2020, table VII
    )


def chen_negative() -> Electrode:
    """The negative electrode of the LG M50. **Source:** Chen et al. 2020, doi 10.1149/1945-7111/ab9050, table VII."""
    return Electrode(
        thickness=8.52e-5,  # m
        porosity=0.25,
        active_fraction=0.75,
        specific_area=3 * 0.75 / 5.86e-6,  # 1/m, spheres
        particle_radius=5.86e-6,  # m
        electrolyte_transport=0.25**1.5,  # Bruggeman exponent 1.5
        electronic_conductivity=215.0,  # S/m
        material=chen_graphite(),
        stoichiometry_full=29866.0 / 33133.0,  # initial concentration
        stoichiometry_empty=CHEN_EMPTY[0],
    )


def chen_positive() -> Electrode:
    """The positive electrode of the LG M50. **Source:** Chen et al. 2020, doi 10.1149/1945-7111/ab9050, table VII."""
    return Electrode(
        thickness=7.56e-5,  # m
        porosity=0.335,
        active_fraction=0.665,
        specific_area=3 * 0.665 / 5.22e-6,  # 1/m, spheres
        particle_radius=5.22e-6,  # m
        electrolyte_transport=0.335**1.5,  # Bruggeman exponent 1.5
        electronic_conductivity=0.18,  # S/m
        material=chen_nmc(),
        stoichiometry_full=17038.0 / 63104.0,  # initial concentration
        stoichiometry_empty=CHEN_EMPTY[1],
    )


def chen_separator() -> Separator:
    """The separator of the LG M50. **Source:** Chen et al. 2020, doi 10.1149/1945-7111/ab9050, table VII."""
    return Separator(thickness=1.2e-5, porosity=0.47, electrolyte_transport=0.47**1.5)


def chen_thermal(ambient=298.15) -> Thermal:
    """The lumped thermal model of the LG M50, per area of its 0.1027 m2 of electrode.

    **Source:** layers, densities and specific heats (together 1.768e6 J/m3/K), volume and surface of a 21700 cell, and
    a coefficient of 10 W/m2/K as for still air, assumed, are those of the published parameter set of Chen et al. 2020,
    doi 10.1149/1945-7111/ab9050.
    """
    area, volume, surface = 0.1027, 2.42e-5, 5.31e-3  # m2, m3, m2
    return Thermal(1.7675743e6 * volume / area, 10.0 * surface / area, ambient)


def chen2020() -> Cell:
    """The LG M50 21700 cell, nominally 5 Ah, at a constant temperature; [`chen_thermal`][] warms it.

    **Source:** Chen et al. 2020, doi 10.1149/1945-7111/ab9050.
    """
    return Cell(
        negative=chen_negative(),
        separator=chen_separator(),
        positive=chen_positive(),
        electrolyte=nyman_electrolyte(),
        temperature=298.15,  # K
        area=0.1027,  # m2, 0.065 m by 1.58 m, table VII
        lower_cutoff=2.5,  # V
        upper_cutoff=4.2,  # V
    )


class Bells(Law):
    """f(x) = constant + slope x + sum_i height_i exp(-(x - centre_i)^2 / width_i); rows of `bells`, (n, 3)."""

    constant: Float[Array, ""] = eqx.field(converter=real)
    slope: Float[Array, ""] = eqx.field(converter=real)
    bells: Float[Array, "n 3"] = eqx.field(converter=real)

    def __call__(self, x):
        height, centre, width = (self.bells[:, i].reshape(-1, *(1,) * jnp.ndim(x)) for i in range(3))
        bells = jnp.sum(height * jnp.exp(-((jnp.asarray(x)[None] - centre) ** 2) / width), axis=0)
        return self.constant + self.slope * x + bells


def with_chen_temperature_laws(cell: Cell) -> Cell:
    """An LG M50 with what its temperature changes and the set of Chen et al. 2020 leaves out.

    **Source:** entropic changes and activation energies of the diffusion in particles, O'Regan et al. 2022, doi
    10.1016/j.electacta.2022.140700; activation energies of the electrolyte, O'Kane et al. 2022, doi 10.1039/D2CP00417H.
    """
    laws = {
        "negative": (Bells(2.914e-5, -1.112e-4, [[3.561e-4, 0.08309, 0.004616]]), 2092.0 * gas_constant),  # V/K, J/mol
        "positive": (
            Bells(0.0, 0.0, [[4.006e-5, 0.2828, 9.855e-4], [-6.656e-5, 0.8032, 0.02179]]),
            1449.0 * gas_constant,
        ),
    }
    for side, (entropy, energy) in laws.items():
        material = dataclasses.replace(
            getattr(cell, side).material, entropic_change=entropy, diffusivity_activation_energy=energy
        )
        cell = eqx.tree_at(lambda c, s=side: getattr(c, s).material, cell, material)
    electrolyte = dataclasses.replace(
        cell.electrolyte, diffusivity_activation_energy=17e3, conductivity_activation_energy=17e3
    )
    return eqx.tree_at(lambda c: c.electrolyte, cell, electrolyte)


def _marquis_graphite():
    capacity = 24983.2619938437  # mol/m3, Marquis 2019, table A-I
    return Intercalation(
        maximum_concentration=capacity,
        diffusivity=3.9e-14,  # m2/s, Marquis 2019, table A-I
        open_circuit_potential=ExponentialTanh(  # V, Marquis 2019, appendix, from Dualfoil
            constant=0.194,
            slope=0.0,
            exponentials=[[1.5, -120.0]],
            steps=[
                [0.0351, 1 / 0.083, 0.286], [-0.0045, 1 / 0.119, 0.849], [-0.035, 1 / 0.05, 0.9233],
                [-0.0147, 1 / 0.034, 0.5], [-0.102, 1 / 0.142, 0.194], [-0.022, 1 / 0.0164, 0.9],
                [-0.011, 1 / 0.0226, 0.124], [0.0155, 1 / 0.029, 0.105],
            ],
        ),
        kinetics=InsertionKinetics(_rate(2e-5, capacity), _REFERENCE_SALT, 37480.0),  # Marquis 2019, table A-I
        diffusivity_activation_energy=42770.0,  # J/mol, Marquis 2019
    )  # fmt: skip


def _marquis_cobalt_oxide():
    capacity, stretch = 51217.9257309275, 1.062  # mol/m3 and a factor on the stoichiometry, Marquis 2019
    terms = [  # height, rate, offset of tanh(offset - rate stretch x), V, Marquis 2019, appendix, from Dualfoil
        (0.07645, 54.4806, 30.834), (2.1581, 50.294, 52.294), (-0.14169, 19.8543, 11.0923),
        (0.2051, 5.4888, 1.4684), (0.2531, 1 / 0.1316, 0.56478 / 0.1316), (0.02167, 1 / 0.006, 0.525 / 0.006),
    ]  # fmt: skip
    return Intercalation(
        maximum_concentration=capacity,
        diffusivity=1e-13,  # m2/s, Marquis 2019, table A-I
        open_circuit_potential=ExponentialTanh(
            constant=2.16216,
            slope=0.0,
            exponentials=[[0.0, 0.0]],
            steps=[[-height, rate * stretch, offset / (rate * stretch)] for height, rate, offset in terms],
        ),
        kinetics=InsertionKinetics(_rate(6e-7, capacity), _REFERENCE_SALT, 39570.0),  # Marquis 2019, table A-I
        diffusivity_activation_energy=18550.0,  # J/mol, Marquis 2019
    )


def marquis2019() -> Cell:
    """The Kokam SLPB 78205130H pouch cell, graphite against cobalt oxide, one electrode pair, nominally 0.680616 Ah.

    **Source:** Marquis et al. 2019, doi 10.1149/2.0341915jes, table A-I.
    """
    negative = Electrode(
        thickness=1e-4,  # m
        porosity=0.3,
        active_fraction=0.6,
        specific_area=3 * 0.6 / 1e-5,  # 1/m, spheres
        particle_radius=1e-5,  # m
        electrolyte_transport=0.3**1.5,  # Bruggeman exponent 1.5
        electronic_conductivity=100.0 * 0.7**1.5,  # S/m, Bruggeman exponent 1.5 on one minus porosity
        material=_marquis_graphite(),
        stoichiometry_full=19986.609595075 / 24983.2619938437,  # initial concentration
        stoichiometry_empty=MARQUIS_EMPTY[0],
    )
    positive = Electrode(
        thickness=1e-4,  # m
        porosity=0.3,
        active_fraction=0.5,
        specific_area=3 * 0.5 / 1e-5,  # 1/m, spheres
        particle_radius=1e-5,  # m
        electrolyte_transport=0.3**1.5,  # Bruggeman exponent 1.5
        electronic_conductivity=10.0 * 0.7**1.5,  # S/m, Bruggeman exponent 1.5 on one minus porosity
        material=_marquis_cobalt_oxide(),
        stoichiometry_full=30730.7554385565 / 51217.9257309275,  # initial concentration
        stoichiometry_empty=MARQUIS_EMPTY[1],
    )
    return Cell(
        negative=negative,
        separator=Separator(thickness=2.5e-5, porosity=1.0, electrolyte_transport=1.0),
        positive=positive,
        electrolyte=capiglia_electrolyte(),
        temperature=298.15,  # K
        area=0.137 * 0.207,  # m2
        lower_cutoff=3.105,  # V
        upper_cutoff=4.1,  # V
    )


def xu_lithium() -> LithiumMetal:
    """Lithium metal, j0 = F k c_Li^0.7 c^0.3. **Source:** Xu et al. 2019, doi 10.1149/2.0161914jes."""
    solid = 1.0 / 1.3e-5  # mol/m3, one over the molar volume of lithium
    exchange = 3.5e-8 * faraday * solid**0.7 * _REFERENCE_SALT**0.3  # A/m2 at 1000 mol/m3, k of Xu 2019
    return LithiumMetal(MetalKinetics(exchange, exponent=0.3, reference_concentration=_REFERENCE_SALT))


def xu_separator() -> Separator:
    """Celgard 2325. **Source:** Xu et al. 2019, doi 10.1149/2.0161914jes."""
    return Separator(thickness=2.5e-5, porosity=0.39, electrolyte_transport=0.39**1.5)  # m, Bruggeman exponent 1.5


def half_cell(
    positive: Electrode,
    electrolyte: Electrolyte,
    lower_cutoff=3.0,
    upper_cutoff=4.3,
    separator: Separator | None = None,
) -> Cell:
    """`positive` against the lithium metal of Xu et al. 2019, with their separator unless another one is given."""
    separator = xu_separator() if separator is None else separator
    return Cell(xu_lithium(), separator, positive, electrolyte, 298.15, 1.0, lower_cutoff, upper_cutoff)


def valoen_electrolyte(initial_concentration=1000.0) -> Electrolyte:
    """LiPF6 in PC:EC:DMC at 298.15 K.

    **Source:** Valoen and Reimers 2005, doi 10.1149/1.1872737, equations 14 and 17, at 298.15 K; the transference
    number and unit thermodynamic factor with which it is used in Xu et al. 2019, doi 10.1149/2.0161914jes.
    """
    t = 298.15  # K
    bends = (
        -10.5 + 0.0740 * t - 6.96e-5 * t**2,
        1e-3 * (0.668 - 0.0178 * t + 2.80e-5 * t**2),
        1e-6 * (0.494 - 8.86e-4 * t),
    )
    diffusivity = f"1e-4 * 10 ** (-4.43 - 54 / ({t} - 229 - 0.005 * x) - 0.00022 * x)"  # m2/s of mol/m3
    conductivity = "1e-4 * x * ({!r} + {!r} * x + {!r} * x ** 2) ** 2".format(*bends)  # S/m of mol/m3
    return Electrolyte(
        initial_concentration=initial_concentration,
        diffusivity=Expression(parse_formula(diffusivity)),
        conductivity=Expression(parse_formula(conductivity)),
        transference_number=0.38,  # Xu 2019
    )


def xu_nmc() -> Intercalation:
    """NMC 532 of Xu et al. 2019, doi 10.1149/2.0161914jes.

    **Source:** open-circuit potential as in Mohtat et al. 2020, doi 10.1149/1945-7111/aba5d1, which the published
    parameter set of Xu et al. takes.
    """
    capacity = 48230.0  # mol/m3, Xu 2019
    potential = (  # V, Mohtat 2020
        "4.3452 - 1.6518 * x + 1.6225 * x ** 2 - 2.0843 * x ** 3 + 3.5146 * x ** 4 - 2.2166 * x ** 5 "
        "- 0.5623e-4 * exp(109.451 * x - 100.006)"
    )
    return Intercalation(
        maximum_concentration=capacity,
        diffusivity=1e-14,  # m2/s, Xu 2019
        open_circuit_potential=Expression(parse_formula(potential)),
        kinetics=InsertionKinetics(_rate(5.76e-11 * faraday, capacity), _REFERENCE_SALT),  # Xu 2019
    )


def xu2019() -> Cell:
    """A coin half-cell, NMC 532 against lithium metal, nominally 2.4 mAh, at 298.15 K.

    **Source:** Xu et al. 2019, doi 10.1149/2.0161914jes, as in its published parameter set.
    """
    positive = Electrode(
        thickness=4.2e-5,  # m
        porosity=0.331,
        active_fraction=0.518,
        specific_area=3 * 0.518 / 5.3e-6,  # 1/m, spheres
        particle_radius=5.3e-6,  # m
        electrolyte_transport=0.331**1.5,  # Bruggeman exponent 1.5
        electronic_conductivity=100.0 * (1 - 0.331) ** 1.5,  # S/m, Bruggeman exponent 1.5 on one minus porosity
        material=xu_nmc(),
        stoichiometry_full=4631.0 / 48230.0,  # initial concentration
        stoichiometry_empty=XU_EMPTY,
    )
    cell = half_cell(positive, valoen_electrolyte(), 3.5, 4.2)  # V
    return dataclasses.replace(cell, area=0.01 * 0.0154)  # m2
