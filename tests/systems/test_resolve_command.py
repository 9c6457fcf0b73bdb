"""`mesode resolve` from end to end: results, resumption to the same numbers, and a sentence for what cannot be."""

import json
import pathlib

import h5py
import jax
import numpy as np
import pytest

from mesode import process
from mesode.cli import main
from mesode.job import JobError
from mesode.resolve_job import parse_resolve_job, read_resolve_job
from mesode.resolve_structure import block_of
from microstructure import store
from microstructure.images import write_tiff
from solver.electrochemistry.conductors import separator_on
from tests import resolved_block

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    np.save("block.npy", resolved_block.labels())


def _resolve(capsys, *options, text=None):
    pathlib.Path("job.toml").write_text(resolved_block.job("[2.0, 1.0]") if text is None else text)
    code = main(["resolve", "job.toml", "--json", *options])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_job_and_its_resumption(capsys, monkeypatch):
    code, out, said = _resolve(capsys, "--output", "whole.h5")
    assert code == 0 and "2C: " in said and "1C: " in said
    wanted = {"c_rate", "current_A", "time_s", "voltage_V", "capacity_Ah", "energy_Wh", "end_time_s", "stop"}
    assert wanted <= set(out) and [row["c_rate"] for row in out["rates"]] == [2.0, 1.0]
    fast, slow = out["rates"]
    assert fast["stop"] == slow["stop"] == "cut_off" and out["capacity_Ah"] == fast["capacity_Ah"]
    assert fast["capacity_Ah"] < slow["capacity_Ah"] and fast["average_voltage_V"] < slow["average_voltage_V"]
    # Newton's method leaves 1e-5 of the current, and as much of four volts is 0.04 mV.
    assert fast["losses_left_over_mV"] < 1e-2 and fast["utilisation"]["particles"] == 4
    assert not pathlib.Path("whole.h5.checkpoint").exists()
    _the_files_hold_it(out)

    calls = []

    def stopping(watch):
        calls.append(1)
        return "a test" if len(calls) > 24 else None

    with monkeypatch.context() as patched:
        patched.setattr(process.StopWatch, "reason", property(stopping))
        code, stopped, _ = _resolve(capsys, "--output", "parts.h5", "--set", "cell.c_rates=[2.0]")
    assert code == 3 and "--resume" in stopped["error"][0] and pathlib.Path("parts.h5.checkpoint").is_file()
    _, refused, _ = _resolve(capsys, "--output", "parts.h5", "--resume", "--set", "cell.c_rates=[2.5]")
    assert refused["exit_code"] == 2 and "another job" in refused["error"][0]
    code, again, said = _resolve(capsys, "--output", "parts.h5", "--resume", "--set", "cell.c_rates=[2.0]")
    assert code == 0 and "resumed" in said
    for name in ("time_s", "voltage_V", "mean_losses_mV", "utilisation"):
        assert out["rates"][0][name] == again["rates"][0][name]
    with h5py.File("whole.h5") as a, h5py.File("parts.h5") as b:
        for name in a["VTKHDF/CellData"]:
            np.testing.assert_array_equal(a["VTKHDF/CellData"][name], b["VTKHDF/CellData"][name])


def test_a_discharge_that_does_not_end_or_begin(capsys):
    code, out, said = _resolve(capsys, "--set", "method.max_steps=6", text=resolved_block.job())
    assert code == 1 and out["stop"] == "not_converged" and len(out["time_s"]) == 7
    assert "Raise `method.max_steps`" in said and pathlib.Path(out["run_file"]).is_file()
    code, out, _ = _resolve(capsys, "--set", "cell.lower_cutoff_V=4.4", text=resolved_block.job())
    assert code == 2 and "is past `cell.lower_cutoff_V` as soon as it is drawn at 2C" in out["error"][0]


def _the_files_hold_it(out):
    run = store.read(out["run_file"])["resolve"]
    first = run["rates"]["0"]
    assert len(first["looks"]) == 4 and first["curve"]["voltage_V"][-1] == out["voltage_V"][-1]
    with h5py.File(out["run_file"]) as file:
        view = file["VTKHDF"]
        assert view["Steps"].attrs["NSteps"] == 4 and {"active", "state_of_charge", "salt_mol_m3"} <= set(
            view["CellData"]
        )
    assert [pathlib.Path(view).name for view in out["views"]] == ["whole_1C.vtkhdf"]
    assert main(["export", out["run_file"], "--format", "csv", "tiff", "--output", "exported", "--quiet"]) == 0
    assert {"discharge_2C.bdf.csv", "calendered_labels.tif"} <= {
        path.name for path in pathlib.Path("exported").iterdir()
    }
    page = pathlib.Path(out["report"]).read_text()
    for text in ("Resolved discharge", "where the voltage goes", "1C: fields", "lithium", "told apart", "without that"):
        assert text in page
    assert page.count("data:image/png") == 12


