"""The main job end to end, small: files, mass balances, spread, refinement, stopping by TERM and resuming."""

import json
import os
import pathlib
import signal

import h5py
import jax
import numpy as np
import pytest

from mesode import chain
from mesode.build import recipe_of
from mesode.cli import main
from mesode.job import parse_job
from microstructure import images, store
from microstructure.exchange.bpx import read_bpx
from microstructure.units import faraday
from solver.cell.bpx import cell_from_bpx
from solver.cell.cell import theoretical_capacity
from solver.cell.library import chen_positive

SETTINGS = (
    "grid.shape=[32,24,24]",
    "grid.particles=240",
    "recipe.size.median_radius_um=2.5",
    "recipe.size.sigma=0.15",
    "run.c_rates=[0.5]",
)
SMALL = [part for setting in SETTINGS for part in ("--set", setting)]
KEYS = {
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
}


@pytest.fixture(scope="module", autouse=True)
def _here(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(jax.config.jax_compilation_cache_dir))
        yield


def _run(capsys, *more, code=0):
    """`mesode run` in this process, so that runs share compiled code: the exit code is checked, the JSON returned."""
    assert main(["run", *SMALL, "--json", "--quiet", *more]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def small():
    """The content of the run file of one small run."""
    assert main(["run", *SMALL, "--quiet", "--output", "first.h5"]) == 0
    return store.read("first.h5")


def test_files_and_keys(small):
    assert set(small["kpis"]) >= KEYS and set(small["kpis"]["tortuosity_factor"]) == set("xyz")
    assert not os.path.exists("first.h5.checkpoint")
    assert pathlib.Path("first.html").read_text(encoding="utf-8").count("<img") == 6
    groups = {"job", "provenance", "kpis", "structure", "calendering", "drying", "discharge", "electrode", "transport"}
    assert groups | {"economics", "losses"} <= set(small)
    with h5py.File("first.h5") as file:
        view = file["VTKHDF"]  # voxels and particles, as two blocks
        assert view.attrs["Type"] == b"PartitionedDataSetCollection"
        assert set(view["voxels/CellData"]) == {"pore", "active", "binder"}
        particles = small["structure"]["calendered"]
        assert np.array_equal(view["particles/PointData/radius"][...], particles["radii"])
        lateral = view["particles/Points"][:, 1:]
        assert np.all((lateral >= 0) & (lateral <= particles["box"][1:]))


def test_mass_balances(small):
    kpis, electrode, job = small["kpis"], small["electrode"], parse_job(small["job"])
    recipe = recipe_of(job)
    assert kpis["areal_loading_mg_cm2"] == pytest.approx(14.0, rel=1e-6)
    active = kpis["areal_loading_mg_cm2"] * job["recipe.composition.active"]  # mg/cm2
    assert kpis["areal_capacity_mAh_cm2"] == pytest.approx(active * kpis["specific_capacity_mAh_g"] * 1e-3, rel=1e-6)
    # the specific capacity is that of the material between full and empty, whatever the structure
    chen, cell = chen_positive(), chain.cell_of(job, electrode)
    window = float(cell.positive.stoichiometry_empty - cell.positive.stoichiometry_full)
    content = float(chen.material.maximum_concentration) * faraday * window / 3.6  # mAh/m3
    assert kpis["specific_capacity_mAh_g"] == pytest.approx(content / 4750.0 / 1000.0, rel=1e-6)
    solid = float(np.sum(recipe.solid_thickness))
    assert kpis["porosity"] == pytest.approx(1 - solid / (kpis["thickness_um"] * 1e-6), abs=1e-6)
    stage = small["structure"]["calendered"]
    held = {name: np.mean(stage[f"fractions_{name}"], dtype=float) for name in ("active", "binder", "pore")}
    assert kpis["porosity"] == pytest.approx(1 - held["active"] - held["binder"] * (1 - 0.47), abs=1e-6)
    assert kpis["thickness_um"] * 1e-6 == pytest.approx(float(small["calendering"]["thickness_m"][-1]), rel=1e-12)
    for name in ("dried", "calendered"):
        parts = [small["structure"][name][f"fractions_{n}"] for n in held]
        np.testing.assert_allclose(sum(parts), 1.0, atol=1e-5)


def test_figures_make_sense(small):
    kpis, curves = small["kpis"], small["discharge"]
    assert sorted(curves) == ["0.5", "2"]
    for curve in curves.values():  # nothing gives more than its theoretical capacity
        assert 0.5 < float(curve["capacity_Ah_m2"]) / 10 / kpis["areal_capacity_mAh_cm2"] < 1.0
    assert kpis["energy_2C_Wh_L"] < kpis["energy_Wh_L"] and 0.5 < kpis["capacity_retention_2C"] < 1.0
    assert all(1.0 < tau < 5.0 for tau in kpis["tortuosity_factor"].values())
    assert small["calendering"]["springback"] > 0


def test_cost_carbon_and_losses(small):
    """Items add up to the totals, losses to what the discharge at 2C is short of its voltage at rest, the carbon of

    the positive is in the ratio of its recipe, and each number of the tables stands with its source.
    """
    kpis, found, losses = small["kpis"], small["economics"], small["losses"]
    for key in ("cost_USD_kWh", "carbon_kg_CO2e_kWh"):
        assert sum(map(float, found[f"{key}_by_item"].values())) == pytest.approx(kpis[key], rel=1e-12)
    assert 50.0 < kpis["cost_USD_kWh"] < 200.0 and 40.0 < kpis["carbon_kg_CO2e_kWh"] < 150.0
    assert 1.05 < kpis["n_to_p_ratio"] < 1.15 and 10.0 < kpis["pulse_resistance_ohm_cm2"] < 200.0
    assert float(losses["c_rate"]) == 2.0
    along, rest = np.asarray(losses["capacity_C_m2"]), np.asarray(losses["open_circuit_V"])
    short = 1e3 * (np.trapezoid(rest, along) / along[-1] - float(small["discharge"]["2"]["average_voltage_V"]))
    assert float(losses["total_mean_mV"]) == pytest.approx(short, rel=5e-3)
    parts = [float(x) for cause in losses["mean_mV"].values() for x in cause.values()]
    assert sum(parts) == pytest.approx(float(losses["total_mean_mV"]), rel=1e-12)
    prices = found["cost_USD_kWh_by_item"]
    tables = {name: [x.decode() if isinstance(x, bytes) else x for x in c] for name, c in found["tables"].items()}
    rows = {row[:2]: row[2:] for row in zip(*tables.values(), strict=True)}
    assert rows["positive_slurry", "carbon_share"][0] == pytest.approx(0.5)
    carbon = float(prices["positive_carbon"]) / rows["prices", "positive_carbon"][0]
    binder = float(prices["positive_binder"]) / rows["prices", "positive_binder"][0]
    assert carbon == pytest.approx(binder, rel=1e-9)  # 2 % each
    assert {row[2] for row in rows.values()} == {"assumed", "published", "given"}
    page = pathlib.Path("first.html").read_text(encoding="utf-8")
    for text in ("Losses at 2C", "Cost and carbon", "USD/kWh", "2024-08-19", "assumed", "Rates"):
        assert text in page, text


def test_prices_of_a_job_replace_those_built_in(small, capsys):
    pathlib.Path("prices.toml").write_text(
        "[prices]\npositive_active = { value = 44.0, unit = 'USD/kg', source = 'an offer' }\n"
        "[casing]\nmass_share = 0.2\n"
    )
    more = ("--set", "economics.path='prices.toml'", "--set", "economics.emissions.electricity=0")
    out = _run(capsys, *more, "--set", "cell.charge_c_rate=1", "--output", "dear.h5")
    before, after = small["kpis"], out["kpis"]
    item = float(small["economics"]["cost_USD_kWh_by_item"]["positive_active"])
    casing = out["economics"]["cost_USD_kWh_by_item"]["casing"]
    assert after["cost_USD_kWh"] == pytest.approx(before["cost_USD_kWh"] + item + casing, rel=1e-9) and casing > 0
    assert out["economics"]["carbon_kg_CO2e_kWh_by_item"]["electricity"] == 0.0
    assert after["energy_Wh_kg"] == pytest.approx(0.8 * before["energy_Wh_kg"], rel=1e-12)
    assert 0.8 < after["energy_efficiency"] < 1.0 and after["charging_time_10_80_min"] >= 42.0 * (1 - 1e-9)
    pathlib.Path("prices.toml").unlink()  # the run file stands alone
    run = store.read("dear.h5")
    assert float(chain.methods_of(parse_job(run["job"])).making.casing.mass_share) == 0.2
    page = pathlib.Path("dear.html").read_text(encoding="utf-8")
    assert "an offer" in page and "given in the job" in page and "†" in page


def test_realisations_have_a_spread_and_another_seed_another_result(small, capsys):
    out = _run(capsys, "--set", "run.realisations=2", "--output", "two.h5")
    run = store.read("two.h5")
    assert out["spread"]["tortuosity_factor"]["x"] > 0 and out["spread"]["energy_2C_Wh_L"] > 0
    assert run["realisations"]["0"]["kpis"] == small["kpis"]
    assert run["realisations"]["1"]["kpis"]["tortuosity_factor"]["x"] != small["kpis"]["tortuosity_factor"]["x"]
    assert "± over 2 packings" in pathlib.Path("two.html").read_text(encoding="utf-8")


def test_faster_drying_changes_the_result(small, capsys):
    out = _run(capsys, "--set", "drying.evaporation_flux_g_m2_s=5", "--output", "fast.h5")
    assert np.ptp(store.read("fast.h5")["drying"]["binder"]) > 1.5 * np.ptp(small["drying"]["binder"])
    assert out["kpis"]["tortuosity_factor"]["x"] != pytest.approx(small["kpis"]["tortuosity_factor"]["x"], rel=1e-3)
    assert out["kpis"]["porosity"] == pytest.approx(small["kpis"]["porosity"], abs=1e-6)


@pytest.mark.slow  # the finer spacing compiles the rasteriser anew
def test_a_wider_gap_changes_the_result(small, capsys):
    kpis = _run(capsys, "--set", "calendering.gap_um=46", "--output", "gap.h5")["kpis"]
    assert kpis["porosity"] > small["kpis"]["porosity"] + 0.01
    assert kpis["tortuosity_factor"]["x"] < small["kpis"]["tortuosity_factor"]["x"]


def test_materials_reach_the_cell(small, capsys):
    out = _run(
        capsys,
        "--set",
        "material.NMC811.density_kg_m3=4500",
        "--set",
        "material.PVDF.electronic_conductivity_S_m=50",
        "--output",
        "material.h5",
    )
    before, after = small["kpis"], out["kpis"]
    assert after["specific_capacity_mAh_g"] == pytest.approx(before["specific_capacity_mAh_g"] * 4750 / 4500, rel=1e-6)
    assert after["effective_electronic_conductivity_S_m"] < 0.7 * before["effective_electronic_conductivity_S_m"]


def test_stopped_by_term_and_resumed_ends_at_the_same_numbers(small, capsys, monkeypatch):
    film = chain.film_stage

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return film(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(chain, "film_stage", interrupted)
        out = _run(capsys, "--output", "stopped.h5", code=3)
    assert out["exit_code"] == 3 and "--resume" in out["error"][0]
    assert os.path.exists("stopped.h5.checkpoint") and not os.path.exists("stopped.h5")
    monkeypatch.setattr(chain, "packing_stage", None)  # it must not run again
    monkeypatch.setattr(chain, "film_stage", None)
    out = _run(capsys, "--output", "stopped.h5", "--resume")
    assert out["kpis"] == small["kpis"] and not os.path.exists("stopped.h5.checkpoint")


def test_bpx_of_a_run_file(small):
    """The structure's values in the fields of the standard, the rest under `User-defined`."""
    assert main(["export", "first.h5", "--format", "bpx", "--output", "bpx", "--quiet"]) == 0
    found, electrode = read_bpx("bpx/cell.json"), small["electrode"]
    (particle,) = found.positive.particles.values()
    assert found.positive.layer == {
        "Thickness [m]": electrode["thickness_m"],
        "Porosity": electrode["porosity"],
        "Transport efficiency": electrode["electrolyte_transport"],
        "Conductivity [S.m-1]": electrode["electronic_conductivity_S_m"],
    }
    area = electrode["specific_area_per_m"]
    assert particle["Surface area per unit volume [m-1]"] == area
    assert particle["Particle radius [m]"] == pytest.approx(3 * electrode["active_fraction"] / area, rel=1e-14)
    for axis, factor in small["kpis"]["tortuosity_factor"].items():
        assert found.user_defined[f"Mesode positive electrode tortuosity factor {axis}"] == pytest.approx(factor)
    assert found.user_defined["Mesode positive electrode binder fraction"] == electrode["binder_fraction"]
    assert f"seed {small['provenance']['seed']}" in found.description
    cell, run = cell_from_bpx(found), chain.cell_of(parse_job(small["job"]), electrode)
    for ours, theirs in zip((run.positive, run.negative), (cell.positive, cell.negative), strict=True):
        assert float(theirs.stoichiometry_full) == pytest.approx(float(ours.stoichiometry_full), rel=1e-14)
        assert float(theoretical_capacity(theirs)) == pytest.approx(float(theoretical_capacity(ours)), rel=1e-12)


@pytest.mark.slow  # the command compiles its own discharge
def test_discharge_of_a_run_file(small, capsys):
    assert main(["discharge", "first.h5", "--c-rate", "2", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["end_time_s"] == pytest.approx(small["discharge"]["2"]["time_s"][-1], rel=1e-9)


def test_image_without_a_path_is_refused_for_a_cell(capsys):
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:, :5] = 1
    labels[5] = 1  # a wall of active material across the pores
    labels[6, 5:] = 2
    images.write_tiff("wall.tif", labels, (4e-7,) * 3)
    assert main(["run", "--set", "image.path=wall.tif", "--output", "wall.h5"]) == 2
    assert "no path for electrolyte" in capsys.readouterr().err
    assert not os.path.exists("wall.h5") and not os.path.exists("wall.h5.checkpoint")


@pytest.mark.slow
def test_an_image_runs_like_a_recipe(small, capsys):
    """The small run's own structure, as labels: the same porosity to a voxel's share, a cell, a report."""
    stage = small["structure"]["calendered"]
    names = ("pore", "active", "binder")
    labels = np.argmax([stage[f"fractions_{n}"] for n in names], axis=0).astype(np.uint8)
    images.write_tiff("structure.tif", labels, tuple(stage["spacing_m"]))
    assert main(["run", "--set", "image.path=structure.tif", "--json", "--quiet", "--output", "image.h5"]) == 0
    kpis = json.loads(capsys.readouterr().out)["kpis"]
    assert set(kpis) >= KEYS
    share = [np.mean(labels == k) for k in range(3)]
    assert kpis["porosity"] == pytest.approx(share[0] + 0.47 * share[2], rel=1e-6)
    assert pathlib.Path("image.html").read_text(encoding="utf-8").count("<img") == 4


@pytest.mark.slow
def test_figures_converge_under_voxel_refinement(small, capsys):
    """A half and a third of the voxel size: the second change is less than half the first, and small.

    The specific area is the slowest: first order, because the gaps beside contacts are closed by about a voxel.
    """
    found = [small["kpis"]]
    for scale in (2, 3):
        shape = [scale * n for n in (32, 24, 24)]
        found.append(_run(capsys, "--set", f"grid.shape={shape}", "--output", f"fine{scale}.h5")["kpis"])
    flat = [{**k, "tau_x": k["tortuosity_factor"]["x"]} for k in found]
    for key, allowed in {
        "tau_x": 0.005,
        "specific_surface_area_per_m": 0.065,
        "effective_electronic_conductivity_S_m": 0.01,
        "energy_2C_Wh_L": 0.004,
        "capacity_retention_2C": 0.001,
        "porosity": 1e-6,
    }.items():
        coarse, middle, fine = (k[key] for k in flat)
        assert abs(fine / middle - 1) < allowed, key
        assert abs(fine - middle) <= 0.5 * abs(middle - coarse) + 1e-9, key
