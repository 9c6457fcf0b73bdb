"""The worked examples of `docs/` run as they stand: the Python blocks of a page one after the other, in one process."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from mesode.cli import build_parser

ROOT = pathlib.Path(__file__).parents[2]
TRANSPORT = (ROOT / "docs" / "transport.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TRANSPORT, re.DOTALL)


def test_transport_runs_without_a_warning_and_says_what_the_page_says():
    code = "\n".join(_blocks("python"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    image, binder, skin, wall, total, sphere = done.stdout.splitlines()
    assert "tau 2.1138, D_eff 0.18767" in image
    assert "D_eff 0.1505, tau 2.460" in binder and "D_eff 0.1462" in skin
    assert "(35, 26, 0)" in wall
    parts, whole = map(float, re.findall(r"[\d.]+", total))
    assert parts == pytest.approx(whole, rel=1e-5)
    slope, difference = map(float, re.findall(r"-0\.\d+", sphere))
    assert slope == pytest.approx(difference, rel=2e-3)


@pytest.mark.parametrize("command", [line for block in _blocks("sh") for line in block.splitlines()])
def test_every_command_parses(command):
    assert build_parser().parse_args(shlex.split(command)[1:]).command == "transport"


@pytest.mark.parametrize("picture", re.findall(r"!\[.*?\]\((.*?)\)", TRANSPORT, re.DOTALL))
def test_every_picture_is_there(picture):
    assert (ROOT / "docs" / picture).is_file()
