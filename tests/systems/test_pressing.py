"""`mesode calender`: from a recipe to the course of a pressing, saved after each increment, resumed after a kill."""

import json

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
gap_um = 19.5
increments = 4
release_increments = 2
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


def test_a_run_killed_in_mid_compression_ends_at_the_same_state(called, monkeypatch):
    """The saved carry is all that the next increment needs: resumed, the numbers are those of a whole run."""
    code, whole = called("--output", "whole.h5")
    assert code == 0
    advance = pressing._Once.advance

    def until_third(self, state, k, before):
        if k == 3:
            raise Killed
        return advance(self, state, k, before)

    with monkeypatch.context() as patched:
        patched.setattr(pressing._Once, "advance", until_third)
        with pytest.raises(Killed):
            called("--output", "part.h5")
    code, resumed = called("--output", "part.h5", "--resume")
    assert code == 0
    kept = ("porosity", "pressure_MPa", "thickness_um", "springback_percent", "coordination_number")
    assert {k: whole[k] for k in kept} == {k: resumed[k] for k in kept}
    one, two = (store.read(name)["structure"] for name in ("whole.h5", "part.h5"))
    for name in ("dried", "loaded", "calendered"):
        np.testing.assert_array_equal(one[name]["positions"], two[name]["positions"])
    _check_course(whole, one)


def _check_course(found, structure):
    """The course goes down to the gap and comes back, the solid stays, and the file holds what was said."""
    thickness, porosity = np.asarray(found["thickness_um"]), np.asarray(found["porosity"])
    assert len(thickness) == 1 + 4 + 2
    assert np.all(np.diff(thickness[:5]) < 0) and thickness[4] == pytest.approx(19.5, rel=1e-12)
    assert np.all(np.diff(thickness[4:]) > 0)
    solid = (1 - porosity) * thickness
    np.testing.assert_allclose(solid, solid[0], rtol=1e-12)
    pressure = np.asarray(found["pressure_MPa"])
    assert pressure[0] == 0 and np.argmax(pressure) == 4 and pressure[-1] == pytest.approx(0.1, rel=1e-3)
    assert found["springback_percent"] == pytest.approx(100 * (thickness[-1] / thickness[4] - 1), rel=1e-9)
    assert found["line_load_N_per_mm"] > 0 and found["coordination_number"] > 0
    assert 1e6 * structure["calendered"]["box"][0] == pytest.approx(thickness[-1], rel=1e-12)


def test_bad_input_is_a_sentence_and_writes_nothing(called, tmp_path):
    code, out = called("--set", "calendering.friction=-1", "--set", "calendering.increments=1")
    assert code == 2 and len(out["error"]) == 2
    assert any("calendering.friction" in line and "between 0 and 2" in line for line in out["error"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["job.toml"]