BAD = {
    "no voxel size": (("voxel_size_um = 1.0", ""), "does not say its voxel size; give `image.voxel_size_um`"),
    "crop": (("[phase.pore]", "crop = [[0, 40], [0, 8], [0, 8]]\n[phase.pore]"), "but `block.npy` has 10 there"),
    "label": (("label = 2", "label = 5"), "`label` = 5 of [phase.cbd] does not occur"),
    "axis": (('role = "pore"', 'role = "pores"'), "`phase.pore.role` must be one of pore, active, binder, inert"),
    "key": (("lower_cutoff_V", "lower_cut_V"), "the nearest known one is `lower_cutoff_V`"),
    "idle key": (('role = "pore"', 'role = "pore"\nporosity = 0.5'), "`porosity` of [phase.pore] has no effect"),
    "window": (('role = "active"', 'role = "active"\nstoichiometry_end = 0.1'), "must be below `stoichiometry_end`"),
    "too fast": (
        ("c_rates = [2.0]", "c_rates = [2.0]\n[electrolyte]\nconcentration_mol_m3 = 10.0"),
        "the salt can carry",
    ),
}


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("window", "too fast")])
def test_a_sentence_for_a_bad_job(capsys, name):
    change, sentence = BAD[name]
    code, out, _ = _resolve(capsys, text=resolved_block.job().replace(*change))
    assert code == 2 and len(out["error"]) == 1 and sentence in out["error"][0]


def test_a_current_that_the_salt_cannot_carry(capsys):
    text = resolved_block.job("[90.0]") + "[electrolyte]\nconcentration_mol_m3 = 100.0\n"
    code, out, _ = _resolve(capsys, text=text)
    assert code == 2 and len(out["error"]) == 1
    for part in ("`cell.c_rates` = 90 draws", "A/m2, but", "the salt can carry at most", "lower the rate"):
        assert part in out["error"][0]
    change, sentence = BAD["window"]
    code, out, _ = _resolve(capsys, text=resolved_block.job().replace(*change))
    assert code == 2 and sentence in out["error"][0]


