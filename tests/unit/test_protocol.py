"""Protocols at the rim: sentences, TOML, drive cycles, and a sentence for each mistake."""

import numpy as np
import pytest

from mesode.drive_cycle import read_drive_cycle
from mesode.protocol import parse_protocol, protocol_of, read_protocol
from mesode.sentences import FORMS, End, parse_sentence
from mesode.steps import check_cell, guards, horizon, step_of, steps
from solver.cell.control import OBSERVED

SENTENCES = {
    "Discharge at 1C until 2.5 V": ("c_rate", 1.0, None, [("voltage", 2.5, False)]),
    "discharge at C/10 for 10 hours or until 3.3 V": ("c_rate", 0.1, 36000.0, [("voltage", 3.3, False)]),
    "Charge at 0.5 C until 4.2V.": ("c_rate", -0.5, None, [("voltage", 4.2, True)]),
    "Charge at 500 mA for 90 s": ("current", -0.5, 90.0, []),
    "Hold at 4.2 V until C/50": ("voltage", 4.2, None, [("c_rate", 0.02, False)]),
    "Hold at 4200 mV until 50 mA or for 2 h": ("voltage", 4.2, 7200.0, [("current", 0.05, False)]),
    "Rest for 1 hour": ("rest", 0.0, 3600.0, []),
    "Rest until below 30 °C": ("rest", 0.0, None, [("temperature", 303.15, False)]),
    "Rest for 1 day or until voltage above 3.5 V": ("rest", 0.0, 86400.0, [("voltage", 3.5, True)]),
    "Discharge at 10 W for 30 minutes": ("power", 10.0, 1800.0, []),
    "Charge at 2 kW until 4.2 V": ("power", -2000.0, None, [("voltage", 4.2, True)]),
    "Discharge at 2 Ohm until 2.5 V": ("resistance", 2.0, None, [("voltage", 2.5, False)]),
    "Charge at 1C until 10 mV plating": ("c_rate", -1.0, None, [("plating", 0.01, False)]),
    "Charge at 1C until plating potential below -5 mV": ("c_rate", -1.0, None, [("plating", -0.005, False)]),
    "Hold plating at 10 mV until 4.2 V": ("plating", 0.01, None, [("voltage", 4.2, True)]),
    "Discharge at 1C until 2.5 Ah": ("c_rate", 1.0, None, [("capacity", 2.5, True)]),
    "Charge at 3C until 4.2 V, 45 degC or capacity 300 mAh": (
        "c_rate",
        -3.0,
        None,
        [("voltage", 4.2, True), ("temperature", 318.15, True), ("capacity", 0.3, True)],
    ),
    "Run cycle.csv until 2.5 V": ("table", 0.0, None, [("voltage", 2.5, False)]),
}


@pytest.mark.parametrize("text", SENTENCES)
def test_sentences(text):
    held, value, duration, ends = SENTENCES[text]
    stage = parse_sentence(text)
    assert (stage.held, stage.value, stage.duration) == (held, pytest.approx(value), duration)
    assert [(e.quantity, e.above) for e in stage.ends] == [(q, above) for q, _, above in ends]
    assert [e.value for e in stage.ends] == pytest.approx([value for _, value, _ in ends])


@pytest.mark.parametrize("form", FORMS)
def test_every_known_form_is_understood(form):
    assert parse_sentence(form).text == form


