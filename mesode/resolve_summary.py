"""What a resolved job has found, as plain numbers: for `--json`, for people, and for the run file."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mesode.resolve_build import Setup
from mesode.resolve_job import ResolveJob
from mesode.resolve_structure import Block
from solver.electrochemistry.resolved_losses import CAUSES, PLACES
from solver.electrochemistry.utilisation import distribution

DEPLETED = 10.0  # mol/m3 of salt somewhere, below which the electrolyte is why a discharge ended


def rate_of(setup: Setup, kept: Mapping) -> dict:
    """The figures and curves of one discharge; keys as of `mesode discharge`, and more."""
    rows, current = kept["rows"], float(kept["c_rate"]) * setup.capacity / 3600.0
    time, voltage = np.asarray(rows["time_s"]), np.asarray(rows["voltage_V"])
    end, energy = float(time[-1]), current * float(np.trapezoid(voltage, time))
    drawn = current * end
    area = setup.section
    least = float(np.min(rows["least_salt_mol_m3"]))
    return {
        "c_rate": float(kept["c_rate"]),
        "current_A": current,
        "current_density_A_m2": current / area,
        "time_s": time,
        "voltage_V": voltage,
        "capacity_Ah": drawn / 3600.0,
        "energy_Wh": energy / 3600.0,
        "end_time_s": end,
        "stop": kept["stop"],
        "areal_capacity_mAh_cm2": drawn / area / 3.6e4,
        "energy_Wh_m2": energy / area / 3600.0,
        "capacity_share": drawn / setup.capacity,
        "average_voltage_V": energy / drawn if drawn else float("nan"),
        "least_salt_mol_m3": least,
        "depleted": least < DEPLETED,
        "least_potential_against_lithium_V": float(np.min(rows["least_potential_against_lithium_V"])),
        "mean_losses_mV": mean_losses(rows),
        "losses_left_over_mV": 1e3 * float(np.max(np.abs(_left(rows)))),
        "heat_J_m2": {
            name: float(np.trapezoid(rows[f"{name}_heat_W"], time)) / area
            for name in ("ohmic", "reaction", "reversible")
        },
        "utilisation": utilisation(kept["looks"]),
        "steps": len(time) - 1,
    }


def _left(rows: Mapping) -> np.ndarray:
    """What the parts of the losses leave unexplained, V."""
    parts = np.asarray(rows["parts_V"]).sum((1, 2)) + rows["contact_V"]
    return np.asarray(rows["open_circuit_V"]) - rows["voltage_V"] - parts


def mean_losses(rows: Mapping) -> dict:
    """The losses averaged over the charge drawn, mV, by cause and place; the contact's and all together beside."""
    time = np.asarray(rows["time_s"])
    if len(time) < 2:
        mean, contact = 1e3 * np.asarray(rows["parts_V"])[0], 1e3 * float(rows["contact_V"][0])
    else:
        mean = 1e3 * np.trapezoid(rows["parts_V"], time, axis=0) / time[-1]
        contact = 1e3 * float(np.trapezoid(rows["contact_V"], time)) / float(time[-1])
    found = {cause: {place: float(mean[i, j]) for j, place in enumerate(PLACES)} for i, cause in enumerate(CAUSES)}
    return found | {"contact": contact, "total": float(mean.sum()) + contact}


def utilisation(looks: Mapping) -> dict:
    """How evenly the particles were used at the end: mean by volume, its standard deviation, least and most, and the
    distribution over size and depth."""
    if not looks:
        return {}
    tables = looks[max(looks, key=int)]["particles"].values()
    used = np.concatenate([1.0 - np.asarray(t["state_of_charge"]) for t in tables])
    volume = np.concatenate([np.asarray(t["volume_m3"]) for t in tables])
    mean = float(np.average(used, weights=volume))
    deviation = float(np.sqrt(np.average((used - mean) ** 2, weights=volume)))
    found = {"particles": len(used), "mean": mean, "deviation": deviation}
    found |= {"least": float(used.min()), "most": float(used.max())}
    for name in ("diameter_m", "depth_m"):
        along = np.concatenate([np.asarray(t[name]) for t in tables])
        found[f"over_{name}"] = distribution(used, volume, along)
    return found


