"""Tables of numbers that age: each with its unit, its source and the range in which a user may replace it."""

import dataclasses
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Entry:
    """One number of a table.

    **Arguments:** `name`, of the field that it fills; `value`, in `unit`; `source`, of the value; `factor`, what turns
    it into SI; `low` and `high`, the allowed range in `unit`, inclusive.
    """

    name: str
    value: float
    unit: str
    source: str
    factor: float = 1.0
    low: float = 0.0
    high: float = 1e6

    @property
    def assumed(self) -> bool:
        """Whether the number was chosen rather than taken from its source."""
        return "assumed" in self.source


def filled(kind: type, entries: Iterable[Entry], given: Mapping[str, float] | None = None):
    """A `kind` with the values of a table in SI units, or those `given` by name, in the units of the table."""
    values = {entry.name: entry.value for entry in entries} | dict(given or {})
    return kind(**{entry.name: values[entry.name] * entry.factor for entry in entries})
