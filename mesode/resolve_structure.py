"""The structure of a job of `mesode resolve`: an image or a run file, cropped and turned."""

import dataclasses
import pathlib

import numpy as np

from mesode.job import JobError
from mesode.resolve_job import ResolveJob

_AXES = {"x": 0, "y": 1, "z": 2}
_NESTED = ("active", "binder", "pore")  # phases of a run file from the inside out
LIMITS = 1e-9, 50e-6  # m, of a voxel edge
LEAST = 2  # voxels along each axis


@dataclasses.dataclass(frozen=True)
class Block:
    """A structure with the thickness along axis 0 and the collector at its index 0.

    **Arguments:** `spacing`, three voxel edges, m; `labels`, (nx, ny, nz), of an image, or `None`; `fractions`, by
    phase, (nx, ny, nz), of a run file, or `None`.
    """

    spacing: tuple[float, float, float]
    labels: np.ndarray | None = None
    fractions: dict[str, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        volume = self.labels if self.labels is not None else next(iter(self.fractions.values()))
        return volume.shape

    def mask(self, job: ResolveJob, name: str) -> np.ndarray:
        """The voxels that are, for the greater part, phase `name`."""
        if self.labels is not None:
            return self.labels == job.phases[name]["label"]
        return self.fractions[name] > 0.5


def block_of(job: ResolveJob) -> Block:
    """The block that a job names. A [`JobError`][] with every reason why there is none."""
    return _of_image(job) if job["image.path"] else _of_run_file(job)


def _of_image(job: ResolveJob) -> Block:
    from microstructure.images import read_image

    path = str(job["image.path"])
    image = read_image(path, job["image.dataset"] or None)
    spacing = (job.si("image.voxel_size_um"),) * 3 if job["image.voxel_size_um"] > 0 else image.spacing
    errors = _spacing_errors(path, spacing)
    labels, more = _cropped(job, path, [image.labels])
    errors += more
    if not errors:
        found = {int(v) for v in np.unique(labels[0])}
        wanted = {fields["label"]: name for name, fields in job.phases.items()}
        there = ", ".join(map(str, sorted(found)))
        errors += [
            f"`label` = {label} of [phase.{name}] does not occur in `{path}`, which holds {there} there."
            for label, name in wanted.items()
            if label not in found and job.phases[name]["role"] != "inert"
        ]
        unknown = sorted(found - set(wanted))
        if unknown and not errors:  # a misnamed label would be told twice
            errors.append(
                f"Image `{path}` holds the labels {unknown}, which no [phase] names; give them a phase, if need be "
                'with `role = "inert"`.'
            )
    if errors:
        raise JobError([f"{job.source}: {e}" for e in errors])
    (labels,), spacing = _turned(job, labels, spacing)
    return Block(spacing, labels=labels)


def _spacing_errors(path: str, spacing) -> list[str]:
    if spacing is None:
        return [f"Image `{path}` does not say its voxel size; give `image.voxel_size_um`."]
    if not all(LIMITS[0] <= s <= LIMITS[1] for s in spacing):
        edges = " x ".join(f"{1e6 * s:g}" for s in spacing)
        return [f"The voxel edges of `{path}` must lie between 0.001 and 50 um, but are {edges} um."]
    return []


def _cropped(job: ResolveJob, path: str, volumes: list[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    shape = volumes[0].shape
    crop = job.crop or tuple((0, n) for n in shape)
    for axis, ((low, high), n) in enumerate(zip(crop, shape, strict=True)):
        if high > n:
            return volumes, [
                f"`image.crop` asks for the voxels {low} to {high} of axis {'xyz'[axis]}, but `{path}` has {n} there."
            ]
        if high - low < LEAST:
            return volumes, [
                f"`image.crop` leaves {high - low} voxels of axis {'xyz'[axis]}, but at least {LEAST} are needed."
            ]
    part = tuple(slice(low, high) for low, high in crop)
    return [v[part] for v in volumes], []


def _turned(job: ResolveJob, volumes: list[np.ndarray], spacing):
    """The volumes with the thickness along axis 0, the collector first, and their voxel edges."""
    axis = _AXES[job["image.axis"][-1]]
    turned = [np.moveaxis(v, axis, 0) for v in volumes]
    if job["image.axis"].startswith("-"):
        turned = [v[::-1] for v in turned]
    edges = [float(s) for s in spacing]
    edges.insert(0, edges.pop(axis))
    return [np.ascontiguousarray(v) for v in turned], tuple(edges)


def _of_run_file(job: ResolveJob) -> Block:
    from microstructure import store

    path = pathlib.Path(job["image.run_file"])
    run = store.read(path, groups=("structure",)).get("structure", {})
    stage = run.get("calendered") or run.get("image") or {}
    if "fractions_active" not in stage:
        raise JobError([f"{job.source}: Run file `{path}` holds no structure in voxels; give one of `mesode run`."])
    spacing = tuple(float(s) for s in np.broadcast_to(stage["spacing_m"], 3))
    volumes = [np.asarray(stage[f"fractions_{name}"], float) for name in _NESTED]
    volumes, errors = _cropped(job, str(path), volumes)
    if errors:
        raise JobError([f"{job.source}: {e}" for e in errors])
    volumes, spacing = _turned(job, volumes, spacing)
    return Block(spacing, fractions=dict(zip(_NESTED, volumes, strict=True)))
