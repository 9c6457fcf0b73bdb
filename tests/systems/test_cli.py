"""The command line: instant help, one JSON object, sentences and exit codes instead of tracebacks."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import tifffile

from mesode import process
from mesode.cli import build_parser, main
from mesode.commands.transport import BINARY_BYTES
from microstructure import images, store

JOB_COMMANDS = ("check", "run")
COMMANDS = (
    "run",
    "check",
    "generate",
    "calender",
    "gradient",
    "design",
    "fit",
    "resolve",
    "transport",
    "measure",
    "discharge",
    "charge",
    "cycle",
    "impedance",
    "report",
    "export",
    "info",
    "bench",
)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)


def _image(path="image.tif", shape=(12, 10, 8)):
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    images.write_tiff(path, labels, (4e-7,) * 3)
    return labels


def _fails(capsys, argv, *texts, code=2):
    """The command ends with `code` and one sentence that holds every text; it prints no traceback."""
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    for text in texts:
        assert text in err, err
    assert len([line for line in err.splitlines() if line.startswith("mesode")]) == 1


def test_help_imports_nothing_heavy():
    code = "import sys, mesode.cli as c; c.build_parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jax", "numpy", "h5py", "matplotlib", "equinox"} & set(loaded)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text and f"mesode {command}" in text and "exit codes" in text


def test_no_or_unknown_command(capsys):
    assert main([]) == 2
    assert main(["walk"]) == 2
    assert "invalid choice" in capsys.readouterr().err


def test_parser_and_list_agree():
    choices = build_parser()._subparsers._group_actions[0].choices
    assert set(choices) == set(COMMANDS)


def test_measure(capsys):
    labels = _image()
    assert main(["measure", "image.tif", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in data["phases"]] == [0, 1, 2]
    assert data["phases"][1]["volume_fraction"] == np.mean(labels == 1)
    assert data["spacing_m"] == pytest.approx([4e-7] * 3)
    assert len(data["phases"][0]["profile_x"]) == 12
    assert main(["measure", "image.tif", "--voxel-size-um", "0.4"]) == 0
    assert "surface area 1/m" in capsys.readouterr().out


def test_bad_images(capsys, tmp_path):
    _image()
    data = (tmp_path / "image.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    tifffile.imwrite("flat.tif", np.zeros((8, 8), np.uint8))
    np.save("nan.npy", np.full((4, 4, 4), np.nan))
    (tmp_path / "image.jpg").write_bytes(data)
    for command in ("measure", "transport"):
        _fails(capsys, [command, "no.tif"], "`no.tif` does not exist")
        _fails(capsys, [command, "image.jpg"], "extension `.jpg`")
        _fails(capsys, [command, "cut.tif"], "truncated")
        _fails(capsys, [command, "flat.tif"], "2 axes")
        _fails(capsys, [command, "nan.npy"], "NaN")
        _fails(capsys, [command, "image.tif", "--voxel-size-um", "-1"], "must lie between")
    _fails(capsys, ["transport", "image.tif", "--phase", "7"], "Label 7 does not occur", "0, 1, 2")
    _fails(capsys, ["transport", "image.tif", "--tolerance", "5"], "--tolerance")


def test_error_as_json(capsys):
    assert main(["measure", "no.tif", "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert data["exit_code"] == 2 and "does not exist" in data["error"][0]


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="does not exist"):
        main(["measure", "no.tif", "--debug"])


def test_unexpected_error_is_short(capsys, monkeypatch):
    import mesode.commands.images as module

    _image()
    monkeypatch.setattr(module, "_phases", lambda labels: np.zeros(3).reshape(2, 2))  # a library's own ValueError
    assert main(["measure", "image.tif"]) == 1
    assert "Failed unexpectedly (ValueError" in capsys.readouterr().err


def _run_file(path="run.h5"):
    labels = np.random.default_rng(0).integers(0, 3, (6, 5, 4))
    stage = {f"fractions_{n}": (labels == i).astype(np.float32) for i, n in enumerate(("pore", "active", "binder"))}
    stage |= {"spacing_m": np.full(3, 5e-7), "positions": np.ones((3, 3)) * 1e-6, "radii": np.full(3, 5e-7)}
    stage |= {"box": np.array([3e-6, 2.5e-6, 2e-6])}
    curve = {"time_s": np.arange(4.0), "voltage_V": 4 - np.arange(4.0) / 10, "current_A_m2": 27.0}
    run = {"kpis": {"porosity": 0.3, "tortuosity_factor": {"x": 2.0}}, "structure": {"calendered": stage}}
    store.write(path, run | {"discharge": {"1.0": curve}, "provenance": {"seed": 1}})
    return labels


def test_info_report_export(capsys, tmp_path):
    labels = _run_file()
    assert main(["info", "run.h5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kpis"]["porosity"] == 0.3
    assert main(["report", "run.h5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": "run.html"}
    assert (tmp_path / "run.html").stat().st_size > 20000
    formats = ["vtkhdf", "vtu", "stl", "tiff", "lammps", "xyz", "csv"]
    assert main(["export", "run.h5", "--format", *formats, "--output", "out", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert len(files) == 9 and all((tmp_path / f).is_file() for f in files)
    np.testing.assert_array_equal(images.read_image("out/calendered_labels.tif").labels, labels)
    assert "porosity,0.3" in (tmp_path / "out" / "kpis.csv").read_text()
    assert (tmp_path / "out" / "discharge_1.0C.bdf.csv").read_text().startswith("Test Time / s,Voltage / V")


def test_bad_run_files(capsys, tmp_path):
    _run_file()
    (tmp_path / "cut.h5").write_bytes((tmp_path / "run.h5").read_bytes()[:3000])
    (tmp_path / "text.h5").write_text("no")
    for command in ("info", "report", "export"):
        _fails(capsys, [command, "no.h5"], "`no.h5` does not exist")
        _fails(capsys, [command, "cut.h5"], "truncated")
        _fails(capsys, [command, "text.h5"], "not a readable HDF5")
    _fails(capsys, ["export", "run.h5", "--stage", "dried", "--format", "vtu"], "no dried structure")
    _fails(capsys, ["report", "run.h5", "--output", "no/folder/a.html"], "does not exist")
    assert sorted(p.name for p in tmp_path.glob("*.*")) == ["cut.h5", "run.h5", "text.h5"]


def test_info_without_a_file_tells_versions_and_devices(capsys):
    assert main(["info", "--json", "--device", "cpu"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["devices"][0]["platform"] == "cpu" and "jax" in data["versions"]


def test_absent_gpu_is_exit_code_2():
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"} | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "mesode.cli", "info", "--device", "gpu"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2 and "A GPU was asked for" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize(("command", "sign"), [("discharge", -1), pytest.param("charge", 1, marks=pytest.mark.slow)])
def test_constant_current(capsys, tmp_path, command, sign):
    assert main([command, "Marquis2019", "--c-rate", "2", "--json", "--csv", "curve.csv"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["current_A"] == pytest.approx(2 * 0.680616) and data["stop"] == "cut_off" and data["model"] == "dfn"
    time_s, voltage = np.array(data["time_s"]), np.array(data["voltage_V"])
    assert np.all(np.diff(time_s) > 0) and time_s[-1] == data["end_time_s"]
    assert voltage[-1] == pytest.approx({-1: 3.105, 1: 4.1}[sign], abs=1e-6)
    assert data["capacity_Ah"] == pytest.approx(data["current_A"] * data["end_time_s"] / 3600, rel=1e-12)
    assert data["energy_Wh"] == pytest.approx(np.trapezoid(voltage, time_s) * data["current_A"] / 3600, rel=2e-4)
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert rows[0] == "Test Time / s,Voltage / V,Current / A"
    assert float(rows[1].split(",")[2]) == pytest.approx(sign * data["current_A"])


@pytest.mark.parametrize(("model", "end"), [("spm", 3622.76), pytest.param("spme", 3617.98, marks=pytest.mark.slow)])
def test_single_particle_models(capsys, model, end):
    assert main(["discharge", "Marquis2019", "--model", model, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["model"] == model and data["end_time_s"] == pytest.approx(end, abs=0.02)


def test_half_cell(capsys):
    """The end of PyBaMM's discharge (tests/physics/test_half_cell.py); what needs a negative electrode is refused."""
    assert main(["discharge", "Xu2019", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["stop"] == "cut_off" and data["end_time_s"] == pytest.approx(5511.357, abs=0.1)
    _fails(capsys, ["export", "Xu2019", "--format", "bpx"], "A half-cell cannot be written as BPX")
    _fails(capsys, ["cycle", "Xu2019", "--step", "Hold plating at 10 mV until 4.2 V"], "has no plating potential")


def test_bad_cells(capsys, tmp_path):
    _fails(capsys, ["discharge", "Chen2020", "--model", "p2d"], "argument --model: invalid choice: 'p2d'")
    _fails(capsys, ["discharge", "Chen2021"], "did you mean `Chen2020`?")
    _fails(capsys, ["discharge", "marquis2019"], "did you mean `Marquis2019`?")
    _fails(capsys, ["discharge", "Chen2020", "--c-rate", "0"], "`--c-rate` must lie between")
    _fails(capsys, ["charge", "Chen2020", "--c-rate", "18000"], "18000 was given", "no charge in coulombs")
    _fails(capsys, ["discharge", "cell.json"], "`cell.json` does not exist")
    _fails(capsys, ["discharge", "Marquis2019", "--c-rate", "90"], "past its cut-off voltage")
    assert not list(tmp_path.iterdir())


def test_check(capsys, tmp_path):
    assert main(["check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] and found["plan"]["porosity_at_gap"] == pytest.approx(0.3, abs=0.02)
    (tmp_path / "job.toml").write_text("[calendering]\ngapp_um = 3\n[recipe.composition]\nactive = 0.9\n")
    assert main(["check", "job.toml"]) == 2
    err = capsys.readouterr().err
    assert "line 2: `gapp_um` is no key" in err and "line 4: The mass fractions" in err
    assert main(["check", "--keys"]) == 0
    assert "| `calendering.gap_um` | um | 5 to 500 |" in capsys.readouterr().out


BAD_SETTINGS = {
    "calendering.gap_um=80e6": "Did you mean 80 um?",
    "calendering.gap_um=20": "which this packing cannot reach",
    "recipe.dried_porosity=0.2": "must lie between 0.4 and 0.55",
    "recipe.composition.active=0.9": "must sum to 1",
    "recipe.areal_loading_mg_cm2=-14": "must lie between 1 and 60",
    "grid.shape=[2048,2048,2048]": "GiB of memory are free",
    "recipe.binder_material=glue": "Material `glue` is not known",
    "run.output=a.txt": "must have the extension `.h5`",
    "run.output=no/a.h5": "does not exist",
    "image.path=no.tif": "does not exist",
    "calendering.gapp_um=44": "did you mean `gap_um`?",
    "calendering.gap_um=44e-6": "Did you mean 44 um?",
    "grid.particles=60": "use more `grid.particles`",
    "recipe.size.median_radius_um=14": "is less than the largest particle",
    "material.NMC811.specific_capacity_mAh_g=200": "is no key of [material.NMC811]",
    "material.NMC811.nanoporosity=0.3": "has no effect on the active material",
    "cell.n_to_p_ratio=0.9": "must lie between 1 and 2",
}


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_bad_settings_are_one_sentence(capsys, tmp_path, setting):
    for command in JOB_COMMANDS:
        _fails(capsys, [command, "--set", setting], BAD_SETTINGS[setting])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", JOB_COMMANDS)
def test_bad_image_jobs(capsys, tmp_path, command):
    def fails(*settings_and_text):
        *settings, text = settings_and_text
        _fails(capsys, [command, *(part for setting in settings for part in ("--set", setting))], text)

    labels = _image()
    data = (tmp_path / "image.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    (tmp_path / "image.jpg").write_bytes(data)
    tifffile.imwrite("flat.tif", np.zeros((8, 8), np.uint8))
    np.save("nan.npy", np.full((4, 4, 4), np.nan))
    np.save("plain.npy", labels)
    np.save("four.npy", np.random.default_rng(0).integers(0, 4, (8, 8, 8)))
    before = sorted(tmp_path.iterdir())
    fails("image.path=cut.tif", "truncated")
    fails("image.path=image.jpg", "extension `.jpg`")
    fails("image.path=flat.tif", "2 axes")
    fails("image.path=nan.npy", "NaN")
    fails("image.path=image.tif", "image.labels.binder=5", "`image.labels.binder` = 5 does not occur")
    fails("image.path=four.npy", "image.voxel_size_um=0.4", "holds the labels [3]")
    fails("image.path=plain.npy", "does not say its voxel size")
    fails("image.path=plain.npy", "image.voxel_size_um=80e6", "must lie between")
    fails("image.path=image.tif", "run.realisations=3", "`run.realisations` must be 1 with an image")
    assert sorted(tmp_path.iterdir()) == before


def test_keys_that_an_image_leaves_without_effect_are_named(capsys):
    _image()
    assert main(["check", "--set", "image.path=image.tif", "--set", "calendering.gap_um=50", "--json"]) == 0
    assert "no effect: calendering.gap_um" in json.loads(capsys.readouterr().out)["warnings"][0]


def test_transport(capsys):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:, ::2] = 1
    np.save("layers.npy", labels)
    assert main(["transport", "layers.npy", "--phase", "1", "--json", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert data["phases"] == [
        {
            "label": 1,
            "name": "label 1",
            "volume_fraction": 0.5,
            "percolating_fraction": {"x": 0.5, "y": 0.0, "z": 0.5},
            "dead_end_fraction": {"x": 0.0, "y": 0.125, "z": 0.0},
        }
    ]
    assert [r["axis"] for r in data["results"]] == ["x", "y", "z"]
    assert [r["tortuosity_factor"] for r in data["results"]] == [pytest.approx(1, abs=1e-6), "inf", pytest.approx(1)]
    keys = {"phase", "axis", "tortuosity_factor", "effective_conductivity", "iterations", "residual"}
    keys |= {"error_estimate", "flux_low", "flux_high", "seconds", "compile_seconds"}
    assert keys == set(data["results"][0])
    assert "no path, tortuosity infinite" in err


def test_transport_of_several_labels_with_fields_tensor_and_electrode(capsys):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:4] = 1
    np.save("layers.npy", labels)
    both = ["transport", "layers.npy", "--conductivity", "0=1", "--conductivity", "1=3", "--device", "cpu", "--json"]
    assert main([*both, "--axis", "x", "--tensor", "--output", "fields.h5", "--voxel-size-um", "0.5"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["results"][0]["effective_conductivity"] == pytest.approx(1.5, rel=1e-6)
    assert data["results"][0]["tortuosity_factor"] == pytest.approx(2 / 1.5, rel=1e-6)
    np.testing.assert_allclose(data["tensor"][0]["conductivity"], np.diag([1.5, 2, 2]), atol=1e-6)
    file = store.read("fields.h5")
    assert file["fields"]["potential_all_x"].shape == (8, 8, 8)
    profile = file["transport"]["tortuosity_profiles"]["label all, x"]
    # a face belongs half to each side, so the slices beside the interface lie between
    np.testing.assert_allclose(profile, [2 / 3, 2 / 3, 2 / 3, 1, 5 / 3, 2, 2, 2], rtol=1e-6)
    assert np.mean(profile) == pytest.approx(2 / 1.5, rel=1e-6)
    page = pathlib.Path(data["report"]).read_text()
    assert page.count("data:image/png") == 2 and "tortuosity factor" in page
    one = ["transport", "layers.npy", "--phase", "0", "--axis", "y", "--device", "cpu", "--json"]
    assert main([*one, "--convention", "openimpala", "--sides", "periodic", "--float64", "--electrode"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["results"][0]["tortuosity_factor"] == pytest.approx(7 / 8, rel=1e-9)
    assert data["electrode"][0]["electrode_tortuosity_factor"] > 0


def test_what_transport_refuses(capsys):
    _image()
    image = ["transport", "image.tif"]
    _fails(capsys, [*image, "--conductivity", "high"], "LABEL=VALUE", "`high`")
    _fails(capsys, [*image, "--conductivity", "0=-1"], "from 0 to 1e12", "-1")
    _fails(capsys, [*image, "--conductivity", "0=0"], "all values are zero")
    _fails(capsys, [*image, "--conductivity", "0=1", "--phase", "0"], "exclude each other")
    _fails(capsys, [*image, "--conductivity", "9=1"], "Label 9 does not occur")
    _fails(capsys, [*image, "--output", "fields.txt"], "must end in `.h5`")
    _fails(capsys, [*image, "--output", "nowhere/fields.h5"], "Folder `nowhere`")
    assert not list(pathlib.Path().glob("fields*"))


def test_transport_that_does_not_fit_names_the_cures(capsys, monkeypatch):
    """Each cure lowers what is asked for: here the memory of one axis is enough, and that of three is not."""
    labels = _image()
    image = ["transport", "image.tif", "--phase", "0"]
    one, three = BINARY_BYTES
    monkeypatch.setattr(process, "free_memory", lambda: labels.size * (one + three) / 2 / 0.9)
    _fails(capsys, image, "Transport on 960 voxels", "crop or coarsen", "`--axis`", "larger machine", "`devices`")
    _fails(capsys, [*image, "--axis", "x", "--float64"], "leave out `--float64`")
    _fails(capsys, [*image[:2], "--axis", "x", "--conductivity", "0=1", "--conductivity", "1=1e-4"], "crop or coarsen")
    assert main([*image, "--axis", "x", "--json", "--device", "cpu"]) == 0


def test_prices_that_cannot_be_used_are_told(tmp_path, capsys):
    (tmp_path / "job.toml").write_text('economics = "mine.toml"\n')
    for command in ("check", "run", "design", "gradient"):
        _fails(capsys, [command, "job.toml"], "Price file `mine.toml` does not exist.")
    (tmp_path / "mine.toml").write_text("[prices]\npositive_activ = 20\n")
    _fails(capsys, ["run", "job.toml"], "mine.toml, line 2: `positive_activ` is no key of [prices]; the nearest known")