STRUCTURES = {
    "no contact": (lambda x: np.where(np.arange(10)[:, None, None] < 1, 0, x), "no contact with the collector"),
    "no pores": (
        lambda x: np.where(np.arange(10)[:, None, None] > 8, 1, x),
        "The pores are cut off from the separator",
    ),
    "no path": (
        lambda x: np.where(np.arange(10)[:, None, None] < 1, 2, np.where(np.arange(10)[:, None, None] < 2, 0, x)),
        "The solid does not percolate",
    ),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_sentence_for_a_structure_that_is_no_electrode(capsys, name):
    change, sentence = STRUCTURES[name]
    np.save("block.npy", change(resolved_block.labels()).astype(np.uint8))
    text = resolved_block.job()
    code, out, _ = _resolve(capsys, text=text)
    assert code == 2 and len(out["error"]) == 1 and sentence in out["error"][0]


def test_memory_is_predicted_and_refused(capsys, monkeypatch):
    monkeypatch.setattr(process, "free_memory", lambda: 10**8)
    code, out, _ = _resolve(capsys)
    assert code == 2 and "10 x 8 x 8 voxels needs about" in out["error"][0] and "image.crop" in out["error"][0]


def test_a_job_is_checked_without_being_run(capsys):
    pathlib.Path("job.toml").write_text(resolved_block.job())
    assert main(["check", "job.toml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["shape"] == [10, 8, 8] and plan["thickness_um"] == pytest.approx(10.0) and plan["memory_GiB"] > 1
    assert plan["separator_layers"] == _layers_made()
    assert main(["resolve", "--keys"]) == 0
    table = capsys.readouterr().out
    assert "| `cell.lower_cutoff_V` | V |" in table and "| `phase.NAME.role` |" in table
    assert main(["resolve"]) == 2 and "examples/resolve.toml" in capsys.readouterr().err


def _layers_made():
    return separator_on((1e-6,) * 3, 6e-6, 0.39, 0.24).layers


def test_an_accelerator_has_memory_of_its_own():
    process.require_memory(80.0, "It", free=100)
    with pytest.raises(ValueError, match="It needs about .* of memory are free; "):
        process.require_memory(95.0, "It", free=100)
    assert process.free_device_memory() is None or process.free_device_memory() > 0


@pytest.mark.slow
def test_the_structure_of_a_run_file_discharges_as_its_image_does(capsys):
    """Whole voxels as shares: other areas, since they are cut from another level set, but the same discharge."""
    labels = resolved_block.labels()
    shares = {f"fractions_{name}": (labels == k).astype(float) for k, name in enumerate(("pore", "active", "binder"))}
    store.write("run.h5", {"structure": {"calendered": {**shares, "spacing_m": np.full(3, 1e-6)}}})
    _, wanted, _ = _resolve(capsys, text=resolved_block.job())
    text = "\n".join(
        line for line in resolved_block.job().splitlines() if "label" not in line and "um = 1.0" not in line
    )
    text = text.replace('path = "block.npy"', 'run_file = "run.h5"').replace("nmc", "active").replace("cbd", "binder")
    code, out, _ = _resolve(capsys, text=text)
    assert code == 0 and out["capacity_Ah"] == pytest.approx(wanted["capacity_Ah"], rel=0.03)
    assert out["average_voltage_V"] == pytest.approx(wanted["average_voltage_V"], abs=0.02)


def test_a_run_that_may_not_begin_stops(capsys):
    code, out, _ = _resolve(capsys, "--max-walltime", "0.000001")
    assert code == 3 and "before the first step" in out["error"][0]


def test_a_job_says_all_of_its_errors_and_is_read_back():
    with pytest.raises(JobError) as caught:
        parse_resolve_job("[image]\naxis = 'w'\n[cell]\nc_rates = [0.0]\nvoltage = 3\n[phase.a]\nrole = 'x'\n")
    assert len(caught.value.errors) == 4 and "line 2" in caught.value.errors[0]
    job = parse_resolve_job(resolved_block.job())
    again = parse_resolve_job(job.text())
    assert again.values == job.values and again.phases == job.phases and again.crop == job.crop
    for text, sentence in (
        ("", "`image.path` or `image.run_file`, but neither"),
        ("[image]\npath='a.tif'", "An image needs its phases"),
        ("[image]\npath='a.tif'\n[phase.a]\nlabel=1\nrole='active'", 'No phase has `role = "pore"`'),
        ("[image]\nrun_file='a.h5'\n[phase.b]\nrole='pore'", "[phase.b] is none of the phases of a run file"),
    ):
        with pytest.raises(JobError, match=sentence.replace("[", r"\[").replace("(", r"\(")):
            parse_resolve_job(text)


def test_a_block_is_cropped_and_turned(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, (6, 7, 8)).astype(np.uint8)
    write_tiff(tmp_path / "a.tif", labels, (1e-6, 2e-6, 3e-6))
    phases = "[phase.p]\nlabel=0\nrole='pore'\n[phase.a]\nlabel=1\nrole='active'\n"
    text = "[image]\npath='a.tif'\naxis='-y'\ncrop=[[1, 6], [0, 4], [2, 8]]\n" + phases
    (tmp_path / "job.toml").write_text(text)
    block = block_of(read_resolve_job(tmp_path / "job.toml"))
    assert block.spacing == pytest.approx((2e-6, 1e-6, 3e-6), rel=1e-6)
    np.testing.assert_array_equal(block.labels, labels[1:6, 3::-1, 2:8].transpose(1, 0, 2))


def test_the_structure_of_a_run_file(tmp_path):
    rng = np.random.default_rng(0)
    active, binder = 0.5 * rng.random((4, 5, 6)), 0.4 * rng.random((4, 5, 6))
    stage = {"fractions_active": active, "fractions_binder": binder, "fractions_pore": 1 - active - binder}
    stage["spacing_m"] = np.array([1e-6, 2e-6, 2e-6])
    store.write(tmp_path / "run.h5", {"structure": {"calendered": stage}})
    block = block_of(parse_resolve_job(f"[image]\nrun_file='{tmp_path / 'run.h5'}'\ncrop=[[0, 4], [1, 4], [0, 6]]\n"))
    assert block.shape == (4, 3, 6) and block.spacing == (1e-6, 2e-6, 2e-6)
    np.testing.assert_allclose(block.fractions["binder"], binder[:, 1:4])
    store.write(tmp_path / "run.h5", {"structure": {}})
    with pytest.raises(JobError, match="holds no structure in voxels"):
        block_of(parse_resolve_job(f"[image]\nrun_file='{tmp_path / 'run.h5'}'\n"))


def test_the_example_is_a_job():
    job = read_resolve_job(ROOT / "examples" / "resolve.toml")
    assert block_of(job).shape == (20, 14, 14) and job.phases["active"]["material"] == "Chen2020 NMC811"
