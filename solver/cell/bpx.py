"""A cell from the values of a BPX file."""

import jax.numpy as jnp
import numpy as np

from microstructure.exchange.bpx import BpxCell, BpxElectrode
from microstructure.exchange.formula import Formula, Points

from ..electrochemistry.electrolyte import Electrolyte
from ..electrochemistry.intercalation import Intercalation
from ..electrochemistry.kinetics import InsertionKinetics
from ..electrochemistry.laws import Constant, Expression, Law, Table
from .cell import Cell, Electrode, ParticleClass, Separator, Thermal, full_at_upper_cutoff

# In `User-defined`, where the standard has no field; the first is the name that PyBaMM reads.
THERMODYNAMIC_FACTOR = "Thermodynamic factor"
ACTIVE_FRACTION = "Mesode {side} electrode active fraction"
_PAIRS = "Number of electrode pairs connected in parallel to make a cell"


def cell_from_bpx(source: BpxCell) -> Cell:
    """The cell that a BPX file describes, all electrode pairs together.

    The conductivities of a BPX file are effective. Its exchange current is F k sqrt((c/c_0) x (1 - x)), with c_0 the
    initial concentration, and its thermodynamic factor is one unless `User-defined` says otherwise. The active fraction
    follows from area and radius, eps_act = a R / 3. Full is the negative at its maximum stoichiometry and the positive
    at its minimum; where the file names a state of charge, moved at constant lithium to the upper cut-off voltage at
    rest, where 1 is, as PyBaMM does.

    **Raises:** `ValueError` for what the porous-electrode model lacks in the file, or has no place for.

    **Source:** BPX standard 1.1, Faraday Institution, https://bpxstandard.com.
    """
    _require_sections(source)
    whole, reference = source.cell, source.cell["Reference temperature [K]"] or 298.15
    separator = Separator(
        thickness=source.separator["Thickness [m]"],
        porosity=source.separator["Porosity"],
        electrolyte_transport=source.separator["Transport efficiency"],
    )
    cell = Cell(
        negative=_electrode(source, "negative", reference),
        separator=separator,
        positive=_electrode(source, "positive", reference),
        electrolyte=_electrolyte(source, reference),
        temperature=source.temperature,
        area=whole["Electrode area [m2]"] * whole[_PAIRS],
        lower_cutoff=whole["Lower voltage cut-off [V]"],
        upper_cutoff=whole["Upper voltage cut-off [V]"],
    )
    return cell if source.state_of_charge is None else _filled(cell, source)


def particle_classes(source: BpxCell, side: str) -> list[ParticleClass]:
    """The classes of particles of the `negative` or `positive` electrode of a file, in its order."""
    reference = source.cell["Reference temperature [K]"] or 298.15
    electrode: BpxElectrode = getattr(source, side)
    return [_class(source, side, name, values, reference) for name, values in electrode.particles.items()]


_OPTIONAL = {  # what a cell can be built without
    "External surface area [m2]", "Volume [m3]", "Reference temperature [K]", "Density [kg.m-3]",
    "Specific heat capacity [J.K-1.kg-1]", "Diffusivity activation energy [J.mol-1]",
    "Conductivity activation energy [J.mol-1]", "Reaction rate constant activation energy [J.mol-1]",
    "Entropic change coefficient [V.K-1]", "OCP (delithiation) [V]", "OCP (lithiation) [V]",
    "OCP hysteresis decay constant",
}  # fmt: skip


