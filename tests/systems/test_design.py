"""`mesode design` and `mesode gradient`: stopped and resumed, judged on unseen seeds; the chain in slow tests."""

import json
import os
import pathlib
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inverse.problem import Impossible, Problem
from inverse.space import Space
from mesode import cli, design_job, process
from mesode.commands import optimise
from mesode.job import parse_job, read_job
from microstructure import store

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "design.toml"
JOB = """
[design]
steps = 4
samples = 2
unseen = 3
[design.variables]
"calendering.gap_um" = [40.0, 60.0]
"recipe.areal_loading_mg_cm2" = [10.0, 16.0]
"""


class Toy(Problem):
    """A chain in one line: best at a gap of 50 um and as much loading as the box allows; noise of the seed."""

    space: Space
    bomb: list = eqx.field(static=True, default_factory=list)

    def prepare(self, x, seed):
        if self.bomb and self.bomb.pop():
            os.kill(os.getpid(), signal.SIGTERM)
        return jnp.asarray(np.random.default_rng(seed).normal())

    def value(self, x, sample):
        return self.of_recipe(self.space(x), sample)

    @eqx.filter_jit
    def value_and_grad(self, x, sample):
        return jax.value_and_grad(self.value)(x, sample)

    def of_recipe(self, recipe, sample):
        bent = 2e-3 * (recipe.gap * 1e6 - 50.0) ** 2
        kink = jnp.floor(recipe.salt / 10.0)  # no derivative, but a difference
        return 700.0 * (1 - bent + recipe.areal_loading) + sample + kink

    def sample(self, recipe, seed):
        return self.prepare(None, seed)

    def measure(self, x, seed):
        if float(x[0]) > 0.99:
            raise Impossible("Too far.")
        return {"objective": float(self.value(x, self.prepare(x, seed))), "porosity": 0.3}


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    bomb = []
    monkeypatch.setattr(process, "configure", lambda device: None)
    monkeypatch.setattr(design_job, "_problem", lambda job, space, objective, held=(), refine=1.0: Toy(space, bomb))
    (tmp_path / "job.toml").write_text(JOB)
    return bomb


