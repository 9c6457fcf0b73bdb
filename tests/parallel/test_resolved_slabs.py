"""Two devices share a resolved half-cell: the voltages of one, and hardly more than half of its memory on each."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from mesode.cli import main
from solver.electrochemistry.resolved_vector import across
from tests import resolved_block


def found(what: str):
    """What a process with two devices finds; the number of devices is fixed before the first is used."""
    here = pathlib.Path(__file__)
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    env |= {"PYTHONPATH": str(here.parents[2]), "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    script = [sys.executable, str(here.with_name("resolved_slabs.py")), what]
    done = subprocess.run(script, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_vector_lies_in_the_rows_of_its_slabs():
    for axis, vectors in enumerate(found("vectors").values(), start=1):
        assert vectors["axis"] == axis and vectors["same"]
        assert vectors["norms"][0] == pytest.approx(vectors["norms"][1], rel=1e-14)
        length = (2 * 72 + 24) // 2 + 1 if axis == 1 else (2 * 60 + 20) // 2 + 1
        assert vectors["held"] == [[1, length]] * 2 + [[3, 3, 4] if axis == 1 else [3, 5, 2]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("what", ["packing", "aggregates"])
def test_two_devices_discharge_as_one(what):
    result = found(what)
    one, two = result["voltages"]
    assert len(one) == 9 and one[-1] < one[0] - 0.05
    assert two == pytest.approx(one, rel=0, abs=1e-9)
    assert result["bytes"][1] < 0.65 * result["bytes"][0]
    assert result["gradient"] < 1e-6


def test_what_cannot_be_shared_is_refused(capsys, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="8 x 9 x 7 voxels cannot be cut into 2 .* neither y nor z is a multiple"):
        across((8, 9, 7), [None] * 2)
    assert across((8, 9, 7), None) is None
    monkeypatch.chdir(tmp_path)
    np.save("block.npy", resolved_block.labels())
    pathlib.Path("job.toml").write_text(resolved_block.job())
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    for given, sentence in (
        (0, "`method.devices` must lie between 1 and 1024, but 0 was given"),
        (
            3,
            "a side of the block across its thickness, 8 and 8 voxels, but 3 was given; use one of 1, 2, 4, 8",
        ),
        (8, "`method.devices` must lie between 1 and 1, the number of cpu devices here, but 8 was given"),
    ):
        assert main(["resolve", "job.toml", "--json", "--set", f"method.devices={given}"]) == 2
        error = json.loads(capsys.readouterr().out)["error"]
        assert len(error) == 1 and sentence in error[0]
