"""The Battery Data Format: columns by the labels of the standard, all digits, and bad files in a sentence."""

import numpy as np
import pytest

from microstructure.exchange.bdf import LABELS, Curve, read_bdf, write_bdf


def test_a_curve_survives(tmp_path):
    generator = np.random.default_rng(0)
    time, voltage, current = np.cumsum(generator.random(20)), generator.random(20), -generator.random(20)
    further = {"Ambient Temperature / degC": np.full(20, 25.0), "Power / W": voltage * current}
    write_bdf(tmp_path / "curve.bdf.csv", Curve(time, voltage, current, further))
    lines = (tmp_path / "curve.bdf.csv").read_text().splitlines()
    assert lines[0] == "Test Time / s,Voltage / V,Current / A,Ambient Temperature / degC,Power / W"
    again = read_bdf(tmp_path / "curve.bdf.csv")
    for name in ("time", "voltage", "current"):
        assert np.array_equal(getattr(again, name), locals()[name])
    assert again.columns.keys() == further.keys() and np.array_equal(again.columns["Power / W"], further["Power / W"])


def test_machine_readable_names_and_foreign_columns(tmp_path):
    path = tmp_path / "cycler.csv"
    path.write_text(
        "current_ampere,test_time_second,voltage_volt,Operator,temperature_t1_celsius\n-1,0,4.1,me,25\n-1,10,4.0,you,\n"
    )
    found = read_bdf(path)
    assert found.time.tolist() == [0, 10] and found.current.tolist() == [-1, -1]
    assert set(found.columns) == {"Surface Temperature T1 / degC"} <= set(LABELS)
    assert np.array_equal(found.columns["Surface Temperature T1 / degC"], [25, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "lacks the column"),
        ("Test Time / s,Voltage / V\n0,4\n", "`Current / A`"),
        ("Test Time / s,Voltage / V,Current / A\n", "holds no rows"),
        ("Test Time / s,Voltage / V,Current / A\n0,4\n", "Row 2 of .* has 2 values"),
        ("Test Time / s,Voltage / V,Current / A\n0,4,nan\n", "finite number under `Current / A`, but 'nan'"),
        ("Test Time / s,Voltage / V,Current / A\n0,4,1\n0,high,1\n", "Row 3 .* `Voltage / V`, but 'high'"),
        ("Test Time / s,Voltage / V,Current / A\n0,4,1\n5,4,1\n4,4,1\n", "must rise, but row 4 goes back to 4 s"),
        ("Test Time / s,Voltage / V,Current / A,voltage_volt\n0,4,1,4\n", "twice"),
    ],
)
def test_bad_files(tmp_path, text, sentence):
    path = tmp_path / "curve.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_bdf(path)


def test_bad_curves_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="`Voltage / V` must have 3 values"):
        write_bdf(tmp_path / "a.csv", Curve(np.arange(3.0), np.ones(2), np.ones(3)))
    with pytest.raises(ValueError, match="`Current / A` holds values that are not finite"):
        write_bdf(tmp_path / "a.csv", Curve(np.arange(2.0), np.ones(2), np.array([1, np.inf])))
    with pytest.raises(ValueError, match="does not exist"):
        read_bdf(tmp_path / "a.csv")
