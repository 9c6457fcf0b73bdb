"""Several devices share a volume: the numbers of one device, and only slices exchanged between them."""

import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from solver.numerics.layout import slabs
from solver.transport.convention import CONVENTIONS
from solver.transport.image import effective_transport

SHAPE = (32, 16, 16)


pytestmark = pytest.mark.slow  # four devices in a process of its own compile everything anew


@pytest.fixture(scope="module")
def found():
    """What a process with four devices finds; the number of devices is fixed before the first is used."""
    here = pathlib.Path(__file__)
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    env |= {"PYTHONPATH": str(here.parents[2]), "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    script = [sys.executable, str(here.with_name("slabs.py"))]
    done = subprocess.run(script, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_stencil_exchanges_one_slice_with_each_neighbour(found):
    assert found["devices"] == 4 and found["axis"] == 0
    assert found["stencil"]["collectives"] == [["collective-permute", math.prod(SHAPE[1:])]] * 2
    assert found["stencil"]["difference"] == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_four_devices_solve_as_one(found, axis):
    solve = found["solves"][axis]
    assert solve["values"][1] == pytest.approx(solve["values"][0], rel=1e-6)
    assert solve["steps"][0] == solve["steps"][1]
    assert solve["slabs"] == 4


@pytest.mark.parametrize("axis", [0, 1])
def test_no_fine_field_is_gathered(found, axis):
    """Permutes carry slices, and what is gathered is coarse: once for the network, and once a cycle."""
    collectives = found["solves"][axis]["collectives"]
    fine = math.prod(SHAPE)
    assert max(size for name, size in collectives if name == "collective-permute") <= fine // SHAPE[0]
    assert max(size for _, size in collectives) <= fine // 8
    assert len([name for name, _ in collectives if name == "all-gather"]) <= 6
    assert len(collectives) <= 36


def test_four_devices_have_the_gradient_of_one(found):
    assert found["gradient"] < 1e-6


@pytest.mark.parametrize("name", ["plain", "contrast"])
def test_an_image_on_four_devices(found, name):
    one, four = found["images"][name]
    assert four == pytest.approx(one, rel=1e-5 if name == "contrast" else 1e-6)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="31 x 17 x 7 voxels cannot be cut into 4 slabs"):
        slabs((31, 17, 7), [None] * 4)
    with pytest.raises(ValueError, match="at least one device"):
        slabs(SHAPE, [])
    with pytest.raises(ValueError, match="voxel centres"):
        effective_transport(np.ones(SHAPE, bool), convention=CONVENTIONS["porespy"], devices=jax.devices())
