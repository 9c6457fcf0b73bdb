"""The HTML report of a run: one page that needs no other file, made from the run file alone."""

import math
from collections.abc import Mapping

import numpy as np

from mesode import cell_report, figures, fit_report, gallery_report, press_figures, resolve_report
from mesode.page import drawn, number, table, text
from microstructure import store

KPI_NAMES = {
    "areal_capacity_mAh_cm2": ("areal capacity", "mAh/cm²"),
    "specific_capacity_mAh_g": ("specific capacity of the active material", "mAh/g"),
    "porosity": ("porosity", ""),
    "thickness_um": ("thickness", "µm"),
    "areal_loading_mg_cm2": ("areal loading", "mg/cm²"),
    "tortuosity_factor.x": ("tortuosity factor through the thickness, x", ""),
    "tortuosity_factor.y": ("tortuosity factor in plane, y", ""),
    "tortuosity_factor.z": ("tortuosity factor in plane, z", ""),
    "specific_surface_area_per_m": ("specific surface area", "1/m"),
    "effective_electronic_conductivity_S_m": ("effective electronic conductivity", "S/m"),
    "energy_Wh_kg": ("stack energy by mass", "Wh/kg"),
    "energy_Wh_L": ("stack energy by volume", "Wh/L"),
    "energy_2C_Wh_L": ("stack energy by volume at 2C", "Wh/L"),
    "average_voltage_V": ("average voltage", "V"),
    "capacity_retention_2C": ("capacity retained at 2C", ""),
    "n_to_p_ratio": ("capacity of the negative over the positive, N/P", ""),
    "pulse_resistance_ohm_cm2": ("resistance of a 10 s pulse at 1C, half charged", "ohm cm²"),
    "charging_time_10_80_min": ("time to charge from 10 to 80 %", "min"),
    "energy_efficiency": ("energy efficiency of a cycle", ""),
    "plating_margin_mV": ("least plating potential while charging", "mV"),
    "cost_USD_kWh": ("cost", "USD/kWh"),
    "carbon_kg_CO2e_kWh": ("carbon, cradle to gate", "kg CO₂e/kWh"),
    "springback_percent": ("spring-back, of the thickness at the gap", "%"),
    "springback_after_rest_percent": ("the same after the rest", "%"),
    "density_g_cm3": ("density after release", "g/cm³"),
    "gap_um": ("gap", "µm"),
    "line_load_N_per_mm": ("line load", "N/mm"),
    "time_in_nip_ms": ("time from the first touch to the narrowest line", "ms"),
    "friction": ("coefficient of friction", ""),
    "coordination_number": ("contacts a particle, after release", ""),
    "largest_overlap": ("largest overlap at the gap, over the reduced radius", ""),
    "contact_area_share": ("contact area over film area, after release", ""),
    "mean_contact_area_um2": ("mean area of a contact, after release", "µm²"),
    "yielded_bridges": ("share of binder bridges that yielded", ""),
    "broken_bridges": ("share of binder bridges that broke", ""),
    "through_plane_modulus_GPa": ("elastic modulus through the thickness", "GPa"),
    "in_plane_modulus_GPa": ("elastic modulus in the plane", "GPa"),
}

_CSS = """
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1c2733;max-width:1080px;margin:0 auto;
padding:2rem 1.4rem 4rem}
h1{font-size:1.7rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2.4rem 0 .6rem;border-bottom:1px solid #dde3ea;
padding-bottom:.25rem}p.lead{color:#566472;margin:.1rem 0 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.3rem .9rem .3rem 0;text-align:left;
border-bottom:1px solid #edf0f3}th{font-weight:600;color:#566472}td.n,th.n{text-align:right}
figure{margin:0 0 1.2rem}figure img{max-width:100%;height:auto}figcaption{color:#566472;font-size:.9rem;max-width:70ch}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:1rem 2rem}
pre{background:#f6f8fa;padding:1rem;overflow:auto;font-size:.82rem;border-radius:6px}summary{cursor:pointer}
.note{background:#fff7e6;border-left:4px solid #e69f00;padding:.5rem .9rem;margin:1rem 0}
"""


