"""BPX files: what is read, what is written, and a sentence with the field's name for each mistake."""

import copy
import dataclasses
import json
import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.exchange.bpx import STARTS_AT_LIMITS, parse_bpx, read_bpx
from microstructure.exchange.bpx_fields import standard
from microstructure.exchange.bpx_write import VERSIONS, bpx_json, write_bpx
from microstructure.exchange.formula import Formula, Points, formula_text, parse_formula
from solver.cell.bpx import cell_from_bpx, law_from_bpx, particle_classes
from solver.cell.bpx_export import bpx_from_cell, law_of_bpx
from solver.cell.library import chen2020, half_cell, marquis2019
from solver.electrochemistry import laws

PARTICLE = (  # what one class of particles has
    "Minimum stoichiometry", "Maximum stoichiometry", "Maximum concentration [mol.m-3]", "Particle radius [m]",
    "Surface area per unit volume [m-1]", "Diffusivity [m2.s-1]", "Diffusivity activation energy [J.mol-1]", "OCP [V]",
    "Entropic change coefficient [V.K-1]", "Reaction rate constant [mol.m-2.s-1]",
    "Reaction rate constant activation energy [J.mol-1]",
)  # fmt: skip


@pytest.fixture(scope="module")
def chen():
    return bpx_from_cell(chen2020(), nominal_capacity=5.0, title="Chen 2020")


@pytest.fixture
def data(chen):
    return copy.deepcopy(bpx_json(chen))


