"""The benchmark command: what it measures, how it asks its peers, and what it says when one cannot answer."""

import json
import stat
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import harness, images
from benchmarks.suites import chain
from mesode import cli

ROW = {"suite": "transport", "problem": "p", "cpu_s": 1.0, "median_s": 0.5}


@pytest.fixture
def toy(monkeypatch):
    """A suite of one case, in the place of `transport`."""

    def measure(peers=True):
        value, row = harness.timed(lambda x: jnp.sum(x**2), (jnp.arange(4.0),), repeats=3)
        row |= {"accuracy": {"error": float(value) - 14.0, "unknown": np.float64("nan")}}
        return [harness.case("transport", "sum of squares", {"numbers": 4}, "float64", **row)]

    monkeypatch.setitem(sys.modules, "benchmarks.suites.transport", types.SimpleNamespace(measure=measure))


@pytest.fixture
def peer(monkeypatch, tmp_path):
    """Puts a script in the place of the interpreter that runs the peers."""

    def install(text):
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(harness.PEERS_PYTHON, str(script))

    return install


def test_a_case_is_compiled_once_and_its_times_are_ordered():
    traces = []

    @jax.jit
    def function(x):
        traces.append(x)
        return jnp.sin(x) @ jnp.cos(x)

    value, row = harness.timed(function, (jnp.ones((300, 300)),), repeats=4)
    assert len(traces) == 1 and value.shape == (300, 300) and row["repeats"] == 4
    assert row["compile_s"] > 0 and row["median_s"] > 0 and row["spread_s"] >= 0 and row["cpu_s"] > 0
    assert row["memory_MiB"] >= 2 * 300 * 300 * 8 / 2**20


def test_the_median_is_that_of_the_calls_after_the_first(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 26.0])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(harness.time, "process_time", lambda: 0.0)
    value, row = harness.repeated(lambda: 7.0, repeats=3)
    assert value == 7.0
    assert row == {"median_s": 2.0, "spread_s": 2.5, "cpu_s": 0.0, "repeats": 3}


def test_the_command_writes_json_and_prints_a_table(toy, tmp_path, capsys):
    path = tmp_path / "found.json"
    assert cli.main(["bench", "transport", "--output", str(path), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "sum of squares" in printed and "error 0" in printed
    record = json.loads(path.read_text())
    assert record["schema"] == harness.SCHEMA
    assert {"date", "commit", "versions", "devices", "processor"} <= set(record["provenance"])
    (case,) = record["cases"]
    assert {"problem", "size", "device", "dtype", "compile_s", "median_s", "spread_s", "cpu_s", "memory_MiB"} <= set(
        case
    )
    assert case["accuracy"] == {"error": 0.0, "unknown": None}
    assert not list(tmp_path.glob("*.partial"))


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert cli.main(["bench", "transpot", "--output", str(tmp_path / "x.json")]) == cli.EXIT_BAD_INPUT
    assert "Did you mean `transport`?" in capsys.readouterr().err
    assert cli.main(["bench", "--output", str(tmp_path / "x.csv")]) == cli.EXIT_BAD_INPUT
    assert cli.main(["bench", "--output", str(tmp_path / "none" / "x.json")]) == cli.EXIT_BAD_INPUT
    assert not list(tmp_path.iterdir())


def test_a_suite_that_fails_does_not_end_the_others(toy, monkeypatch):
    def broken(peers=True):
        raise RuntimeError("no luck")

    monkeypatch.setitem(sys.modules, "benchmarks.suites.cell", types.SimpleNamespace(measure=broken))
    seen = []
    record = harness.run(["cell", "transport"], done=lambda name, record: seen.append((name, len(record["cases"]))))
    assert seen == [("cell", 1), ("transport", 2)]
    assert record["cases"][0]["failed"] == "RuntimeError: no luck"
    assert "failed: RuntimeError: no luck" in harness.table(record)


def test_a_peer_answers_in_its_own_interpreter(peer):
    peer("""cat >/dev/null; echo noise; echo '{"peer": "toy 1.0", "cpu_s": 4.0, "accuracy": {"error": 0.1}}'""")
    row = harness.against(ROW, harness.ask_peer("taufactor", {"image": "none"}), 0.2)
    assert row["ratio"] == 0.25 and row["peer"] == "toy 1.0" and row["peer_cpu_s"] == 4.0
    assert row["targets"] == [{"of": "ratio", "at_most": 0.2, "found": 0.25, "met": False}]
    assert "MISSED" in harness.table({"cases": [row]})
    assert harness.aimed(row, "cpu_s", 1.0)["targets"][1]["met"]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("cat >/dev/null; echo 'No module named peer' >&2; exit 1", "No module named peer"),
        ("cat >/dev/null; exit 3", "exit code 3"),
        ("cat >/dev/null; echo 5", "no answer"),
        ("sleep 5", "took longer than 0.5 s"),
    ],
)
def test_a_peer_that_cannot_be_run_is_reported_with_its_reason(peer, text, reason):
    peer(text)
    answer = harness.ask_peer("pybamm", {}, timeout=0.5)
    row = harness.against(ROW, answer, 3.0)
    assert row["peer_not_run"] == reason and "ratio" not in row and "targets" not in row
    assert f"pybamm not run: {reason}" in harness.table({"cases": [row]})


def test_an_absent_interpreter_is_a_reason_too(monkeypatch, tmp_path):
    monkeypatch.setenv(harness.PEERS_PYTHON, str(tmp_path / "nothing"))
    assert "names no interpreter" in harness.ask_peer("taufactor", {})["not_run"]


def test_a_peer_that_is_not_installed_says_so(monkeypatch, tmp_path):
    """The real scripts, in an interpreter without site packages."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(harness.PEERS_PYTHON, str(script))
    questions = {
        "taufactor": {"image": "x.npy", "expected": 1.0},
        "pybamm": {"name": "Chen2020", "c_rate": 1.0, "times": [], "voltages": []},
    }
    for name, question in questions.items():
        assert "could not be imported" in harness.ask_peer(name, question)["not_run"]


def test_images_are_the_ones_of_the_references():
    for kind, n in [("spheres", 64), ("serpentine", 96)]:
        assert images.solid(kind, n).shape == (n, n, n)
    assert 1 - images.overlapping_spheres(64).mean() == pytest.approx(0.396698, abs=5e-7)
    with pytest.raises(KeyError):
        images.solid("spheres", 65)


def test_a_child_process_is_measured(tmp_path):
    row, text = chain.child(["--help"], chain._paths(), tmp_path)
    assert "usage: mesode" in text
    assert row["memory_MiB"] > 5 and 0 < row["cpu_s"] and 0 < row["median_s"]
    with pytest.raises(RuntimeError, match="exit code 2: .*Suite `nothing` is not one of"):
        chain.child(["bench", "nothing"], chain._paths(), tmp_path)
