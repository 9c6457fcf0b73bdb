"""How a cell is made: its slurries, the losses and the energy of the plant, and the casing; tables with sources."""

import equinox as eqx
from jaxtyping import Array, Float

from microstructure.checks import require

from ..numerics.real import real
from .performance import Casing
from .table import Entry, filled


class Slurry(eqx.Module):
    """How a coating is mixed and dried.

    **Arguments:** `carbon_share`, of the mass of carbon and binder together; `solids_content`, mass of solids over mass
    of slurry; of the solvent: `latent_heat`, J/kg, `heat_capacity`, J/kg/K, `temperature_rise`, K, from the slurry to
    the oven; `overhead`, heat of the dryer over that ideal one, air, recovery and losses included; `recovered`, share
    of the solvent that is used again.
    """

    carbon_share: Float[Array, ""] = eqx.field(converter=real)
    solids_content: Float[Array, ""] = eqx.field(converter=real)
    latent_heat: Float[Array, ""] = eqx.field(converter=real)
    heat_capacity: Float[Array, ""] = eqx.field(converter=real)
    temperature_rise: Float[Array, ""] = eqx.field(converter=real)
    overhead: Float[Array, ""] = eqx.field(converter=real)
    recovered: Float[Array, ""] = eqx.field(converter=real)

    def __check_init__(self):
        require("carbon_share", self.carbon_share, 0.0, 1.0)
        require("solids_content", self.solids_content, 0.01, 1.0)
        require("latent_heat", self.latent_heat, 0.0, unit="J/kg")
        require("heat_capacity", self.heat_capacity, 0.0, unit="J/kg/K")
        require("temperature_rise", self.temperature_rise, 0.0, unit="K")
        require("overhead", self.overhead, 0.0)
        require("recovered", self.recovered, 0.0, 1.0)

    def solvent(self, solids) -> Array:
        """Mass of solvent, kg/m2, that goes with a mass of solids, kg/m2."""
        return solids * (1.0 / self.solids_content - 1.0)

    @property
    def heat(self) -> Array:
        """What the dryer takes for a kilogram of solvent, J/kg."""
        return (self.latent_heat + self.heat_capacity * self.temperature_rise) * self.overhead


class Plant(eqx.Module):
    """What a factory loses and burns.

    **Arguments:** yields of what is bought, shares that end in a cell: `electrode_yield`, of the coatings,
    `foil_yield`, `separator_yield`, `electrolyte_yield`; `cell_yield`, of cells that pass; `electricity`, J per m2 of
    pair, and `dry_room_heat`, J per m2 of pair, all heat but that of the dryers.
    """

    electrode_yield: Float[Array, ""] = eqx.field(converter=real)
    foil_yield: Float[Array, ""] = eqx.field(converter=real)
    separator_yield: Float[Array, ""] = eqx.field(converter=real)
    electrolyte_yield: Float[Array, ""] = eqx.field(converter=real)
    cell_yield: Float[Array, ""] = eqx.field(converter=real)
    electricity: Float[Array, ""] = eqx.field(converter=real)
    dry_room_heat: Float[Array, ""] = eqx.field(converter=real)

    def __check_init__(self):
        for name in ("electrode_yield", "foil_yield", "separator_yield", "electrolyte_yield", "cell_yield"):
            require(name, getattr(self, name), 0.01, 1.0)
        require("electricity", self.electricity, 0.0, unit="J/m2")
        require("dry_room_heat", self.dry_room_heat, 0.0, unit="J/m2")


_BATPAC = "BatPaC 4 default, as in the public code BattModels/BatteryCost, 2020"
_DEGEN = "Degen and Schuette 2022, doi 10.1016/j.jclepro.2021.129798: 41.48 kWh/kWh, of it 21.38 of gas"
_kWh = 3.6e6  # J

PLANT = (
    Entry("electrode_yield", 0.922, "", _BATPAC, low=0.01, high=1.0),
    Entry("foil_yield", 0.902, "", _BATPAC, low=0.01, high=1.0),
    Entry("separator_yield", 0.98, "", _BATPAC, low=0.01, high=1.0),
    Entry("electrolyte_yield", 0.94, "", _BATPAC, low=0.01, high=1.0),
    Entry("cell_yield", 0.95, "", _BATPAC, low=0.01, high=1.0),
    Entry("electricity", 2.6, "kWh/m2", f"{_DEGEN}; 20.1 kWh/kWh at an assumed 130 Wh/m2", _kWh, high=1e3),
    Entry("dry_room_heat", 1.75, "kWh/m2", f"{_DEGEN}; less the dryers, at an assumed 130 Wh/m2", _kWh, high=1e3),
)
NMP_SLURRY = (
    Entry("carbon_share", 0.5, "", "assumed: as much carbon as binder", high=1.0),
    Entry("solids_content", 0.70, "", "assumed, as in `Recipe`", low=0.01, high=1.0),
    Entry("latent_heat", 569.0, "kJ/kg", "56.4 kJ/mol of NMP at 298 K, doi 10.3390/molecules26051411, table 2", 1e3),
    Entry("heat_capacity", 1.7, "kJ/kg/K", "liquid NMP, assumed", 1e3),
    Entry("temperature_rise", 100.0, "K", "assumed: from 25 to 125 C", high=500.0),
    Entry(
        "overhead",
        45.0,
        "",
        "assumed: gives 9.2 kWh/kg; Ahmed et al. 2016, doi 10.1016/j.jpowsour.2016.04.102, about 10 (not read again)",
        high=1e3,
    ),
    Entry("recovered", 0.995, "", _BATPAC, high=1.0),
)
WATER_SLURRY = (
    Entry("carbon_share", 0.3, "", "assumed", high=1.0),
    Entry("solids_content", 0.50, "", "assumed", low=0.01, high=1.0),
    Entry("latent_heat", 2442.0, "kJ/kg", "water at 298 K, CRC Handbook", 1e3),
    Entry("heat_capacity", 4.18, "kJ/kg/K", "water, CRC Handbook", 1e3),
    Entry("temperature_rise", 60.0, "K", "assumed: from 25 to 85 C", high=500.0),
    Entry(
        "overhead",
        1.4,
        "",
        "a tenth of NMP's energy by mass, Argonne 2018, J. Power Sources 378, osti 1431318",
        high=1e3,
    ),
    Entry("recovered", 0.0, "", "let go", high=1.0),
)


def plant(**given) -> Plant:
    """The factory of the table `PLANT`, with `given` numbers, in the table's units, in place of its own."""
    return filled(Plant, PLANT, given)


def nmp_slurry(**given) -> Slurry:
    """A coating from N-methyl-2-pyrrolidone by the table `NMP_SLURRY`, as of a positive electrode."""
    return filled(Slurry, NMP_SLURRY, given)


def water_slurry(**given) -> Slurry:
    """A coating from water by the table `WATER_SLURRY`, as of a negative electrode."""
    return filled(Slurry, WATER_SLURRY, given)


class Making(eqx.Module):
    """How a cell is made: `negative` and `positive` slurries, the `plant`, and the `casing` around the stack."""

    negative: Slurry = eqx.field(default_factory=water_slurry)
    positive: Slurry = eqx.field(default_factory=nmp_slurry)
    plant: Plant = eqx.field(default_factory=plant)
    casing: Casing = eqx.field(default_factory=Casing)