def write_report(run_file, output) -> None:
    """Writes the report of `run_file` to `output`, atomically."""
    page = render(store.read(run_file), str(getattr(run_file, "name", run_file)))
    with store.atomic(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(run: Mapping, name: str = "run") -> str:
    """The page for the content of a run file; parts that the run does not have are left out."""
    provenance = run.get("provenance", {})
    parts = [
        f"<h1>Electrode report</h1><p class=lead>{text(name)} · {text(provenance.get('time', ''))} · "
        f"Mesode {text(provenance.get('versions', {}).get('mesode', ''))}</p>"
    ]
    parts += [f"<p class=note>{text(note)}</p>" for note in run.get("notes", [])]
    parts += [_kpis(run), gallery_report.sections(run)]
    accounts = cell_report.sections(run) + fit_report.section(run) + resolve_report.sections(run)
    parts += [part for part in (_structure(run), _curves(run), accounts, _transport(run), _design(run)) if part]
    parts.append(_provenance(run))
    body = "\n".join(parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width,initial-scale=1"><title>Mesode report</title>'
        f"<style>{_CSS}</style></head><body>{body}</body></html>"
    )


def flatten(tree: Mapping, prefix: str = "") -> dict[str, object]:
    """Nested names joined by dots."""
    flat = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, path + ".") if isinstance(value, Mapping) else {path: value}
    return flat


def _kpis(run: Mapping) -> str:
    values = flatten(run.get("kpis", {}))
    if not values:
        return ""
    spread, refined = flatten(run.get("kpis_spread", {})), flatten(run.get("kpis_refined", {}))
    count = len(run.get("realisations", {}))
    head = "<tr><th>figure</th><th class=n>value</th>"
    head += f"<th class=n>± over {count} packings</th>" if spread else ""
    head += "<th class=n>on the finer grid</th><th class=n>change</th>" if refined else ""
    rows = [head + "<th>unit</th></tr>"]
    order = [k for k in KPI_NAMES if k in values] + [k for k in values if k not in KPI_NAMES]
    for key in order:
        label, unit = KPI_NAMES.get(key, (key.replace("_", " "), ""))
        cells = f"<td>{text(label)}</td><td class=n>{number(values[key])}</td>"
        if spread:
            cells += f"<td class=n>{number(spread[key], 2) if key in spread else ''}</td>"
        if refined:
            finer = refined.get(key)
            numeric = isinstance(finer, float) and isinstance(values[key], float) and values[key]
            change = f"{100 * (finer / values[key] - 1):+.1f} %" if numeric and math.isfinite(finer) else ""
            cells += f"<td class=n>{number(finer) if finer is not None else ''}</td><td class=n>{change}</td>"
        rows.append(f"<tr>{cells}<td>{text(unit)}</td></tr>")
    note = "" if spread else "<p class=lead>One packing; `realisations` in the job gives each figure its spread.</p>"
    return f"<h2>Key figures</h2><table>{''.join(rows)}</table>{note}"


def _structure(run: Mapping) -> str:
    stages = {
        name: stage
        for name in ("dried", "calendered", "image")
        if (stage := run.get("structure", {}).get(name)) and "fractions_pore" in stage
    }
    if not stages:
        return ""
    caption = "Slices through the middle, current collector at x = 0. Mixed voxels have mixed colours."
    return "<h2>Structure</h2>" + drawn(figures.structure(stages), caption)


def _curves(run: Mapping) -> str:
    out = []
    if "drying" in run:
        out.append(
            drawn(
                figures.binder_profile(run["drying"]["depth"], run["drying"]["binder"]),
                "Binder through the dried film, as it places the carbon-binder.",
            )
        )
    if "calendering" in run:
        out += _pressing(run)
    if run.get("discharge"):
        out.append(
            drawn(figures.discharge(run["discharge"]), "Constant-current discharge down to the cut-off voltage.")
        )
    return f"<h2>Process and cell</h2><div class=pair>{''.join(out)}</div>" if out else ""


def _pressing(run: Mapping) -> list[str]:
    """The course of a calendering, and what its inside shows where that is in the file."""
    data = run["calendering"]
    pressure, thickness, friction = data["pressure_Pa"], data.get("thickness_m"), float(data.get("friction", 0.0))
    parts = press_figures.branches(pressure, data.get("increments"), data.get("release_increments"))
    loading = data.get("loading")
    if loading is None:
        loading = np.zeros(len(pressure), dtype=bool)
        for part, loads in parts:
            loading[part.start + (part.start > 0) : part.stop] = loads
    caption = "Compression by a rigid plate and release."
    if not friction > 0:
        caption += (
            " Contacts have no friction here, worth a factor of about 3.5 in pressure: read the shape, not the level."
        )
    course = figures.calendering(data["porosity"], pressure, loading, thickness, friction)
    out = [drawn(course, caption)]
    if "line_load_N_m" in data:
        plot = press_figures.compaction(data["line_load_N_m"], data["porosity"], data.get("compaction"))
        caption = (
            "Porosity over the line load of rolls with their gap at each point of the first loading, and the "
            "exponential law of Meyer et al. 2017. That it fits is weak evidence: it fits nearly any compaction."
        )
        out.append(drawn(plot, caption if friction > 0 else caption + " Without friction the loads are too low."))
    if "nip_position_m" in data:
        plot = press_figures.nip(data["nip_position_m"], pressure)
        out.append(drawn(plot, "Pressure through the nip of the first pass; its area is the line load."))
    if "recovery" in data:
        caption = (
            "Recovery at rest under the release pressure, as the binder relaxes (series of Lundkvist et al. 2024)."
        )
        out.append(drawn(press_figures.recovery(**data["recovery"]), caption))
    if "inside" in data:
        out += _inside(run, data["inside"], thickness, parts)
    return out


