"""`mesode transport` and `mesode measure`: what a voxel image is and how it conducts."""

import math
import pathlib
import time

import numpy as np

from mesode import process
from mesode.process import log
from microstructure import labels as descriptors
from microstructure.images import LabelImage, read_image

AXES = ("x", "y", "z")
BYTES_PER_VOXEL = 160  # float32 fields of the multigrid solve and the labels, measured at 128^3


def load(options) -> tuple[LabelImage, tuple[float, float, float]]:
    """The image of the command line and its voxel edges in m; edges of 1 where nobody says."""
    path, dataset = options.image, options.dataset
    if ".h5:" in path and not pathlib.Path(path).exists():
        path, _, dataset = path.partition(":")
    size = options.voxel_size_um
    if size is not None and not (math.isfinite(size) and 1e-4 <= size <= 1000.0):
        raise ValueError(f"Argument `--voxel-size-um` must lie between 0.0001 and 1000 um, but {size:g} was given.")
    image = read_image(path, dataset)
    if size is not None:
        return image, (size * 1e-6,) * 3
    return image, image.spacing or (1.0, 1.0, 1.0)


def require_label(labels: np.ndarray, label: int, path) -> None:
    """Raises a `ValueError` if the image does not have this label."""
    known = descriptors.volume_fractions(labels)
    if label not in known:
        listed = ", ".join(map(str, known))
        raise ValueError(f"Label {label} does not occur in `{path}`; it holds the labels {listed}.")


def _phases(labels: np.ndarray, chosen=None) -> list[dict]:
    phases = []
    for label, fraction in descriptors.volume_fractions(labels).items():
        if chosen is not None and label not in chosen:
            continue
        mask = labels == label
        through = {name: float(descriptors.percolating(mask, a).mean()) for a, name in enumerate(AXES)}
        phases.append(
            {"label": label, "name": f"label {label}", "volume_fraction": fraction, "percolating_fraction": through}
        )
    return phases


def measure(options) -> dict:
    """Fractions, percolation, surface area, chords and the profile through the thickness of each label."""
    image, spacing = load(options)
    known = options.voxel_size_um is not None or image.spacing is not None
    unit = 1.0 if known else math.nan
    phases = _phases(image.labels)
    for phase in phases:
        mask = image.labels == phase["label"]
        chords = {name: descriptors.mean_chord(mask, a, spacing[a]) for a, name in enumerate(AXES)}
        area = descriptors.specific_surface_area(mask, spacing)
        phase["specific_surface_area_per_m"] = area * unit
        phase["specific_surface_area_per_voxel"] = area * float(np.mean(spacing))
        phase["mean_chord_um"] = {name: value * 1e6 * unit for name, value in chords.items()}
        phase["profile_x"] = descriptors.profile(mask, 0)
    if not options.json:
        _print_measures(image.labels.shape, spacing if known else None, phases)
    return {"shape": list(image.labels.shape), "spacing_m": list(spacing) if known else None, "phases": phases}


def _print_measures(shape, spacing, phases) -> None:
    edges = "unknown" if spacing is None else " x ".join(f"{1e6 * s:.4g}" for s in spacing) + " um"
    print(f"{' x '.join(map(str, shape))} voxels, voxel size {edges}")
    print("label  fraction  percolating x / y / z        surface per voxel edge")
    for p in phases:
        through = " / ".join(f"{p['percolating_fraction'][a]:.4f}" for a in AXES)
        print(f"{p['label']:5}  {p['volume_fraction']:.5f}  {through}   {p['specific_surface_area_per_voxel']:.5f}")
    if spacing is not None:
        print("label  surface area 1/m  mean chord x / y / z in um")
        for p in phases:
            chords = " / ".join(f"{p['mean_chord_um'][a]:.3f}" for a in AXES)
            print(f"{p['label']:5}  {p['specific_surface_area_per_m']:16.4g}  {chords}")


def transport(options) -> dict:
    """Effective conductivity and tortuosity factor of labels of an image."""
    if not (math.isfinite(options.tolerance) and 1e-10 <= options.tolerance <= 1e-2):
        raise ValueError(
            f"Argument `--tolerance` must lie between 1e-10 and 0.01, but {options.tolerance:g} was given."
        )
    image, spacing = load(options)
    chosen = list(dict.fromkeys(options.phase or [0]))
    for label in chosen:
        require_label(image.labels, label, options.image)
    process.require_memory(BYTES_PER_VOXEL * image.labels.size, f"Transport on {image.labels.size} voxels")
    process.configure(options.device)
    phases = _phases(image.labels, chosen)
    axes = AXES if options.axis == "all" else (options.axis,)
    results = []
    for phase in phases:
        for name in axes:
            results.append(_result(image.labels == phase["label"], phase, name, spacing, options))
            log(_line(results[-1]), quiet=options.quiet or not options.json)
            if not options.json:
                print(_line(results[-1]))
    return {"phases": phases, "results": results}


def _line(result) -> str:
    tau = result["tortuosity_factor"]
    text = "no path, tortuosity infinite" if math.isinf(tau) else f"tortuosity factor {tau:.6g}"
    return (
        f"label {result['phase']}, axis {result['axis']}: {text}, effective conductivity "
        f"{result['effective_conductivity']:.6g} ({result['iterations']} iterations, {result['seconds']:.2f} s)"
    )


def _result(mask, phase, axis: str, spacing, options) -> dict:
    clock, start = process.CompileClock(), time.perf_counter()
    out = {"phase": phase["label"], "axis": axis}
    if phase["percolating_fraction"][axis] == 0.0:
        out |= {"tortuosity_factor": math.inf, "effective_conductivity": 0.0, "iterations": 0}
        out |= {"residual": 0.0, "error_estimate": 0.0}
    else:
        conductivity, stats = solve(mask, AXES.index(axis), spacing, options.tolerance)
        out |= {"tortuosity_factor": phase["volume_fraction"] / conductivity, "effective_conductivity": conductivity}
        out |= stats
    return out | {"seconds": time.perf_counter() - start, "compile_seconds": clock.seconds}


def solve(mask: np.ndarray, axis: int, spacing, tolerance: float) -> tuple[float, dict]:
    """Effective conductivity of a mask of unit conductivity along `axis`, and the figures of the solve."""
    from microstructure.grid import Grid
    from solver.numerics.solution import raise_unless_successful
    from solver.transport.conduct import Conduction
    from solver.transport.effective import conduct_network
    from solver.transport.network import label_network

    part = descriptors.percolating(mask, axis)  # floating islands carry nothing and only slow the solve down
    network = label_network(part.astype(np.uint8), {1: 1.0}, Grid(mask.shape, spacing), axis)
    solution = conduct_network(network, Conduction(energy_rtol=tolerance))
    conductivity, _ = raise_unless_successful(solution, "Transport")
    stats = solution.stats
    return float(conductivity), {
        "iterations": int(stats["steps"]),
        "residual": float(stats["residual"]),
        "error_estimate": float(stats["error_estimate"]),
    }
