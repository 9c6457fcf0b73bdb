"""A BPX file, read and discharged."""

import pathlib

import equinox as eqx
import pytest

from microstructure.exchange.bpx import read_bpx
from microstructure.units import Ah
from solver.cell.bpx import cell_from_bpx
from solver.cell.protocol import Stop, discharge

POUCH = pathlib.Path(__file__).parents[3] / "shared" / "data" / "nmc_pouch_cell_BPX.json"


@pytest.mark.skipif(not POUCH.is_file(), reason="the shared data folder is not beside this checkout")
def test_pouch_cell_to_its_cutoff():
    """PyBaMM on 80-cell meshes: 12.951596 Ah in 3730.06 s."""
    source = read_bpx(POUCH)
    cell = cell_from_bpx(source)
    value = eqx.filter_jit(discharge)(cell, 12.5 / cell.area).value
    assert value.stop == Stop.cut_off
    assert float(value.end_time) == pytest.approx(3730.06, abs=0.02)
    assert float(value.capacity * cell.area / Ah) == pytest.approx(12.951596, rel=1e-5)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "does not exist"),
        ("{", "is no valid BPX"),
        ('{"Header": {"BPX": "1.0", "Model": "DFN"}}', "is no valid BPX"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "cell.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_bpx(path)