def _put(data, path, value):
    *sections, field = path.split(" / ")
    section = data if sections[0] in (*data, "Validation") else data["Parameterisation"]
    for name in sections:
        section = section.setdefault(name, {})
    if value is None:
        del section[field]
    else:
        section[field] = value


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_is_the_standard_and_is_read_again(chen, tmp_path, version):
    path = tmp_path / "cell.json"
    write_bpx(path, chen, version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a conversion from 0.5, and of a full cell below its cut-off
        content = standard().parse_bpx_file(path)
    assert content.parameterisation.positive_electrode.porosity == 0.335
    again = read_bpx(path)
    for part in ("cell", "electrolyte", "separator"):
        found = {k: v for k, v in getattr(again, part).items() if v is not None}
        assert found == getattr(chen, part)
    for side in ("negative", "positive"):
        written, found = getattr(chen, side), getattr(again, side)
        assert found.layer == written.layer and list(found.particles) == [""]
        assert {k: v for k, v in found.particles[""].items() if v is not None} == written.particles[""]
    assert (again.temperature, again.concentration, again.state_of_charge) == (298.15, 1000.0, None)
    assert again.user_defined == ({STARTS_AT_LIMITS: 1.0} if version == "0.5" else {})


def test_what_the_standard_cannot_say_goes_to_user_defined():
    """A thermodynamic factor, an active fraction that is no a R / 3, other reference states; a porosity of one."""
    cell = marquis2019()
    changed = (
        lambda c: c.electrolyte.thermodynamic_factor,
        lambda c: c.positive.active_fraction,
        lambda c: c.negative.material.reference_temperature,
        lambda c: c.negative.material.kinetics.reference_concentration,
        lambda c: c.temperature,
    )
    values = (1.7, 0.45, 310.0, 1200.0, 290.0)
    for where, value in zip(changed, values, strict=True):
        cell = eqx.tree_at(where, cell, jnp.asarray(value))
    data = bpx_json(bpx_from_cell(cell))
    assert set(data["Parameterisation"]["User-defined"]) == {
        "Thermodynamic factor", "Mesode positive electrode active fraction"
    }  # fmt: skip
    assert 0 < 1 - data["Parameterisation"]["Separator"]["Porosity"] < 1e-8  # for readers that divide by its logarithm
    again = cell_from_bpx(parse_bpx(data))
    assert float(again.electrolyte.thermodynamic_factor) == 1.7 and float(again.positive.active_fraction) == 0.45
    for temperature in (290.0, 320.0):
        for value in (
            lambda c, t: c.negative.material.diffusivity_at(t),
            lambda c, t: c.negative.material.exchange_current_density(jnp.asarray(900.0), jnp.asarray(0.3), t),
            lambda c, t: c.electrolyte.transport(jnp.asarray(900.0), t)[1],
        ):
            first, second = (float(value(c, jnp.asarray(temperature))) for c in (cell, again))
            assert second == pytest.approx(first, rel=1e-12)


def test_a_half_cell_cannot_be_written():
    cell = chen2020()
    with pytest.raises(ValueError, match="half-cell cannot be written"):
        bpx_from_cell(half_cell(cell.positive, cell.electrolyte))


def test_foreign_values_stay(data, tmp_path):
    _put(data, "State / Initial conditions / Initial state-of-charge", 1)
    _put(data, "State / Thermal environment / Heat transfer coefficient [W.m-2.K-1]", 10)
    _put(data, "Negative electrode / OCP [V]", {"x": [0.9, 0.5, 0.02], "y": [0.1, 0.2, 1.0]})
    _put(data, "Negative electrode / Entropic change coefficient [V.K-1]", "1e-4 * x")
    _put(data, "Positive electrode / Diffusivity [m2.s-1]", "4e-15")
    nested = {"a": 2, "b": "x + 1", "description": "words"}
    _put(data, "User-defined / Mine", nested)
    data["Validation"] = {"1C": {"Time [s]": [0, 1], "Current [A]": [-5, -5], "Voltage [V]": [4, 3.9]}}
    source = parse_bpx(data)
    assert source.state_of_charge == 1.0 and source.heat_transfer_coefficient == 10.0
    assert source.negative.particles[""]["OCP [V]"] == Points((0.02, 0.5, 0.9), (1.0, 0.2, 0.1))
    assert isinstance(source.negative.particles[""]["Entropic change coefficient [V.K-1]"], Formula)
    assert source.positive.particles[""]["Diffusivity [m2.s-1]"] == 4e-15
    assert source.user_defined["Mine"]["description"] == "words"
    assert source.validation["1C"]["Voltage [V]"] == [4.0, 3.9]
    write_bpx(tmp_path / "again.json", source)
    again = read_bpx(tmp_path / "again.json")
    for name in ("cell", "electrolyte", "negative", "positive", "separator", "user_defined", "validation"):
        assert getattr(again, name) == getattr(source, name)


BAD_FIELDS = [  # path, value (None takes it away), what the sentence says
    ("Negative electrode / Porosity", -0.25, "`Negative electrode / Porosity` .* between 1e-06 and 1, but -0.25"),
    ("Negative electrode / Porosity", None, "`Negative electrode / Porosity` is missing"),
    ("Negative electrode / Porosty", 0.3, "`Negative electrode / Porosty` .* did you mean `Porosity`"),
    ("Negative electrode / Porosity", "x", "must be a number, but 'x'"),
    ("Negative electrode / Porosity", True, "must be a number, but True"),
    ("Positive electrode / Maximum stoichiometry", 1.2, "`Positive electrode / Maximum stoichiometry` .* 0 and 1"),
    ("Positive electrode / Minimum stoichiometry", 0.9, "must be below `Maximum stoichiometry`"),
    ("Positive electrode / OCP [V]", "import(x)", r"`Positive electrode / OCP \[V\]` .* formula"),
    ("Positive electrode / OCP [V]", "y + 1", r"`Positive electrode / OCP \[V\]` .* may hold only"),
    ("Positive electrode / OCP [V]", "0x10 + x", r"`Positive electrode / OCP \[V\]` .* grammar"),
    ("Positive electrode / OCP [V]", {"x": [0, 1, 0.5], "y": [4, 3, 2]}, r"not monotonic.* 0.5 follows 1"),
    ("Positive electrode / OCP [V]", {"x": [0, 0, 1], "y": [4, 3, 2]}, r"OCP \[V\]` .* not monotonic"),
    ("Positive electrode / OCP [V]", {"x": [0, 1], "y": [4]}, "2 `x` and 1 `y`"),
    ("Positive electrode / OCP [V]", {"x": [0, 1], "z": [4, 3]}, "two lists, `x` and `y`"),
    ("Positive electrode / OCP [V]", {"x": [0, 1], "y": [4, 1e400]}, "must be finite"),
    ("Electrolyte / Diffusivity [m2.s-1]", -1e-10, r"`Electrolyte / Diffusivity \[m2.s-1\]` .* positive"),
    ("Electrolyte / Initial concentration [mol.m-3]", 1000.0, "`Electrolyte / Initial concentration .* unknown"),
    ("Cell / Reference temperature [K]", 25.0, "between 200 and 400, but 25"),
    ("Cell / Lower voltage cut-off [V]", 4.3, "below `Upper voltage cut-off"),
    ("Cell / Number of electrode pairs connected in parallel to make a cell", 1.5, "whole number"),
    ("Header / Model", "P2D", "`Header / Model` .* one of DFN"),
    ("Header / BPX", "2.0", "0.x or 1.x, but '2.0'"),
    ("Header / BPX", None, "0.x or 1.x"),
    ("Header / BPX", 10**400, "0.x or 1.x"),
    ("Parameterisation / Electrolyte", None, "Section `Electrolyte` is missing"),
    ("Parameterisation / Separator", 3, "Section `Separator` .* must hold fields"),
    ("State / Initial conditions / Initial state-of-charge", 2, "conditions / Initial state-of-charge` .* 0 and 1"),
    ("User-defined / Mine", "sin(x)", "`User-defined / Mine`"),
    ("User-defined / Mine", [1.0], "`User-defined / Mine`"),
    ("Validation / 1C / Time [s]", [0, "a"], r"`Validation / 1C / Time \[s\]`"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), BAD_FIELDS)
def test_bad_fields(data, path, value, sentence):
    _put(data, path, value)
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_bpx(data, "cell.json")
    assert "cell.json" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_all_mistakes_are_said_at_once(data):
    _put(data, "Negative electrode / Porosity", -1)
    _put(data, "Cell / Electrode area [m2]", None)
    _put(data, "Separator / Tortuosity", 2)
    with pytest.raises(ValueError) as caught:
        parse_bpx(data)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        (b"{", "no valid BPX: its JSON breaks off at line 1"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"[" * 100000, "nests too deeply"),
        (b"[1, 2]", "lacks the section `Header`"),
        (b'{"Header": {"BPX": "1.0", "Model": "DFN"}}', "no valid BPX: it lacks the section `Parameterisation`"),
        (b'{"Header": {}, "Header": {}}', "`Header` is given twice"),
        (b'{"Header": {"BPX": 0.4, "Model": "DFN"}, "Parameterisation": {"Cell": 3}}', "Section `Cell`"),
    ],
)
def test_bad_files(tmp_path, content, sentence):
    path = tmp_path / "cell.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_bpx(path)


