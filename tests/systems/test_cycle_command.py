"""`mesode cycle`: a course through files and sentences, what ends it, and sentences for bad input."""

import json
import pathlib

import jax
import numpy as np
import pytest

from benchmarks.harness import ask_peer
from mesode.cli import main
from mesode.protocol import read_protocol
from microstructure.exchange.bdf import read_bdf

ROOT = pathlib.Path(__file__).parents[2]
DRIVE = [(0.0, 5.0), (20.0, 10.0), (20.001, -5.0), (40.0, 0.0)]
# All protocols of this file hold a table, so that one compiled step serves them.
TABLE = "[[step]]\ndrive_cycle = 'drive.csv'\n"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    rows = "".join(f"{time},{current}\n" for time, current in DRIVE)
    pathlib.Path("drive.csv").write_text("time / s,current / A\n" + rows)


def _cycle(capsys, text, *options):
    pathlib.Path("job.toml").write_text(text)
    code = main(["cycle", "Chen2020", "job.toml", "--json", *options])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_course(capsys):
    """CCCV, a drive cycle twice and a step of power: what each step holds, where it ends, and the files."""
    text = (
        "state_of_charge = 0.5\n[[step]]\ndo = ['Charge at 1C until 4.1 V', 'Hold at 4.1 V until C/2']\n"
        + TABLE
        + "repeat = 2\n[[step]]\ndo = ['Discharge at 10 W for 1 minute', 'Discharge at 1C until 4.0 V']\n"
    )
    code, out, _ = _cycle(capsys, text, "--csv", "course.bdf.csv", "--figure", "course.png")
    assert code == 0 and (out["state_of_charge"], out["nominal_capacity_Ah"]) == (0.5, 5.0)
    charge, hold, first, second, power, none = out["steps"]
    assert [s["end"] for s in out["steps"]] == [
        "voltage above",
        "current below",
        "time",
        "time",
        "time",
        "voltage below",
    ]
    assert [s["cycle"] for s in out["steps"]] == [1, 1, 1, 2, 1, 1] and not any(s["at_cut_off"] for s in out["steps"])
    assert charge["voltage_end_V"] == pytest.approx(4.1, abs=1e-8) and charge["current_end_A"] == pytest.approx(-5)
    assert charge["capacity_Ah"] == pytest.approx(-5 * charge["duration_s"] / 3600, rel=1e-9)
    assert hold["voltage_min_V"] == pytest.approx(4.1, abs=1e-8) and hold["current_end_A"] == pytest.approx(-2.5)
    assert first["duration_s"] == second["duration_s"] == pytest.approx(40.0)
    times, values = np.transpose(DRIVE)
    for step in (first, second):
        assert step["capacity_Ah"] == pytest.approx(np.trapezoid(values, times) / 3600, rel=2e-4), step  # of the march
    assert power["energy_Wh"] == pytest.approx(10 / 60, rel=1e-8)
    # What is past its end as soon as it begins takes no time and leaves no record.
    assert none["duration_s"] == 0.0 and none["voltage_end_V"] < 4.0 and max(out["step"]) == 5
    time, step = np.array(out["time_s"]), np.array(out["step"])
    assert np.all(np.diff(time) >= 0) and time[-1] == pytest.approx(sum(s["duration_s"] for s in out["steps"]))
    drive = np.interp(time[step == 3] - time[step == 3][0], times, values)
    assert np.allclose(np.array(out["current_A"])[step == 3], drive, atol=1e-6)
    curve = read_bdf("course.bdf.csv")
    assert np.array_equal(curve.time, time) and np.allclose(curve.current, -np.array(out["current_A"]))
    assert np.array_equal(curve.columns["Step Count / 1"], step)
    assert curve.columns["Net Capacity / Ah"][-1] == pytest.approx(-sum(s["capacity_Ah"] for s in out["steps"]))
    assert pathlib.Path("course.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_of_steps(capsys):
    pathlib.Path("job.toml").write_text(TABLE + "[[step]]\ndo = 'Charge at 1C for 10 hours'\n")
    assert main(["cycle", "Chen2020", "job.toml", "--state-of-charge", "0.8"]) == 0
    head, drive, charge, total = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["step", "what"] and "drive_cycle = drive.csv" in drive and " 40.00 " in drive
    assert "cut-off voltage" in charge and charge.rstrip().endswith("- 4.2000") and "s in all" in total


def test_a_step_that_cannot_be_is_named_and_none_follows(capsys):
    """A rest after a fast charge begins, though the current falls by 20 A at once; no cell gives 100 kW."""
    fast = "[[step]]\ndo = ['Charge at 4C until 10 mV plating', 'Rest for 1 minute']\n"
    text = fast + TABLE + "[[step]]\ndo = ['Discharge at 100 kW for 1 s', 'Rest for 1 h']\n"
    code, out, said = _cycle(capsys, text, "--state-of-charge", "0.1")
    assert code == 1
    assert [s["end"] for s in out["steps"]] == ["plating below", "time", "time", "failed", "not begun"]
    assert out["steps"][1]["voltage_start_V"] < out["steps"][0]["voltage_end_V"] - 0.1
    assert out["steps"][3]["capacity_Ah"] == 0.0 and "voltage_min_V" not in out["steps"][3]
    assert "Step 4, `Discharge at 100 kW for 1 s`, did not converge after 0 s: the cell cannot do what it asks" in said


def test_nothing_can_begin(capsys):
    text = "[[step]]\ndo = 'Discharge at 1C until 4.19 V'\n" + TABLE + "until_voltage_V = 4.2\n"
    code, out, said = _cycle(capsys, text, "--csv", "course.csv")
    assert code == 2 and out["exit_code"] == 2 and not pathlib.Path("course.csv").exists()
    assert "No step could begin: at a state of charge of 1 the cell is past the end of `Discharge at 1C until" in said


REST = ["--step", "Rest for 1 hour"]
BAD = {
    "no protocol": (
        ["Chen2020"],
        "A protocol is either a file or sentences, each after `--step`, but neither was given.",
    ),
    "both": (["Chen2020", "job.toml", *REST], "but both were given."),
    "no file": (["Chen2020", "none.toml"], "Protocol `none.toml` does not exist."),
    "a sentence as file": (["Chen2020", "Rest for 1 hour"], "a sentence is given by `--step`"),
    "cell": (["Chen2021", *REST], "did you mean `Chen2020`?"),
    "state": (["Chen2020", *REST, "--state-of-charge", "50"], "`--state-of-charge` must lie between 0 and 1"),
    "sentence": (["Chen2020", "--step", "Rest for 1"], "step 1: `Rest for 1`: The unit of `1` is missing"),
    "two": (["Chen2020", "--step", "Fly", "--step", "Rest"], "step 2: `Rest` has no end"),
    "window": (
        ["Marquis2019", "--step", "Hold at 4.2 V for 1 h"],
        "cut-offs of the cell, 3.105 and 4.1 V, but 4.2",
    ),
    "thermal": (["Chen2020", "--step", "Charge at 1C until 45 degC"], "Without a thermal model"),
    "thermal set": (["Marquis2019", *REST, "--thermal"], "`--thermal` needs thermal parameters"),
    "csv": (["Chen2020", *REST, "--csv", "course.xlsx"], "`--csv` must end in .csv"),
    "folder": (["Chen2020", *REST, "--figure", "none/x.png"], "Folder `none` for `--figure x.png` does not exist."),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_sentence_and_writes_nothing(capsys, name):
    arguments, sentence = BAD[name]
    assert main(["cycle", *arguments]) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.out == "" and "Traceback" not in said.err
    assert [path.name for path in pathlib.Path().iterdir()] == ["drive.csv"]


def test_the_example_is_a_protocol():
    protocol = read_protocol(ROOT / "examples" / "protocol.toml")
    assert [stage.held for stage in protocol.stages][:4] == ["c_rate", "voltage", "rest", "table"]
    assert protocol.order[3:9] == tuple((cycle, 3) for cycle in range(1, 7))


@pytest.mark.slow  # PyBaMM on 80 and 160 cells
def test_beside_pybamm(capsys):
    """CCCV, rests and a step of power, by the same sentences through `pybamm.Experiment` (isothermal DFN, Chen 2020).

    PyBaMM is of first order in its meshes, so its limit is extrapolated from 80 and 160 cells in each layer and each
    particle. The end of the hold, where the current falls by 0.1 mA a second, is the one that depends on our time steps
    (tolerance 1e-6: 3484.5 s).
    """
    sentences = [
        "Discharge at 1C until 2.5 V",
        "Rest for 1 hour",
        "Charge at C/2 until 4.2 V",
        "Hold at 4.2 V until C/50",
        "Discharge at 10 W for 30 minutes",
    ]
    peers = [ask_peer("pybamm_protocol", {"name": "Chen2020", "sentences": sentences, "cells": n}) for n in (80, 160)]
    if "not_run" in peers[0]:
        pytest.skip(f"PyBaMM: {peers[0]['not_run']}")
    assert main(["cycle", "Chen2020", "--json", *(word for text in sentences for word in ("--step", text))]) == 0
    ours = json.loads(capsys.readouterr().out)["steps"]

    def limit(name):
        coarse, fine = (np.array(peer[name]) for peer in peers)
        return 2 * fine - coarse

    duration, capacity = (np.array([s[name] for s in ours]) for name in ("duration_s", "capacity_Ah"))
    late, more = duration - limit("duration_s"), capacity - limit("capacity_Ah")
    print("duration, s:", late, "capacity, Ah:", more)
    assert np.all(np.abs(late)[[0, 1, 2, 4]] < 0.5) and abs(late[3]) < 8.0
    assert np.all(np.abs(more) < 3e-4)
    ends = np.array([s["voltage_end_V"] for s in ours])
    assert np.all(np.abs(ends - limit("voltage_V")) < 2e-4)
