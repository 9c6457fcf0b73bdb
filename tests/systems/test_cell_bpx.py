"""BPX files read and discharged, and cells written as BPX: by our own reader and by PyBaMM's."""

import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.harness import ask_peer
from mesode.cli import main
from microstructure.exchange.bdf import read_bdf
from microstructure.exchange.bpx import read_bpx
from microstructure.exchange.bpx_write import VERSIONS, write_bpx
from microstructure.units import Ah
from solver.cell.bpx import cell_from_bpx
from solver.cell.bpx_export import bpx_from_cell
from solver.cell.discretise import Mesh
from solver.cell.library import chen2020, marquis2019
from solver.cell.protocol import DFN, Stop, discharge
from solver.handover import CellDesign, Properties, electrode, full_cell
from solver.numerics.march import March, same_steps

POUCH = pathlib.Path(__file__).parents[3] / "shared" / "data" / "nmc_pouch_cell_BPX.json"
needs_data = pytest.mark.skipif(not POUCH.is_file(), reason="the shared data folder is not beside this checkout")
REFINED = DFN(Mesh(80, 40, 80, 20), March(tolerance=1e-5, max_steps=1500))
run = eqx.filter_jit(discharge)


@needs_data
def test_pouch_cell_to_its_cutoff():
    """PyBaMM on 80-cell meshes: 12.951596 Ah in 3730.06 s."""
    source = read_bpx(POUCH)
    cell = cell_from_bpx(source)
    value = run(cell, 12.5 / cell.area).value
    assert value.stop == Stop.cut_off
    assert float(value.end_time) == pytest.approx(3730.06, abs=0.02)
    assert float(value.capacity * cell.area / Ah) == pytest.approx(12.951596, rel=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_discharges_as_the_cell(tmp_path, version):
    """Out and in again: the same voltages to 1e-9 V and the same end, for a cell that starts below its cut-off."""
    cell = chen2020()
    write_bpx(tmp_path / "cell.json", bpx_from_cell(cell), version)
    first, second = (run(c, 5.0 / cell.area).value for c in (cell, cell_from_bpx(read_bpx(tmp_path / "cell.json"))))
    used = int(np.argmax(first.time)) + 1
    assert int(np.argmax(second.time)) + 1 == used
    assert float(second.end_time) == pytest.approx(float(first.end_time), abs=1e-7)
    assert np.max(np.abs(second.voltage[:used] - first.voltage[:used])) < 1e-9


def test_the_command_on_a_file(tmp_path, capsys, monkeypatch):
    """The stable keys of `discharge`, and the curve as Battery Data Format, for a file that the command wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    assert main(["export", "Chen2020", "--format", "bpx", "--output", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": ["out/cell.json"]}
    assert main(["discharge", "out/cell.json", "--c-rate", "1", "--json", "--csv", "curve.bdf.csv"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) >= {"c_rate", "current_A", "time_s", "voltage_V", "capacity_Ah", "energy_Wh", "end_time_s", "stop"}
    assert (data["c_rate"], data["current_A"], data["stop"]) == (1.0, 5.0, "cut_off")
    assert data["voltage_V"][-1] == pytest.approx(2.5, abs=1e-6)
    curve = read_bdf("curve.bdf.csv")
    assert np.array_equal(curve.time, data["time_s"]) and np.array_equal(curve.voltage, data["voltage_V"])
    assert np.all(curve.current == -5.0)
    assert not data["depleted"] and data["least_salt_mol_m3"] > 500.0
    assert main(["discharge", "out/cell.json", "--c-rate", "4", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["stop"] == "cut_off" and data["depleted"] and data["capacity_Ah"] < 2.0  # of 5
    cell = json.loads(pathlib.Path("out/cell.json").read_text())
    cell["Parameterisation"]["Positive electrode"]["Porosity"] = -0.3
    pathlib.Path("bad.json").write_text(json.dumps(cell))
    assert main(["discharge", "bad.json"]) == 2
    assert "Field `Positive electrode / Porosity` of `bad.json` must lie between" in capsys.readouterr().err
    assert main(["export", "Chen2020", "--format", "csv"]) == 2
    assert "only `--format bpx`" in capsys.readouterr().err


def _designed():
    """A cell as a run makes it, with the values of a calendered electrode."""
    found = Properties(
        *(jnp.asarray(v) for v in (6.1e-5, 0.34, 0.62, 0.075, 3.4e5, 0.12, 0.9))
    )  # thickness, porosity, active and binder fraction, area, transport, conductivity
    return full_cell(electrode(found), 1000.0, CellDesign())


def _peer(path, current, cells):
    answer = ask_peer("pybamm_bpx", {"path": str(path), "current": current, "cells": cells})
    if "not_run" in answer:
        pytest.skip(f"PyBaMM: {answer['not_run']}")
    return answer


def _apart(cell, current, peer, method):
    """The relative difference of the capacities, and the rms of that of the voltages, V, over the whole discharge."""
    value = run(cell, current / cell.area, method).value
    end = float(value.end_time)
    time, voltage = (np.asarray(peer[k]) for k in ("time_s", "voltage_V"))
    both = time <= end
    gap = np.asarray(value.voltage_at(jnp.asarray(time[both]))) - voltage[both]
    return end / peer["end_time_s"] - 1, float(np.sqrt(np.mean(gap**2)))


@pytest.mark.slow  # PyBaMM on 80-cell meshes
@needs_data
@pytest.mark.parametrize("c_rate", [0.5, 1.0, 2.0])
def test_pouch_cell_beside_pybamm(c_rate):
    """Capacity within 5e-4 and voltage within 1 mV rms of PyBaMM on 80-cell meshes, at our default mesh."""
    current = 12.5 * c_rate
    capacity, voltage = _apart(cell_from_bpx(read_bpx(POUCH)), current, _peer(POUCH, current, 80), DFN())
    print(f"pouch {c_rate:g}C: capacity {capacity:.2e}, voltage {1e3 * voltage:.4f} mV")
    assert abs(capacity) < 5e-4 and voltage < 1e-3


@pytest.mark.slow  # PyBaMM on 80-cell meshes
@pytest.mark.parametrize(
    ("make", "current"),
    [(marquis2019, 0.680616), (chen2020, 5.0), (_designed, 25.0)],
    ids=["Marquis", "Chen", "design"],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_pybamm_runs_what_is_written(tmp_path, make, current, version):
    """The exported file runs in PyBaMM, on 80-cell meshes, and gives our curve within 1 mV rms.

    A file of 0.5 has no state of charge, and PyBaMM begins it at rest at the upper cut-off voltage: so do we, after
    reading it without our mark.
    """
    cell, path = make(), tmp_path / "cell.json"
    write_bpx(path, bpx_from_cell(cell), version)
    if version == "0.5":
        content = json.loads(path.read_text())
        del content["Parameterisation"]["User-defined"]
        path.write_text(json.dumps(content))
        cell = cell_from_bpx(read_bpx(path))
    capacity, voltage = _apart(cell, current, _peer(path, current, 80), REFINED)
    print(f"{make.__name__} {version}: capacity {capacity:.2e}, voltage {1e3 * voltage:.4f} mV")
    assert abs(capacity) < 5e-4 and voltage < 1e-3


@pytest.mark.slow  # compiles a gradient
@needs_data
def test_numbers_of_a_potential_have_derivatives_through_the_cutoff():
    """Energy of a 2C discharge in two numbers of the negative's potential against central differences, steps held."""
    cell = cell_from_bpx(read_bpx(POUCH))
    current, mesh = jnp.asarray(25.0) / cell.area, Mesh(8, 4, 8, 8)
    first = run(cell, current, DFN(mesh, March(max_steps=150, tolerance=1e-3)))
    method = DFN(mesh, March(max_steps=150, schedule=same_steps(first.value.time)))

    def of(numbers):
        return eqx.tree_at(lambda c: c.negative.material.open_circuit_potential.numbers, cell, numbers)

    energy = eqx.filter_jit(lambda numbers: discharge(of(numbers), current, method).value.energy)
    numbers = cell.negative.material.open_circuit_potential.numbers
    found = eqx.filter_jit(jax.grad(energy))(numbers)
    for i in (0, 3):  # the height of the exponential and that of the first step
        step = 1e-4 * jnp.zeros_like(numbers).at[i].set(float(numbers[i]))
        expected = float(energy(numbers + step) - energy(numbers - step)) / float(2 * step[i])
        assert expected != 0 and float(found[i]) == pytest.approx(expected, rel=1e-5)
