"""`mesode info`, `report` and `export`: what to do with a run file."""

import csv
import functools
import pathlib

import numpy as np

from mesode import plan
from mesode.job import parse_job
from mesode.process import log
from microstructure import store


def info(options) -> dict:
    """Versions and devices; with a run file, what is in it."""
    from mesode import record

    if options.run_file is None:
        return _about_program(options)
    with store.open_foreign(options.run_file) as file:
        store.check_schema(file)
        entries = {}
        file.visititems(lambda name, node: entries.__setitem__(name, _describe(node)))
    data = store.read(options.run_file, groups=("provenance", "kpis", "command"))
    if not options.json:
        print(f"{options.run_file}: {record.file_hash(options.run_file)[:16]} (sha256)")
        for name, text in entries.items():
            if text and not name.startswith("VTKHDF"):
                print(f"  {name}: {text}")
    return {"file": str(options.run_file), "entries": {k: v for k, v in entries.items() if v}, **data}


def _describe(node) -> str:
    import h5py

    if not isinstance(node, h5py.Dataset):
        return ""
    if node.ndim == 0 and node.dtype.kind in "iufb":
        return f"{node[()]:.6g}"
    if h5py.check_string_dtype(node.dtype) is not None:
        return "text"
    return f"{' x '.join(map(str, node.shape))} {node.dtype}"


def _about_program(options) -> dict:
    from mesode import process, record

    process.configure(options.device)
    import jax

    free = process.free_memory()
    about = {
        "versions": record.versions(),
        "commit": record.commit(),
        "devices": [{"platform": d.platform, "kind": d.device_kind} for d in jax.devices()],
        "x64": bool(jax.config.jax_enable_x64),
        "compilation_cache": str(process.cache_folder()),
        "free_memory_GiB": None if free is None else round(free / 2**30, 2),
    }
    if not options.json:
        for name, version in about["versions"].items():
            print(f"{name:12} {version}")
        print(f"{'devices':12} {', '.join(d['kind'] + ' (' + d['platform'] + ')' for d in about['devices'])}")
        print(f"{'cache':12} {about['compilation_cache']}")
    return about


def report(options) -> dict:
    """Writes the HTML report of a run file."""
    from mesode.report import write_report

    output = pathlib.Path(options.output or pathlib.Path(options.run_file).with_suffix(".html"))
    write_report(options.run_file, output)
    log(f"wrote {output}", quiet=options.quiet)
    return {"report": output}


def export(options) -> dict:
    """Writes parts of a run file in other formats into a folder; of a cell, by name or file, its parameters as BPX."""
    of_cell = pathlib.Path(options.run_file).suffix.lower() not in (".h5", ".hdf5")
    if of_cell and set(options.format) != {"bpx"}:
        raise ValueError(f"`{options.run_file}` is no run file (.h5); of other cells only `--format bpx` is written.")
    run = {} if of_cell else store.read(options.run_file)
    folder = pathlib.Path(options.output or pathlib.Path(options.run_file).with_suffix(""))
    makers = {"vtkhdf": _vtkhdf, "vtu": _vtu, "stl": _stl, "tiff": _tiff, "csv": _csv}
    makers |= {"lammps": _lammps, "lammps-data": _lammps_data, "xyz": _xyz}
    makers |= {"bpx": functools.partial(_bpx, options)}
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`{folder}` is not a folder.")
    structures = run.get("structure", {})
    stage, of = structures.get(options.stage) or structures.get("image"), options.stage
    if stage is None and "packed" in structures:
        stage, of = structures["packed"], "packed"
    needs_structure = sorted(set(options.format) - {"csv", "bpx"})
    if stage is None and needs_structure:
        raise ValueError(
            f"File `{options.run_file}` holds no {options.stage} structure, which {', '.join(needs_structure)} need."
        )
    lists = sorted({"lammps", "lammps-data", "xyz"} & set(options.format))
    if stage is not None and "positions" not in stage and lists:
        raise ValueError(f"File `{options.run_file}` holds no particles, which {' and '.join(lists)} need.")
    voxels = sorted({"vtu", "tiff"} & set(options.format))
    if stage is not None and not _fields(stage) and voxels:
        raise ValueError(f"File `{options.run_file}` holds no voxels, which {' and '.join(voxels)} need.")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in dict.fromkeys(options.format):
        written += makers[name](folder, run, stage, of)
    for path in written:
        log(f"wrote {path}", quiet=options.quiet)
    return {"files": written}


def _fields(stage) -> dict[str, np.ndarray]:
    return {k.removeprefix("fractions_"): v for k, v in stage.items() if k.startswith("fractions_")}


