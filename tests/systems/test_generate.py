"""`mesode generate`: from a job to a file of particles, exact in what it asks for, and sentences for what cannot be."""

import json
import math

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesode import plan, size_plan
from mesode.build import blend_of, recipe_of, size_of
from mesode.cli import main
from mesode.job import parse_job, read_job
from microstructure import store
from microstructure.exchange.lammps import read_lammps_data
from microstructure.packing import Packing, largest_overlap
from microstructure.sizes import moment, sample, unit_draws

TWO_KINDS = """
[recipe.size]
kind = "percentiles"
shares_by = "volume"
diameters_um = [3, 4.5, 6.5]
[recipe.second]
volume_share = 0.25
active_material = "graphite"
[recipe.second.size]
kind = "weibull"
scale_radius_um = 1.6
[grading]
amount = [0.5, 1.5]
second_amount = [2, 0]
[material.graphite]
density_kg_m3 = 2250
[grid]
particles = 900
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)


def _generate(capsys, *argv):
    assert main(["generate", *argv, "--json", "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)


def test_two_materials_graded(capsys, tmp_path):
    (tmp_path / "job.toml").write_text(TWO_KINDS)
    found = _generate(capsys, "job.toml", "--output", "film.h5")
    assert found["porosity"] == pytest.approx(0.5, rel=1e-12)
    assert found["areal_loading_mg_cm2"] == pytest.approx(14, rel=1e-12)
    assert found["largest_overlap"] == 0 and found["particles"] == 900
    assert [m["name"] for m in found["materials"]] == ["NMC811", "graphite"]
    assert [m["volume_share"] for m in found["materials"]] == pytest.approx([0.75, 0.25], rel=1e-12)
    packed = store.read("film.h5")["structure"]["packed"]
    packing = Packing(packed["positions"], packed["radii"], packed["box"])
    assert float(largest_overlap(packing)) == 0
    assert 1e6 * packed["box"][0] == pytest.approx(found["thickness_um"], rel=1e-14)
    mass = 4 / 3 * np.pi * np.sum(packed["densities_kg_m3"][packed["material"]] * packed["radii"] ** 3)
    assert mass / (packed["box"][1] * packed["box"][2]) == pytest.approx(0.96 * 0.14, rel=1e-12)
    graphite = packed["material"] == 1
    depth = packed["positions"][:, 0] / packed["box"][0]
    weight = packed["radii"] ** 3
    # Of profiles 0.5 to 1.5 and 2 to 0 the mean depths are 7/12 and 1/3.
    assert np.average(depth[~graphite], weights=weight[~graphite]) == pytest.approx(7 / 12, abs=0.05)
    assert np.average(depth[graphite], weights=weight[graphite]) == pytest.approx(1 / 3, abs=0.05)
    with h5py.File("film.h5") as file:
        assert file["VTKHDF"].attrs["Type"] == b"PolyData"
        np.testing.assert_array_equal(file["VTKHDF/PointData/radius"][...], packed["radii"])
        np.testing.assert_array_equal(file["VTKHDF/PointData/material"][...], packed["material"])
    assert main(["export", "film.h5", "--format", "vtkhdf", "lammps-data", "xyz", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert sorted(files) == ["film/packed.data", "film/packed.xyz", "film/packed_particles.vtkhdf"]
    back = read_lammps_data("film/packed.data")
    np.testing.assert_allclose(np.asarray(back.packing.radii), packed["radii"], rtol=1e-14)
    np.testing.assert_allclose(np.asarray(back.densities), [4750, 2250], rtol=1e-14)
    assert main(["export", "film.h5", "--format", "tiff"]) == 2
    assert "holds no voxels" in capsys.readouterr().err
    assert main(["report", "film.h5", "--json"]) == 0


def test_a_seed_gives_its_packing(capsys, tmp_path):
    (tmp_path / "job.toml").write_text(TWO_KINDS)
    _generate(capsys, "job.toml", "--seed", "3")
    first = store.read("mesode_packing.h5")["structure"]["packed"]["positions"]
    _generate(capsys, "job.toml", "--seed", "3")
    np.testing.assert_array_equal(store.read("mesode_packing.h5")["structure"]["packed"]["positions"], first)
    _generate(capsys, "job.toml", "--seed", "4")
    assert np.max(np.abs(store.read("mesode_packing.h5")["structure"]["packed"]["positions"] - first)) > 1e-6


def _fails(capsys, argv, *texts):
    assert main(["generate", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    for text in texts:
        assert text in err, err
    assert len([line for line in err.splitlines() if line.startswith("mesode generate:")]) == 1


def test_what_generate_refuses(capsys, tmp_path):
    _fails(capsys, ["no.toml"], "`no.toml` does not exist")
    _fails(capsys, ["--output", "film.txt"], "must have the extension `.h5`")
    _fails(capsys, ["--output", "nowhere/film.h5"], "Folder `nowhere`")
    _fails(capsys, ["--set", "grid.particles=20"], "um wide, too little", "grid.particles")
    _fails(capsys, ["--set", "recipe.size.kind=weibul"], "must be one of log-normal, weibull, percentiles")
    _fails(capsys, ["--set", "recipe.active_material=LFP"], "Material `LFP` is not known")
    _fails(capsys, ["--set", "image.path=a.tif"], "no particles to pack")
    dense = ["recipe.dried_porosity=0.4", "recipe.composition.active=0.995", "recipe.composition.binder=0.005"]
    dense += ["recipe.composition.carbon=0.0", "recipe.size.sigma=0.0", "recipe.areal_loading_mg_cm2=5"]
    settings = [word for setting in dense for word in ("--set", setting)]
    _fails(capsys, [*settings, "--set", "grid.particles=500", "--quiet"], "does not fit without overlap")
    assert not list(tmp_path.iterdir())


SIZES = {
    "log-normal": [],
    "weibull": ["recipe.size.kind=weibull", "recipe.size.shape=4"],
    "percentiles": ["recipe.size.kind=percentiles", "recipe.size.shares_by=volume"],
    "two kinds": [
        "grid.particles=1500",
        "recipe.size.sigma=0.15",
        "recipe.second.volume_share=0.3",
        "recipe.second.size.median_radius_um=1.5",
        "recipe.second.size.sigma=0.15",
    ],
}


@pytest.mark.parametrize("name", SIZES)
def test_every_kind_of_sizes_runs_in_the_chain_and_is_planned(name):
    """The recipe of `mesode run` has the sizes of the job, and the plan knows them to a few per cent."""
    job = parse_job("", settings=SIZES[name])
    size = recipe_of(job).size
    last = 1 - 0.02 / job["grid.particles"]  # that draws can reach
    draws = jnp.append(unit_draws(jax.random.key(0), job["grid.particles"]), last)
    radii = jax.jit(sample)(size, draws)
    mean = 4 / 3 * math.pi * float(jax.jit(moment, static_argnums=1)(size, 3))
    assert size_plan.mean_volume(job) == pytest.approx(mean, rel=0.04)
    assert size_plan.largest_radius(job) == pytest.approx(float(radii[-1]), rel=0.05)
    assert float(radii[:-1].max()) <= float(radii[-1])
    assert plan.require_possible(job)["lateral_size_um"] > 0
    if name == "two kinds":  # almost all below 2.2 um is of the second kind
        share = jnp.sum(jnp.where(radii < 2.2e-6, radii**3, 0)) / jnp.sum(radii**3)
        assert float(share) == pytest.approx(0.3, abs=0.05)
        assert len(blend_of(job).components) == 2 and size_of(job).shares.shape == (2,)


def test_what_is_for_packings_only_is_refused_by_the_chain():
    job = parse_job(TWO_KINDS)
    with pytest.raises(ValueError, match="cell is computed with one only") as caught:
        plan.require_possible(job)
    assert "graded film can be packed only" in str(caught.value)
    assert plan.require_packing(job)["dried_thickness_um"] > 0
    assert plan.require_possible(read_job())["lateral_size_um"] == pytest.approx(48.9607, abs=1e-3)
