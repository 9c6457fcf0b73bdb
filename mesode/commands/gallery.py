"""`mesode design --problem NAME`: a problem of the gallery, with its report."""

import math

from mesode import process
from mesode.commands.jobs import require_output


def gallery(options) -> dict:
    """Solves a named problem from its start; `list` names all of them."""
    if options.job is not None or options.set:
        raise ValueError("`--problem` takes no job file and no --set: a problem of the gallery is as it is.")
    name = options.problem
    output = require_output(options.output or f"mesode_{name}.h5")
    process.configure(options.device)
    from mesode import gallery as rooms

    if name == "list":
        return _listed(options, [rooms.named(each) for each in rooms.NAMES])
    challenge = rooms.named(name)
    say = lambda message: process.log(message, quiet=options.quiet)  # noqa: E731
    say(challenge.question)
    found = rooms.run(challenge, output, options.seed or 0, options.watch, resume=options.resume, say=say)
    from mesode.report import write_report

    report = output.with_suffix(".html")
    write_report(output, report)
    out = summary(found) | {"run_file": output, "report": report}
    if not options.json:
        _print(found, out)
    return out


def _listed(options, challenges) -> dict:
    if not options.json:
        for each in challenges:
            print(f"{each.name:26}{each.question}")
    return {"problems": [{"name": each.name, "question": each.question} for each in challenges]}


def summary(found: dict) -> dict:
    """What `--json` prints of a run file."""
    best, rows = found["figures"]["best"], found["baselines"]
    name = found["objective"]
    metrics = {
        "objective_name": name,
        "gain_percent": gain_percent(found, found["figures"]["start"][name]),
        "figures": found["figures"],
        "gradient_check": {n: row["verdict"] for n, row in found["check"].items()},
        "baselines": {n: {k: v for k, v in row.items() if k != "course"} for n, row in rows.items()},
        "at_bounds": found["at_bounds"],
    }
    if "known" in found:
        metrics["known"] = found["known"]
    if "best uniform" in rows:
        metrics["gain_over_best_uniform_percent"] = gain_percent(found, rows["best uniform"]["best"])
    if "best uniform, finer" in found["figures"]:
        fine = found["figures"]["best uniform, finer"][name]
        metrics["gain_over_best_uniform_finer_percent"] = gain_percent(found, fine, "best, finer")
    if "best, finer" in found["figures"]:
        metrics["finer_gap_percent"] = 100.0 * (found["figures"]["best, finer"][name] / best[name] - 1.0)
    if found["variants"]:
        metrics["variants"] = found["variants"]
    return {
        "problem": found["problem"],
        "variables": {n: row["best"] for n, row in found["variables"].items()},
        "objective": best[name],
        "start": found["figures"]["start"][name],
        "metrics": metrics,
        "solves": {n: row["solves"] for n, row in rows.items() if n != "start"},
    }


def gain_percent(found: dict, than: float, which: str = "best") -> float:
    """By how many percent a design is better than one whose objective is `than`."""
    value = found["figures"][which][found["objective"]]
    return 100.0 * found["sense"] * (value - than) / abs(than) if than else math.nan


def _print(found: dict, out: dict) -> None:
    name, metrics = found["objective"], out["metrics"]
    for variable, row in found["variables"].items():
        side = found["at_bounds"].get(variable, "")
        print(f"{variable:34}{row['start']:12.6g} -> {row['best']:12.6g}{f'   at its {side} bound' if side else ''}")
    for figure, value in found["figures"]["best"].items():
        print(f"{figure:34}{found['figures']['start'][figure]:12.6g} -> {value:12.6g}")
    for who, row in found["baselines"].items():
        if who not in ("start", "climb"):
            print(f"{name + ' of ' + who:50}{row['best']:12.6g} after {row['solves']:.0f} solves")
    print(f"{'solves of this search':50}{out['solves']['climb']:12.0f}")
    for figure, verdict in metrics["gradient_check"].items():
        print(f"{'gradient of ' + figure:50}{verdict}")
    if "known" in metrics:
        worst = max(metrics["known"]["errors"].values())
        said = "met" if metrics["known"]["met"] else "NOT met"
        print(f"{'known answer (' + said + '), largest relative error':50}{worst:12.2g}")
    for key in ("gain_percent", "gain_over_best_uniform_percent", "gain_over_best_uniform_finer_percent",
                "finer_gap_percent"):  # fmt: skip
        if key in metrics:
            print(f"{key.replace('_percent', '').replace('_', ' ') + ' / %':50}{metrics[key]:12.4g}")
    print(f"{'run file':50}{out['run_file']}\n{'report':50}{out['report']}")