def shown(out: Mapping) -> dict:
    """What `--json` prints: as `mesode discharge` for the first rate, and all of them under `rates`."""
    return {**out["rates"][0], **out}


def tree_of(job: ResolveJob, setup: Setup, block: Block, kept: Mapping, rates: list[dict], lost, limits) -> dict:
    """The content of the run file but for job and provenance: `structure` and `discharge` as those of `mesode run`, and
    `resolve`, with all the rest.

    **Arguments:** `kept`, of each discharge, and its figures `rates`; `lost`, a
    [`LostCapacity`][solver.electrochemistry.lost_capacity.LostCapacity]; `limits`, C-rates that the salt can carry.
    """
    curves, plain = {}, {}
    for name, found in zip(sorted(kept, key=int), rates, strict=True):
        hidden = ("time_s", "voltage_V")
        own = {k: v for k, v in found.items() if k not in hidden}
        curves[name] = {**own, "curve": kept[name]["rows"], "looks": kept[name]["looks"]}
        current = {"current_A_m2": found["current_density_A_m2"]}
        plain[f"{found['c_rate']:g}"] = {k: found[k] for k in hidden} | current
    return {
        "structure": {"image": _structure(job, setup, block)},
        "discharge": plain,
        "resolve": {
            "section_m2": setup.section,
            "capacity_C": setup.capacity,
            "causes": list(CAUSES),
            "places": list(PLACES),
            "lost": dataclasses.asdict(lost),
            "limits": dict(limits),
            "rates": curves,
        },
    }


def _structure(job: ResolveJob, setup: Setup, block: Block) -> dict:
    """The shares of pores, active material and carbon-binder, phases of one role together."""
    phases, roles = setup.cell.phases, ("pore", "active", "binder")
    shares = {role: np.zeros(block.shape, np.float32) for role in roles}
    for name, share in zip(phases.names, np.asarray(phases.fractions, np.float32), strict=True):
        role = job.phases[name]["role"]
        if role in shares:
            shares[role] += share
    return {f"fractions_{role}": x for role, x in shares.items()} | {"spacing_m": np.asarray(block.spacing, float)}


def series_of(block: Block, looks: Mapping, structure: Mapping) -> dict:
    """What ParaView shows of a discharge: its fields over time, and the structure."""
    structure = {name.removeprefix("fractions_"): x for name, x in structure.items() if name.startswith("fractions_")}
    ordered = [looks[key] for key in sorted(looks, key=int)]
    names = ordered[0]["fields"]
    moving = {name: np.stack([look["fields"][name] for look in ordered]) for name in names}
    times = [float(look["time_s"]) for look in ordered]
    return {"fields": {**structure, **moving}, "times": times, "spacing": block.spacing}


def print_rates(out: Mapping) -> None:
    """The figures for the person at the terminal."""
    widths = (6, 14, 8, 10, 9, 9, 12)
    for heads in (
        ("rate", "capacity", "of 1C", "energy", "mean", "time", "least salt", "  stopped by"),
        ("", "mAh/cm2", "", "Wh/m2", "V", "s", "mol/m3", ""),
    ):
        print(*(f"{head:>{width}}" for head, width in zip(heads, (*widths, 0), strict=True)))
    for row in out["rates"]:
        print(
            f"{row['c_rate']:>5g}C {row['areal_capacity_mAh_cm2']:14.4f} {100 * row['capacity_share']:6.1f} % "
            f"{row['energy_Wh_m2']:10.3f} {row['average_voltage_V']:9.4f} {row['end_time_s']:9.1f} "
            f"{row['least_salt_mol_m3']:12.1f}  {row['stop'].replace('_', ' ')}"
        )
    lost = out["lost_capacity"]
    print(
        f"lost capacity: {100 * lost['isolated']:.2f} % without electrons, {100 * lost['unwetted']:.2f} % without "
        f"electrolyte; {100 * lost['dead_pores']:.2f} % of the pores are dead"
    )
    print(f"{'run file':12} {out['run_file']}")
    print(f"{'report':12} {out['report']}")
