"""Job files: units, defaults, and every mistake told at once with its line."""

import pathlib

import pytest

from mesode import keys
from mesode.job import JobError, parse_job, read_job


def _errors(text="", settings=()):
    with pytest.raises(JobError) as caught:
        parse_job(text, "job.toml", settings)
    return caught.value.errors


def test_built_in_example_is_valid_and_in_si():
    job = read_job()
    assert job.si("recipe.areal_loading_mg_cm2") == pytest.approx(0.14)
    assert job.si("recipe.size.median_radius_um") == pytest.approx(3e-6)
    assert job.si("drying.evaporation_flux_g_m2_s") == pytest.approx(1e-3)
    assert job["grid.shape"] == [96, 64, 64]
    assert not job.has_image


def test_every_default_lies_in_its_range():
    for key in keys.KEYS:
        if key.kind in ("float", "int"):
            assert key.low <= key.default <= key.high, key.path


def test_resolved_text_reads_back_equal():
    text = """
    [calendering]
    gap_um = 50
    [material."my NMC"]
    density_kg_m3 = 4600.0
    [design.variables]
    "calendering.gap_um" = [40.0, 60.0]
    electrolyte.concentration_mol_m3 = [500, 2000]
    """
    job = parse_job(text)
    assert job.variables == {
        "calendering.gap_um": (40.0, 60.0),
        "electrolyte.concentration_mol_m3": (500.0, 2000.0),
    }
    again = parse_job(job.text())
    assert again.values == job.values
    assert again.materials == job.materials == {"my NMC": {"density_kg_m3": 4600.0}}
    assert again.variables == job.variables


def test_all_errors_at_once_with_lines():
    text = """[recipe]
areal_loading_mg_cm2 = -3
[recipe.composition]
active = 0.90
[calendering]
gapp_um = 40
[drying]
gap_um = 40
[electrolite]
concentration_mol_m3 = 1000
[run]
seed = 1.5
c_rates = [1, "fast"]
"""
    errors = _errors(text)
    assert len(errors) == 7
    joined = "\n".join(errors)
    assert "job.toml, line 2: Argument `recipe.areal_loading_mg_cm2` must lie between 1 and 60 mg/cm2" in joined
    assert "line 4: The mass fractions in [recipe.composition] must sum to 1, but active 0.9" in joined
    assert "line 6: `gapp_um` is no key of [calendering]; did you mean `gap_um`?" in joined
    assert "line 8: `gap_um` is no key of [drying]; it belongs to [calendering]." in joined
    assert "line 10: [electrolite] is no section of a job; did you mean [electrolyte]?" in joined
    assert "line 12: Argument `run.seed` must be an integer, but 1.5 was given." in joined
    assert "line 13: Argument `run.c_rates` must be a number, but 'fast' was given." in joined


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("calendering.gap_um=80e6", "Did you mean 80 um?"),
        ("calendering.gap_um=44e-6", "Did you mean 44 um?"),
        ("calendering.gap_m=80", "did you mean `gap_um`?"),
        ("recipe.dried_porosity=50", "Did you mean 0.5?"),
        ("recipe.dried_porosity=0.1", "between 0.4 and 0.55"),
        ("calendering.gap_um=nan", "nan um was given"),
        ("calendering.gap_um=true", "must be a number"),
        ("gap_um=4", "the nearest known one is `calendering.gap_um`"),
        ("calendering.gap_um", "has the form section.key=value"),
        ("grid.shape=[96,64]", "list of three integers"),
        ("gradient.objective=beauty", "must be one of energy_2C_Wh_L"),
        ('gradient.variables=["run.seed"]', "is not offered as a variable"),
        ("image.labels.active=0", "must differ"),
        ("material.NMC811.density=1", "the nearest known one is `density_kg_m3`"),
        ("recipe.size.kind=gamma", "must be one of log-normal, weibull, percentiles"),
        ("recipe.size.shape=5", "`recipe.size.shape` has no effect, because `recipe.size.kind` is log-normal"),
        ("recipe.second.active_material=graphite", "no effect without `recipe.second.volume_share`"),
        ("grading.amount=[0, 0]", "zero everywhere"),
        ("grading.size=[1, 9]", "must lie between 0.2 and 5"),
        ("cell.lower_cutoff_V=3.9", None),
    ],
)
def test_settings(setting, hint):
    if hint is None:
        assert parse_job("", settings=[setting])["cell.lower_cutoff_V"] == 3.9
        return
    errors = _errors(settings=[setting])
    assert len(errors) == 1 and hint in errors[0], errors


def test_tables_of_sizes():
    start = '[recipe.size]\nkind = "percentiles"\n'
    assert "lists of one length" in _errors(start + "diameters_um = [6, 10]")[0]
    assert "line 3: `diameters_um` and" in _errors(start + "diameters_um = [6, 10, 10]")[0]
    variable = _errors(start + '[design.variables]\n"recipe.size.median_radius_um" = [2, 4]')
    assert "a variable only where `recipe.size.kind` is log-normal" in variable[0]
    job = parse_job(start + "[recipe.second]\nvolume_share = 0.3\n[recipe.second.size]\nsigma = 0.2")
    again = parse_job(job.text())
    assert again.values == job.values


def test_setting_overrides_the_file():
    job = parse_job("[calendering]\ngap_um = 9999", settings=["calendering.gap_um=50"])
    assert job["calendering.gap_um"] == 50.0


def test_bounds_of_design_variables():
    assert "must be below" in _errors('[design.variables]\n"calendering.gap_um" = [60, 40]')[0]
    assert "within its bounds" in _errors('[design.variables]\n"calendering.gap_um" = [60, 70]')[0]
    assert "list of two numbers" in _errors('[design.variables]\n"calendering.gap_um" = 40')[0]
    assert "not offered" in _errors('[design.variables]\n"run.seed" = [1, 2]')[0]


def test_files(tmp_path):
    with pytest.raises(JobError, match="does not exist"):
        read_job(tmp_path / "no.toml")
    with pytest.raises(JobError, match="extension"):
        read_job(tmp_path / "job.yaml")
    (tmp_path / "bad.toml").write_text("[recipe\n")
    with pytest.raises(JobError, match="not valid TOML.*line 1"):
        read_job(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobError, match="cannot be read as text"):
        read_job(tmp_path / "binary.toml")
    (tmp_path / "image.tif").write_bytes(b"x")
    (tmp_path / "job.toml").write_text('[image]\npath = "image.tif"\n')
    assert read_job(tmp_path / "job.toml")["image.path"] == str(tmp_path / "image.tif")


def test_key_table_is_complete():
    table = keys.as_markdown()
    assert all(f"`{key.path}`" in table for key in keys.KEYS)


@pytest.mark.parametrize("name", ["example", "design", "image", "generate"])
def test_shipped_examples_are_valid(name):
    job = read_job(pathlib.Path(__file__).parents[2] / "examples" / f"{name}.toml")
    if name == "example":  # it is the built-in example written out
        built_in = read_job()
        assert {k: v for k, v in job.values.items() if k != "run.output"} == {
            k: v for k, v in built_in.values.items() if k != "run.output"
        }
