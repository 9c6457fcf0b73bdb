"""`mesode measure`: what a voxel image is."""

import math
import pathlib

import numpy as np

from microstructure import labels as descriptors
from microstructure.images import LabelImage, read_image

AXES = ("x", "y", "z")


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


def _phases(labels: np.ndarray) -> list[dict]:
    phases = []
    for label, fraction in descriptors.volume_fractions(labels).items():
        pieces = descriptors.clusters(labels == label)
        through = {name: descriptors.percolation(pieces, a).fraction for a, name in enumerate(AXES)}
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
