"""The command line: instant help, one JSON object, sentences and exit codes instead of tracebacks."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from mesode.cli import build_parser, main
from microstructure import images, store

COMMANDS = (
    "run",
    "check",
    "gradient",
    "design",
    "transport",
    "measure",
    "discharge",
    "charge",
    "report",
    "export",
    "info",
    "bench",
)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ.get("JAX_COMPILATION_CACHE_DIR", str(cache)))


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


def test_help_is_instant_and_imports_nothing_heavy():
    code = "import sys, mesode.cli as c; c.build_parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jax", "numpy", "h5py", "matplotlib", "equinox"} & set(loaded)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mesode.cli", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3


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
    formats = ["vtkhdf", "vtu", "stl", "tiff", "csv"]
    assert main(["export", "run.h5", "--format", *formats, "--output", "out", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert len(files) == 7 and all((tmp_path / f).is_file() for f in files)
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
