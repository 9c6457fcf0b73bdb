"""`mesode transport`: how the labels of a voxel image conduct."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Mapping

import numpy as np

from mesode import process
from mesode.commands.images import AXES, load, require_label
from mesode.process import log

# Bytes that a command needs for each voxel at its peak, labels and fields included: along one axis, and along all three
# (the second of several solves meets memory that the first has not returned). Measured on CPU at 128^3.
BINARY_BYTES, NUMBER_BYTES, DOUBLE_BYTES = (64, 75), (92, 95), (125, 180)
PLAN_BYTES = 250, 320  # more, for the multigrid of conductivities that differ much


@dataclasses.dataclass(frozen=True)
class Conductor:
    """What conducts: `phase`, its label, or `all` for several; `conductivities`, by label."""

    phase: int | str
    conductivities: Mapping[int, float]


def transport(options) -> dict:
    """Effective conductivity and tortuosity factor of labels of an image."""
    if not (math.isfinite(options.tolerance) and 1e-10 <= options.tolerance <= 1e-2):
        raise ValueError(
            f"Argument `--tolerance` must lie between 1e-10 and 0.01, but {options.tolerance:g} was given."
        )
    output = _output(options)
    chosen = _conductors(options)
    image, spacing = load(options)
    for conductor in chosen:
        for label in conductor.conductivities:
            require_label(image.labels, label, options.image)
    process.configure(options.device)
    needed = _bytes(options, chosen) * image.labels.size
    process.require_memory(needed, f"Transport on {image.labels.size} voxels", _cures(options))
    phases, results, kept = [], [], {}
    for conductor in chosen:
        clock, start = process.CompileClock(), time.perf_counter()
        found = _effective(image.labels, conductor, spacing, options)
        seconds = {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}
        phases.append(_phase(image.labels, conductor, found))
        rows = [_row(conductor, effective) | seconds for effective in found]
        results += rows
        for row in rows:
            log(_line(row), quiet=options.quiet or not options.json)
            if not options.json:
                print(_line(row))
        kept[conductor.phase] = found
    out = {"phases": phases, "results": results}
    out |= _more(image.labels, chosen, spacing, options)
    if output is not None:
        out |= _write(output, image, spacing, kept, out)
    return out


def _output(options) -> pathlib.Path | None:
    if options.output is None:
        return None
    path = pathlib.Path(options.output)
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"Argument `--output` must end in `.h5`, but `{path.name}` was given.")
    if not path.parent.is_dir():
        raise ValueError(f"Folder `{path.parent}` for the output `{path.name}` does not exist.")
    return path


def _conductors(options) -> list[Conductor]:
    if not options.conductivity:
        return [Conductor(label, {label: 1.0}) for label in dict.fromkeys(options.phase or [0])]
    if options.phase:
        raise ValueError("Arguments `--phase` and `--conductivity` exclude each other; name each label only once.")
    values = {}
    for text in options.conductivity:
        label, _, value = text.partition("=")
        try:
            label, value = int(label), float(value)
        except ValueError:
            raise ValueError(
                f"Argument `--conductivity` must read LABEL=VALUE, such as 2=0.05, but `{text}` was given."
            ) from None
        if not (math.isfinite(value) and 0 <= value <= 1e12):
            raise ValueError(f"Argument `--conductivity` must hold values from 0 to 1e12, but {value:g} was given.")
        values[label] = value
    if not any(values.values()):
        raise ValueError("Argument `--conductivity` must name a label that conducts, but all values are zero.")
    return [Conductor("all", {label: value for label, value in values.items() if value > 0})]


def _bytes(options, chosen) -> int:
    """What a voxel takes at the peak of the command."""
    from solver.transport.image import CONTRAST

    several = options.axis == "all"
    binary = all(len(c.conductivities) == 1 for c in chosen)
    number = DOUBLE_BYTES if options.float64 else BINARY_BYTES if binary else NUMBER_BYTES
    contrasted = any(max(c.conductivities.values()) > CONTRAST * min(c.conductivities.values()) for c in chosen)
    return number[several] + contrasted * PLAN_BYTES[several]


def _cures(options) -> str:
    ways = ["crop or coarsen the image to fewer voxels"]
    if options.axis == "all":
        ways.append("solve one axis at a time with `--axis`")
    if options.float64:
        ways.append("leave out `--float64`")
    return ", ".join(ways) + (
        ", or use a larger machine or several devices (`effective_transport` in Python with `devices`)"
    )


def _field(labels: np.ndarray, conductor: Conductor, options) -> np.ndarray:
    """The conductivities of the voxels; of a single label, which voxels have it."""
    from solver.transport.network import label_field

    if len(conductor.conductivities) == 1:
        ((label, value),) = conductor.conductivities.items()
        return labels == label if value == 1.0 else np.where(labels == label, np.float32(value), np.float32(0))
    return label_field(labels, conductor.conductivities, dtype=np.float64 if options.float64 else np.float32)


def _method(options):
    from solver.transport.conduct import Conduction

    dtype = np.float64 if options.float64 else np.float32
    return Conduction(energy_rtol=options.tolerance, rtol=min(1e-7, options.tolerance), dtype=dtype)


def _effective(labels: np.ndarray, conductor: Conductor, spacing, options):
    from solver.transport.convention import CONVENTIONS
    from solver.transport.image import effective_transport

    axes = (0, 1, 2) if options.axis == "all" else (AXES.index(options.axis),)
    convention = CONVENTIONS[options.convention]
    if convention.at_nodes and min(labels.shape[a] for a in axes) < 3:
        raise ValueError(
            f"Argument `--convention {options.convention}` puts the plates into the first and last voxels and needs 3 "
            f"voxels along the flux, but the image has {min(labels.shape[a] for a in axes)}."
        )
    return effective_transport(
        _field(labels, conductor, options),
        spacing,
        axes,
        periodic=(options.sides == "periodic",) * 3,
        convention=convention,
        method=_method(options),
        fields=options.output is not None,
    )


def _phase(labels: np.ndarray, conductor: Conductor, found) -> dict:
    through = {AXES[e.axis]: e.percolating_fraction for e in found}
    name = f"label {conductor.phase}" if conductor.phase != "all" else "all that conducts"
    out = {"label": conductor.phase, "name": name, "volume_fraction": found[0].volume_fraction}
    dead_ends = {AXES[e.axis]: e.dead_end_fraction for e in found}
    return out | {"percolating_fraction": through, "dead_end_fraction": dead_ends}


def _row(conductor: Conductor, e) -> dict:
    return {
        "phase": conductor.phase,
        "axis": AXES[e.axis],
        "tortuosity_factor": e.tortuosity_factor,
        "effective_conductivity": e.conductivity,
        "iterations": e.iterations,
        "residual": e.residual,
        "error_estimate": e.error_estimate,
        "flux_low": e.flux_low,
        "flux_high": e.flux_high,
    }


def _line(row: Mapping) -> str:
    tau = row["tortuosity_factor"]
    text = "no path, tortuosity infinite" if math.isinf(tau) else f"tortuosity factor {tau:.6g}"
    return (
        f"label {row['phase']}, axis {row['axis']}: {text}, effective conductivity "
        f"{row['effective_conductivity']:.6g} ({row['iterations']} iterations, error below {row['error_estimate']:.1g})"
    )


def _more(labels: np.ndarray, chosen, spacing, options) -> dict:
    """The tensor and the electrode tortuosity factor, where they are asked for."""
    out = {}
    if options.tensor:
        out["tensor"] = [{"phase": c.phase, "conductivity": _tensor(labels, c, spacing, options)} for c in chosen]
    if options.electrode:
        rows = [c for c in chosen if c.phase != "all"]
        if not rows:
            raise ValueError("Argument `--electrode` needs a single conducting label; name it with `--phase`.")
        out["electrode"] = [
            {"phase": c.phase, "electrode_tortuosity_factor": _electrode(labels == c.phase, spacing, options)}
            for c in rows
        ]
    if not options.json:
        for row in out.get("tensor", ()):
            rows = (" ".join(f"{value: .6g}" for value in line) for line in row["conductivity"])
            print(f"label {row['phase']}, periodic tensor:", *rows, sep="\n  ")
        for row in out.get("electrode", ()):
            print(f"label {row['phase']}, electrode tortuosity factor {row['electrode_tortuosity_factor']:.6g}")
    return out


def _tensor(labels, conductor: Conductor, spacing, options) -> list:
    import jax.numpy as jnp

    from microstructure.grid import Grid
    from solver.numerics.solution import raise_unless_successful
    from solver.transport.network import conductor as conductor_of
    from solver.transport.tensor import periodic_tensor

    k = _field(labels, conductor, options).astype(np.float64 if options.float64 else np.float32)
    grid = Grid(labels.shape, np.asarray(spacing) / np.max(spacing))
    solution = periodic_tensor(conductor_of(jnp.asarray(k), grid), grid, _method(options))
    return np.asarray(raise_unless_successful(solution, "The periodic tensor")).tolist()


def _electrode(pore: np.ndarray, spacing, options) -> float:
    from solver.numerics.solution import raise_unless_successful
    from solver.transport.electrode import electrode_tortuosity_factor

    if not pore[-1].any():
        return math.inf
    solution = electrode_tortuosity_factor(pore, spacing, _method(options))
    return float(raise_unless_successful(solution, "The electrode tortuosity factor")[0])


def _write(output: pathlib.Path, image, spacing, kept: Mapping, out: Mapping) -> dict:
    """The fields as an HDF5 file that ParaView opens, and the report beside it."""
    from mesode import record
    from mesode.report import write_report
    from microstructure import store

    fields, profiles = {"label": image.labels}, {}
    for phase, found in kept.items():
        for e in found:
            if e.field is None:
                continue
            name = f"{phase}_{AXES[e.axis]}"
            fields[f"potential_{name}"] = e.field.astype(np.float32)
            if e.local is not None:
                fields[f"flux_{name}"] = np.where(np.isnan(e.field), np.nan, e.local.flux).astype(np.float32)
                fields[f"constriction_{name}"] = np.where(np.isnan(e.field), np.nan, e.local.power).astype(np.float32)
                profiles[f"label {phase}, {AXES[e.axis]}"] = e.local.resistance * e.tortuosity_factor
    spacing = np.asarray(spacing, float)
    tree = {"fields": fields, "transport": {"spacing_m": spacing, "tortuosity_profiles": profiles}}
    tree |= {"results": _columns(out), "provenance": record.provenance(0)}
    store.write(output, tree, image={"fields": fields, "spacing": spacing})
    report = output.with_suffix(".html")
    write_report(output, report)
    return {"run_file": str(output), "report": str(report)}


def _columns(out: Mapping) -> dict:
    rows = out["results"]
    return {name: [str(r[name]) if name in ("phase", "axis") else float(r[name]) for r in rows] for name in rows[0]}
