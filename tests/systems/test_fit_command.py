"""`mesode fit`: a run, a stop and its resumption to the same numbers, and sentences about bad input."""

import json
import pathlib

import jax
import numpy as np
import pytest

from inverse.calibrate import COST
from mesode.cli import main
from mesode.fit_job import read_discharge, read_fit_job
from microstructure import store
from microstructure.exchange.bdf import Curve, write_bdf

ROOT = pathlib.Path(__file__).parents[2]
DATA = ROOT / "examples" / "data" / "lgm50_discharge_25C.csv"
JOB = f"""
cell = "Chen2020"
thermal = true
[[curve]]
file = "{DATA}"
c_rate = 0.5
[[curve]]
file = "{DATA}"
c_rate = 1.0
use = "predict"
[parameters]
positive_active_fraction = [0.5, 0.7]
negative_active_fraction = [0.5, 0.9]
cooling_W_m2_K = {{ bounds = [0.1, 3.0], start = 0.5 }}
[method]
mesh = [8, 4, 8, 8]
means = 6
[candidates]
c_rates = [2.0]
pulse = false
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)


def _fit(capsys, *options, text=JOB):
    pathlib.Path("job.toml").write_text(text)
    code = main(["fit", "job.toml", "--json", *options])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


@pytest.mark.slow  # two fits; the fit itself is that of test_cell_calibration
def test_a_fit_and_its_resumption(capsys, monkeypatch):
    """The prediction of 1C gets better by the fit of 0.5C; stopped after two evaluations it ends the same."""
    code, out, _ = _fit(capsys, "--output", "whole.h5")
    assert code == 0 and {"variables", "objective", "start", "metrics", "solves", "run_file"} <= set(out)
    assert out["objective"] < 0.5 * out["start"] and out["solves"] == COST * out["evaluations"]
    metrics = out["metrics"]
    for key, (low, high) in metrics["intervals"].items():
        assert low < out["variables"][key] < high
    predicted = metrics["curves"]["1C"]
    assert predicted["use"] == "predict" and predicted["end_time_interval_s"][0] < predicted["end_time_interval_s"][1]
    for name in ("voltage_rms_mV", "temperature_rms_K"):
        assert predicted["after"][name] < predicted["before"][name]
    assert [row["measurement"] for row in metrics["next"]] == [
        "discharge at 2C with its temperature",
        "discharge at 2C",
    ]
    page = pathlib.Path("whole.html").read_text()
    assert all(text in page for text in ("What to measure next", "1C, predicted", "cooling_W_m2_K", "data:image/png"))
    assert not pathlib.Path("whole.h5.checkpoint").exists()

    from inverse.replay import Replay

    plain = Replay.__call__

    def stopped(self, *arguments):
        if len(self.evaluations) == 2:
            raise KeyboardInterrupt
        return plain(self, *arguments)

    monkeypatch.setattr(Replay, "__call__", stopped)
    code, *_ = _fit_stopped(capsys)
    assert code == 3
    monkeypatch.setattr(Replay, "__call__", plain)
    code, again, said = _fit(capsys, "--output", "parts.h5", "--resume")
    assert code == 0 and "resumed after 2 evaluations" in said
    assert again["variables"] == out["variables"] and again["metrics"]["intervals"] == metrics["intervals"]
    first, second = (store.read(path)["fit"] for path in ("whole.h5", "parts.h5"))
    np.testing.assert_array_equal(first["information"], second["information"])

    pathlib.Path("parts.h5.checkpoint").write_bytes(b"")
    store.write("parts.h5.checkpoint", {"fingerprint": "another"})
    code, out, _ = _fit(capsys, "--output", "parts.h5", "--resume")
    assert code == 2 and "belongs to another job" in out["error"][0]


def _fit_stopped(capsys):
    code = main(["fit", "job.toml", "--json", "--output", "parts.h5"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_time_limit_saves_and_stops(capsys):
    code, out, _ = _fit(capsys, "--output", "late.h5", "--max-walltime", "0.001")
    assert code == 3 and "--resume" in out["error"][0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("positive_active_fraction", "positive_active_fractoin", "did you mean `positive_active_fraction`"),
        ("cooling_W_m2_K", "cooling", "write `cooling_W_m2_K`"),
        ("start = 0.5 }", "start = 5.0 }", "must lie between its bounds 0.1 and 3"),
        ("start = 0.5 }", "start = 0.5, deviation = -1 }", "must be a positive number"),
        ("[0.5, 0.7]", "[0.7, 0.5]", "two bounds, the lower one first"),
        ("[0.5, 0.7]", "[0.1, 0.2]", "start of positive_active_fraction"),
        ("thermal = true", "thermal = false", "means nothing without `thermal = true`"),
        ("c_rate = 0.5", "c_rate = 0.3", "holds the rates 0.1, 0.5, 1"),
        ("lgm50", "nothing", "does not exist"),
        ('use = "predict"', 'use = "predicted"', "must be one of fit, predict"),
        ("means = 6", "means = 2.5", "`means` must be a whole number between 4 and 200"),
        ("[method]", "[methods]", "did you mean `method`"),
        ('cell = "Chen2020"', 'cell = "Chen2002"', "did you mean `Chen2020`"),
        ("[[curve]]", "temperature_laws = 'x'\n[[curve]]", "`temperature_laws`"),
        ("pulse = false", "pulse = 3", "must be true or false"),
    ],
)
def test_bad_input_is_said_in_a_sentence(capsys, old, new, words):
    code, out, _ = _fit(capsys, text=JOB.replace(old, new, 1 if old == "[[curve]]" else -1))
    assert code == 2 and any(words in line for line in out["error"]), out


def _table(path, time, volts, current):
    rows = [f"{t},{i},{v}" for t, v, i in zip(time, volts, current, strict=True)]
    pathlib.Path(path).write_text("\n".join(["time_s,current_A,voltage_V", *rows]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": [0, 10, 20, 15, 30, 40]}, "must rise, but 15 s follows 20 s"),
        ({"volts": [4.2, 3.0, 3.1, 3.2, 3.3, 3.4]}, "does not fall"),
        ({"current": [0, 5, 4, 5, 5, 5]}, "varies by 20 %"),
        ({"current": [0, 0, 0, 0, 0, 0]}, "No current flows"),
        ({"current": [0, 5, 5, 0, 0, 0]}, "fewer than four readings"),
        ({"volts": [4.2, 4.1, "nan", 3.9, 3.8, 3.7]}, "finite numbers"),
    ],
)
def test_files_that_hold_no_discharge(change, words):
    given = {"time": [0, 10, 20, 30, 40, 50], "volts": [4.2, 4.1, 4.0, 3.9, 3.8, 3.7], "current": [0, 5, 5, 5, 5, 5]}
    _table("curve.csv", **(given | change))
    with pytest.raises(ValueError, match=words):
        read_discharge("curve.csv")


def test_a_discharge_is_read_from_both_forms():
    """The row at rest before the current is time zero and gives the voltage at rest; the sign does not matter."""
    time, volts = np.arange(0.0, 70.0, 10.0), np.linspace(4.2, 3.6, 7)
    _table("curve.csv", time, volts, [0, 5, 5, 5, 5, 5, 0])
    write_bdf("curve.bdf.csv", Curve(time, volts, np.array([0.0, -5, -5, -5, -5, -5, 0])))
    for path in ("curve.csv", "curve.bdf.csv"):
        found = read_discharge(path)
        np.testing.assert_allclose(found.time, [10, 20, 30, 40, 50])
        assert (found.current, found.rest, found.ambient) == (5.0, 4.2, None)
    real = read_discharge(DATA, 1.0)
    assert real.ambient == pytest.approx(297.75) and real.temperature.size == real.time.size


def test_the_example_is_valid():
    job = read_fit_job(ROOT / "examples" / "fit.toml")
    assert job.predicted == ("1C",) and list(job.readings) == ["0.1C", "0.5C", "1C"] and job.laws