def _require_sections(source):
    """A file of an SPM, or a partial one, is a value like others; what it lacks is said where it is needed."""
    sections = {"Cell": source.cell, "Electrolyte": source.electrolyte, "Separator": source.separator}
    for side in ("Negative electrode", "Positive electrode"):
        electrode = getattr(source, side.split()[0].lower())
        sections[side] = electrode and electrode.layer
        for name, values in electrode.particles.items() if electrode else ():
            sections[f"{side} / {name}".removesuffix(" / ")] = values | (sections[side] if not name else {})
    lacking = [f"`{title}`" for title, values in sections.items() if not values]
    for title, values in sections.items():
        lacking += [f"`{title} / {k}`" for k, v in (values or {}).items() if v is None and k not in _OPTIONAL]
    if lacking:
        shown = ", ".join(lacking[:6]) + (f" and {len(lacking) - 6} more" if len(lacking) > 6 else "")
        raise ValueError(
            f"File `{source.name}`, of model {source.model}, lacks {shown}, which the porous-electrode model needs. "
            "Use a file of model DFN."
        )


def _electrolyte(source, reference):
    values, title = source.electrolyte, "Electrolyte"
    factor = source.user_defined.get(THERMODYNAMIC_FACTOR, 1.0)
    if not isinstance(factor, float):
        raise ValueError(
            f"Field `User-defined / {THERMODYNAMIC_FACTOR}` of `{source.name}` must be a number: one that varies is "
            "not supported."
        )
    laws = {}
    for name, field in (("diffusivity", "Diffusivity [m2.s-1]"), ("conductivity", "Conductivity [S.m-1]")):
        laws[name] = law_from_bpx(values[field])
        around = source.concentration * np.linspace(0.5, 1.5, 21)  # what a discharge visits; beyond it fits may fail
        _require_positive(laws[name](around), f"Field `{title} / {field}` of `{source.name}`", "concentrations", around)
    return Electrolyte(
        initial_concentration=source.concentration,
        **laws,
        transference_number=values["Cation transference number"],
        thermodynamic_factor=factor,
        diffusivity_activation_energy=values["Diffusivity activation energy [J.mol-1]"] or 0.0,
        conductivity_activation_energy=values["Conductivity activation energy [J.mol-1]"] or 0.0,
        reference_temperature=reference,
    )


def _electrode(source, side, reference):
    electrode: BpxElectrode = getattr(source, side)
    part, *others = particle_classes(source, side)
    return Electrode(
        thickness=electrode.layer["Thickness [m]"],
        porosity=electrode.layer["Porosity"],
        active_fraction=part.active_fraction,
        specific_area=part.specific_area,
        particle_radius=part.particle_radius,
        electrolyte_transport=electrode.layer["Transport efficiency"],
        electronic_conductivity=electrode.layer["Conductivity [S.m-1]"],
        material=part.material,
        stoichiometry_full=part.stoichiometry_full,
        stoichiometry_empty=part.stoichiometry_empty,
        others=tuple(others),
    )


def _class(source, side, name, values, reference):
    title = f"{side.capitalize()} electrode / {name}".removesuffix(" / ")
    area, radius = values["Surface area per unit volume [m-1]"], values["Particle radius [m]"]
    ends = values["Maximum stoichiometry"], values["Minimum stoichiometry"]
    full, empty = ends if side == "negative" else ends[::-1]
    diffusivity = values["Diffusivity [m2.s-1]"]
    if isinstance(diffusivity, Formula | Points):
        raise ValueError(
            f"Field `{title} / Diffusivity [m2.s-1]` of `{source.name}` varies with stoichiometry; a constant one is "
            "needed."
        )
    kinetics = InsertionKinetics(
        rate=values["Reaction rate constant [mol.m-2.s-1]"],
        reference_concentration=source.concentration,
        activation_energy=values["Reaction rate constant activation energy [J.mol-1]"] or 0.0,
    )
    material = Intercalation(
        maximum_concentration=values["Maximum concentration [mol.m-3]"],
        diffusivity=diffusivity,
        open_circuit_potential=_potential(values["OCP [V]"], ends, f"Field `{title} / OCP [V]` of `{source.name}`"),
        kinetics=kinetics,
        diffusivity_activation_energy=values["Diffusivity activation energy [J.mol-1]"] or 0.0,
        reference_temperature=reference,
    )
    given = source.user_defined.get(ACTIVE_FRACTION.format(side=side))
    share = given if isinstance(given, float) else area * radius / 3.0
    if not 0.0 < share <= 1.0:
        raise ValueError(
            f"Fields `{title} / Surface area per unit volume [m-1]` and `Particle radius [m]` of `{source.name}` give "
            f"an active fraction a R / 3 of {share:g}, but it must lie between 0 and 1."
        )
    return ParticleClass(share, area, radius, material, full, empty)


