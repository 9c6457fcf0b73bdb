"""The sections of a report that show a resolved discharge."""

from collections.abc import Mapping

import numpy as np

from mesode import loss_figure, resolve_figures
from mesode.figures import rate_name
from mesode.page import drawn, table, text

LEAST = 1e-3  # V, below which a loss is drawn with the others
_STOPS = {
    "cut_off": "cut-off voltage",
    "time_limit": "time limit",
    "already_past_cut_off": "past the cut-off from the start",
    "not_converged": "not converged",
}


def sections(run: Mapping) -> str:
    """All sections, where the run has a resolved discharge."""
    data = run.get("resolve")
    if not data:
        return ""
    rates = [data["rates"][key] for key in sorted(data["rates"], key=int)]
    out = f"<h2>Resolved discharge</h2><p class=lead>{_basis(data)}</p>{_rates(rates)}" + _lost(data)
    for rate in rates:
        out += _of_rate(data, rate, run["structure"]["image"])
    return out


def _rates(rates) -> str:
    columns = {
        "rate": [rate_name(r["c_rate"]) for r in rates],
        "current / (A/m²)": [float(r["current_density_A_m2"]) for r in rates],
        "capacity / (mAh/cm²)": [float(r["areal_capacity_mAh_cm2"]) for r in rates],
        "of 1C": [f"{100 * float(r['capacity_share']):.1f} %" for r in rates],
        "energy / (Wh/m²)": [float(r["energy_Wh_m2"]) for r in rates],
        "average voltage / V": [float(r["average_voltage_V"]) for r in rates],
        "least salt / (mol/m³)": [float(r["least_salt_mol_m3"]) for r in rates],
        "stopped by": [_STOPS[str(r["stop"])] for r in rates],
    }
    return table(columns)


def _basis(data: Mapping) -> str:
    return (
        "Discharges against lithium from the charged state. 1C draws the charge of all active material between start "
        f"and end in an hour, {float(data['capacity_C']) / float(data['section_m2']) / 3.6e4:.3f} mAh/cm²; a half-cell "
        "may go on beyond the end, which is that of the full cell."
    )


def _lost(data: Mapping) -> str:
    lost, limits = data["lost"], data["limits"]
    columns = {
        "what cannot take part": [
            "active material without electrons, of the capacity",
            "active material without electrolyte, of the capacity",
            "dead pores, of the electrolyte",
        ],
        "share": [f"{100 * float(lost[name]):.2f} %" for name in ("isolated", "unwetted", "dead_pores")],
    }
    whole, some = (float(limits[name]) for name in ("whole_electrode_C_rate", "any_C_rate"))
    return (
        f"{table(columns)}<p class=lead>In steady state the salt carries {whole:.3g}C to all of the electrode evenly, "
        f"and at most {some:.3g}C to a part of it.</p>"
    )


def _of_rate(data: Mapping, rate: Mapping, structure: Mapping) -> str:
    name, c_rate = text(rate_name(rate["c_rate"])), float(rate["c_rate"])
    curve, looks, spacing = rate["curve"], rate["looks"], structure["spacing_m"]
    out = f"<h2>{name}: where the voltage goes</h2>"
    along = np.asarray(curve["time_s"]) * float(rate["current_density_A_m2"])
    if len(along) > 1:
        figure = loss_figure.losses(
            along, curve["open_circuit_V"], curve["voltage_V"], curve["parts_V"], data["causes"], data["places"], LEAST
        )
        caption = (
            "The voltage at rest at the mean stoichiometries and under load, and between them each loss as an area; "
            "the lithium is the negative. Solid diffusion leads from the mean of each particle to its surface, uneven "
            "use from the mean of all to that of each. The parts add up to within "
            f"{float(rate['losses_left_over_mV']):.1g} mV."
        )
        out += drawn(figure, caption) + _loss_table(data, rate)
    shown = resolve_figures.moments(looks)
    if not shown:
        return out
    index = int(np.argmax(np.asarray(structure["fractions_active"]).sum((0, 1))))
    caption = (
        f"The slice with most active material, z = {(index + 0.5) * float(spacing[2]) * 1e6:.1f} µm, collector below, "
        "separator above. Reaction: into the particles, on the voxels of their surface. Grey is where a field means "
        "nothing."
    )
    out += f"<h2>{name}: fields</h2>" + drawn(resolve_figures.slices(looks, spacing, c_rate, index), caption)
    caption = "Means of the slices, from the collector to the separator."
    out += drawn(resolve_figures.depth_profiles(looks, spacing, c_rate), caption)
    if shown[-1].get("particles"):
        used = rate["utilisation"]
        caption = (
            f"{int(used['particles'])} particles, told apart where they touch: used {100 * float(used['mean']):.1f} % "
            f"on average, with a standard deviation of {100 * float(used['deviation']):.1f} % by volume. The area of a "
            "dot is the volume; particles that the block cuts are as small as what is left of them."
        )
        out += drawn(resolve_figures.particles(shown[-1], used), caption)
    out += drawn(resolve_figures.heat(curve, float(data["section_m2"])), "Heat, without that of mixing.")
    return out


def _loss_table(data: Mapping, rate: Mapping) -> str:
    places, causes = [str(p) for p in data["places"]], [str(c) for c in data["causes"]]
    mean = rate["mean_losses_mV"]
    columns: dict = {"average loss / mV": [loss_figure.NAMES[c] for c in causes] + ["contact", "all"]}
    for place in places:
        found = [float(mean[c][place]) for c in causes]
        columns["lithium" if place == "negative" else place] = [f"{x:.2f}" for x in found] + ["", f"{sum(found):.2f}"]
    rows = [sum(float(mean[c][place]) for place in places) for c in causes]
    columns["all"] = [f"{x:.2f}" for x in [*rows, float(mean["contact"]), float(mean["total"])]]
    return table(columns)