def test_formulas_of_a_file_are_never_run(data, tmp_path, monkeypatch):
    """`exit(1)` is in the grammar of the `bpx` package, which runs potentials to check them."""
    _put(data, "Negative electrode / OCP [V]", "exit(1) * x")
    (tmp_path / "cell.json").write_text(json.dumps(data))
    monkeypatch.setattr(standard().Function, "to_python_function", None)
    with pytest.raises(ValueError, match=r"`Negative electrode / OCP \[V\]`"):
        read_bpx(tmp_path / "cell.json")
    _put(data, "Negative electrode / OCP [V]", "0.1 - 0.01 * x")
    cell_from_bpx(parse_bpx(data))


def test_single_particle_files_are_values_that_say_what_the_cell_lacks(data):
    data["Header"]["Model"] = "SPM"
    for section in ("Electrolyte", "Separator"):
        del data["Parameterisation"][section]
    for side in ("Negative electrode", "Positive electrode"):
        for field in ("Porosity", "Transport efficiency", "Conductivity [S.m-1]"):
            del data["Parameterisation"][side][field]
    source = parse_bpx(data, "spm.json")
    assert source.electrolyte is None and source.negative.layer["Porosity"] is None
    (part,) = particle_classes(source, "negative")
    assert float(part.particle_radius) == 5.86e-6
    with pytest.raises(
        ValueError, match="of model SPM, lacks `Electrolyte`, `Separator`, `Negative electrode / Porosity`"
    ):
        cell_from_bpx(source)


def test_a_partial_file_is_a_value(data):
    data["Header"]["Model"] = "Partial"
    del data["Parameterisation"]["Negative electrode"], data["Parameterisation"]["Cell"]
    source = parse_bpx(data)
    assert source.negative is None and source.positive.layer["Porosity"] == 0.335
    with pytest.raises(ValueError, match="of model Partial, lacks `Cell`, `Negative electrode`"):
        cell_from_bpx(source)


