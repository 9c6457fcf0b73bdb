"""The keys of a job of `mesode resolve`: names, units, ranges, defaults and meanings in one table."""

from mesode.keys import Key
from microstructure import units

ROLES = ("pore", "active", "binder", "inert")
MATERIALS = (
    "Chen2020 NMC811",
    "Chen2020 graphite-SiOx",
    "Marquis2019 LCO",
    "Marquis2019 graphite",
    "Xu2019 NMC532",
)
ELECTROLYTES = ("Nyman2008", "Capiglia1999", "Valoen2005")
AXES = ("x", "y", "z", "-x", "-y", "-z")


def _number(section, name, default, low, high, unit, factor, doc):
    return Key(section, name, "float", default, doc, low, high, unit, factor)


KEYS: tuple[Key, ...] = (
    Key("image", "path", "str", "", "label volume, .tif, .npy or .h5"),
    Key("image", "dataset", "str", "", "dataset inside an HDF5 image"),
    Key("image", "run_file", "str", "", "run file of `mesode run`, instead of an image: its calendered structure"),
    _number("image", "voxel_size_um", 0.0, 0.0, 50.0, "um", units.um, "voxel edge; 0 takes that of the file"),
    Key("image", "axis", "str", "x", "axis of the thickness; with - the collector is at its end", choices=AXES),
    Key("cell", "c_rates", "floats", [1.0], "rates of the discharges, each from the start", 1e-3, 100.0),
    _number("cell", "lower_cutoff_V", 3.0, 0.0, 6.0, "V", 1.0, "voltage at which a discharge ends"),
    _number("cell", "temperature_K", 298.15, 200.0, 400.0, "K", 1.0, "temperature of the cell"),
    _number("cell", "contact_resistance_ohm_cm2", 0.0, 0.0, 1e4, "ohm cm2", 1e-4, "between coating and terminal"),
    Key("cell", "sides", "str", "closed", "whether the sides are joined", choices=("closed", "periodic")),
    Key("electrolyte", "name", "str", "Nyman2008", "its laws of transport", choices=ELECTROLYTES),
    _number("electrolyte", "concentration_mol_m3", 1000.0, 10.0, 5000.0, "mol/m3", 1.0, "of the salt at the start"),
    _number("separator", "thickness_um", 12.0, 0.1, 1000.0, "um", units.um, "of the separator"),
    _number("separator", "porosity", 0.47, 0.01, 1.0, "", 1.0, "of the separator"),
    _number("separator", "transport", 0.322, 1e-4, 1.0, "", 1.0, "its effective over free diffusivity"),
    Key("output", "file", "str", "mesode_resolve.h5", "run file to write"),
    Key(
        "output", "depths_of_discharge", "floats", [0.2, 0.4, 0.6, 0.8],
        "at which fields are kept, besides start and end, of the charge of 1C for an hour", 1e-6, 1.5,
    ),
    _number("method", "tolerance", 5e-4, 1e-7, 1e-1, "", 1.0, "local error of a time step"),
    Key("method", "max_steps", "int", 2000, "time steps of a discharge", 1, 100000),
    Key("method", "chunk", "int", 4, "time steps between two saves; more take more memory", 1, 1000),
    Key("method", "devices", "int", 1, "that share the voxels, in slabs across y or z", 1, 1024),
    _number("method", "neck", 0.8, 0.0, 1.0, "", 1.0, "width of a neck, over that of the slimmer side, above which two "
            "sides are one particle"),
)  # fmt: skip

PHASE_KEYS: tuple[Key, ...] = (
    Key("phase", "label", "int", 0, "label of the phase in the image", 0, 2**31 - 1),
    Key("phase", "role", "str", "inert", "what it does", choices=ROLES),
    Key("phase", "material", "str", MATERIALS[0], "of an active phase", choices=MATERIALS),
    _number("phase", "conductivity_S_m", None, 1e-12, 1e9, "S/m", 1.0, "of electrons, active or binder"),
    _number("phase", "diffusivity_m2_s", None, 1e-20, 1e-8, "m2/s", 1.0, "of lithium in an active phase"),
    _number("phase", "stoichiometry_start", None, 0.0, 1.0, "", 1.0, "of an active phase, charged"),
    _number("phase", "stoichiometry_end", None, 0.0, 1.0, "", 1.0, "of an active phase at a state of charge of 0"),
    _number("phase", "porosity", None, 1e-3, 1.0, "", 1.0, "of the nanopores of a binder"),
    _number("phase", "transport", None, 1e-6, 1.0, "", 1.0, "effective over free diffusivity in a binder"),
)
# What means something in each role.
EFFECT = {
    "pore": ("label", "role"),
    "active": (
        "label", "role", "material", "conductivity_S_m", "diffusivity_m2_s", "stoichiometry_start", "stoichiometry_end",
    ),
    "binder": ("label", "role", "conductivity_S_m", "porosity", "transport"),
    "inert": ("label", "role"),
}  # fmt: skip

BY_PATH = {key.path: key for key in KEYS}
SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS))
PHASE_BY_NAME = {key.name: key for key in PHASE_KEYS}