def call(capsys, *arguments):
    code = cli.main([*arguments, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


@pytest.mark.parametrize("samples", [1, 3, 5, 7, 9, 20, 31])
def test_a_design_stopped_and_resumed_ends_at_the_same_bits(toy, capsys, samples):
    """TERM while the gradient is checked, in each of the four steps, in the random search, and while it is judged."""
    code, whole, _ = call(capsys, "design", "job.toml", "--output", "whole.h5")
    assert code == 0
    toy += [1, *[0] * (samples - 1)]  # taken from the end
    code, stopped, _ = call(capsys, "design", "job.toml", "--output", "part.h5")
    assert code == 3 and "go on with --resume" in stopped["error"][0]
    assert not pathlib.Path("part.h5").exists()
    code, resumed, said = call(capsys, "design", "job.toml", "--output", "part.h5", "--resume")
    assert code == 0 and "resumed after" in said
    assert ("step 2:" in said) == (samples < 5)
    assert whole | {"run_file": 0} == resumed | {"run_file": 0}
    one, other = (store.read(name) for name in ("whole.h5", "part.h5"))
    for name, rows in (one["history"] | one["history"].pop("unseen")).items():
        assert np.array_equal(rows, (other["history"] | other["history"]["unseen"])[name]), name
    assert list(pathlib.Path().glob("*.checkpoint")) == []


def test_what_a_design_says(toy, capsys):
    _, found, said = call(capsys, "design", "job.toml")
    assert {"variables", "objective", "start", "metrics", "solves", "run_file"} <= set(found)
    assert found["run_file"] == "mesode_design.h5" and pathlib.Path("mesode_design.h5").exists()
    assert found["solves"] == {"gradients": 8, "in_values": 20.0, "random_search": 20}
    assert 44.0 < found["variables"]["calendering.gap_um"] < 60.0
    metrics = found["metrics"]
    assert metrics["start"]["calendering.gap_um"] == pytest.approx(44.0)
    assert metrics["gain_percent"] == pytest.approx(100 * (found["objective"] - found["start"]) / found["start"])
    assert metrics["gain_standard_error_percent"] < 1e-9 < metrics["start_standard_error"]  # common random numbers
    assert metrics["random_search"]["gain_percent"] > 0
    assert metrics["gradient_check"]["off"] < 1e-3 and "gradient check" in said
    assert "step 4: energy_2C_Wh_L" in said
    history = store.read("mesode_design.h5")["history"]
    assert history["values"].shape == (4, 2) and np.all(np.diff(history["objective"]) > 0)


def test_the_bound_that_holds_is_named(toy, capsys):
    settings = ["--set", "design.steps=12", "--set", "design.baseline=none"]
    _, found, _ = call(capsys, "design", "job.toml", *settings)
    assert found["bounds"] == {"recipe.areal_loading_mg_cm2": "high"}
    assert "random_search" not in found["metrics"]
    more = ["--set", "design.refine=1.5", "--set", "design.baseline=random search", "--set", "design.baseline_budget=3"]
    _, found, _ = call(capsys, "design", "job.toml", *more)
    assert found["solves"]["random_search"] == 60 and found["metrics"]["refined_over_coarse_percent"] == 0
    assert cli.main(["design", "job.toml", *settings, "--quiet"]) == 0
    assert "held by its high bound" in capsys.readouterr().out


def test_a_gradient_that_cannot_be_trusted_is_refused(toy, capsys, monkeypatch):
    monkeypatch.setattr(design_job, "Sample", lambda reference, connected: reference)
    monkeypatch.setattr(Toy, "sample", lambda self, recipe, seed: _Both(self.prepare(None, seed)))
    _, found, _ = call(capsys, "gradient", "job.toml")
    assert found["objective"] == "energy_2C_Wh_L"
    assert found["gradient"]["calendering.gap_um"] == pytest.approx(700 * 2 * 2e-3 * 6, rel=1e-6)
    assert found["gradient"]["recipe.areal_loading_mg_cm2"] == pytest.approx(7.0, rel=1e-6)  # per mg/cm2
    assert "electrolyte.concentration_mol_m3" not in found["gradient"]
    trust = found["trust"]["electrolyte.concentration_mol_m3"]
    assert not trust["trusted"] and trust["verdict"].startswith("Refused")
    assert trust["central_difference"] == pytest.approx(0.1)
    assert found["trust"]["calendering.gap_um"]["trusted"]
    assert list(pathlib.Path().glob("*.h5*")) == []


class _Both(eqx.Module):
    """A toy sample that is its own reference."""

    noise: jax.Array

    @property
    def reference(self):
        return self

    def __radd__(self, other):
        return other + self.noise


def test_bad_designs_are_told(toy, capsys):
    pathlib.Path("empty.toml").write_text("[design]\nsteps = 2\n")
    code, found, _ = call(capsys, "design", "empty.toml")
    assert code == 2 and "needs [design.variables]" in found["error"][0]
    three = {"active": [0.9, 0.97], "carbon": [0.01, 0.03], "binder": [0.01, 0.03]}
    lines = "\n".join(f'"recipe.composition.{name}" = {bounds}' for name, bounds in three.items())
    pathlib.Path("three.toml").write_text(f"[design.variables]\n{lines}\n")
    code, found, _ = call(capsys, "design", "three.toml")
    assert code == 2 and "At most two of the three mass fractions" in found["error"][0]


def test_the_built_in_design_is_the_shipped_example():
    example, built_in = read_job(EXAMPLE), parse_job(optimise.BUILT_IN)
    same = {path: value for path, value in example.values.items() if path != "run.output"}
    assert same == {path: value for path, value in built_in.values.items() if path != "run.output"}
    assert example.variables == built_in.variables


@pytest.mark.slow
def test_the_shipped_design_gains_on_unseen_seeds_and_beats_random_search(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(process, "configure", lambda device: None)
    code, found, _ = call(capsys, "design", str(EXAMPLE), "--output", str(tmp_path / "design.h5"))
    metrics = found["metrics"]
    assert code == 0 and metrics["unseen_seeds"] == 8
    assert not any(metrics["failed_seeds"].values())
    assert metrics["gain_percent"] >= 5.0
    assert metrics["gain_percent"] > 2 * metrics["gain_standard_error_percent"]
    assert metrics["gain_percent"] > metrics["random_search"]["gain_percent"]
