"""The benchmark command: what it measures, how it asks its peers, and what it says when one cannot answer."""

import dataclasses
import hashlib
import json
import stat
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gradient_cell, harness, images
from benchmarks.suites import chain, resolved_accuracy, transport
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


@pytest.mark.parametrize("name", [n for n in images.IMAGES if not any(k in n for k in ("200", "251", "256"))])
def test_images_are_the_ones_of_the_references(name):
    """The digest is checked where an image is made."""
    image = images.solid(name)
    assert "x".join(map(str, image.shape)) == "x".join([name.split()[1].removesuffix("^3")] * 3)


def test_an_image_that_is_not_the_one_of_the_reference_is_refused(monkeypatch):
    other = dataclasses.replace(images.IMAGES["spheres 64^3"], digest="0" * 16)
    monkeypatch.setitem(images.IMAGES, "spheres 64^3", other)
    with pytest.raises(ValueError, match="has the digest 0b761916839fab38 instead of 0000"):
        images.solid("spheres 64^3")
    with pytest.raises(KeyError):
        images.solid("spheres 65^3")


def test_fractions_are_those_of_the_references():
    assert images.phase("spheres 64^3", "pore").mean() == pytest.approx(0.396698, abs=5e-7)
    assert images.phase("spheres 64^3", "solid").mean() == pytest.approx(0.603302, abs=5e-7)
    assert images.phase("soft 64^3", "pore").mean() == pytest.approx(0.35, abs=0.01)
    fractions = np.bincount(images.solid("film 96^3").ravel()) / 96**3
    assert fractions == pytest.approx([0.367, 0.500, 0.133], abs=1e-3)


@pytest.mark.parametrize("batch", [8, 2048])
def test_spheres_that_keep_apart_do_not_depend_on_how_they_are_sought(batch):
    """Against the plain form: one trial after the other, each against all accepted."""
    n, porosity, overlap = 40, 0.5, 0.8
    draw, accepted, image = np.random.default_rng(7 + n), [], np.zeros((n, n, n), bool)
    while (~image).sum() > porosity * n**3:
        radius, centre = 6 + 6 * draw.random(), draw.random(3) * n
        gaps = [np.abs(centre - other) for other, _ in accepted]
        apart = [np.sqrt(np.sum(np.minimum(gap, n - gap) ** 2)) for gap in gaps]
        if all(d >= overlap * (radius + other) for d, (_, other) in zip(apart, accepted, strict=True)):
            accepted.append((centre, radius))
            images._add_ball(image, centre, radius)
    assert len(accepted) > 8
    np.testing.assert_array_equal(images.soft_spheres(n, porosity, overlap, batch), image)


def test_every_case_of_transport_has_an_image_and_the_limits_of_its_kind():
    for case in (*transport.CASES, *transport.LARGE):
        kind, voxels = case.image.split()
        assert images.IMAGES[case.image].tau[case.phase] > 1
        easy = {"pore": 15, "solid": 25}[case.phase]
        assert case.steps == (easy if kind in ("spheres", "soft") else 40)
        limit = {"narrow": 1 / 8, "contacts": 1 / 20, "serpentine": 1 / 20}.get(kind)
        by_size = {"64^3": 1, "100^3": 1, "128^3": 1 / 5, "200^3": 1 / 10, "251x301x301": 1 / 10, "256^3": None}
        assert case.ratio == (limit or by_size[voxels])
        assert case.peer == (case.ratio is not None)


def test_a_row_of_transport_has_its_targets(monkeypatch):
    """On a block without obstacles, whose conductivity is exactly one, with TauFactor's answer made up."""
    block = images.Image(lambda: np.zeros((8, 8, 8), bool), hashlib.sha256(bytes(64)).hexdigest()[:16], {"pore": 1.0})
    monkeypatch.setitem(images.IMAGES, "block 8^3", block)
    monkeypatch.setattr(transport, "ask_peer", lambda *_: {"peer": "toy", "cpu_s": 1e9, "converged": False, "steps": 7})
    monkeypatch.setattr(transport, "ask_fresh", lambda *_: {"not_run": "no reason"})
    row = transport._binary(transport.Case("block 8^3", "pore", 15, 0.2, memory=True), peers=True, repeats=1)
    goals = {goal["of"]: (goal["at_most"], goal["met"]) for goal in row["targets"]}
    assert goals["tau_error"] == (1e-4, True) and goals["ratio"] == (0.2, True)
    assert goals["steps_to_residual"] == (15, True) and "compile_s" in goals and "bytes_per_voxel" not in goals
    assert row["memory_not_run"] == "no reason" and row["tortuosity_factor"] == pytest.approx(1.0, abs=1e-6)
    assert "toy did not converge in 7 steps" in harness.table({"cases": [row]})


def test_iterations_may_grow_from_64_to_256():
    rows = {}
    for case in transport.CASES:
        rows[case] = {"steps_to_residual": 20 if "256" in case.image else 12, "targets": []}
    for case, row in rows.items():
        transport._add_growth(case, row, rows)
    found = {c.phase: r["targets"] for c, r in rows.items() if "256" in c.image}
    assert [goal["met"] for goal in found["pore"] + found["solid"]] == [False, True]
    assert all("growth" not in row for case, row in rows.items() if "256" not in case.image)


def test_a_fresh_process_says_why_it_cannot_answer():
    assert "No module named benchmarks.nothing" in harness.ask_fresh("benchmarks.nothing", {})["not_run"]


def test_the_peak_of_memory_is_that_of_a_run(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((8, 8, 8), np.uint8))
    answer = transport.peak(str(tmp_path / "x.npy"), {"1": 1.0})
    assert "not_run" in answer or answer["bytes_per_voxel"] >= 0


def test_a_child_process_is_measured(tmp_path):
    row, text = chain.child(["--help"], chain._paths(), tmp_path)
    assert "usage: mesode" in text
    assert row["memory_MiB"] > 5 and 0 < row["cpu_s"] and 0 < row["median_s"]
    with pytest.raises(RuntimeError, match="exit code 2: .*Suite `nothing` is not one of"):
        chain.child(["bench", "nothing"], chain._paths(), tmp_path)


def test_derivatives_of_geometry_and_of_materials_have_their_own_targets(monkeypatch):
    """On a figure of sines, of which one derivative of either kind is made a hundred-thousandth too large."""
    names = gradient_cell.NAMES
    monkeypatch.setattr(
        gradient_cell, "figure", lambda: lambda p: sum(k * jnp.sin(p[n]) for k, n in enumerate(names, 1))
    )
    wrong = {name: k * (1.00001 if name in ("film", "rate") else 1.0) for k, name in enumerate(names, 1)}
    monkeypatch.setattr(gradient_cell, "gradient", lambda _: wrong)
    geometry, materials = resolved_accuracy._derivatives()
    assert max(geometry["accuracy"], key=geometry["accuracy"].get) == "film" and geometry["targets"][0]["met"]
    assert max(materials["accuracy"], key=materials["accuracy"].get) == "rate" and not materials["targets"][0]["met"]
    assert geometry["worst_relative"] == pytest.approx(1e-5, rel=1e-2)
