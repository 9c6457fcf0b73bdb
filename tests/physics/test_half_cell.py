"""The half-cell, a porous electrode against lithium metal, beside a peer, and its conservation laws and derivatives.

The peer is PyBaMM 26.10, `pybamm.lithium_ion.DFN({"working electrode": "positive"})`, asked by
`benchmarks/peers/pybamm_half_cell_peer.py`: 160 even cells in separator and electrode, 160 shells graded to the surface
with a stretch of 2, IDAKLU with both tolerances at 1e-8, voltages from the solver's own polynomials. From 80 to 160
cells its voltages move by at most 0.03 mV, of the first point of Chen 2020, and 0.01 mV after; its end times by 0.024 s
(Xu 2019) and 0.006 s (Chen 2020).

Chen 2020 ends at 3.5 V: to 3 V the surface of its NMC fills to the last 1e-3, where PyBaMM closes the potential off by
1e-6/(x - 1) V and this model by 0.1 ln(1 + exp((x - 0.999)/1e-4)) V, and the ends of a 1C discharge lie 3 s apart.
"""

import dataclasses
import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.harness import ask_peer
from microstructure.units import faraday, gas_constant
from solver.cell.cell import LithiumMetal, Separator, full_at_upper_cutoff, open_circuit_voltage
from solver.cell.discretise import Mesh, build
from solver.cell.library import chen_positive, half_cell, nyman_electrolyte, xu2019
from solver.cell.protocol import DFN, Stop, discharge
from solver.electrochemistry.laws import Constant
from solver.numerics.march import March
from solver.numerics.solution import Result

FROZEN = pathlib.Path(__file__).parents[1] / "systems" / "data" / "pybamm_half_cell.json"
CURVES = {(c["name"], c["c_rate"]): c for c in json.loads(FROZEN.read_text())["curves"]}
CELLS = {  # and the nominal current, A/m2
    "Xu2019": (xu2019, 0.0024 / (0.01 * 0.0154)),
    "Chen2020": (lambda: half_cell(chen_positive(), nyman_electrolyte(), 3.5), 5.0 / 0.1027),
}
FINE = DFN(Mesh(1, 40, 60, 30), March(tolerance=3e-6, max_steps=1000))
run = eqx.filter_jit(discharge)
voltage_at = eqx.filter_jit(lambda value, times: value.voltage_at(times))


def against(name, rate, method=None):
    """A discharge, and how far its voltages are from those of the peer, V."""
    make, current = CELLS[name]
    solution, curve = run(make(), jnp.asarray(rate * current), method), CURVES[name, rate]
    assert solution.result == Result.successful and solution.value.stop == Stop.cut_off
    found = voltage_at(solution.value, jnp.asarray(curve["time_s"]))
    return solution.value, np.asarray(found) - np.asarray(curve["voltage_V"]), curve["end_time_s"]


@pytest.mark.parametrize(("name", "rate"), CURVES)
def test_frozen_curve_of_the_peer(name, rate):
    """Within 0.15 mV rms at our default mesh and steps, and to the cut-off within 1e-4 of the discharge."""
    value, off, end = against(name, rate)
    assert np.sqrt(np.mean(off**2)) < 1.5e-4
    assert value.end_time == pytest.approx(end, rel=1e-4)


@pytest.mark.parametrize(("name", "rate"), [("Xu2019", 1.0), ("Chen2020", 1.0)])
def test_both_refined_agree(name, rate):
    """Within 0.015 mV: of Chen 2020 the peer's voltages move by 0.008 mV from 80 to 160 cells, as to first order."""
    value, off, end = against(name, rate, FINE)
    assert np.max(np.abs(off)) < 1.5e-5
    assert value.end_time == pytest.approx(end, rel=3e-5)


