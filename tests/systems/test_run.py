"""The main job end to end, small: mass balances, the run file, stopping by TERM and resuming to the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import jax
import numpy as np
import pytest

from mesode.cli import main
from mesode.plan import DENSITIES
from microstructure import images, store
from microstructure.units import faraday
from solver.cell.library import chen_positive

pytestmark = pytest.mark.slow

SETTINGS = (
    "grid.shape=[32,16,16]",
    "grid.particles=150",
    "recipe.size.median_radius_um=2.0",
    "recipe.size.sigma=0.1",
    "run.c_rates=[1.0]",
)
SMALL = [part for setting in SETTINGS for part in ("--set", setting)]
LOADING_mg_cm2, ACTIVE = 14.0, 0.96


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(jax.config.jax_compilation_cache_dir)
    command = [sys.executable, "-m", "mesode.cli", "run", *SMALL, "--json", "--output", "run.h5"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return folder, json.loads(ended.stdout), store.read(folder / "run.h5")


def test_keys_of_json_and_files(small):
    folder, out, run = small
    assert {"kpis", "run_file", "report", "seconds", "compile_seconds"} <= set(out)
    assert {
        "areal_capacity_mAh_cm2",
        "porosity",
        "thickness_um",
        "areal_loading_mg_cm2",
        "tortuosity_factor",
        "specific_surface_area_per_m",
        "effective_electronic_conductivity_S_m",
        "energy_Wh_kg",
        "energy_Wh_L",
        "average_voltage_V",
        "capacity_retention_2C",
    } <= set(out["kpis"])
    assert sorted(p.name for p in folder.iterdir()) == ["run.h5", "run.html"]
    assert (folder / "run.html").read_text().count("<img") == 5
    assert {"job", "provenance", "kpis", "structure", "calendering", "drying", "discharge", "electrode"} <= set(run)
    with h5py.File(folder / "run.h5") as file:
        assert file["VTKHDF"].attrs["Type"] == b"ImageData"


def test_mass_balances(small):
    _, out, run = small
    kpis, electrode = out["kpis"], run["electrode"]
    assert kpis["areal_loading_mg_cm2"] == pytest.approx(LOADING_mg_cm2, rel=5e-3)
    specific = kpis["areal_capacity_mAh_cm2"] / (LOADING_mg_cm2 * ACTIVE)  # Ah/g
    chen = chen_positive()
    window = float(chen.stoichiometry_empty - chen.stoichiometry_full)
    content = float(chen.material.maximum_concentration) * faraday * window / 3600  # Ah/m3
    assert specific == pytest.approx(content / DENSITIES["NMC811"] / 1000, rel=5e-3)
    solid = electrode["active_fraction"] + electrode["binder_fraction"] * (1 - 0.47)
    assert kpis["porosity"] == pytest.approx(1 - solid, abs=1e-6)
    for stage in ("dried", "calendered"):
        parts = [run["structure"][stage][f"fractions_{n}"] for n in ("pore", "active", "binder")]
        np.testing.assert_allclose(sum(parts), 1.0, atol=1e-5)


def test_another_seed_or_recipe_changes_the_result(small, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for change in (["--seed", "1"], ["--set", "calendering.gap_um=50"]):
        assert main(["run", *SMALL, *change, "--json"]) == 0
        kpis = json.loads(capsys.readouterr().out)["kpis"]
        assert kpis["tortuosity_factor"]["x"] != small[1]["kpis"]["tortuosity_factor"]["x"]
    assert kpis["porosity"] > small[1]["kpis"]["porosity"] + 0.03


def test_stopped_by_term_and_resumed_ends_at_the_same_numbers(small, tmp_path):
    command = [sys.executable, "-m", "mesode.cli", "run", *SMALL, "--json", "--output", "run.h5"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "run.h5.checkpoint"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 3 and "--resume" in err, err
    assert json.loads(out)["exit_code"] == 3
    assert checkpoint.exists() and not (tmp_path / "run.h5").exists()
    ended = subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0 and not checkpoint.exists()
    assert json.loads(ended.stdout)["kpis"] == small[1]["kpis"]


def test_discharge_of_a_run_file(small, capsys):
    folder, _, run = small
    assert main(["discharge", str(folder / "run.h5"), "--c-rate", "1", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["end_time_s"] == pytest.approx(run["discharge"]["1"]["time_s"][-1], rel=1e-9)


def test_image_without_a_path_is_refused_for_a_cell(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:, :5] = 1
    labels[5] = 1  # a wall of active material across the pores
    labels[6, 5:] = 2
    images.write_tiff("wall.tif", labels, (4e-7,) * 3)
    assert main(["run", "--set", "image.path=wall.tif"]) == 2
    assert "no path for electrolyte" in capsys.readouterr().err
    assert not (tmp_path / "mesode_run.h5").exists()
