"""The values of a BPX file from a cell."""

import numpy as np

from microstructure.exchange.bpx import BpxCell, BpxElectrode
from microstructure.exchange.formula import Formula, Points, formula_text
from microstructure.units import Ah

from ..electrochemistry import laws
from ..electrochemistry.kinetics import InsertionKinetics, arrhenius
from .bpx import ACTIVE_FRACTION, THERMODYNAMIC_FACTOR
from .cell import Cell, Electrode, theoretical_capacity

_X = ("x",)
_SAMPLES = 2001  # points of a table that stands for a law without a formula
_CONCENTRATIONS = 1.0, 4000.0  # mol/m3, over which a law of the electrolyte is tabulated
_PAIRS = "Number of electrode pairs connected in parallel to make a cell"


def bpx_from_cell(
    cell: Cell, *, nominal_capacity=None, title="", description="", references="", user_defined=None, cell_fields=None
) -> BpxCell:
    """What a BPX file says of `cell`, for [`write_bpx`][]: the way back of [`cell_from_bpx`][].

    The cell starts full as it is: no state of charge is named, so that its stoichiometries are the limits of the file.
    Rate constants are referred to the initial concentration and all temperature dependences to the reference
    temperature of the electrolyte, as the standard wants. What it has no field for goes to `User-defined`: a
    thermodynamic factor other than one, and active fractions that are not a third of area times radius.

    **Arguments:** `nominal_capacity`, Ah, by default the theoretical one of the positive; `title`, `description`,
    `references`, texts of the header; `user_defined`, further values by name, numbers; `cell_fields`, fields of the
    section `Cell` by name where they are known (volume, outer surface, density, heat capacity, electrode pairs). By
    default there is one pair, and volume and outer surface are those of electrodes and separator.

    **Raises:** `ValueError` for a half-cell, which the standard does not know.
    """
    if not isinstance(cell.negative, Electrode):
        raise ValueError("A half-cell cannot be written as BPX, which knows insertion electrodes only.")
    reference = cell.electrolyte.reference_temperature
    return BpxCell(
        title=title or "Cell of mesode",
        cell=_cell(cell, nominal_capacity, cell_fields or {}),
        electrolyte=_electrolyte(cell.electrolyte),
        negative=_electrode(cell.negative, cell.electrolyte, reference, charged="Maximum"),
        positive=_electrode(cell.positive, cell.electrolyte, reference, charged="Minimum"),
        separator={
            "Thickness [m]": float(cell.separator.thickness),
            "Porosity": float(cell.separator.porosity),
            "Transport efficiency": float(cell.separator.electrolyte_transport),
        },
        temperature=float(cell.temperature),
        ambient_temperature=float(cell.temperature),
        concentration=float(cell.electrolyte.initial_concentration),
        user_defined=(user_defined or {}) | _further(cell),
        description=description,
        references=references,
    )


def _further(cell):
    """What the standard has no field for and the cell needs."""
    found = {}
    if float(cell.electrolyte.thermodynamic_factor) != 1.0:
        found[THERMODYNAMIC_FACTOR] = float(cell.electrolyte.thermodynamic_factor)
    for side in ("negative", "positive"):
        electrode = getattr(cell, side)
        share, sphere = float(electrode.active_fraction), float(electrode.specific_area * electrode.particle_radius) / 3
        if abs(share - sphere) > 1e-12 * share:
            found[ACTIVE_FRACTION.format(side=side)] = share
    return found


def _cell(cell, nominal_capacity, fields):
    pairs, area = fields.get(_PAIRS) or 1.0, float(cell.area)
    if nominal_capacity is None:
        nominal_capacity = float(theoretical_capacity(cell.positive) * cell.area / Ah)
    thickness = float(cell.negative.thickness + cell.separator.thickness + cell.positive.thickness)
    found = {
        "Electrode area [m2]": area / pairs,
        _PAIRS: pairs,
        "Lower voltage cut-off [V]": float(cell.lower_cutoff),
        "Upper voltage cut-off [V]": float(cell.upper_cutoff),
        "Nominal cell capacity [A.h]": float(nominal_capacity),
        "Reference temperature [K]": float(cell.electrolyte.reference_temperature),
        "Volume [m3]": area * thickness,
        "External surface area [m2]": 2 * area / pairs,
    }
    kept = ("Volume [m3]", "External surface area [m2]", "Density [kg.m-3]", "Specific heat capacity [J.K-1.kg-1]")
    return found | {name: fields[name] for name in kept if fields.get(name) is not None}


