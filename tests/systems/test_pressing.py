"""`mesode calender`: from a recipe to the course of a pressing, saved after each increment, resumed after a kill."""

import json
import pathlib

import jax
import numpy as np
import pytest

from mesode import pressing
from mesode.cli import main
from microstructure import store

JOB = """
[recipe]
areal_loading_mg_cm2 = 6
[recipe.size]
median_radius_um = 2.2
sigma = 0.15
[calendering]
gap_um = 20
line_load_N_mm = 100
friction = 0.3
increments = 8
release_increments = 2
fracture_strain = 0.3
roll_temperature_C = 40
[grid]
particles = 70
"""


class Killed(BaseException):
    """What no handler of the program sees, as with a kill."""


@pytest.fixture
def called(tmp_path, monkeypatch, capsys):
    """Calls `mesode calender job.toml` with more arguments: exit code and the JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    (tmp_path / "job.toml").write_text(JOB)

    def call(*arguments):
        code = main(["calender", "job.toml", *arguments, "--json", "--device", "cpu"])
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.mark.slow  # three pressings; the default suite kills and resumes other commands
def test_a_run_killed_in_mid_compression_ends_at_the_same_state(called, monkeypatch):
    """The saved carry is all that the next increment needs: resumed, the numbers are those of a whole run."""
    code, whole = called("--output", "whole.h5")
    assert code == 0
    advance, trial, tried = pressing._Once.advance, pressing._Once.trial, []

    def until_second(self, state, before):
        tried.append(before)
        if len(tried) == 2:
            raise Killed
        return trial(self, state, before)

    def until_third(self, state, k, before):
        if k == 3:
            raise Killed
        return advance(self, state, k, before)

    for name, changed in (("trial", until_second), ("advance", until_third)):
        with monkeypatch.context() as patched:
            patched.setattr(pressing._Once, name, changed)
            with pytest.raises(Killed):
                called("--output", "part.h5", *(["--resume"] if name == "advance" else []))
    code, resumed = called("--output", "part.h5", "--resume")
    assert code == 0
    changing = ("run_file", "report", "seconds", "compile_seconds")
    assert {k: v for k, v in whole.items() if k not in changing} == {
        k: v for k, v in resumed.items() if k not in changing
    }
    one, two = (store.read(name)["structure"] for name in ("whole.h5", "part.h5"))
    for name in ("dried", "loaded", "calendered"):
        np.testing.assert_array_equal(one[name]["positions"], two[name]["positions"])
    _check_course(whole, one)
    _check_inside(whole, store.read("whole.h5"))


def _check_course(found, structure):
    """The course goes down to a gap and comes back, the solid stays, and the file holds what was said."""
    thickness, porosity = np.asarray(found["thickness_um"]), np.asarray(found["porosity"])
    assert len(thickness) == 1 + 8 + 2
    assert np.all(np.diff(thickness[:9]) < 0) and thickness[8] == pytest.approx(found["gap_um"], rel=1e-12)
    assert 20 < found["gap_um"] < thickness[0] and np.all(np.diff(thickness[8:]) > 0)
    solid = (1 - porosity) * thickness
    np.testing.assert_allclose(solid, solid[0], rtol=1e-12)
    pressure = np.asarray(found["pressure_MPa"])
    assert pressure[0] == 0 and np.argmax(pressure) == 8 and pressure[-1] == pytest.approx(0.1, rel=1e-3)
    assert found["springback_percent"] == pytest.approx(100 * (thickness[-1] / thickness[8] - 1), rel=1e-9)
    assert found["line_load_N_per_mm"] == pytest.approx(100, rel=1e-3)  # as asked for
    assert found["line_load"]["loading_N_per_mm"][-1] == pytest.approx(found["line_load_N_per_mm"], rel=1e-12)
    position, time = found["line_load"]["position_mm"], found["line_load"]["time_ms"]
    assert np.all(np.diff(position) > 0) and position[8] == 0 and -time[0] == pytest.approx(found["time_in_nip_ms"])
    # The area under the pressure through the nip, which is linear in the thickness, is the line load.
    along, squared = np.linspace(position[0], position[-1], 2001), np.asarray(position) ** 2
    way_in = np.interp(along**2, squared[8::-1], pressure[8::-1])
    curve = np.where(along < 0, way_in, np.interp(along**2, squared[8:], pressure[8:]))
    assert np.trapezoid(curve, along) == pytest.approx(found["line_load_N_per_mm"], rel=1e-3)
    assert found["density_g_cm3"] == pytest.approx(6 / thickness[-1] * 10, rel=1e-12)  # mg/cm2 over um
    assert 1e6 * structure["calendered"]["box"][0] == pytest.approx(thickness[-1], rel=1e-12)


def _check_inside(found, run):
    """What is said of the inside belongs together: stress on the plate, contacts, bridges, what ParaView shows."""
    inside, pressure = run["calendering"]["inside"], np.asarray(found["pressure_MPa"])
    # Two routes to the stress of the film; the plate feels the faint ties of the search besides.
    np.testing.assert_allclose(inside["film"][:, 0, 0], run["calendering"]["virial_Pa"], rtol=1e-6, atol=1.0)
    assert inside["film"][8, 0, 0] / 1e6 == pytest.approx(pressure[8], rel=1e-3)
    np.testing.assert_array_equal(inside["coordination"], found["coordination"])
    assert inside["coordination"][-1] == pytest.approx(found["coordination_number"], rel=1e-12)
    np.testing.assert_allclose(np.trace(inside["bridge_fabric"], axis1=1, axis2=2), 1, rtol=1e-12)
    assert 0 < found["broken_bridges"] < 1 and np.all(np.diff(inside["broken"]) >= 0)
    assert found["recovery"] is None
    assert found["yielded"][0] == 0 and 0 < found["yielded_bridges"] <= 1
    stress = found["stress_of_particles_MPa"]["at_gap"]["von_mises"]
    assert stress["p5"] < stress["p50"] < stress["p95"] <= stress["largest"]
    assert found["through_plane_modulus_GPa"] > 0 and found["in_plane_modulus_GPa"] > 0
    assert found["compaction_line_load"]["resistance_N_per_mm"] > 0
    page = pathlib.Path(found["report"]).read_text(encoding="utf-8")
    assert page.count("<img") == 6 and "frictionless" not in page
    with store.open_foreign(found["run_file"]) as file:
        shown = file["VTKHDF/PointData"]
        np.testing.assert_array_equal(shown["von_mises_Pa"][()], run["structure"]["calendered"]["von_mises"])


@pytest.mark.slow
def test_a_film_at_rest_recovers(called):
    """Two passes to a gap without friction, and a rest: a part of the binder relaxes, and the film grows."""
    settings = ("friction=0", "line_load_N_mm=0", "passes=2", "increments=4", "rest_s=100")
    code, found = called(*(part for s in settings for part in ("--set", f"calendering.{s}")))
    assert code == 0 and len(found["thickness_um"]) == 1 + 2 * (4 + 2)
    first, second = found["line_load"]["passes_N_per_mm"]
    assert found["line_load_N_per_mm"] == first > second > 0  # the way in of the second pass is shorter
    rest = found["recovery"]
    assert rest["time_s"][0] == 0 and rest["time_s"][-1] == pytest.approx(100)
    assert rest["thickness_um"][0] == pytest.approx(found["thickness_um"][-1], rel=1e-12)
    assert np.all(np.diff(rest["thickness_um"]) > 0)
    assert found["springback_after_rest_percent"] > found["springback_percent"]
    page = pathlib.Path(found["report"]).read_text(encoding="utf-8")
    assert page.count("<img") == 7 and "have no friction here" in page


def test_a_load_out_of_reach_is_a_sentence(called):
    code, out = called("--set", "calendering.line_load_N_mm=5000", "--set", "calendering.gap_um=24.5")
    assert code == 2 and "is not reached: at the smallest gap, `calendering.gap_um` = 24.5" in out["error"][0]


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (["calendering.friction=0"], "needs friction, because without it the pressure"),
        (["calendering.plate_pressure_MPa=100"], "must not both be given"),
        (["gradient.variables=['calendering.plate_pressure_MPa']"], "is a variable but not given"),
    ],
)
def test_a_load_that_cannot_be_asked_for_is_a_sentence(called, settings, sentence):
    code, out = called(*(part for setting in settings for part in ("--set", setting)))
    assert code == 2 and any(sentence in line for line in out["error"])


def test_bad_input_is_a_sentence_and_writes_nothing(called, tmp_path):
    code, out = called("--set", "calendering.friction=-1", "--set", "calendering.increments=1")
    assert code == 2 and len(out["error"]) == 2
    assert any("calendering.friction" in line and "between 0 and 2" in line for line in out["error"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["job.toml"]
