"""The worked examples of `docs/` run as they stand: the Python blocks of a page one after the other, in one process."""

import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from mesode.cli import build_parser
from mesode.job import parse_job
from mesode.protocol import parse_protocol
from mesode.resolve_job import parse_resolve_job

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ("transport", "calendering", "cell", "resolved")
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def _said(page: str) -> list[str]:
    """What the Python blocks of a page print."""
    code = "\n".join(_blocks(page, "python"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_calendering_runs_without_a_warning_and_says_what_the_page_says():
    *course, springback, gap, strength, hardness = _said("calendering")
    thickness, porosity, pressure = np.asarray([[float(n) for n in re.findall(r"[\d.]+", row)] for row in course]).T
    assert thickness[0] == 40.0 and thickness.argmin() == pressure.argmax() == 6 and len(course) == 9
    np.testing.assert_allclose((1 - porosity) * thickness, 0.47 * 40, rtol=4e-3)
    (found,) = re.findall(r"spring-back ([\d.]+) %", springback)
    assert 1 < float(found) < 10  # of a plastic, bonded electrode
    # A wider gap leaves a thicker film; harder contacts and stronger bridges let it spring back farther.
    for row, name in ((gap, "gap"), (hardness, "yield"), (strength, "strength")):
        assert f"1 % more {name}: +" in row


@pytest.mark.slow
def test_cell_runs_without_a_warning_and_says_what_the_page_says():
    ends = [row.split(" after ")[0] for row in _said("cell")]
    assert ends == ["voltage below", "time", "voltage above", "current below"]


def test_the_job_of_calendering_is_a_job():
    (text,) = _blocks("calendering", "toml")
    assert parse_job(text)["calendering.friction"] == 0.3


def test_the_protocol_of_cell_is_a_protocol():
    protocol = parse_protocol(next(text for text in _blocks("cell", "toml") if "[[step]]" in text))
    assert [stage.held for stage in protocol.stages] == ["c_rate", "voltage", "rest", "power"]
    assert len(protocol.order) == 7


def test_the_job_of_resolved_is_a_job():
    (text,) = _blocks("resolved", "toml")
    job = parse_resolve_job(text)
    assert job["cell.c_rates"] == [1.0, 4.0] and job.phases["binder"]["role"] == "binder"


@pytest.mark.slow
def test_transport_runs_without_a_warning_and_says_what_the_page_says():
    image, binder, skin, wall, total, sphere = _said("transport")
    assert "tau 2.1138, D_eff 0.18767" in image
    assert "D_eff 0.1505, tau 2.460" in binder and "D_eff 0.1462" in skin
    assert "(35, 26, 0)" in wall
    parts, whole = map(float, re.findall(r"[\d.]+", total))
    assert parts == pytest.approx(whole, rel=1e-5)
    slope, difference = map(float, re.findall(r"-0\.\d+", sphere))
    assert slope == pytest.approx(difference, rel=2e-3)


LINES = [(page, line) for page in PAGES for block in _blocks(page, "sh") for line in block.splitlines()]
COMMANDS = [(page, line) for page, line in LINES if line.startswith("mesode ")]
SCRIPTS = [line for _, line in LINES if not line.startswith("mesode ")]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_parses(page, command):
    about = {
        "transport": {"transport"},
        "calendering": {"calender"},
        "cell": {"discharge", "charge", "impedance", "cycle"},
        "resolved": {"resolve"},
    }
    assert build_parser().parse_args(shlex.split(command)[1:]).command in about[page]


@pytest.mark.parametrize("line", SCRIPTS)
def test_every_script_is_there(line):
    python, script, *_ = shlex.split(line)
    assert python == "python" and (ROOT / script).is_file()


@pytest.mark.parametrize(
    "picture", [path for text in PAGES.values() for path in re.findall(r"!\[.*?\]\((.*?)\)", text, re.DOTALL)]
)
def test_every_picture_is_there(picture):
    assert (ROOT / "docs" / picture).is_file()
