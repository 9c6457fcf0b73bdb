"""`mesode cycle`: a cell taken through the steps of a protocol."""

import dataclasses
import functools
import itertools
import math
import sys
import time

import numpy as np

from mesode import process
from mesode.cli import EXIT_FAILED
from mesode.commands.cells import load_cell
from mesode.commands.outputs import CSV, FIGURE, check_outputs
from mesode.process import log
from mesode.protocol import Protocol, protocol_of, read_protocol
from mesode.sentences import Stage

_FAILED, _NOT_BEGUN = "failed", "not begun"  # of the names in `ENDS`
_NAMES = {"charge above": "capacity", "charge below": "capacity", "plating below": "plating limit"}
_STEPS = 1000  # of the solver in a step of the protocol
_STEPS_A_ROW = 8  # of the solver, in a drive cycle: 5.4 were taken for noise at 1 Hz
_SMALL = 4096  # steps, of a record that costs nothing to speak of
_SECONDS = 5.0  # between lines of progress


def cycle(options):
    """The steps of a protocol one after the other, each landed on its end."""
    protocol = _protocol(options)
    check_outputs(options, {"csv": CSV, "figure": FIGURE})
    start = time.perf_counter()
    process.configure(options.device)
    clock = process.CompileClock()
    cell, nominal = load_cell(options.cell, options.thermal)
    full = protocol.state_of_charge if options.state_of_charge is None else options.state_of_charge
    full = 1.0 if full is None else full
    rows = run(cell, nominal, protocol, full, quiet=options.quiet)
    out = _summary(cell, nominal, protocol, rows) | {"cell": options.cell, "state_of_charge": full}
    failed = next((row for row in out["steps"] if row["end"] == _FAILED), None)
    if failed is None and not any(row["duration_s"] for row in out["steps"]):
        first = out["steps"][0]
        raise ValueError(
            f"No step could begin: at a state of charge of {full:g} the cell is past the end of `{first['text']}` "
            f"({first['end']}) as soon as it starts. Start from another `--state-of-charge` or move the end."
        )
    _write(options, out)
    out |= {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
    if not options.json:
        _print(out)
    if failed is None:
        return out
    log(f"mesode cycle: {_why(failed)}")
    return out, EXIT_FAILED


def _why(failed: dict) -> str:
    """The sentence of a step that did not converge."""
    step = f"Step {failed['step']}, `{failed['text']}`, did not converge after {failed['duration_s']:.4g} s"
    if failed["too_many"]:
        return f"{step}: it needs more steps of the solver than are recorded. Split it into shorter ones."
    return f"{step}: the cell cannot do what it asks for, as where the electrolyte is depleted. Ask for less."


def _protocol(options) -> Protocol:
    given = options.state_of_charge
    if given is not None and not (math.isfinite(given) and 0.0 <= given <= 1.0):
        raise ValueError(f"`--state-of-charge` must lie between 0 and 1, but {given:g} was given.")
    if (options.protocol is None) == (not options.step):
        said = "both were given" if options.step else "neither was given"
        raise ValueError(f"A protocol is either a file or sentences, each after `--step`, but {said}.")
    return protocol_of(options.step) if options.step else read_protocol(options.protocol)


def run(cell, nominal: float, protocol: Protocol, state_of_charge: float, method=None, *, quiet: bool = True):
    """What every step of a protocol did, up to one that failed: a list of rows of a
    [`Course`][solver.cell.cycle.Course] by name, without repeats, with the name of their end.

    Every step runs through one compiled function, whatever it holds and however many there are; with a long drive
    cycle there are two. `method`, by default `DFN()` with longer records: a hold at 4.2 V from empty takes 376 steps.
    """
    import jax.numpy as jnp

    from mesode.steps import check_cell, step_of
    from solver.cell.cell import LithiumMetal
    from solver.cell.cycle import ENDS, stacked
    from solver.cell.protocol import DFN
    from solver.numerics.march import March

    method = DFN(march=March(max_steps=_STEPS)) if method is None else method
    check_cell(protocol.stages, cell.thermal is not None, isinstance(cell.negative, LithiumMetal))
    window = float(cell.lower_cutoff), float(cell.upper_cutoff)
    steps = _all_of(protocol.stages, lambda stage: step_of(stage, nominal, float(cell.area), window))
    many = stacked(steps)
    steps = [_row(many, k) for k in range(len(steps))]
    methods = _methods_for(protocol.stages, method)
    begin, take = _compiled()
    system, carry = begin(cell, steps[0].control, method, jnp.asarray(state_of_charge))
    _require_memory(methods, carry)
    rows, said = [], time.perf_counter()
    for number, (_, k) in enumerate(protocol.order, 1):
        carry, (row, stats) = take(system, carry, steps[k], methods[k])
        used = int(stats["steps"]) + 1
        row = {name: np.asarray(value)[:used] if value.ndim else value.item() for name, value in row.items()}
        rows.append(row | {"end": ENDS[row["end"]], "too_many": used > methods[k].march.max_steps})
        if rows[-1]["end"] == _FAILED:
            break
        if not quiet and sys.stderr.isatty() and time.perf_counter() - said > _SECONDS:
            log(f"step {number} of {len(protocol.order)}: {protocol.stages[k].text}")
            said = time.perf_counter()
    return rows


@functools.cache
def _compiled():
    """The two functions of a course, each kept as it was traced."""
    import equinox as eqx

    from solver.cell.cycle import begin, take

    return eqx.filter_jit(begin), eqx.filter_jit(take)


def _all_of(stages, make) -> list:
    """`make` of every stage, or all of their sentences at once."""
    found, errors = [], []
    for stage in stages:
        try:
            found.append(make(stage))
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ValueError("\n".join(dict.fromkeys(errors)))
    return found


def _require_memory(methods, carry) -> None:
    """Refuses a drive cycle whose record does not fit: two copies of state and unknowns for every step."""
    size = max(method.march.max_steps for method in methods) * (carry[0].size + carry[1].size + 8)
    process.require_memory(16.0 * size, "The record of a step", "split the drive cycle into shorter ones")


def _row(many, k: int):
    """One of stacked steps."""
    import jax

    return jax.tree.map(lambda leaf: leaf[k], many)


def _methods_for(stages, method) -> list:
    """`method` for every stage, with a record long enough for its table. Sizes are powers of two, and one for all
    stages where it is small, so that little is compiled."""
    rows = [0 if stage.table is None else int(np.sum(stage.table.times <= stage.duration)) for stage in stages]
    base = method.march.max_steps
    sizes = [2 ** math.ceil(math.log2(base + _STEPS_A_ROW * n)) if n else base for n in rows]
    sizes = [max(sizes)] * len(sizes) if max(sizes) <= _SMALL else sizes
    return [dataclasses.replace(method, march=dataclasses.replace(method.march, max_steps=n)) for n in sizes]


def _summary(cell, nominal: float, protocol: Protocol, rows: list[dict]) -> dict:
    """What is printed and written: a line for every step, and the records of all in a row."""
    from solver.cell.cell import LithiumMetal

    area, plates = float(cell.area), not isinstance(cell.negative, LithiumMetal)
    window = float(cell.lower_cutoff), float(cell.upper_cutoff)
    lines = []
    for number, ((round_, k), row) in enumerate(itertools.zip_longest(protocol.order, rows), 1):
        line = _line(protocol.stages[k], row, area, window)
        lines.append({"step": number, "cycle": round_, "text": protocol.stages[k].text} | line)
        if plates and "voltage_min_V" in line:
            lines[-1]["plating_min_V"] = float(np.min(row["plating"]))
    taken = [(number, row) for number, row in enumerate(rows, 1) if row["duration"] > 0]  # no load flowed in others

    def joined(name, scale=1.0):
        return np.concatenate([np.zeros(0), *(scale * row[name] for _, row in taken)])

    sizes = [row["time"].size for _, row in taken]
    return {
        "nominal_capacity_Ah": nominal,
        "thermal": cell.thermal is not None,
        "steps": lines,
        "time_s": joined("time"),
        "voltage_V": joined("voltage"),
        "current_A": joined("current", area),
        "temperature_K": joined("temperature"),
        "plating_V": joined("plating") if plates else None,
        "drawn_Ah": joined("drawn", area / 3600.0),
        "step": np.repeat(np.array([number for number, _ in taken], int), sizes),
    }


def _line(stage: Stage, row: dict | None, area: float, window) -> dict:
    """One step in numbers; none where it was not begun."""
    from mesode.steps import guards

    if row is None:
        return {"end": _NOT_BEGUN, "duration_s": 0.0, "capacity_Ah": 0.0, "energy_Wh": 0.0}
    if row["end"] == _FAILED and row["duration"] == 0.0:  # nothing was recorded
        nothing = {"duration_s": 0.0, "capacity_Ah": 0.0, "energy_Wh": 0.0}
        return {"end": _FAILED, "too_many": False} | nothing
    end, voltage, temperature = row["end"], row["voltage"], row["temperature"]
    guard = dict(zip(("voltage below", "voltage above"), guards(stage, window), strict=True)).get(end)
    return {
        "end": end,
        "at_cut_off": guard is not None,
        "no_end_met": end == "time" and stage.duration is None,
        "too_many": row["too_many"],
        "duration_s": row["duration"],
        "capacity_Ah": row["charge"] * area / 3600.0,
        "energy_Wh": row["energy"] * area / 3600.0,
        "voltage_start_V": float(voltage[0]),
        "voltage_end_V": float(voltage[-1]),
        "voltage_min_V": float(np.min(voltage)),
        "voltage_max_V": float(np.max(voltage)),
        "current_end_A": float(row["current"][-1]) * area,
        "temperature_max_K": float(np.max(temperature)),
        "temperature_end_K": float(temperature[-1]),
    }


def _write(options, out: dict) -> None:
    if options.csv:
        write_course(options.csv, out)
        log(f"wrote {options.csv}", quiet=options.quiet)
    if options.figure:
        from mesode.cycle_figure import course

        course(out).savefig(options.figure, dpi=150, facecolor="white")
        log(f"wrote {options.figure}", quiet=options.quiet)


def write_course(path, out: dict) -> None:
    """Writes the records of all steps in the Battery Data Format, in which a current that charges is positive."""
    from microstructure.exchange import bdf

    cycles = np.array([0, *(line["cycle"] for line in out["steps"])])
    further = {
        "Cycle Count / 1": cycles[out["step"]],
        "Step Count / 1": out["step"],
        "Net Capacity / Ah": 0.0 - out["drawn_Ah"],
        "Surface Temperature T1 / degC": out["temperature_K"] - 273.15,
    }
    if out["plating_V"] is not None:
        further["Plating Potential / V"] = out["plating_V"]
    bdf.write_bdf(path, bdf.Curve(out["time_s"], out["voltage_V"], 0.0 - out["current_A"], further))


def _print(out: dict) -> None:
    lines = out["steps"]
    wide = min(44, max(4, *(len(line["text"]) for line in lines)))
    cycles = any(line["cycle"] > 1 for line in lines)
    title = f"{'step':>5} {'cycle ' if cycles else ''}{'what':{wide}}  {'ended by':22} {'time / s':>10} "
    title += f"{'charge / Ah':>12} {'energy / Wh':>12} {'voltage / V':>16}"
    print(title + (f" {'warmest / degC':>15}" if out["thermal"] else ""))
    for line in lines:
        text = line["text"] if len(line["text"]) <= wide else line["text"][: wide - 3] + "..."
        row = f"{line['step']:5d} {line['cycle']:>5d} " if cycles else f"{line['step']:5d} "
        row += f"{text:{wide}}  {_ended(line):22}"
        if "voltage_start_V" in line:
            row += f" {line['duration_s']:10.2f} {_signed(line['capacity_Ah'])} {_signed(line['energy_Wh'])}"
            row += f" {line['voltage_start_V']:7.4f} - {line['voltage_end_V']:.4f}"
            row += f" {line['temperature_max_K'] - 273.15:15.2f}" if out["thermal"] else ""
        print(row)
    drawn = sum(line["capacity_Ah"] for line in lines)
    energy, lasted = (sum(line[name] for line in lines) for name in ("energy_Wh", "duration_s"))
    print(f"{lasted:.2f} s in all, {drawn:.5g} Ah and {energy:.5g} Wh drawn, net of what was put in")


def _signed(value: float) -> str:
    return f"{round(value, 5) + 0.0:12.5f}"  # no minus before a zero


def _ended(line: dict) -> str:
    end = "cut-off voltage" if line.get("at_cut_off") else _NAMES.get(line["end"], line["end"])
    end = "time, no end met" if line.get("no_end_met") else end
    return f"{end}, at once" if line["duration_s"] == 0.0 and line["end"] not in (_FAILED, _NOT_BEGUN) else end
