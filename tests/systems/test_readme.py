"""The README's promises that can be checked without installing anything."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from mesode.cli import build_parser

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_two_commands_that_each_work_by_themselves():
    commands = _blocks("sh")
    assert len(commands) == 2
    assert all(command.startswith("python3 -m venv .venv && .venv/bin/pip install ") for command in commands)
    assert [command.split(" && ")[-1].strip() for command in commands] == [
        ".venv/bin/mesode run",
        ".venv/bin/python -m pytest -n 2 --dist loadfile",
    ]


def _run(code: str, cwd: pathlib.Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    return done.stdout


def test_transport_in_python(tmp_path):
    code = _blocks("python")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    labels = np.ones((9, 8, 7), np.uint8)
    labels[:, 2:5, 3] = 0  # a straight channel along x, and no way along y and z
    tifffile.imwrite(tmp_path / "image.tif", labels, photometric="minisblack")
    x, y, z = (float(word) for word in _run(code, tmp_path).strip("[]\n").split(", "))
    assert x == pytest.approx(1, rel=1e-5) and y == z == float("inf")


def test_the_cell_in_python():
    code = _blocks("python")[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    out = _run(code, ROOT)
    energy = re.match(r"16\.8\d mWh/cm2", out)  # Chen 2020 at 1C: about 4.8 Ah at 3.6 V on 0.1027 m2
    assert energy and len(out.splitlines()) == 4


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(mesode [^`]+)`", README))))
def test_every_command_of_the_table_parses(command):
    assert build_parser().parse_args(shlex.split(command)[1:]).command


@pytest.mark.parametrize("path", sorted(set(re.findall(r"examples/[\w.]+|docs/[\w.]+\.\w+", README))))
def test_every_file_it_names_is_there(path):
    assert (ROOT / path).is_file()
