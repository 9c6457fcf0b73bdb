"""A cell from the values of a BPX file."""

from microstructure.exchange.bpx import BpxCell, Formula, Points

from ..electrochemistry.electrolyte import Electrolyte
from ..electrochemistry.intercalation import Intercalation
from ..electrochemistry.kinetics import InsertionKinetics
from ..electrochemistry.laws import Constant, Expression, Law, Table
from .cell import Cell, Electrode, Separator, full_at_upper_cutoff


def cell_from_bpx(source: BpxCell) -> Cell:
    """The cell that a BPX file describes, all electrode pairs together.

    The conductivities of a BPX file are effective. Its exchange current is F k sqrt((c/c_0) x (1 - x)), with c_0 the
    initial concentration, and its thermodynamic factor is one. The active fraction follows from area and radius,
    eps_act = a R / 3. Full is the negative at its maximum stoichiometry and the positive at its minimum, moved at
    constant lithium to the upper cut-off voltage at rest.

    **Source:** BPX standard 1.1, Faraday Institution, https://bpxstandard.com.
    """
    lyte, whole = source.electrolyte, source.cell
    reference = whole["Reference temperature [K]"] or 298.15
    electrolyte = Electrolyte(
        initial_concentration=source.concentration,
        diffusivity=_law(lyte["Diffusivity [m2.s-1]"]),
        conductivity=_law(lyte["Conductivity [S.m-1]"]),
        transference_number=lyte["Cation transference number"],
        diffusivity_activation_energy=lyte["Diffusivity activation energy [J.mol-1]"] or 0.0,
        conductivity_activation_energy=lyte["Conductivity activation energy [J.mol-1]"] or 0.0,
        reference_temperature=reference,
    )
    separator = Separator(
        thickness=source.separator["Thickness [m]"],
        porosity=source.separator["Porosity"],
        electrolyte_transport=source.separator["Transport efficiency"],
    )
    cell = Cell(
        negative=_electrode(source.negative, source.concentration, reference, charged="Maximum"),
        separator=separator,
        positive=_electrode(source.positive, source.concentration, reference, charged="Minimum"),
        electrolyte=electrolyte,
        temperature=source.temperature,
        area=whole["Electrode area [m2]"] * whole["Number of electrode pairs connected in parallel to make a cell"],
        lower_cutoff=whole["Lower voltage cut-off [V]"],
        upper_cutoff=whole["Upper voltage cut-off [V]"],
    )
    return full_at_upper_cutoff(cell)


def _electrode(values, concentration, reference, charged):
    discharged = {"Maximum": "Minimum", "Minimum": "Maximum"}[charged]
    area, radius = values["Surface area per unit volume [m-1]"], values["Particle radius [m]"]
    diffusivity = values["Diffusivity [m2.s-1]"]
    if isinstance(diffusivity, Formula | Points):
        raise ValueError("The solid diffusivity of this BPX file varies with stoichiometry; a constant one is needed.")
    kinetics = InsertionKinetics(
        rate=values["Reaction rate constant [mol.m-2.s-1]"],
        reference_concentration=concentration,
        activation_energy=values["Reaction rate constant activation energy [J.mol-1]"] or 0.0,
    )
    material = Intercalation(
        maximum_concentration=values["Maximum concentration [mol.m-3]"],
        diffusivity=diffusivity,
        open_circuit_potential=_law(values["OCP [V]"]),
        kinetics=kinetics,
        diffusivity_activation_energy=values["Diffusivity activation energy [J.mol-1]"] or 0.0,
        reference_temperature=reference,
    )
    return Electrode(
        thickness=values["Thickness [m]"],
        porosity=values["Porosity"],
        active_fraction=area * radius / 3.0,
        specific_area=area,
        particle_radius=radius,
        electrolyte_transport=values["Transport efficiency"],
        electronic_conductivity=values["Conductivity [S.m-1]"],
        material=material,
        stoichiometry_full=values[f"{charged} stoichiometry"],
        stoichiometry_empty=values[f"{discharged} stoichiometry"],
    )


def _law(value) -> Law:
    if isinstance(value, Formula):
        return Expression(value.tree)
    if isinstance(value, Points):
        return Table(list(value.x), list(value.y))
    return Constant(float(value))
