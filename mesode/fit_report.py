"""The section of a report that accounts for a fit: values, curves, what the data do not know, what would help."""

from collections.abc import Mapping

from mesode import fit_figure
from mesode.page import drawn, number, table, text


def section(run: Mapping) -> str:
    """The section, or nothing where the run is no fit."""
    fit = run.get("fit")
    if not fit:
        return ""
    parts = [_values(fit), _curves(fit), _next(fit)]
    return "".join(parts)


def _values(fit: Mapping) -> str:
    names = list(fit["variables"])
    columns = {
        "parameter": names,
        "start": [float(fit["start_values"][n]) for n in names],
        "fitted": [float(fit["variables"][n]) for n in names],
        "interval": ["{:.4g} to {:.4g}".format(*map(float, fit["intervals"][n])) for n in names],
        "verdict": [_plain(fit["verdicts"][n]) for n in names],
    }
    said = "".join(f"<li>{text(_plain(w))}</li>" for w in fit.get("warnings", []))
    note = (
        f"Objective {number(float(fit['start']))} at the start and {number(float(fit['objective']))} after "
        f"{number(float(fit['solves']), 3)} forward-equivalent solves; residuals are "
        f"{number(float(fit['misfit']), 3)} times what was expected. The intervals count with their correlation from "
        f"one to the next, {number(float(fit['correlation_of_residuals']), 2)}, which leaves "
        f"{number(float(fit['degrees_of_freedom']), 3)} degrees of freedom."
    )
    return f"<h2>Fitted parameters</h2><p class=lead>{note}</p>{table(columns)}" + (f"<ul>{said}</ul>" if said else "")


def _curves(fit: Mapping) -> str:
    curves = fit["curves"]
    rows = [(name, curve["before"], curve["after"]) for name, curve in curves.items()]

    def both(key, digits):
        return [f"{float(b[key]):{digits}} → {float(a[key]):{digits}}" if key in b else "–" for _, b, a in rows]

    columns = {
        "curve": [f"{name}, {'fitted' if _plain(c['use']) == 'fit' else 'predicted'}" for name, c in curves.items()],
        "voltage, rms / mV": both("voltage_rms_mV", ".1f"),
        "at the same share of the charge / mV": both("voltage_share_rms_mV", ".1f"),
        "temperature, rms / K": both("temperature_rms_K", ".2f"),
        "end time, error / %": both("end_time_error_percent", "+.2f"),
        "end expected / s": [
            "{:.0f} to {:.0f}".format(*map(float, c["end_time_interval_s"])) if "end_time_interval_s" in c else "–"
            for c in curves.values()
        ],
        "end measured / s": [float(a["measured_end_time_s"]) for _, _, a in rows],
    }
    named = {name: {**curve, "use": _plain(curve["use"])} for name, curve in curves.items()}
    figure = drawn(fit_figure.curves(named), "Measured (dots), before the fit (dashed) and after it (lines).")
    return f"<h2>Curves before and after</h2>{figure}{table(columns)}"


def _next(fit: Mapping) -> str:
    rows = fit.get("next")
    if not rows:
        return ""
    columns = {
        "measurement": [_plain(name) for name in rows["measurement"]],
        "intervals left, on average": [f"{100 * float(v):.0f} %" for v in rows["volume"]],
        "longest interval left": [f"{100 * float(v):.0f} %" for v in rows["largest"]],
    }
    note = (
        "What each further measurement would leave of the intervals, by the Fisher information it adds: the mean "
        "factor on the axes of their ellipsoid (D-optimality), and that on the longest interval."
    )
    return f"<h2>What to measure next</h2><p class=lead>{note}</p>{table(columns)}"


def _plain(value):
    return value.decode() if isinstance(value, bytes) else str(value)