BAD = {
    "Dischrge at 1C until 2.5 V": "the closest known form is `Discharge at 1C until 2.5 V`",
    "hello": "is no sentence that is known here; the closest known form is",
    "": "is no sentence that is known here",
    "Discharge at 1 until 2.5 V": "The unit of `1` is missing; write `1C`, `1 A`, `1 W` or `1 ohm`.",
    "Discharge at 1C until 2.5": "The unit of `2.5` is missing",
    "Rest for 5": "The unit of `5` is missing; write `1 hour`.",
    "Discharge at 18000 C until 2.5 V": "A C-rate must lie between 0.001 and 100, but 18000 was given. It is a",
    "Discharge at C/0 until 2.5 V": "A C-rate must lie between",
    "Discharge at -1C until 2.5 V": "Write Charge or Discharge for its direction.",
    "Discharge at 5 MA until 2.5 V": "`MA` is no unit that is known here",
    "Rest for -1 hour": "A duration must lie between 0.001 and 1e+09 s, but -3600 s was given.",
    "Rest for 1 hour for 2 hours": "names two durations",
    "Rest": "has no end; say `for` how long, or `until` what.",
    "Discharge at 1C": "has no end",
    "Hold at 4.2 V until 4.1 V": "It holds the voltage and cannot end by it.",
    "Hold at 1 A for 1 hour": "`1 A` is a current; write `4.2 V`.",
    "Charge at 1C until 45 C": "Degrees are written degC.",
    "Charge at 2 ohm until 4 V": "A resistance only discharges a cell",
    "Rest until 3.5 V": "A rest ends above or below a voltage",
    "Charge at 1C until voltage 45 degC": "says voltage, but its unit is that of a temperature",
    "Charge at 1C until 4.2 V (1 minute period)": "names a period, which is not needed",
    "Charge at 1C until 900 degC": "A temperature must lie between 200 and 400 K",
}


@pytest.mark.parametrize("text", BAD)
def test_a_sentence_for_every_bad_sentence(text):
    with pytest.raises(ValueError) as error:
        parse_sentence(text)
    assert BAD[text] in str(error.value) and "\n" not in str(error.value)


def test_all_bad_sentences_at_once():
    with pytest.raises(ValueError, match=r"step 1: `Rest`.*\nstep 3: `Fly`"):
        protocol_of(["Rest", "Rest for 1 h", "Fly"])
    with pytest.raises(ValueError, match="at least one step"):
        protocol_of([])


# --- TOML -----------------------------------------------------------------------------------------------------------

JOB = """
state_of_charge = 0.5
repeat = 2
[[step]]
do = ["Charge at C/2 until 4.2 V", "Hold at 4.2 V until C/20"]
[[step]]
power_W = -10
until_voltage_V = 4.1
until_temperature_degC = 45
duration_s = 600
[[step]]
rest = true
until_voltage_below_V = 4.0
[[step]]
drive_cycle = "drive.csv"
"""


def test_a_file(tmp_path):
    (tmp_path / "drive.csv").write_text("Time [s],Current [A]\n0,1\n1,2\n2.5,-3\n")
    (tmp_path / "job.toml").write_text(JOB)
    protocol = read_protocol(tmp_path / "job.toml")
    assert protocol.state_of_charge == 0.5
    assert protocol.order == tuple((cycle, k) for cycle in (1, 2) for k in range(5))
    charge, hold, power, rest, drive = protocol.stages
    assert (charge.held, hold.held, power.held, power.value, power.duration) == ("c_rate", "voltage", "power", -10, 600)
    assert power.ends == (End("voltage", 4.1, True), End("temperature", 318.15, True))
    assert (rest.held, rest.ends) == ("rest", (End("voltage", 4.0, False),))
    assert drive.duration == 2.5 and np.array_equal(drive.table.values, [1.0, 2.0, -3.0])


def test_an_inner_repeat_counts_by_itself():
    text = '[[step]]\ndo = "Rest for 1 s"\n[[step]]\nrepeat = 3\ndo = ["Rest for 2 s", "Rest for 3 s"]\n'
    assert parse_protocol(text).order == ((1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2))