def _inside(run: Mapping, inside: Mapping, thickness, parts) -> list[str]:
    """What contacts, binder and particles do while the film is pressed."""
    films = {"at the gap": run["structure"]["loaded"], "released": run["structure"]["calendered"]}
    stress = {name: film["von_mises"] for name, film in films.items()}
    shares = {"yielded": inside["yielded"]} | ({"broken": inside["broken"]} if np.any(inside["broken"]) else {})
    fabric = (inside["fabric"], inside["bridge_fabric"])
    return [
        drawn(
            press_figures.particle_stress(films["released"]["radii"], stress),
            "Stress of the particles, from the forces of their contacts and bridges, by volume.",
        ),
        drawn(press_figures.bridges(thickness, shares, parts), "Binder bridges that have changed for good."),
        drawn(
            press_figures.contacts(thickness, inside["coordination"], *fabric, parts),
            "Contacts that carry force, and how contacts and binder bridges point: a third is isotropic, more is along "
            "the thickness.",
        ),
    ]


def _transport(run: Mapping) -> str:
    data, fields, out = run.get("transport", {}), run.get("fields", {}), []
    if "potential" in data:
        figure = figures.field_map(data["potential"], data["spacing_m"], data.get("flux"))
        out.append(drawn(figure, "Electrolyte transport through the thickness, slice at mid z."))
    if "results" in run:
        out.append(table(run["results"]))
    for name in (name for name in fields if name.startswith("potential_")):
        case = name.removeprefix("potential_")
        figure = figures.field_map(fields[name], data["spacing_m"], fields.get(f"flux_{case}"))
        label, axis = case.rsplit("_", 1)
        out.append(drawn(figure, f"Label {label}, flux along {axis}: slice at mid z."))
    if data.get("tortuosity_profiles"):
        figure = figures.tortuosity_profiles(data["tortuosity_profiles"])
        out.append(drawn(figure, "What each slice resists, as a tortuosity factor; the mean is that of the whole."))
    return "<h2>Transport</h2>" + "".join(out) if out else ""


def _design(run: Mapping) -> str:
    data = run.get("history", {})
    out = ""
    if "objective" in data:
        figure = figures.history(data["objective"], str(run.get("objective", "objective")), data.get("random_best"))
        out += "<h2>Design</h2>" + drawn(figure, "The objective at each step, on the packings of the design.")
    if "variables" in run:
        rows = "".join(
            f"<tr><td>{text(path)}</td>"
            + "".join(f"<td class=n>{number(v.get(c, math.nan))}</td>" for c in ("start", "end", "low", "high"))
            + "</tr>"
            for path, v in run["variables"].items()
        )
        head = "".join(f"<th class=n>{column}</th>" for column in ("start", "end", "low", "high"))
        out += f"<table><tr><th>variable</th>{head}</tr>{rows}</table>"
    if "gradient" in run:
        rows = "".join(f"<tr><td>{text(k)}</td><td class=n>{number(v)}</td></tr>" for k, v in run["gradient"].items())
        out += f"<h2>Gradient</h2><table><tr><th>variable</th><th class=n>per unit of the key</th></tr>{rows}</table>"
    return out


def _provenance(run: Mapping) -> str:
    rows = "".join(
        f"<tr><td>{text(key)}</td><td>{text(value)}</td></tr>"
        for key, value in flatten(run.get("provenance", {})).items()
        if value != ""
    )
    job = f"<details><summary>Resolved job</summary><pre>{text(run['job'])}</pre></details>" if "job" in run else ""
    return (
        f"<h2>Provenance</h2><details><summary>Versions, devices, inputs</summary><table>{rows}</table></details>{job}"
    )
