"""Tables of prices and factors from TOML: they replace numbers one by one, and every error is found at once."""

import jax
import pytest

from mesode.economics import (
    SECTIONS,
    absorbed,
    economics_of,
    figures,
    listed,
    parse_economics,
    read_economics,
    template,
)
from mesode.job import JobError, parse_job, read_job
from solver.cell.bill import Items
from solver.cell.library import chen2020

ENERGY = 182.58 * 3600.0  # J/m2, the LG M50 at C/10


def same(one, other):
    return all(bool(a == b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_the_template_says_what_the_tables_say():
    found, built_in = parse_economics(template()), read_economics()
    for part in ("making", "prices", "emissions"):
        assert same(getattr(found, part), getattr(built_in, part))
    assert found.dates == built_in.dates and built_in.given == frozenset()
    assert found.given == {f"{section}.{entry.name}" for section, table in SECTIONS.items() for entry in table}


def test_a_file_replaces_numbers_and_date(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(
        '[prices]\ndate = "2026-11"\npositive_active = 30.0\nelectricity = 0.2\n\n[casing]\nmass_share = 0.2\n'
        "[positive_slurry]\nsolids_content = 0.8\n"
    )
    found = read_economics(path)
    assert found.given == {
        "prices.positive_active", "prices.electricity", "casing.mass_share", "positive_slurry.solids_content"
    }  # fmt: skip
    assert found.dates["prices"] == "2026-11" and found.dates["emissions"] == read_economics().dates["emissions"]
    assert float(found.prices.positive_active) == 30.0
    assert float(found.prices.electricity) == pytest.approx(0.2 / 3.6e6, rel=1e-15)
    assert float(found.making.casing.mass_share) == 0.2
    assert float(found.making.positive.solids_content) == 0.8
    assert float(found.prices.negative_active) == float(read_economics().prices.negative_active)


def test_figures_of_a_cell():
    """Items add up, dearer cathodes cost their share, and cleaner electricity takes what it emitted."""
    cell = chen2020()
    plain = figures(cell, ENERGY)
    other = figures(cell, ENERGY, parse_economics("[prices]\npositive_active = 44\n[emissions]\nelectricity = 0\n"))
    cost, carbon = plain["cost_USD_kWh_by_item"], plain["carbon_kg_CO2e_kWh_by_item"]
    assert set(cost) == set(Items.__dataclass_fields__)
    assert sum(cost.values()) == pytest.approx(plain["cost_USD_kWh"], rel=1e-12)
    assert other["cost_USD_kWh"] - plain["cost_USD_kWh"] == pytest.approx(cost["positive_active"], rel=1e-12)
    gone = plain["carbon_kg_CO2e_kWh"] - other["carbon_kg_CO2e_kWh"]
    assert gone == pytest.approx(carbon["electricity"], rel=1e-12)
    assert gone > 1.0


BAD = """[prices]
positive_activ = 20.0
separator = -1.0
electrolyte = "dear"
date = 2024

[emission]
heat = 0.2

[plant]
cell_yield = 95
"""


def test_all_errors_at_once():
    with pytest.raises(JobError) as error:
        parse_economics(BAD, "my.toml")
    assert error.value.errors == (
        "my.toml, line 2: `positive_activ` is no key of [prices]; the nearest known one is `positive_active`.",
        "my.toml, line 3: Argument `prices.separator` must lie between 0 and 1e+06 USD/m2, but -1 was given.",
        "my.toml, line 4: Argument `prices.electrolyte` must be a number, but 'dear' was given.",
        "my.toml, line 5: Argument `prices.date` must be a text in quotes, but 2024 was given.",
        "my.toml, line 7: `emission` is no section; the nearest known one is `emissions`.",
        "my.toml, line 11: Argument `plant.cell_yield` must lie between 0.01 and 1, but 95 was given.",
    )


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("prices = 3\n", "prices, line 1: `prices` is a section and needs keys, as [prices]."),
        ("[prices\n", "not valid TOML"),
        ("[prices]\nheat = true\n", "Argument `prices.heat` must be a number, but True was given."),
        ("[prices]\nheat = nan\n", "must lie between 0 and 1e+06 USD/kWh, but nan was given."),
        ("[zzz]\n", "`zzz` is no section; known are prices, emissions, plant"),
    ],
)
def test_a_sentence_for_each_error(text, sentence):
    with pytest.raises(JobError) as error:
        parse_economics(text)
    assert sentence in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(JobError, match="does not exist"):
        read_economics(tmp_path / "none.toml")


INLINE = """
economics = "prices.toml"
[design.constraints]
cost_USD_kWh = [0, 90.0]
areal_capacity_mAh_cm2 = [3.0, inf]
"""


def test_a_job_takes_the_tables_of_its_file_and_stands_alone(tmp_path):
    """What stands in the job goes before its file, that before the built-in tables; sources and dates are kept."""
    (tmp_path / "prices.toml").write_text(
        "[prices]\ndate = '2026-11'\nheat = 0.03\ncasing = { value = 4, unit = 'USD/kg', source = 'an offer' }\n"
    )
    (tmp_path / "job.toml").write_text(INLINE)
    job = read_job(tmp_path / "job.toml", ["economics.prices.heat=0.05", "economics.plant.cell_yield=0.9"])
    found = absorbed(job)
    assert found["economics.path"] == "" and found.constraints["areal_capacity_mAh_cm2"] == (3.0, float("inf"))
    (tmp_path / "prices.toml").unlink()
    again = parse_job(found.text())
    assert again.economics == found.economics and again.constraints == found.constraints
    tables = economics_of(again)
    assert tables.values["prices"]["heat"] == 0.05 and tables.values["prices"]["casing"] == 4.0
    assert float(tables.making.plant.cell_yield) == 0.9 and tables.dates["prices"] == "2026-11"
    assert tables.sources == {
        "prices.heat": "given in the job", "prices.casing": "an offer", "plant.cell_yield": "given in the job"
    }  # fmt: skip
    columns = listed(tables, {"solids_content": 0.6})
    rows = {row[:2]: row[2:] for row in zip(*columns.values(), strict=True)}
    assert rows["prices", "casing"] == (4.0, "USD/kg", "given", "an offer")
    assert rows["emissions", "positive_active"][2] == "assumed"
    assert rows["positive_slurry", "solids_content"] == (0.6, "", "given", "the recipe")


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("[economics.prices]\nlithium = 1", "line 2: `lithium` is no key of [prices]"),
        (
            "[economics.prices]\nseparator = -1",
            "Argument `prices.separator` must lie between 0 and 1e+06 USD/m2, but -1",
        ),
        (
            "[economics.emissions]\nheat = { value = 0.2 }",
            "Argument `emissions.heat` has no unit; write { value = 0.2027",
        ),
        (
            "[economics.emissions]\nheat = { value = 56, unit = 'kg/GJ' }",
            "Argument `emissions.heat` must be given in kg/kWh, but the unit is 'kg/GJ'.",
        ),
        ("[economics.emissions]\nheat = { amount = 1 }", "must be a number, or a table as { value = "),
        ("[economics]\nprices = 3", "`prices` is a section and needs keys, as [prices]."),
        (
            "[economics.positive_slurry]\nsolids_content = 0.5",
            "has no effect in a job; its `recipe.solids_content` says",
        ),
        ("economics = 'none.toml'", "Price file `none.toml` does not exist."),
        ("economics = 3", "Argument `economics.path` must be a text in quotes, but 3 was given."),
        (
            "[design.constraints]\ncost = [0, 1]",
            "`cost` is no figure of a design; the nearest known one is `cost_USD_kWh`",
        ),
        ("[design.constraints]\ncost_USD_kWh = 80", "must be a list of two rising numbers, as in [0.0, 80.0]"),
        ("[design.constraints]\ncost_USD_kWh = [90, 80]", "must be a list of two rising numbers"),
    ],
)
def test_a_sentence_for_each_error_of_a_job(line, sentence):
    with pytest.raises(JobError) as error:
        absorbed(parse_job(line + "\n", "job.toml"))
    assert len(error.value.errors) == 1 and sentence in error.value.errors[0]