def test_blends_are_classes_of_particles(data):
    electrode = data["Parameterisation"]["Positive electrode"]
    one = {field: electrode.pop(field) for field in PARTICLE}
    area = one["Surface area per unit volume [m-1]"]
    small = one | {"Particle radius [m]": 1e-6, "Surface area per unit volume [m-1]": area / 2}
    electrode["Particle"] = {"Large": one | {"Surface area per unit volume [m-1]": area / 2}, "Small": small}
    standard().schema.Parameterisation.model_validate(copy.deepcopy(data["Parameterisation"]))
    source = parse_bpx(data, "blend.json")
    large, small = particle_classes(source, "positive")
    assert float(large.active_fraction) == pytest.approx(0.665 / 2) and float(small.particle_radius) == 1e-6
    assert bpx_json(source)["Parameterisation"]["Positive electrode"]["Particle"].keys() == {"Large", "Small"}
    whole = cell_from_bpx(dataclasses.replace(source, state_of_charge=None)).positive
    assert len(whole.classes) == 2 and float(whole.others[0].specific_area) == pytest.approx(area / 2)
    with pytest.raises(ValueError, match="`blend.json` has a blend of particles .* state of charge"):
        cell_from_bpx(dataclasses.replace(source, state_of_charge=1.0))
    electrode["Particle"]["Small"]["Particle radius [m]"] = -1
    with pytest.raises(ValueError, match=r"`Positive electrode / Small / Particle radius \[m\]`"):
        parse_bpx(data)


BAD_CELLS = [
    ("Positive electrode / Diffusivity [m2.s-1]", "4e-15 * (1 + x)", "varies with stoichiometry"),
    ("Positive electrode / OCP [V]", "4 + 1e-3 / (x - x)", "must be finite over its stoichiometries"),
    ("Positive electrode / Surface area per unit volume [m-1]", 1e7, "active fraction a R / 3 of 17.4"),
    ("Electrolyte / Conductivity [S.m-1]", "1 - x / 1000", r"`Electrolyte / Conductivity \[S.m-1\]` .* positive"),
    ("Cell / Upper voltage cut-off [V]", 5.5, "`Cell / Upper voltage cut-off .* negative .* 1.0"),
    ("User-defined / Thermodynamic factor", "1 + x", "`User-defined / Thermodynamic factor`"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), BAD_CELLS)
def test_files_that_are_no_cell(data, path, value, sentence):
    _put(data, path, value)
    _put(data, "State / Initial conditions / Initial state-of-charge", 1)
    with pytest.raises(ValueError, match=sentence):
        cell_from_bpx(parse_bpx(data, "cell.json"))


def test_a_cut_off_that_no_charge_reaches(data):
    _put(data, "State / Initial conditions / Initial state-of-charge", 1)
    _put(data, "Negative electrode / OCP [V]", 0.1)
    _put(data, "Positive electrode / OCP [V]", "4 - 0.5 * x")
    with pytest.raises(ValueError, match="out of reach: within half of the capacity .* no nearer than 3."):
        cell_from_bpx(parse_bpx(data, "cell.json"))


@pytest.mark.parametrize(
    "law",
    [
        laws.Constant(2.5),
        laws.Exponential(5.34e-10, -0.65e-3),
        laws.PowerSum([0.1297, -2.51, 3.329, 0.5], 1000.0, (3.0, 1.5, 1.0, 0.0)),
        laws.ExponentialTanh(4.0, -0.8, [[1.5, -2.0], [0.0, 0.0]], [[-0.04, 18.5, 0.55], [0.02, -3.0, -0.1]]),
        laws.Table([0.0, 0.5, 1.0], [4.0, 3.5, 3.0]),
        laws.Expression(("+", ("sqrt", ("x",)), ("number", 2.0))),
    ],
    ids=lambda law: type(law).__name__,
)
def test_laws_are_written_exactly(law):
    """Each law, through the text of a formula or a table and back, is the same function to rounding."""
    written = law_of_bpx(law, 0.0, 1.0)
    source = Formula(parse_formula(formula_text(written.tree))) if isinstance(written, Formula) else written
    x = jnp.linspace(0.01, 0.99, 50)
    again = law_from_bpx(source)
    assert np.allclose(again(x), law(x), rtol=1e-14, atol=0)


def test_a_law_without_a_formula_becomes_a_table():
    law = laws.Expression(("log", ("x",)))
    table = law_of_bpx(law, 0.1, 1.0)
    assert isinstance(table, Points) and len(table.x) > 1000
    assert np.interp(0.3337, table.x, table.y) == pytest.approx(np.log(0.3337), abs=1e-6)
