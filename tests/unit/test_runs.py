"""Realisations, spread, stop and resume of a whole job, on a chain of stages that costs nothing."""

import os
import signal
import types

import numpy as np
import pytest

from mesode import record, runs
from mesode.job import parse_job
from mesode.process import Stop, StopWatch
from microstructure import store


def _chain(calls, stop_at=None):
    def stages(seed, prefix):
        def first(state):
            calls.append(prefix + "first")
            if prefix + "first" == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"x": np.random.default_rng(seed).random(100)}

        def second(state):
            calls.append(prefix + "second")
            return {"porosity": float(np.mean(state[prefix + "first"]["x"])), "tau": float("inf")}

        return [record.Stage(prefix + "first", first), record.Stage(prefix + "second", second)]

    def result(state, prefix):
        found = state[prefix + "second"]
        field = np.ones((4, 3, 2), np.float32)
        stage = {"fractions_pore": field, "fractions_active": 0 * field, "fractions_binder": 0 * field}
        return {
            "kpis": {"porosity": found["porosity"], "tortuosity_factor": {"x": found["tau"]}},
            "structure": {"calendered": {**stage, "spacing_m": np.full(3, 1e-6)}},
        }

    return runs.Chain(stages, result, notes=["A note."])


@pytest.fixture
def execute():
    """Runs a job under a fresh watch."""

    def run(job, chain, resume=False):
        with StopWatch() as watch:
            options = types.SimpleNamespace(resume=resume, quiet=True, watch=watch)
            return runs.execute(job, chain, options)

    return run


def _job(tmp_path, name="run.h5"):
    return parse_job("", settings=["run.realisations=3", f'run.output="{tmp_path / name}"'])


def test_run_file_holds_mean_spread_and_every_realisation(tmp_path, execute):
    out = execute(_job(tmp_path), _chain([]))
    data = store.read(tmp_path / "run.h5")
    each = [data["realisations"][str(k)]["kpis"]["porosity"] for k in range(3)]
    assert len(set(each)) == 3
    assert out["kpis"]["porosity"] == data["kpis"]["porosity"] == pytest.approx(np.mean(each), rel=1e-15)
    assert out["spread"]["porosity"] == pytest.approx(np.std(each, ddof=1), rel=1e-15)
    assert out["kpis"]["tortuosity_factor"]["x"] == np.inf and np.isnan(out["spread"]["tortuosity_factor"]["x"])
    assert parse_job(data["job"]).values["run.realisations"] == 3
    assert data["provenance"]["seed"] == 0 and data["notes"] == ["A note."]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.h5", "run.html"]


def test_stopped_and_resumed_run_gives_the_same_numbers(tmp_path, execute):
    whole = execute(_job(tmp_path, "whole.h5"), _chain([]))
    calls = []
    with pytest.raises(Stop, match="SIGTERM"):
        execute(_job(tmp_path), _chain(calls, stop_at="realisation 1: first"))
    assert not (tmp_path / "run.h5").exists() and record.checkpoint_path(tmp_path / "run.h5").exists()
    done = list(calls)
    calls.clear()
    resumed = execute(_job(tmp_path), _chain(calls), resume=True)
    assert len(done) + len(calls) == 6 and not set(done) & set(calls)
    assert resumed["kpis"] == whole["kpis"]
    assert not record.checkpoint_path(tmp_path / "run.h5").exists()


def test_resume_refuses_another_job_but_not_another_place(tmp_path, execute):
    job = _job(tmp_path)
    with pytest.raises(Stop):
        execute(job, _chain([], stop_at="realisation 0: first"))
    other = parse_job("", settings=["run.realisations=3", f'run.output="{tmp_path / "run.h5"}"', "run.seed=5"])
    with pytest.raises(ValueError, match="another job"):
        execute(other, _chain([]), resume=True)
    assert runs.fingerprint_of(job) == runs.fingerprint_of(_job(tmp_path, "elsewhere.h5"))