BAD_FILES = {
    "[[step]\n": "not valid TOML",
    "repeat = 2\n": "needs its steps as tables, each under its own [[step]]",
    "[[step]]\ndo = 'Fly'\n": "job.toml, line 1: `Fly` is no sentence",
    "\n[[step]]\nvoltage = 4.2\n": "job.toml, line 2: `voltage` is no key of a step; did you mean `voltage_V`?",
    "[[step]]\ndo = 'Rest for 1 s'\n[stepp]\n": "`stepp` is no key of a protocol; did you mean `step`?",
    "state_of_charge = 50\n[[step]]\ndo = 'Rest for 1 s'\n": "`state_of_charge` must lie between 0 and 1, but 50 was",
    "repeat = 0\n[[step]]\ndo = 'Rest for 1 s'\n": "`repeat` must be an integer between 1 and 100000, but 0 was given",
    "repeat = 1000\n[[step]]\nrepeat = 1000\ndo = 'Rest for 1 s'\n": "may have 100000 steps, but this one has 1000000",
    "[[step]]\ndo = 'Rest for 1 s'\nc_rate = 1\n": "`do` says all of a step, so that `c_rate` cannot stand beside it",
    "[[step]]\nc_rate = 1\ncurrent_A = 5\nduration_s = 1\n": "this one holds `c_rate` and `current_A`",
    "[[step]]\nduration_s = 1\n": "this one holds nothing",
    "[[step]]\nc_rate = 1\n": "has no end",
    "[[step]]\nc_rate = 3600\nduration_s = 1\n": "A C-rate must lie between 0.001 and 100, but 3600 was given. It is",
    "[[step]]\nc_rate = '1C'\nduration_s = 1\n": "`c_rate` must be a number, but '1C' was given",
    "[[step]]\nc_rate = 1\nduration_s = -5\n": "A duration must lie between 0.001 and 1e+09 s, but -5 s was given",
    "[[step]]\nvoltage_V = 42\nduration_s = 5\n": "A voltage must lie between 0 and 6 V, but 42 V was given",
    "[[step]]\nrest = false\nduration_s = 5\n": "`rest` can only be `true`",
    "[[step]]\ndrive_cycle = 'none.csv'\n": "none.csv` does not exist",
    "[[step]]\ndrive_cycle = 5\n": "`drive_cycle` must be the path of a CSV in quotes",
    "[[step]]\ndo = 3\n": "A step must be a sentence, but 3 was given",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_sentence_for_every_bad_file(text):
    with pytest.raises(ValueError) as error:
        parse_protocol(text, "job.toml")
    assert BAD_FILES[text] in str(error.value) and "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_protocol(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="must have the extension `.toml`"):
        read_protocol("Rest for 1 hour")


# --- drive cycles ---------------------------------------------------------------------------------------------------


def test_drive_cycles(tmp_path):
    """Current and power are positive on discharge, and the other way round in the Battery Data Format."""
    path = tmp_path / "drive.csv"
    path.write_text("power / W,note,time_s\n5,start,0\n-2,brake,1\n")
    table = read_drive_cycle(path)
    assert table.power and np.array_equal(table.values, [5.0, -2.0]) and np.array_equal(table.times, [0.0, 1.0])
    path.write_text("Test Time / s,Voltage / V,Current / A\n0,4,-5\n1,3.9,2\n")
    table = read_drive_cycle(path)
    assert not table.power and np.array_equal(table.values, [5.0, -2.0])


BAD_TABLES = {
    "0,1\n1,2\n": "must have the columns `time / s` and `current / A` or `power / W`, but its first row is: 0, 1.",
    "time / s,current / mA\n0,1\n1,2\n": "must have the columns",
    "time / s,current / A\n0,1\n": "must have 2 to 20000 rows of numbers, but has 1",
    "time / s,current / A\n0,1\n2,2\n1,3\n": "must rise from row to row, but row 4 holds 1 s after 2 s",
    "time / s,current / A\n0,1\n1,2\n1,3\n": "must rise from row to row, but row 4 holds 1 s after 1 s",
    "time / s,current / A\n1,1\n2,2\n": "must start at 0 s, but it starts at 1 s",
    "time / s,current / A\n0,1\n1,x\n": "Row 3 of `{path}` must hold a finite number under `current / A`, but 'x'",
    "time / s,current / A\n0,1\n1\n": "Row 3 of `{path}` must hold a finite number under `current / A`, but ''",
    "time / s,current / A\n0,1\n1,inf\n": "must hold a finite number",
    "": "but its first row is: nothing",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_a_sentence_for_every_bad_table(tmp_path, text):
    path = tmp_path / "drive.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_drive_cycle(path)
    assert BAD_TABLES[text].format(path=path) in str(error.value)


def test_no_more_of_a_table_than_there_is(tmp_path):
    (tmp_path / "drive.csv").write_text("time_s,current_A\n0,1\n10,2\n")
    assert protocol_of(["Run drive.csv for 4 s"], tmp_path).stages[0].duration == 4.0
    with pytest.raises(ValueError, match="The drive cycle lasts 10 s, but 60 s were asked for"):
        protocol_of(["Run drive.csv for 1 min"], tmp_path)


# --- steps of the cell ----------------------------------------------------------------------------------------------


def _limits(step):
    low, high = np.asarray(step.limits.lower), np.asarray(step.limits.upper)
    found = {f"{name} below": x for name, x in zip(OBSERVED, low, strict=True) if np.isfinite(x)}
    return found | {f"{name} above": x for name, x in zip(OBSERVED, high, strict=True) if np.isfinite(x)}


def test_steps_are_per_area():
    """A 5 Ah cell of 0.1 m2: 1C are 50 A/m2."""
    made = steps(
        [
            "Discharge at 1C until 2.5 V",
            "Charge at 2.5 A until 1 Ah or 10 mV plating",
            "Hold at 4.2 V until C/50",
            "Discharge at 10 W until 45 degC",
            "Discharge at 2 ohm for 60 s",
            "Hold plating at 10 mV until 4.2 V",
            "Rest for 5 min",
        ],
        5.0,
        0.1,
    )
    laws = [(float(s.control.current), float(s.control.voltage), float(s.control.power)) for s in made]
    assert laws[:4] == [(1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)] and float(made[5].control.plating) == 1
    assert laws[4] == pytest.approx((-0.2, 1, 0)) and laws[6] == (1, 0, 0)
    assert [float(s.control.values[0]) for s in made] == pytest.approx([50, -25, 4.2, 100, 0, 0.01, 0])
    assert [float(s.duration) for s in made] == [86400] * 4 + [60, 86400, 300]
    assert [_limits(s) for s in made[:4]] == [
        {"voltage below": 2.5},
        {"charge above": pytest.approx(36000.0), "plating below": 0.01},
        {"current below": pytest.approx(1.0)},
        {"temperature above": 318.15},
    ]


def test_a_slow_step_has_time():
    assert horizon(parse_sentence("Discharge at C/100 until 2.5 V"), 5.0) == pytest.approx(200 * 3600)
    assert horizon(parse_sentence("Discharge at 50 mA until 2.5 V"), 5.0) == pytest.approx(200 * 3600)


def test_the_cut_off_where_none_was_said():
    window = (2.5, 4.2)
    found = {text: guards(parse_sentence(text), window) for text in SENTENCES}
    assert found["Discharge at 10 W for 30 minutes"] == (2.5, None) == found["Discharge at 1C until 2.5 Ah"]
    assert found["Charge at 500 mA for 90 s"] == (None, 4.2) == found["Charge at 1C until 10 mV plating"]
    assert found["Run cycle.csv until 2.5 V"] == (None, 4.2)
    for text in ("Discharge at 1C until 2.5 V", "Rest for 1 hour", "Hold at 4.2 V until C/50"):
        assert found[text] == (None, None)
    step = step_of(parse_sentence("Discharge at 1C for 1 hour"), 5.0, 0.1, window)
    assert _limits(step) == {"voltage below": 2.5}


def test_what_the_cell_cannot_do():
    with pytest.raises(ValueError, match="must lie between the cut-offs of the cell, 2.5 and 4.2 V, but 4.3 V"):
        step_of(parse_sentence("Charge at 1C until 4.3 V"), 5.0, 0.1, (2.5, 4.2))
    with pytest.raises(ValueError, match="but 2 V was given"):
        step_of(parse_sentence("Hold at 2 V for 1 h"), 5.0, 0.1, (2.5, 4.2))
    with pytest.raises(ValueError, match="is 3.6e[+]03 times the nominal capacity of 5 Ah per hour.*Is it in A?"):
        step_of(parse_sentence("Discharge at 18000 A for 1 s"), 5.0, 0.1)
    warm, plating = (parse_sentence(t) for t in ("Charge at 1C until 45 degC", "Hold plating at 0 mV until 4.2 V"))
    check_cell([warm, plating], thermal=True, half_cell=False)
    with pytest.raises(ValueError, match="`Charge at 1C until 45 degC`: Without a thermal model.*`--thermal`"):
        check_cell([warm], thermal=False, half_cell=False)
    with pytest.raises(ValueError, match="has no plating potential"):
        check_cell([plating], thermal=False, half_cell=True)
