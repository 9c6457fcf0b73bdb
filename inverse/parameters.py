"""The numbers of a cell that a measurement can be asked for, by name with unit, and how each is put into a cell."""

from collections.abc import Callable, Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from solver.cell.cell import Cell

from .space import Affine, Leaf, Logarithmic, Space, Variable


class Entry(eqx.Module):
    """An entry of a dictionary by its key; two of the same key are equal, so that nothing is compiled twice."""

    key: str = eqx.field(static=True)

    def __call__(self, values: Mapping[str, Array]) -> Array:
        return values[self.key]


class CellParameter(eqx.Module):
    """A scalar of a cell, or several that move together.

    **Arguments:** `unit`, SI; `where`, from a cell to the leaf that is the number, or a tuple of leaves of which the
    first is and the others keep their ratio to it; `positive`, whether it spans a factor rather than a distance;
    `doc`, what it is.
    """

    unit: str = eqx.field(static=True)
    where: Callable = eqx.field(static=True)
    doc: str = eqx.field(static=True)
    positive: bool = eqx.field(static=True, default=True)

    def read(self, cell: Cell) -> Array:
        """The number; of a profile through the thickness, its mean."""
        return jnp.mean(self._leaves(cell)[0])

    def write(self, cell: Cell, value: Array) -> Cell:
        """The cell with the number, and what moves with it, profiles in proportion."""
        leaves = self._leaves(cell)
        if len(leaves) == 1 and leaves[0].ndim == 0:
            return eqx.tree_at(self.where, cell, jnp.asarray(value, leaves[0].dtype))
        ratio = value / jnp.mean(leaves[0])
        return eqx.tree_at(self._leaves, cell, tuple(leaf * ratio for leaf in leaves))

    def _leaves(self, cell) -> tuple:
        found = self.where(cell)
        return found if isinstance(found, tuple) else (found,)


def _of_electrodes() -> dict[str, CellParameter]:
    """Those that both electrodes have, under `negative_` and `positive_`."""
    # Spheres of one radius: area per volume is 3 x fraction / radius, so it moves with the fraction.
    rows = {
        "thickness": ("m", lambda e: e.thickness, "thickness of the coating", True),
        "porosity": ("", lambda e: e.porosity, "porosity; transport stays as it is", True),
        "active_fraction": (
            "",
            lambda e: (e.active_fraction, e.specific_area),
            "share of active material, and with it the reacting area: the electrode's capacity",
            True,
        ),
        "stoichiometry_full": ("", lambda e: e.stoichiometry_full, "stoichiometry of the charged cell", False),
        "electrolyte_transport": ("", lambda e: e.electrolyte_transport, "effective over free diffusivity", True),
        "electronic_conductivity": ("S/m", lambda e: e.electronic_conductivity, "effective conductivity", True),
        "diffusivity": ("m2/s", lambda e: e.material.diffusivity, "diffusivity in the particles", True),
        "diffusivity_activation_energy": (
            "J/mol",
            lambda e: e.material.diffusivity_activation_energy,
            "activation energy of the diffusivity in the particles",
            False,
        ),
        "reaction_rate": ("mol/m2/s", lambda e: e.material.kinetics.rate, "rate constant of the reaction", True),
        "maximum_concentration": (
            "mol/m3",
            lambda e: e.material.maximum_concentration,
            "concentration of lithium in full particles",
            True,
        ),
    }
    return {
        f"{side}_{name}": CellParameter(unit, Side(side, leaf), f"{side} electrode: {doc}", positive)
        for side in ("negative", "positive")
        for name, (unit, leaf, doc, positive) in rows.items()
    }


class Side(eqx.Module):
    """A leaf of an electrode of a cell."""

    side: str = eqx.field(static=True)
    leaf: Callable = eqx.field(static=True)

    def __call__(self, cell: Cell):
        return self.leaf(getattr(cell, self.side))


PARAMETERS: dict[str, CellParameter] = _of_electrodes() | {
    "separator_electrolyte_transport": CellParameter(
        "", lambda c: c.separator.electrolyte_transport, "separator: effective over free diffusivity"
    ),
    "contact_resistance": CellParameter(
        "ohm m2", lambda c: c.contact_resistance, "of all contacts in series, per area of the cell", positive=False
    ),
    "salt_concentration": CellParameter("mol/m3", lambda c: c.electrolyte.initial_concentration, "at rest"),
    "transference_number": CellParameter(
        "", lambda c: c.electrolyte.transference_number, "of lithium in the electrolyte", positive=False
    ),
    "heat_capacity": CellParameter("J/m2/K", lambda c: c.thermal.heat_capacity, "of the cell, per area"),
    "cooling": CellParameter("W/m2/K", lambda c: c.thermal.cooling, "to the surroundings, per area of the cell"),
}
THERMAL = ("heat_capacity", "cooling")  # those that only a cell with a thermal model has


def with_parameters(cell: Cell, values: Mapping[str, Array]) -> Cell:
    """`cell` with the parameters of these names set."""
    for name in sorted(values):
        cell = PARAMETERS[name].write(cell, values[name])
    return cell


def parameter_space(cell: Cell, bounds: Mapping[str, tuple[float, float]], start: Mapping | None = None) -> Space:
    """The design space of the parameters in `bounds`, (low, high) in SI units; what it makes is a dictionary of values.

    **Arguments:** `start`, values by name where another start than that of `cell` is wanted.

    **Raises:** `ValueError` for a name that no cell has, bounds that are none, a start outside.
    """
    start = {} if start is None else start
    unknown = [name for name in (*bounds, *start) if name not in PARAMETERS]
    if unknown:
        raise ValueError(f"A cell has no parameter `{unknown[0]}`; known are {', '.join(sorted(PARAMETERS))}.")
    idle = [name for name in THERMAL if name in bounds and cell.thermal is None]
    if idle:
        raise ValueError(f"Parameter `{idle[0]}` means nothing to a cell without a thermal model.")
    first = {name: jnp.asarray(start.get(name, PARAMETERS[name].read(cell)), float) for name in bounds}
    variables = []
    for name, (low, high) in bounds.items():
        parameter = PARAMETERS[name]
        transform = Logarithmic() if parameter.positive else Affine()
        variables.append(Variable(name, parameter.unit, low, high, first[name], Leaf(Entry(name)), transform))
    return Space(first, variables)