def _electrolyte(electrolyte):
    return {
        "Cation transference number": float(electrolyte.transference_number),
        "Diffusivity [m2.s-1]": law_of_bpx(electrolyte.diffusivity, *_CONCENTRATIONS),
        "Diffusivity activation energy [J.mol-1]": float(electrolyte.diffusivity_activation_energy),
        "Conductivity [S.m-1]": law_of_bpx(electrolyte.conductivity, *_CONCENTRATIONS),
        "Conductivity activation energy [J.mol-1]": float(electrolyte.conductivity_activation_energy),
    }


def _electrode(electrode, electrolyte, reference, charged):
    discharged = {"Maximum": "Minimum", "Minimum": "Maximum"}[charged]
    material, kinetics = electrode.material, electrode.material.kinetics
    if not isinstance(kinetics, InsertionKinetics):
        raise ValueError(f"BPX has no field for the kinetics {type(kinetics).__name__}.")
    moved = material.reference_temperature  # to the one temperature that the file refers to
    rate = kinetics.rate * (electrolyte.initial_concentration / kinetics.reference_concentration) ** 0.5
    rate = rate * arrhenius(kinetics.activation_energy, reference, moved)
    diffusivity = material.diffusivity * arrhenius(material.diffusivity_activation_energy, reference, moved)
    layer = {
        "Thickness [m]": electrode.thickness,
        "Porosity": electrode.porosity,
        "Transport efficiency": electrode.electrolyte_transport,
        "Conductivity [S.m-1]": electrode.electronic_conductivity,
    }
    particle = {
        f"{charged} stoichiometry": electrode.stoichiometry_full,
        f"{discharged} stoichiometry": electrode.stoichiometry_empty,
        "Maximum concentration [mol.m-3]": material.maximum_concentration,
        "Particle radius [m]": electrode.particle_radius,
        "Surface area per unit volume [m-1]": electrode.specific_area,
        "Diffusivity [m2.s-1]": diffusivity,
        "Diffusivity activation energy [J.mol-1]": material.diffusivity_activation_energy,
        "Reaction rate constant [mol.m-2.s-1]": rate,
        "Reaction rate constant activation energy [J.mol-1]": kinetics.activation_energy,
    }
    particle = {name: float(value) for name, value in particle.items()}
    particle["Entropic change coefficient [V.K-1]"] = 0.0  # as the isothermal cell has it; PyBaMM runs nothing without
    particle["OCP [V]"] = law_of_bpx(material.open_circuit_potential, 0.0, 1.0)
    return BpxElectrode({name: float(value) for name, value in layer.items()}, {"": particle})


def law_of_bpx(law: laws.Law, low: float, high: float) -> float | Formula | Points:
    """A law as BPX says it: exact as a number, a formula or a table, or else a table over [low, high]."""
    if isinstance(law, laws.Constant):
        return float(law.value)
    if isinstance(law, laws.Table):
        return Points(tuple(np.asarray(law.x).tolist()), tuple(np.asarray(law.y).tolist()))
    if isinstance(law, laws.Exponential):
        return Formula(_times(law.amplitude, ("exp", _times(law.rate, _X))))
    if isinstance(law, laws.ExponentialTanh):
        return Formula(_sum(_exponential_tanh(law)))
    if isinstance(law, laws.PowerSum):
        ratio = ("/", _X, _number(law.scale))
        terms = zip(np.asarray(law.coefficients), law.powers, strict=True)
        return Formula(_sum([_times(a, ("**", ratio, _number(p)) if p != 1 else ratio) if p else _number(a)
                             for a, p in terms]))  # fmt: skip
    if isinstance(law, laws.Expression) and _writable(law.tree):
        return Formula(law.tree)
    x = np.linspace(low, high, _SAMPLES)
    return Points(tuple(x.tolist()), tuple(np.asarray(law(x), float).tolist()))


def _exponential_tanh(law):
    yield _number(law.constant)
    if float(law.slope):
        yield _times(law.slope, _X)
    for a, b in np.asarray(law.exponentials):
        if a:
            yield _times(a, ("exp", _times(b, _X)))
    for height, rate, centre in np.asarray(law.steps):
        if height:
            yield _times(height, ("tanh", _times(rate, ("-", _X, _number(centre)))))


def _writable(tree):
    try:
        formula_text(tree)
    except ValueError:
        return False
    return True


def _sum(terms):
    terms = iter(terms)
    total = next(terms)
    for term in terms:
        total = ("+", total, term)
    return total


def _times(factor, tree):
    return ("*", _number(factor), tree)


def _number(value):
    return ("number", float(value))
