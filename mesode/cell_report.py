"""The sections of a report that account for a cell: its rates, where its voltage goes, what it costs and emits."""

from collections.abc import Mapping

import numpy as np

from mesode import loss_figure
from mesode.figures import rate_name
from mesode.page import drawn, table, text

LEAST = 1e-3  # V, below which a loss is drawn with the others

_ITEMS = {
    "negative_active": "negative: active material",
    "negative_carbon": "negative: carbon",
    "negative_binder": "negative: binder",
    "negative_solvent": "negative: solvent lost",
    "negative_foil": "negative: foil",
    "separator": "separator",
    "electrolyte": "electrolyte",
    "positive_foil": "positive: foil",
    "positive_active": "positive: active material",
    "positive_carbon": "positive: carbon",
    "positive_binder": "positive: binder",
    "positive_solvent": "positive: solvent lost",
    "casing": "casing",
    "process": "process: labour, machines, halls",
    "electricity": "electricity of the plant",
    "heat": "heat of dryers and dry rooms",
}


def sections(run: Mapping) -> str:
    """All sections, of the parts that the run has."""
    return _rates(run) + _losses(run) + _economics(run)


def _rates(run: Mapping) -> str:
    curves = run.get("discharge", {})
    if not curves or any("capacity_retention" not in curve for curve in curves.values()):
        return ""
    rows = [(rate, curves[rate]) for rate in sorted(curves, key=float)]
    columns = {
        "rate": [rate_name(rate) for rate, _ in rows],
        "capacity / (mAh/cm²)": [float(c["capacity_Ah_m2"]) / 10.0 for _, c in rows],
        "retained": [float(c["capacity_retention"]) for _, c in rows],
        "energy / (Wh/m²)": [float(c["energy_Wh_m2"]) for _, c in rows],
        "average voltage / V": [float(c["average_voltage_V"]) for _, c in rows],
    }
    return f"<h2>Rates</h2>{table(columns)}"


def _losses(run: Mapping) -> str:
    data = run.get("losses")
    if not data:
        return ""
    along, parts = (np.asarray(data[name]) for name in ("capacity_C_m2", "parts_V"))
    figure = loss_figure.losses(
        along, data["open_circuit_V"], data["voltage_V"], parts, data["causes"], data["places"], LEAST
    )
    rate = rate_name(float(data["c_rate"]))
    caption = (
        f"Where the voltage goes in the discharge at {text(rate)}: the cell at rest and under load, and between them "
        f"each loss as an area. Losses that never exceed {1e3 * LEAST:g} mV are drawn as one."
    )
    places = [str(place) for place in data["places"]]
    names = [str(cause) for cause in data["causes"]]
    mean = {name: {place: float(data["mean_mV"][name][place]) for place in places} for name in names}
    columns = {"average loss / mV": [loss_figure.NAMES[name] for name in names] + ["all"]}
    for place in places:
        found = [mean[name][place] for name in names]
        columns[place] = [f"{x:.1f}" for x in [*found, sum(found)]]
    columns["all"] = [f"{sum(mean[name].values()):.1f}" for name in names] + [f"{float(data['total_mean_mV']):.1f}"]
    return f"<h2>Losses at {text(rate)}</h2>{drawn(figure, caption)}{table(columns)}"


def _economics(run: Mapping) -> str:
    data = run.get("economics")
    if not data:
        return ""
    listed = {name: [_plain(x) for x in column] for name, column in data["tables"].items()}
    standing = dict(zip(zip(listed["section"], listed["item"], strict=True), listed["standing"], strict=True))
    both = {
        "prices": ("USD/kWh", data["cost_USD_kWh_by_item"]),
        "emissions": ("kg CO₂e/kWh", data["carbon_kg_CO2e_kWh_by_item"]),
    }
    columns: dict = {"item": [_ITEMS[name] for name in _ITEMS] + ["all"]}
    for section, (unit, items) in both.items():
        values = [float(items[name]) for name in _ITEMS]
        total = sum(values)
        marks = {"assumed": " *", "given": " †"}
        columns[unit] = [
            f"{abs(value):.2f}{marks.get(standing[section, name], '')}"
            for name, value in zip(_ITEMS, values, strict=True)
        ] + [f"{total:.1f}"]
        columns[f"share of {section}"] = [f"{100 * value / total:.1f} %" for value in values] + ["100 %"]
    dates = data["dates"]
    note = (
        f"Prices of {text(dates['prices'])}, emission factors of {text(dates['emissions'])}, over the energy at "
        f"{text(rate_name(float(data['c_rate'])))}. * its price or factor is assumed; † it was given with the job. "
        "Yields, solvents and the energy of the plant are in the list below, where assumed numbers are named as such. "
        "Pack, overheads of scale and profit are left out."
    )
    full = {name: listed[name] for name in ("section", "item", "value", "unit", "standing", "source")}
    full["value"] = [f"{float(value):g}" for value in full["value"]]
    return (
        f"<h2>Cost and carbon</h2><p class=lead>{note}</p>{table(columns)}"
        f"<details><summary>Prices, factors, yields and their sources</summary>{table(full)}</details>"
    )


def _plain(value):
    return value.decode() if isinstance(value, bytes) else value
