"""The keys of a job file: one declarative table of names, types, units, ranges, defaults and meanings."""

import dataclasses

from microstructure import units


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a job file.

    **Arguments:** `section`, `name`; `kind`, one of `float int bool str floats shape`; `default`, in the key's own
    unit; `low`, `high`, the allowed range, inclusive; `unit`, as the user reads it; `factor`, what turns it into SI;
    `variable`, whether a gradient with respect to it is offered; `choices`, the allowed strings; `doc`.
    """

    section: str
    name: str
    kind: str
    default: object
    doc: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    factor: float = 1.0
    variable: bool = False
    choices: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """`section.name`, as in `--set` and in the results."""
        return f"{self.section}.{self.name}"


def _number(section, name, default, low, high, unit, factor, doc, variable=False):
    return Key(section, name, "float", default, doc, low, high, unit, factor, variable)


PARTS = ("active", "carbon", "binder")  # of the solid, in the order of `Recipe.composition`
# What a [material] can say in each of the three roles: anything else would have no effect.
EFFECT = {
    "active": ("density_kg_m3", "electronic_conductivity_S_m", "youngs_modulus_GPa", "poisson_ratio"),
    "carbon": ("density_kg_m3",),
    "binder": (
        "density_kg_m3",
        "electronic_conductivity_S_m",
        "youngs_modulus_GPa",
        "poisson_ratio",
        "nanoporosity",
        "relative_diffusivity",
    ),
}
# Sections that mean nothing where the structure comes from an image.
RECIPE_SECTIONS = ("recipe.size", "recipe.second", "recipe.second.size", "grading", "drying", "calendering", "grid")
RECIPE_KEYS = ("recipe.areal_loading_mg_cm2", "recipe.dried_porosity")

OBJECTIVES = (
    "energy_2C_Wh_L",
    "energy_Wh_L",
    "energy_Wh_kg",
    "areal_capacity_mAh_cm2",
    "capacity_retention_2C",
    "average_voltage_V",
    "cost_USD_kWh",
    "carbon_kg_CO2e_kWh",
    "pulse_resistance_ohm_cm2",
    "porosity",
    "tortuosity_factor_x",
    "coating_thickness_um",
)

# Which keys of a distribution of sizes say what each kind is.
SIZE_KINDS = {
    "log-normal": ("median_radius_um", "sigma"),
    "weibull": ("scale_radius_um", "shape"),
    "percentiles": ("diameters_um", "diameter_shares"),
}


def _size(section: str, variable: bool) -> tuple[Key, ...]:
    return (
        Key(section, "kind", "str", "log-normal", "distribution of the radii", choices=tuple(SIZE_KINDS)),
        Key(section, "shares_by", "str", "number", "what its shares count", choices=("number", "volume")),
        _number(section, "median_radius_um", 3.0, 0.2, 20.0, "um", units.um, "median particle radius", variable),
        _number(section, "sigma", 0.30, 0.0, 0.60, "", 1.0, "standard deviation of the logarithm of the radius"),
        _number(section, "scale_radius_um", 3.4, 0.2, 20.0, "um", units.um, "radius that 36.8 % exceed, Weibull"),
        _number(section, "shape", 3.5, 0.5, 20.0, "", 1.0, "of a Weibull distribution, larger is narrower"),
        Key(
            section,
            "diameters_um",
            "floats",
            [6.0, 10.0, 16.0],
            "tabulated percentiles: D10, D50, D90",
            0.4,
            80.0,
            "um",
        ),
        Key(section, "diameter_shares", "floats", [0.1, 0.5, 0.9], "shares below each of the diameters", 0.0, 1.0),
    )


KEYS: tuple[Key, ...] = (
    _number("recipe", "areal_loading_mg_cm2", 14.0, 1.0, 60.0, "mg/cm2", units.mg_cm2, "dry coating per area", True),
    _number("recipe", "dried_porosity", 0.50, 0.40, 0.55, "", 1.0, "porosity of the film after drying"),
    _number("recipe", "solids_content", 0.70, 0.30, 0.90, "", 1.0, "mass fraction of solids in the slurry"),
    Key("recipe", "active_material", "str", "NMC811", "name of the active material"),
    Key("recipe", "carbon_material", "str", "carbon black", "name of the conductive carbon"),
    Key("recipe", "binder_material", "str", "PVDF", "name of the binder"),
    _number("recipe.composition", "active", 0.96, 0.70, 0.995, "", 1.0, "mass fraction of active material", True),
    _number("recipe.composition", "carbon", 0.02, 0.0, 0.20, "", 1.0, "mass fraction of carbon", True),
    _number("recipe.composition", "binder", 0.02, 0.0025, 0.20, "", 1.0, "mass fraction of binder", True),
    *_size("recipe.size", True),
    _number("recipe.second", "volume_share", 0.0, 0.0, 0.95, "", 1.0, "of a second kind of particles"),
    Key("recipe.second", "active_material", "str", "", "name of its material, by default that of the first"),
    *_size("recipe.second.size", False),
    Key(
        "grading",
        "amount",
        "floats",
        [1.0],
        "particles at even depths from collector to separator",
        0.0,
        100.0,
    ),
    Key("grading", "second_amount", "floats", [1.0], "the same of the second kind of particles", 0.0, 100.0),
    Key("grading", "size", "floats", [1.0], "factor on the radii from collector to separator", 0.2, 5.0),
    _number("drying", "evaporation_flux_g_m2_s", 1.0, 0.01, 20.0, "g/m2/s", units.g_m2_s, "solvent leaving", True),
    _number("calendering", "gap_um", 44.0, 5.0, 500.0, "um", units.um, "closest distance of plate and collector", True),
    _number(
        "calendering",
        "line_load_N_mm",
        0.0,
        0.0,
        1e4,
        "N/mm",
        units.N_mm,
        "force of the rolls a width, in place of the gap, which is then the smallest that may be; 0 leaves it out",
        True,
    ),
    _number(
        "calendering",
        "plate_pressure_MPa",
        0.0,
        0.0,
        1e4,
        "MPa",
        units.MPa,
        "peak pressure on the film, in place of the gap as above; 0 leaves it out",
        True,
    ),
    _number("calendering", "friction", 0.0, 0.0, 2.0, "", 1.0, "of particles, collector and plate; 0 leaves it out"),
    _number(
        "calendering",
        "roll_temperature_C",
        23.0,
        0.0,
        160.0,
        "C",
        1.0,
        "that of the binder too, which softens",
    ),
    _number(
        "calendering", "fracture_strain", 0.0, 0.0, 10.0, "", 1.0, "at which binder bridges break; 0 leaves it out"
    ),
    _number("calendering", "rest_s", 0.0, 0.0, 1e7, "s", 1.0, "how long the thickness is followed after it was let go"),
    Key("calendering", "increments", "int", 10, "steps of the plate down to the gap", 2, 1000),
    Key("calendering", "release_increments", "int", 3, "steps of the pressure while it lets go", 1, 100),
    Key("calendering", "passes", "int", 1, "how often the film is pressed and let go", 1, 20),
    _number("calendering", "roll_diameter_mm", 800.0, 10.0, 3000.0, "mm", units.mm, "of both rolls, for the line load"),
    _number("calendering", "web_speed_m_min", 30.0, 0.01, 1000.0, "m/min", units.m_min, "for the time in the nip"),
    _number(
        "electrolyte", "concentration_mol_m3", 1000.0, 100.0, 3000.0, "mol/m3", 1.0, "lithium salt in the pores", True
    ),
    _number("cell", "n_to_p_ratio", 1.10, 1.0, 2.0, "", 1.0, "usable areal capacity, negative over positive"),
    _number("cell", "lower_cutoff_V", 2.5, 2.5, 3.9, "V", 1.0, "voltage that ends a discharge"),
    _number("cell", "upper_cutoff_V", 4.2, 4.05, 4.35, "V", 1.0, "voltage at rest of the charged cell"),
    _number(
        "cell",
        "charge_c_rate",
        0.0,
        0.0,
        20.0,
        "1/h",
        1.0,
        "charge to the upper cut-off for the time from 10 to 80 % and the energy efficiency; 0 leaves them out",
    ),
    Key("economics", "path", "str", "", "TOML file of prices, emission factors and making in place of built-in ones"),
    Key("grid", "shape", "shape", [96, 64, 64], "voxels along x (thickness), y, z", 8, 2048),
    Key("grid", "particles", "int", 400, "active-material particles", 20, 200000),
    Key("run", "realisations", "int", 1, "packing seeds to repeat over", 1, 1000),
    Key("run", "seed", "int", 0, "seed of the first realisation", 0, 2**31 - 1),
    Key("run", "c_rates", "floats", [0.5, 1.0, 2.0], "discharge rates", 0.01, 20.0),
    Key("run", "output", "str", "mesode_run.h5", "run file to write"),
    Key("image", "path", "str", "", "label image that takes the place of recipe, drying and calendering"),
    Key("image", "dataset", "str", "", "dataset inside an HDF5 image"),
    _number("image", "voxel_size_um", 0.0, 0.0, 50.0, "um", units.um, "voxel edge; 0 takes it from the file"),
    Key("image.labels", "pore", "int", 0, "label of the pores", 0, 2**31 - 1),
    Key("image.labels", "active", "int", 1, "label of the active material", 0, 2**31 - 1),
    Key("image.labels", "binder", "int", 2, "label of the carbon-binder", 0, 2**31 - 1),
    Key("gradient", "objective", "str", OBJECTIVES[0], "what is differentiated", choices=OBJECTIVES),
    Key("gradient", "variables", "strings", [], "keys to differentiate by; empty means all that can be"),
    Key(
        "design",
        "objective",
        "str",
        OBJECTIVES[0],
        "what is made large, or small: cost, carbon, resistance",
        choices=OBJECTIVES,
    ),
    Key("design", "steps", "int", 10, "gradient steps", 1, 10000),
    Key("design", "samples", "int", 2, "packing seeds averaged in each step", 1, 256),
    _number("design", "learning_rate", 0.12, 1e-4, 1.0, "", 1.0, "first steps, as a share of the range of a variable"),
    Key("design", "unseen", "int", 8, "unseen packing seeds on which start and result are judged", 2, 256),
    Key(
        "design",
        "baseline",
        "str",
        "random search",
        "what the descent is compared with, at as many solves",
        choices=("random search", "none"),
    ),
    _number(
        "design", "baseline_budget", 1.0, 0.1, 1000.0, "", 1.0, "solves of the random search over those of the descent"
    ),
    _number(
        "design",
        "refine",
        1.0,
        1.0,
        4.0,
        "",
        1.0,
        "voxels an edge on which results are judged, over those of the descent",
    ),
)

MATERIAL_KEYS: tuple[Key, ...] = (
    _number("material", "density_kg_m3", None, 500.0, 25000.0, "kg/m3", 1.0, "density"),
    _number(
        "material",
        "electronic_conductivity_S_m",
        None,
        1e-8,
        1e8,
        "S/m",
        1.0,
        "of active material or carbon-binder",
    ),
    _number(
        "material",
        "youngs_modulus_GPa",
        None,
        1e-3,
        1000.0,
        "GPa",
        units.GPa,
        "Young's modulus, active or binder",
    ),
    _number("material", "poisson_ratio", None, 0.0, 0.49, "", 1.0, "Poisson ratio"),
    _number("material", "nanoporosity", None, 0.0, 0.95, "", 1.0, "of the carbon-binder, said of the binder"),
    _number("material", "relative_diffusivity", None, 1e-4, 1.0, "", 1.0, "of electrolyte in the nanopores"),
)

BY_PATH = {key.path: key for key in KEYS}
MATERIAL_BY_NAME = {key.name: key for key in MATERIAL_KEYS}
SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS))
VARIABLES = tuple(key.path for key in KEYS if key.variable)


def as_markdown(keys=(), named: str = "material") -> str:
    """The table for people: every key with unit, range, default and meaning.

    **Arguments:** `keys`, those of a job of `mesode run` unless others are given; `named`, the section that every user
    gives names of their own.
    """
    lines = ["| key | unit | range | default | meaning |", "|---|---|---|---|---|"]
    for key in keys or (*KEYS, *MATERIAL_KEYS):
        span = "" if key.low is None else f"{key.low:g} to {key.high:g}"
        span = ", ".join(key.choices) or span
        section = f"{named}.NAME" if key.section == named else key.section
        default = "" if key.default is None else f"`{key.default}`"
        lines.append(f"| `{section}.{key.name}` | {key.unit} | {span} | {default} | {key.doc} |")
    return "\n".join(lines)
