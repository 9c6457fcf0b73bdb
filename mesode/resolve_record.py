"""What is kept of a resolved discharge: a row for every step, fields at chosen depths of discharge; plain arrays."""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from mesode.resolve_build import Setup
from solver.electrochemistry.resolved_course import Course
from solver.electrochemistry.resolved_fields import fields, figures, profiles
from solver.electrochemistry.resolved_losses import losses
from solver.electrochemistry.utilisation import particle_table
from solver.numerics.chunks import Progress

FIGURES = {  # of `Figures`, and their names with units
    "state_of_charge": "state_of_charge",
    "least_charge": "least_state_of_charge",
    "most_charge": "most_state_of_charge",
    "least_salt": "least_salt_mol_m3",
    "most_salt": "most_salt_mol_m3",
    "overpotential": "overpotential_V",
    "other_overpotential": "lithium_overpotential_V",
    "against_lithium": "least_potential_against_lithium_V",
    "ohmic": "ohmic_heat_W",
    "reaction": "reaction_heat_W",
    "reversible": "reversible_heat_W",
}
FIELDS = {  # of `Fields`, and their names with units
    "state_of_charge": "state_of_charge",
    "salt": "salt_mol_m3",
    "lyte_potential": "electrolyte_potential_V",
    "solid_potential": "solid_potential_V",
    "reaction": "reaction_A_m2",
    "overpotential": "overpotential_V",
    "against_lithium": "potential_against_lithium_V",
    "heat": "heat_W_m3",
}
PROFILES = {  # of `Profiles`, and their names with units
    "state_of_charge": "state_of_charge",
    "salt": "salt_mol_m3",
    "lyte_potential": "electrolyte_potential_V",
    "solid_potential": "solid_potential_V",
    "reaction": "reaction_A_m3",
    "heat": "heat_W_m3",
}
PARTICLES = {  # of `ParticleTable`, and their names with units
    "volume": "volume_m3",
    "diameter": "diameter_m",
    "depth": "depth_m",
    "area": "area_m2",
    "state_of_charge": "state_of_charge",
    "spread": "spread",
    "reaction": "reaction_A_m2",
}
_ROW = ("time_s", "voltage_V", "open_circuit_V", "contact_V", "parts_V", *FIGURES.values())


@eqx.filter_jit
def _row(system, w, owners, ends):
    u = system.cut(w)
    return losses(system, u, owners), figures(system, u, ends)


@eqx.filter_jit
def _look(system, w, ends):
    u = system.cut(w)
    return u, fields(system, u, ends), profiles(system, u, ends)


class Viewer:
    """What is looked at, of all discharges of a structure."""

    def __init__(self, setup: Setup):
        self.setup, self._owners = setup, None
        self.ends = tuple(jnp.asarray(end) for end in setup.ends)

    def _owners_of(self, system):
        """The owners with the layers of the separator, which belong to whatever comes first."""
        if self._owners is None:
            pad = [(0, system.structure.shape[0] - self.setup.electrode), (0, 0), (0, 0)]
            self._owners = tuple(jnp.asarray(np.pad(owner, pad), jnp.int32) for owner in self.setup.owners)
        return self._owners

    def row(self, system, w) -> dict:
        """What is kept of every step."""
        lost, found = _row(system, w, self._owners_of(system), self.ends)
        kept = {"voltage_V": lost.voltage, "open_circuit_V": lost.open_circuit, "contact_V": lost.contact}
        kept |= {"parts_V": lost.parts} | {name: getattr(found, key) for key, name in FIGURES.items()}
        return {name: np.asarray(value) for name, value in kept.items()}

    def look(self, system, w) -> dict:
        """What is kept at a depth of discharge: fields in single precision, profiles, particles."""
        u, maps, means = _look(system, w, self.ends)
        only, salt = slice(None, self.setup.electrode), np.asarray(means.salt)
        kept = {
            "fields": {name: np.asarray(getattr(maps, key), np.float32)[only] for key, name in FIELDS.items()},
            "profiles": {name: np.asarray(getattr(means, key))[only] for key, name in PROFILES.items()},
            "particles": {},
        }
        kept["profiles"]["separator_salt_mol_m3"] = salt[self.setup.electrode :]
        for k, name in enumerate(self.setup.active):
            table = particle_table(system, u, k, self.setup.owners[k], self.setup.ends[k])
            kept["particles"][name] = {to: getattr(table, key) for key, to in PARTICLES.items()}
        return kept


@dataclasses.dataclass
class Kept:
    """What is known of a discharge so far: `rows` by name, and `looks` in the order of their times."""

    rows: dict[str, list]
    looks: list[dict]

    @classmethod
    def nothing(cls) -> "Kept":
        return cls({name: [] for name in _ROW}, [])

    @classmethod
    def of(cls, data: Mapping) -> "Kept":
        """From what [`Kept.saved`][] gave."""
        rows = {name: list(np.asarray(data["rows"][name])) for name in _ROW}
        return cls(rows, [data["looks"][key] for key in sorted(data.get("looks", {}), key=int)])

    def saved(self) -> dict:
        """As arrays by name."""
        return {
            "rows": {name: np.asarray(values) for name, values in self.rows.items()},
            "looks": {f"{k}": look for k, look in enumerate(self.looks)},
        }

    def take(self, progress: Progress, course: Course, viewer: Viewer, stops: np.ndarray) -> None:
        """Adds the steps of a chunk, and looks at those that end on one of `stops`, s, at the first and the last."""
        last = int(progress.walk.count) if bool(progress.walk.finished) else -1
        for index in progress.rows:
            time, w = float(progress.walk.times[index]), progress.walk.unknowns[index]
            row = viewer.row(course.system, w) | {"time_s": np.asarray(time)}
            for name, values in self.rows.items():
                values.append(row[name])
            landed = len(stops) and np.min(np.abs(stops - time)) <= 1e-9 * time
            if landed or index == last or len(self.rows["time_s"]) == 1:
                self.looks.append({"time_s": time, **viewer.look(course.system, w)})