@pytest.mark.slow  # PyBaMM on the meshes of the frozen curves
@pytest.mark.parametrize(("name", "rate"), CURVES)
def test_frozen_curves_are_those_of_the_peer(name, rate):
    answer = ask_peer("pybamm_half_cell", {"name": name, "c_rate": rate, "cells": 160, "shells": 160})
    if "not_run" in answer:
        pytest.skip(f"PyBaMM: {answer['not_run']}")
    assert answer["end_time_s"] == pytest.approx(CURVES[name, rate]["end_time_s"], abs=0.02)
    assert np.asarray(answer["voltage_V"]) == pytest.approx(np.asarray(CURVES[name, rate]["voltage_V"]), abs=2e-5)


def test_lithium_and_charge_are_conserved():
    """What the lithium gives the electrode takes up; the salt stays."""
    cell, current = xu2019(), jnp.asarray(CELLS["Xu2019"][1])
    value, positive = run(cell, current).value, xu2019().positive
    passed = float(value.capacity) / faraday
    content = positive.material.maximum_concentration * positive.active_fraction * positive.thickness
    gained = float(content) * (float(jnp.mean(value.final.mean[0])) - float(positive.stoichiometry_full))
    assert gained == pytest.approx(passed, rel=1e-10)
    system = build(cell, current, DFN().mesh)
    salt = float(jnp.sum(system.storage * value.final.concentration))
    assert salt == pytest.approx(float(jnp.sum(system.storage)) * 1000.0, rel=1e-11)
    assert float(jnp.sum(system.particles[0].area * value.final.reaction[0])) == pytest.approx(
        -float(current), rel=1e-9
    )


def test_the_separator_and_the_lithium_alone():
    """A thicker separator of given transport, and slower lithium, cost what the formulas say where salt is even."""
    cell, current = CELLS["Chen2020"][0](), jnp.asarray(20.0)
    cell = eqx.tree_at(lambda c: c.electrolyte.diffusivity, cell, Constant(1e-2))
    short = DFN(march=March(schedule=jnp.linspace(0.0, 1e-3, 6), max_steps=5))

    def start(cell):
        return float(run(cell, current, short, duration=1e-3).value.voltage[-1])

    thick = dataclasses.replace(cell, separator=Separator(5e-5, 0.39, cell.separator.electrolyte_transport))
    conductivity = float(cell.electrolyte.transport(jnp.asarray(1000.0), 298.15)[1])
    ohmic = 20.0 * 2.5e-5 / float(cell.separator.electrolyte_transport) / conductivity
    assert start(cell) - start(thick) == pytest.approx(ohmic, rel=1e-5)
    kinetics = cell.negative.kinetics
    slow = dataclasses.replace(kinetics, exchange_current_density=0.1 * kinetics.exchange_current_density)
    thermal = 2.0 * gas_constant * 298.15 / faraday
    fast_j0, slow_j0 = (float(k.exchange_current_density) for k in (kinetics, slow))
    lost = thermal * (np.arcsinh(10.0 / slow_j0) - np.arcsinh(10.0 / fast_j0))
    slowed = dataclasses.replace(cell, negative=LithiumMetal(slow))
    assert start(cell) - start(slowed) == pytest.approx(lost, rel=1e-5)


def test_filled_to_the_upper_cut_off():
    """The stoichiometry of the charged half-cell is where its electrode is at the cut-off, with its derivative."""
    cell = dataclasses.replace(CELLS["Chen2020"][0](), upper_cutoff=4.2)
    full = full_at_upper_cutoff(cell)
    assert float(open_circuit_voltage(full)) == pytest.approx(4.2, abs=1e-12)

    def moved(level):
        made = eqx.tree_at(lambda c: c.upper_cutoff, cell, level)
        return full_at_upper_cutoff(made).positive.stoichiometry_full

    slope = float(jax.grad(cell.positive.material.potential)(full.positive.stoichiometry_full))
    assert float(jax.grad(moved)(jnp.asarray(4.2))) == pytest.approx(1.0 / slope, rel=1e-6)
