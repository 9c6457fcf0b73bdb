"""Figures and report from plain arrays: complete, self-contained, and drawn from the data."""

import re

import numpy as np
import pytest

from mesode import figures, report
from microstructure import store


def _stage(nx, thickness):
    rng = np.random.default_rng(0)
    active = (rng.random((nx, 16, 16)) > 0.5).astype(np.float32)
    binder = (1 - active) * 0.25
    spacing = np.array([thickness / nx, 2e-6, 2e-6])
    return {
        "fractions_pore": 1 - active - binder,
        "fractions_active": active,
        "fractions_binder": binder.astype(np.float32),
        "spacing_m": spacing,
    }


def _run():
    thickness = np.array([60, 50, 44, 46.0]) * 1e-6
    time = np.linspace(0, 1700, 20)
    curve = {"time_s": time, "voltage_V": 4.1 - time / 1700, "current_A_m2": 54.0}
    return {
        "job": '[recipe]\nactive_material = "<NMC>"\n',
        "provenance": {"time": "2026-01-01", "versions": {"mesode": "0.1.0"}, "seed": 3},
        "kpis": {"porosity": 0.3, "tortuosity_factor": {"x": float("inf"), "y": 2.0, "z": 2.0}, "energy_Wh_L": 600.0},
        "kpis_spread": {"porosity": 0.004},
        "kpis_refined": {"porosity": 0.303},
        "realisations": {"0": {}, "1": {}},
        "structure": {"dried": _stage(24, 60e-6), "calendered": _stage(24, 46e-6)},
        "calendering": {
            "thickness_m": thickness,
            "pressure_Pa": np.array([0, 2e7, 6e7, 1e5]),
            "porosity": 1 - 31e-6 / thickness,
        },
        "drying": {"depth": np.linspace(0.05, 0.95, 10), "binder": np.linspace(0.8, 1.2, 10)},
        "discharge": {"2.0": curve, "0.5": {**curve, "time_s": 4 * time, "current_A_m2": 13.5}},
        "history": {"objective": np.array([1.0, 2.0, 3.0])},
        "gradient": {"calendering.gap_um": -3.2},
        "notes": ["Pressure is frictionless."],
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    store.write(folder / "run.h5", _run())
    report.write_report(folder / "run.h5", folder / "run.html")
    return (folder / "run.html").read_text(encoding="utf-8")


def test_page_is_complete_and_needs_no_other_file(page):
    assert page.count("<img") == page.count("data:image/png;base64,") == 5
    for text in (
        "Key figures",
        "Structure",
        "Process and cell",
        "Design",
        "Gradient",
        "Provenance",
        "± over 2 packings",
    ):
        assert text in page
    assert "∞" in page and "+1.0 %" in page and "0.3000" in page
    assert "&lt;NMC&gt;" in page and "<NMC>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_parts_that_are_missing_are_left_out():
    page = report.render({"kpis": {"porosity": 0.3}})
    assert "<img" not in page and "One packing" in page


def test_colours_follow_the_fractions():
    rgb = figures.blend(np.array([1.0, 0.0, 0.5]), np.array([0.0, 1.0, 0.5]), np.zeros(3))
    np.testing.assert_allclose(rgb[2], (rgb[0] + rgb[1]) / 2, atol=1e-12)
    assert np.ptp(rgb[0] - rgb[1]) > 0.1


def test_figures_show_their_data():
    run = _run()
    axis = figures.discharge(run["discharge"]).axes[0]
    assert [line.get_label() for line in axis.lines] == ["C/2", "2C"]
    assert axis.lines[1].get_xdata()[-1] == pytest.approx(1700 * 54 / 3.6e4)
    cal = run["calendering"]
    axis = figures.calendering(cal["porosity"], cal["pressure_Pa"], None, cal["thickness_m"]).axes[0]
    assert [len(line.get_xdata()) for line in axis.lines] == [3, 2]
    assert "frictionless" in axis.get_ylabel()
    assert figures.png(figures.binder_profile(**run["drying"]), 40)[:4] == b"\x89PNG"
    field = np.linspace(0, 1, 8)[:, None, None] * np.ones((8, 6, 4))
    assert len(figures.field_map(field, (1e-6,) * 3, field).axes) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.30001, "0.3000"), (612.345, "612.3"), (5.4e5, "5.400·10<sup>5</sup>"), (0.0, "0.000"), (float("inf"), "∞")],
)
def test_numbers(value, text):
    assert report.number(value) == text
