"""The sections of a report for a problem of the gallery, from its run file alone."""

import math
from collections.abc import Mapping

from mesode import gallery_figures as figures
from mesode.page import drawn, number, table, text


def sections(run: Mapping) -> str:
    """All sections; nothing where the run is no problem of the gallery."""
    data = run.get("gallery")
    if not data:
        return ""
    parts = [f"<h2>{text(data['problem']).replace('_', ' ')}</h2><p>{text(data['question'])}</p>"]
    parts += [_answer(data), _searches(data), _variables(data), _metrics(data), _along(data), _check(data)]
    return "".join(parts)


def _answer(data: Mapping) -> str:
    """What came out, against what is known."""
    name, best, rows = data["objective"], data["figures"]["best"], data["baselines"]
    said = [
        f"{text(name)}: {number(rows['start']['best'], 5)} at the start, <b>{number(best[name], 5)}</b> at the end."
    ]
    if "best uniform" in rows:
        level = rows["best uniform"]["best"]
        said.append(f"The best uniform design has {number(level, 5)}: {_gain(data, best[name], level):+.2f} % over it.")
    fine = data["figures"].get("best, finer")
    if fine:
        gap = 100.0 * (fine[name] / best[name] - 1.0)
        said.append(f"On the finer mesh with tighter tolerances it is {number(fine[name], 5)}, {gap:+.2f} %.")
    even = data["figures"].get("best uniform, finer")
    if even:
        said.append(f"There the gain over the best uniform design is {_gain(data, fine[name], even[name]):+.2f} %.")
    out = f"<p>{' '.join(said)}</p>"
    known = data.get("known")
    if known:
        columns = {
            "known answer": list(known["values"]),
            "value": list(known["values"].values()),
            "relative error": [known["errors"][n] for n in known["values"]],
        }
        said = "met" if known["met"] else "NOT met"
        out += table(columns) + f"<p class=lead>{said} to {known['tolerance']:g}; {text(known['source'])}.</p>"
    if data.get("literature"):
        out += f"<p class=lead>{text(data['literature'])}</p>"
    return out


def _gain(data: Mapping, value: float, than: float) -> float:
    return 100.0 * float(data["sense"]) * (value - than) / abs(than)


def _searches(data: Mapping) -> str:
    rows = data["baselines"]
    top = rows["climb"]["best"]
    columns = {
        "search": ["exact derivatives" if n == "climb" else n for n in rows],
        data["objective"]: [row["best"] for row in rows.values()],
        "behind the best / %": [-_gain(data, row["best"], top) for row in rows.values()],
        "solves": [f"{row['solves']:.0f}" for row in rows.values()],
        "solves to 1 %": [_count(row.get("solves_to_1_percent")) for row in rows.values()],
    }
    caption = (
        "The best design that holds its bounds after so many solves; an evaluation with derivatives counts as "
        f"{number(data['gradient_cost'])}. "
        "Searches without derivatives were given as many solves as the one with them took."
    )
    figure = figures.course(rows, data["objective"], float(data["sense"]))
    return "<h2>Searches</h2>" + drawn(figure, caption) + table(columns)


def _count(solves) -> str:
    if solves is None:
        return ""
    return f"{solves:.0f}" if math.isfinite(solves) else "never"


def _variables(data: Mapping) -> str:
    rows = data["variables"]
    out = "<h2>Variables</h2>" + drawn(figures.variables(rows), "Start and best design between the bounds.")
    profile = figures.profiles(rows)
    if profile is not None:
        out += drawn(profile, "Profiles through the thickness.")
    columns = {"variable": list(rows)} | {c: [r[c] for r in rows.values()] for c in ("start", "best", "low", "high")}
    return out + table(columns)


def _metrics(data: Mapping) -> str:
    found = data["figures"]
    names = list(found["best"])
    columns = {"figure": names} | {who: [found[who].get(n, math.nan) for n in names] for who in found}
    held = "".join(
        f"<li>{text(n)} held between {number(b['low'])} and {number(b['high'])}: {number(found['best'][n], 5)}</li>"
        for n, b in data.get("held", {}).items()
    )
    return "<h2>Figures of the designs</h2>" + table(columns) + (f"<ul>{held}</ul>" if held else "")


def _along(data: Mapping) -> str:
    variants = data.get("variants")
    if not variants:
        return ""
    caption = "The best designs of the same question at other conditions, each searched anew."
    return "<h2>Along its axis</h2>" + drawn(figures.along(variants), caption)


def _check(data: Mapping) -> str:
    rows = data["check"]
    columns = {
        "figure": list(rows),
        "slope along a random direction": [r["slope"] for r in rows.values()],
        "central differences at falling steps": [
            ", ".join(f"{d:.6g}" for d in r["differences"]) for r in rows.values()
        ],
        "verdict": [r["verdict"] for r in rows.values()],
    }
    return "<h2>Gradient check before the search</h2>" + table(columns)
