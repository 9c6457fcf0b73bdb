"""`mesode impedance`: one JSON object, a table, a figure, and sentences for bad input."""

import json

import jax
import numpy as np
import pytest

from mesode.cli import main

QUICK = ["--points", "3", "--lowest", "0.01", "--highest", "100"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)


def test_spectrum(capsys, tmp_path):
    files = ["--output", "z.csv", "--figure", "z.png"]
    assert main(["impedance", "Marquis2019", "--soc", "1", "--json", *QUICK, *files]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["frequency_Hz"] == pytest.approx([100.0, 1.0, 0.01]) and data["soc"] == 1.0
    assert data["temperature_K"] == pytest.approx(298.15)
    real, imaginary = np.array(data["real_ohm"]), np.array(data["imag_ohm"])
    # PyBaMM 26.10.1.1, 160 cells in each layer and 160 in r, at 1 Hz; it converges to ours from below
    assert real[1] + 1j * imaginary[1] == pytest.approx(0.14838196 - 6.5927e-4j, rel=1e-3)
    assert np.all(np.diff(real) > 0) and np.all(imaginary < 0)
    rows = (tmp_path / "z.csv").read_text().splitlines()
    assert rows[0] == "Frequency / Hz,Real Impedance / ohm,Imaginary Impedance / ohm" and len(rows) == 4
    assert [float(x) for x in rows[3].split(",")] == pytest.approx([0.01, real[2], imaginary[2]])
    assert (tmp_path / "z.png").read_bytes()[:4] == b"\x89PNG"


def test_warmer_is_less(capsys):
    found = []
    for temperature in ("298.15", "318.15"):
        assert main(["impedance", "Marquis2019", "--temperature", temperature, "--json", *QUICK]) == 0
        found.append(json.loads(capsys.readouterr().out)["real_ohm"])
    assert np.all(np.array(found[1]) < 0.7 * np.array(found[0]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["Chen2021"], "did you mean `Chen2020`?"),
        (["Chen2020", "--soc", "50"], "`--soc` must lie between 0 and 1, but 50 was given."),
        (["Chen2020", "--temperature", "25"], "`--temperature` must lie between 200 and 400 K, but 25 was given."),
        (["Chen2020", "--lowest", "-1"], "`--lowest` must lie between"),
        (["Chen2020", "--lowest", "10", "--highest", "1"], "`--lowest` must not be above `--highest`"),
        (["Chen2020", "--points", "0"], "`--points` must lie between"),
        (["Chen2020", "--double-layer", "nan"], "`--double-layer` must lie between"),
        (["Chen2020", "--figure", "z.jpeg2"], "`--figure` must end in .png"),
        (["Chen2020", "--output", "nowhere/z.csv"], "Folder `nowhere` for `--output z.csv` does not exist."),
        (["missing.json"], "does not exist"),
    ],
)
def test_bad_input(capsys, tmp_path, arguments, sentence):
    assert main(["impedance", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and sentence in err
    assert not list(tmp_path.iterdir())