def _potential(value, ends, what):
    potential = law_from_bpx(value)
    window = np.linspace(min(ends), max(ends), 101)
    found = np.asarray(potential(jnp.asarray(window)))
    wrong = ~np.isfinite(found)
    if np.any(wrong):
        raise ValueError(
            f"{what} must be finite over its stoichiometries, but it is {found[wrong][0]} at {window[wrong][0]:g}."
        )
    return potential


def _require_positive(values, what, of, where):
    values = np.asarray(values)
    wrong = ~(np.isfinite(values) & (values > 0))
    if np.any(wrong):
        raise ValueError(
            f"{what} must be positive at {of} around the initial one, but it is {values[wrong][0]:g} at "
            f"{where[wrong][0]:g} mol/m3."
        )


def _filled(cell, source):
    """`cell` at rest at its upper cut-off voltage; the stoichiometries must allow it."""
    if cell.negative.others or cell.positive.others:
        raise ValueError(
            f"File `{source.name}` has a blend of particles and names a state of charge; a blend starts at the limits "
            "of its stoichiometries. Leave the state of charge out."
        )
    filled = full_at_upper_cutoff(cell, reach=0.5)
    cut_off = f"Field `Cell / Upper voltage cut-off [V]` of `{source.name}`, {float(cell.upper_cutoff):g} V,"
    for side in ("negative", "positive"):
        stoichiometry = float(getattr(filled, side).stoichiometry_full)
        if not 0.0 <= stoichiometry <= 1.0:
            raise ValueError(
                f"{cut_off} is out of reach: at rest the {side} electrode would need a stoichiometry of "
                f"{stoichiometry:.6g}, which must lie between 0 and 1."
            )
    positive, negative = (
        float(e.material.open_circuit_potential(e.stoichiometry_full)) for e in (filled.positive, filled.negative)
    )
    if abs(positive - negative - float(cell.upper_cutoff)) > 1e-3:  # without the term that closes a potential off
        raise ValueError(
            f"{cut_off} is out of reach: within half of the capacity of the stoichiometries given, the voltage at rest "
            f"comes no nearer than {positive - negative:.4g} V."
        )
    return filled


def law_from_bpx(value: float | Formula | Points) -> Law:
    """The law that a number, formula or table of a BPX file means."""
    if isinstance(value, Formula):
        return Expression(value.tree)
    if isinstance(value, Points):
        return Table(list(value.x), list(value.y))
    return Constant(float(value))


def thermal_from_bpx(source: BpxCell) -> Thermal:
    """The lumped thermal model of a BPX file: its volume, density and specific heat, surface and heat transfer
    coefficient, over its area of electrode. A `ValueError` names what is missing."""
    names = ("Volume [m3]", "Density [kg.m-3]", "Specific heat capacity [J.K-1.kg-1]", "External surface area [m2]")
    values = [source.cell.get(name) for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if value is None]
    if source.heat_transfer_coefficient is None:
        missing.append("Heat transfer coefficient [W.m-2.K-1]")
    if missing:
        raise ValueError(f"The lumped thermal model needs what this BPX file lacks: {', '.join(missing)}.")
    volume, density, heat, surface = values
    area = source.cell["Electrode area [m2]"] * source.cell[_PAIRS]  # of all pairs, m2
    cooling = source.heat_transfer_coefficient * surface / area
    return Thermal(density * heat * volume / area, cooling, source.ambient_temperature)
