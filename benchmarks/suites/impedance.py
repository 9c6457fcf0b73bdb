"""The impedance of the porous-electrode cell at 41 frequencies: time, accuracy, gradient, and the ratio to PyBaMM."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import against, aimed, ask_peer, case, timed
from solver.cell.cell import covered
from solver.cell.discretise import Mesh
from solver.cell.impedance import EIS, impedance
from solver.cell.library import chen2020, marquis2019

CELLS = {"Marquis2019": marquis2019, "Chen2020": chen2020}
FREQUENCY = np.logspace(-4, 4, 41)  # Hz
DOUBLE_LAYER = 0.2  # F/m2, of both electrodes in both parameter sets of PyBaMM
DEFAULT = EIS().mesh
REFINED = Mesh(160, 80, 160)
PEER_SHARE = 0.1  # of PyBaMM's processor seconds at its default mesh, the target
ERROR = 1e-3  # relative, at any frequency, the target
DESIGNS = 100


def rows(peers: bool = True, repeats: int = 20) -> list[dict]:
    """Each full cell without and with double layers, a gradient, and a batch of designs."""
    found = [_spectrum(name, layer, repeats, peers) for name in CELLS for layer in (None, DOUBLE_LAYER)]
    return [*found, _gradient("Marquis2019", repeats, found[1]["cpu_s"]), _batch("Marquis2019", repeats)]


def _solve(cell, method):
    return impedance(cell, jnp.asarray(FREQUENCY), method, state_of_charge=jnp.asarray(1.0)).of_cell


def _spectrum(name, double_layer, repeats, peers):
    """The value, with its largest relative error against a refined solution."""
    cell = covered(CELLS[name](), double_layer, double_layer)
    refined = np.asarray(eqx.filter_jit(_solve)(cell, EIS(REFINED)))
    found, row = timed(eqx.filter_jit(_solve), (cell, EIS(DEFAULT)), repeats)
    error = np.abs(np.asarray(found) / refined - 1.0)
    row |= {
        "accuracy": {"max_relative_error": float(error.max()), "at_Hz": float(FREQUENCY[error.argmax()])},
        "max_relative_error": float(error.max()),
    }
    what = "impedance with double layer" if double_layer else "impedance"
    row = aimed(case("cell", f"{what} {name}", _size(), "complex128", **row), "max_relative_error", ERROR)
    if not peers:
        return row
    question = {"name": name, "frequencies": FREQUENCY.tolist(), "double_layer": double_layer is not None}
    question |= {"real": refined.real.tolist(), "imaginary": refined.imag.tolist(), "repeats": repeats}
    return against(row, ask_peer("pybamm_eis", question), PEER_SHARE)


def _gradient(name, repeats, value_cpu):
    """The squared distance to a spectrum, as in a fit, with its gradient in every number of the cell."""
    cell, method = covered(CELLS[name](), DOUBLE_LAYER, DOUBLE_LAYER), EIS(DEFAULT)
    measured = 1.1 * eqx.filter_jit(_solve)(cell, method)

    def misfit(cell):
        return jnp.sum(jnp.abs(_solve(cell, method) - measured) ** 2)

    _, row = timed(eqx.filter_jit(eqx.filter_value_and_grad(misfit)), (cell,), repeats)
    row["over_value"] = row["cpu_s"] / value_cpu
    return case("cell", f"impedance and gradient {name}", _size(), "complex128", **row)


def _batch(name, repeats):
    """Designs of different thickness, porosity and particle radius at once."""
    cell, method = covered(CELLS[name](), DOUBLE_LAYER, DOUBLE_LAYER), EIS(DEFAULT)
    scale = jnp.linspace(0.8, 1.2, DESIGNS)

    def design(x):
        def leaves(c):
            return c.positive.thickness, c.positive.porosity, c.positive.particle_radius

        return _solve(eqx.tree_at(leaves, cell, tuple(x * leaf for leaf in leaves(cell))), method)

    _, row = timed(jax.jit(jax.vmap(design)), (scale,), max(1, repeats // 4))
    row["cpu_s_a_design"] = row["cpu_s"] / DESIGNS
    return case("cell", f"impedance of {DESIGNS} designs", _size(), "complex128", **row)


def _size():
    cells = DEFAULT.negative + DEFAULT.separator + DEFAULT.positive
    return {"frequencies": len(FREQUENCY), "cells": [cells, 2 * cells]}