def _labels(stage) -> np.ndarray:
    """The phase that holds most of each voxel: 0 pore, 1 active material, 2 carbon-binder."""
    order = [stage[f"fractions_{name}"] for name in ("pore", "active", "binder")]
    return np.argmax(np.stack(order), axis=0).astype(np.uint8)


def _vtkhdf(folder, run, stage, name):
    paths = []
    if _fields(stage):
        paths.append(folder / f"{name}.vtkhdf")
        store.write_image_view(paths[-1], _fields(stage) | {"label": _labels(stage)}, stage["spacing_m"])
    if "positions" in stage:
        paths.append(folder / f"{name}_particles.vtkhdf")
        store.write_particle_view(paths[-1], stage["positions"], stage["radii"], stage.get("material"))
    return paths


def _vtu(folder, run, stage, name):
    from microstructure import mesh

    path = folder / f"{name}_solid.vtu"
    labels = _labels(stage)
    mesh.write_voxels(path, _fields(stage) | {"label": labels}, stage["spacing_m"], labels > 0)
    return [path]


def _stl(folder, run, stage, name):
    from microstructure import mesh

    if "positions" in stage:
        path = folder / f"{name}_particles.stl"
        mesh.write_particles(path, stage["positions"], stage["radii"])
    else:
        path = folder / f"{name}_active.stl"
        mesh.write_surface(path, _labels(stage) == 1, stage["spacing_m"])
    return [path]


def _tiff(folder, run, stage, name):
    from microstructure.images import write_tiff

    path = folder / f"{name}_labels.tif"
    with store.atomic(path) as temporary:
        write_tiff(temporary, _labels(stage), stage["spacing_m"])
    return [path]


def _particles(run, stage):
    """The particles of a stage with their materials; those of a run are all of its active material."""
    from microstructure.packing import Packing
    from microstructure.particles import Particles

    density = stage.get("densities_kg_m3")
    if density is None and "job" in run:
        job = parse_job(run["job"])
        density = [plan.density(job, job["recipe.active_material"])]
    return Particles(Packing(stage["positions"], stage["radii"], stage["box"]), stage.get("material"), density)


def _lammps(folder, run, stage, name):
    from microstructure.exchange import lammps

    lammps.write_lammps_dump(folder / f"{name}.dump", _particles(run, stage))
    return [folder / f"{name}.dump"]


def _lammps_data(folder, run, stage, name):
    from microstructure.exchange import lammps, tables

    lammps.write_lammps_data(folder / f"{name}.data", _particles(run, stage), tables.MICRO)
    return [folder / f"{name}.data"]


def _xyz(folder, run, stage, name):
    from microstructure.exchange import xyz

    xyz.write_xyz(folder / f"{name}.xyz", _particles(run, stage))
    return [folder / f"{name}.xyz"]


def _bpx(options, folder, run, stage, name):
    from mesode import process
    from mesode.commands.bpx import bpx_of
    from microstructure.exchange import bpx_write

    process.configure()
    bpx_write.write_bpx(folder / "cell.json", bpx_of(options.run_file, run), options.bpx_version)
    return [folder / "cell.json"]


def _csv(folder, run, stage, name):
    from mesode.report import flatten

    paths = []
    rows = [("figure", "value"), *flatten(run.get("kpis", {})).items()]
    paths.append(write_csv(folder / "kpis.csv", rows))
    for rate, curve in run.get("discharge", {}).items():
        paths.append(write_curve(folder / f"discharge_{rate}C.bdf.csv", curve))
    for part, columns in (("calendering", ("thickness_m", "pressure_Pa", "porosity")), ("drying", ("depth", "binder"))):
        if part in run:
            data = zip(*(run[part][c] for c in columns), strict=True)
            paths.append(write_csv(folder / f"{part}.csv", [columns, *data]))
    return paths


def write_csv(path, rows):
    """Writes rows as CSV, atomically, and returns the path."""
    with store.atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return pathlib.Path(path)


def write_curve(path, curve):
    """Writes a curve in the Battery Data Format, the current of a discharge as negative.

    A curve per area of electrode is that of 1 m2, and has a further column that says so.
    """
    from microstructure.exchange import bdf

    time, further = np.asarray(curve["time_s"]), {}
    current = -np.asarray(curve.get("current_A", curve.get("current_A_m2")))
    if "current_A" not in curve:
        further["Current Density / A m-2"] = np.broadcast_to(current, time.shape)
    bdf.write_bdf(path, bdf.Curve(time, np.asarray(curve["voltage_V"]), np.broadcast_to(current, time.shape), further))
    return pathlib.Path(path)
