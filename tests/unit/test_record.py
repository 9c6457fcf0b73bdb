"""Stages, signals and resuming: a stopped run ends at the numbers of an uninterrupted one."""

import os
import signal
import time

import numpy as np
import pytest

from mesode import record
from mesode.process import STOP_SIGNALS, Stop, StopWatch, parse_walltime
from microstructure import store


def _stages(calls, watch_signal=None):
    def first(state):
        calls.append("first")
        return {"x": np.linspace(0, 1, 1000) ** 3, "n": 3}

    def second(state):
        calls.append("second")
        if watch_signal is not None:
            os.kill(os.getpid(), watch_signal)
        return {"y": np.cumsum(state["first"]["x"]) / state["first"]["n"]}

    def third(state):
        calls.append("third")
        return {"z": float(np.sum(np.sin(state["second"]["y"])))}

    return [record.Stage("first", first), record.Stage("second", second, ("first",)), record.Stage("third", third)]


@pytest.mark.parametrize("name", STOP_SIGNALS)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, name):
    number = getattr(signal, name)
    output = tmp_path / "run.h5"
    with StopWatch() as watch:
        whole = record.run_stages(_stages([]), tmp_path / "whole.h5", "id", watch)
    calls = []
    with StopWatch() as watch, pytest.raises(Stop, match=name):
        record.run_stages(_stages(calls, number), output, "id", watch)
    assert calls == ["first", "second"] and record.checkpoint_path(output).is_file() and not output.exists()
    calls.clear()
    with StopWatch() as watch:
        state = record.run_stages(_stages(calls), output, "id", watch, resume=True)
    assert calls == ["third"]
    assert state["third"]["z"] == whole["third"]["z"]
    assert "first" not in state
    record.finish(output)
    assert not record.checkpoint_path(output).exists()


def test_time_limit_saves_and_stops(tmp_path):
    with StopWatch(0.2) as watch, pytest.raises(Stop, match="time limit"):
        slow = record.Stage("slow", lambda state: time.sleep(0.3) or {"x": 1.0})
        record.run_stages([slow, *_stages([])], tmp_path / "a.h5", "id", watch)
    assert list(store.read(record.checkpoint_path(tmp_path / "a.h5"))["done"]) == ["slow"]
    with StopWatch(1e-9) as watch, pytest.raises(Stop, match="before the first stage"):
        record.run_stages(_stages([]), tmp_path / "b.h5", "id", watch)
    assert not record.checkpoint_path(tmp_path / "b.h5").exists()


def test_checkpoint_of_another_job_is_refused(tmp_path):
    with StopWatch() as watch, pytest.raises(Stop):
        record.run_stages(_stages([], signal.SIGTERM), tmp_path / "a.h5", "id", watch)
    with StopWatch() as watch, pytest.raises(ValueError, match="belongs to another job"):
        record.run_stages(_stages([]), tmp_path / "a.h5", "other", watch, resume=True)


def test_second_interrupt_stops_at_once_and_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT)
    with StopWatch() as watch:
        os.kill(os.getpid(), signal.SIGINT)
        assert watch.reason == "signal SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_provenance_names_what_matters(tmp_path):
    (tmp_path / "a.toml").write_text("x")
    found = record.provenance(7, [tmp_path / "a.toml"])
    assert found["seed"] == 7
    assert {"python", "jax", "h5py", "mesode"} <= set(found["versions"])
    assert found["inputs"]["input_0"].startswith("a.toml sha256:2d711642b726b044")
    assert found["x64"] is True and "cpu" in found["devices"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("5:00", 300), ("01:30:00", 5400), ("1-00:00:10", 86410)])
def test_walltime(text, seconds):
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["", "-5", "soon", "1:2:3:4", "inf", "0"])
def test_bad_walltime(text):
    with pytest.raises(ValueError, match="no time limit"):
        parse_walltime(text)
