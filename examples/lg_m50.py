"""The measured discharges of an LG M50 beside the Chen 2020 model with its lumped thermal model.

Data: `data/lgm50_discharge_25C.csv`, a 5 Ah 21700 cell at 25 degC ambient, 0.1C, 0.5C and 1C, thinned from the example
data of PyBOP (BSD-3-Clause). The parameters were fitted to another sample of the cell. See docs/cell.md.
"""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import figure

jax.config.update("jax_enable_x64", True)

from solver.cell.cell import warmed  # noqa: E402
from solver.cell.library import chen2020, chen_thermal  # noqa: E402
from solver.cell.protocol import discharge  # noqa: E402

DATA = pathlib.Path(__file__).parent / "data" / "lgm50_discharge_25C.csv"
COLOURS = {0.1: "#0072b2", 0.5: "#e69f00", 1.0: "#d55e00"}
compiled = eqx.filter_jit(discharge)


def measured(table, rate):
    """Time, s, and rows of the table while the current flows, and the row at rest before."""
    rows = table[table["c_rate"] == rate]
    first = np.argmax(rows["current_A"] > 0.5 * 5.0 * rate)
    flowing = rows[first:][rows["current_A"][first:] > 0.5 * 5.0 * rate]
    before = rows[max(first - 1, 0)]
    return flowing["time_s"] - before["time_s"], flowing, before


def modelled(current, ambient):
    cell = warmed(chen2020(), chen_thermal(ambient))
    return compiled(cell, jnp.asarray(current) / cell.area).value, float(cell.area)


def rms(difference):
    return float(np.sqrt(np.mean(np.square(difference))))


drawn = figure.Figure(figsize=(10, 4.2), layout="constrained")
volts, degrees = drawn.subplots(1, 2)
for rate, rows in ((rate, measured(np.genfromtxt(DATA, delimiter=",", names=True), rate)) for rate in COLOURS):
    time, flowing, before = rows
    current = float(np.median(flowing["current_A"]))
    model, area = modelled(current, before["cell_temperature_C"] + 273.15)
    charge = time * current / 3600  # Ah
    model_charge = np.asarray(model.time) * current / 3600
    both = time <= float(model.end_time)
    voltage = np.asarray(model.voltage_at(jnp.asarray(time[both])))
    same_share = np.asarray(model.voltage_at(jnp.asarray(time / time[-1] * float(model.end_time))))
    warmth = np.interp(time[both], np.asarray(model.time), np.asarray(model.temperature)) - 273.15
    print(
        f"{rate:g}C: capacity {charge[-1]:.3f} Ah measured, {model_charge[-1]:.3f} Ah modelled; voltage differs by "
        f"{1e3 * rms(voltage - flowing['voltage_V'][both]):.0f} mV rms at the same charge and "
        f"{1e3 * rms(same_share - flowing['voltage_V']):.0f} mV at the same share of the capacity; warmed by "
        f"{flowing['cell_temperature_C'].max() - before['cell_temperature_C']:.1f} K measured, "
        f"{float(model.temperature.max() - model.temperature[0]):.1f} K modelled, "
        f"{rms(warmth - flowing['cell_temperature_C'][both]):.1f} K rms"
    )
    volts.plot(charge, flowing["voltage_V"], "--", color=COLOURS[rate])
    volts.plot(model_charge, model.voltage, color=COLOURS[rate], label=f"{rate:g}C")
    degrees.plot(charge, flowing["cell_temperature_C"], "--", color=COLOURS[rate])
    degrees.plot(model_charge, np.asarray(model.temperature) - 273.15, color=COLOURS[rate], label=f"{rate:g}C")
volts.plot([], [], "k--", label="measured")
volts.set(xlabel="charge / Ah", ylabel="voltage / V", title="LG M50 at 25 °C and the model of Chen 2020")
degrees.set(xlabel="charge / Ah", ylabel="temperature / °C", title="with its lumped thermal model")
volts.legend(frameon=False)
drawn.savefig("mesode_lg_m50.png", dpi=100)
