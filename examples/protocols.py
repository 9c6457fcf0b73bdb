"""What is done to cells, in one picture: CCCV, a drive cycle, pulses, a spectrum, and a fast charge that never plates.

The cell is the LG M50 of Chen et al. 2020, doi 10.1149/1945-7111/ab9050. The drive cycle, `data/drive_cycle.csv`, is
made up: five minutes of a town with braking. The fast charge holds the potential of the negative electrode
at its separator 10 mV above that of lithium, as soon as 2C would take it below.
"""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

from mesode.figures import CYCLE, _figure, png, styled  # noqa: E402
from microstructure.units import Ah, Wh  # noqa: E402
from solver.cell import control  # noqa: E402
from solver.cell.cell import covered, open_circuit_voltage, theoretical_capacity  # noqa: E402
from solver.cell.control import limits  # noqa: E402
from solver.cell.cycle import Step, cycle  # noqa: E402
from solver.cell.discretise import Mesh  # noqa: E402
from solver.cell.impedance import EIS, impedance  # noqa: E402
from solver.cell.library import chen2020  # noqa: E402
from solver.cell.operation import charging_time, pulse_resistance  # noqa: E402
from solver.cell.protocol import DFN  # noqa: E402
from solver.numerics.march import March  # noqa: E402

DRIVE = np.loadtxt(pathlib.Path(__file__).parent / "data" / "drive_cycle.csv", delimiter=",", skiprows=1)
cell = chen2020()
one = 5.0 / float(cell.area)  # A/m2, 1C
mesh = Mesh(20, 8, 20, 12)
run = eqx.filter_jit(cycle)


def cccv():
    """1C to 2.5 V, half an hour of rest, C/2 to 4.2 V, and 4.2 V until C/50."""
    return run(
        cell,
        [
            Step(control.constant_current(one), limits(voltage=(2.5, None))),
            Step(control.constant_current(0.0), duration=1800.0),
            Step(control.constant_current(-0.5 * one), limits(voltage=(None, 4.2))),
            Step(control.constant_voltage(4.2), limits(current=(one / 50, None))),
        ],
        DFN(mesh),
    ).value


def drive():
    """The drive cycle from 80 % of charge."""
    times, amperes = jnp.asarray(DRIVE[:, 0]), jnp.asarray(DRIVE[:, 1])
    step = Step(control.current_table(times, amperes / cell.area), limits(voltage=(2.5, 4.2)), duration=times[-1])
    return run(cell, [step], DFN(mesh, March(max_steps=600)), state_of_charge=jnp.asarray(0.8)).value


def pulses():
    """Ten seconds of 2C out and of 1.5C in, with 40 s of rest, from half charged."""
    parts = ((2.0, 10.0), (0.0, 40.0), (-1.5, 10.0), (0.0, 40.0))
    steps = [Step(control.constant_current(rate * one), duration=lasting) for rate, lasting in parts]
    return run(cell, steps, DFN(mesh), state_of_charge=jnp.asarray(0.5)).value


def fast(thickness, margin):
    """From 10 to 80 % of charge at 2C, the plating potential held at `margin`, V, before it falls below."""
    design = eqx.tree_at(lambda c: c.negative.thickness, cell, thickness)
    full = theoretical_capacity(cell.positive)
    enough = {"voltage": (None, 4.2), "drawn": (-0.7 * full, None)}
    steps = [
        Step(control.constant_current(-2.0 * one), limits(plating=(margin, None), **enough)),
        Step(control.plating_limit(margin), limits(**enough)),
        Step(control.constant_voltage(4.2), limits(drawn=enough["drawn"])),
    ]
    course = cycle(design, steps, DFN(mesh), state_of_charge=0.1).value
    charged = 0.1 - course.drawn.ravel() / full
    return charging_time(course.time.ravel(), charged, 0.1, 0.8 - 1e-9, -course.current.ravel() / full), course


def spectra():
    """The impedance at three states of charge, 20 kHz to 1 mHz, with a double layer of 0.2 F/m2 of particle surface."""
    frequency, charged = jnp.geomspace(2e4, 1e-3, 60), covered(cell, 0.2, 0.2)
    found = eqx.filter_jit(lambda charge: impedance(charged, frequency, EIS(mesh), state_of_charge=charge).of_cell)
    return {charge: np.asarray(found(jnp.asarray(charge))) for charge in (0.2, 0.5, 0.9)}


def hours_and(course):
    """Time in h, V and A of all steps in one."""
    return course.time.ravel() / 3600, course.voltage.ravel(), course.current.ravel() * cell.area


@styled
def drawn(cycled, driven, pulsed, spectra, charges):
    """One panel for each."""
    figure, ((top_left, top, top_right), (left, below, right)) = _figure(13.0, 7.2, 2, 3)
    for axis, course, scale, unit, title in (
        (top_left, cycled, 1.0, "h", "1C, rest, C/2 and 4.2 V until C/50"),
        (top, driven, 60.0, "min", "drive cycle from 80 % of charge"),
        (top_right, pulsed, 3600.0, "s", "pulses from half charged"),
    ):
        time, volts, amperes = hours_and(course)
        axis.plot(scale * time, volts, color=CYCLE[0])
        axis.set(xlabel=f"time / {unit}", ylabel="voltage / V", title=title)
        other = axis.twinx()
        other.plot(scale * time, amperes, color=CYCLE[1], lw=1.0)
        other.set_ylabel("current / A, discharge positive", color=CYCLE[1])
        other.spines["right"].set_visible(True)
        other.grid(visible=False)
        axis.yaxis.label.set_color(CYCLE[0])
    for number, (charge, z) in enumerate(spectra.items()):
        left.plot(1e3 * z.real, -1e3 * z.imag, color=CYCLE[number], label=f"{100 * charge:.0f} % of charge")
    left.set(xlabel="real part / mΩ", ylabel="negative imaginary part / mΩ", title="impedance, 20 kHz to 1 mHz")
    left.set_aspect("equal", adjustable="datalim")
    left.legend()
    for (name, course), colour in zip(charges.items(), CYCLE[1::-1], strict=True):
        charged = 10 - 100 * np.asarray(course.drawn.ravel() / theoretical_capacity(cell.positive))
        below.plot(charged, 1e3 * course.plating.ravel(), color=colour, label=name)
        right.plot(charged, -course.current.ravel() / one, color=colour, label=name)
    below.axhline(0.0, color="#555555", lw=1.0)
    below.annotate("lithium plates below", (30, -6), color="#555555", va="top", fontsize=9)
    below.set(xlabel="state of charge / %", ylabel="plating potential / mV", title="fast charge at 2C from 10 to 80 %")
    right.set(xlabel="state of charge / %", ylabel="C-rate", title="what the plating limit allows", ylim=(0, None))
    below.legend()
    return figure


cycled, driven, pulsed, found = cccv(), drive(), pulses(), spectra()
out, back = cycled.charge[0], -cycled.charge[2:].sum()
share = cycled.energy[0] / -cycled.energy[2:].sum()
print(
    f"CCCV: {out * cell.area / Ah:.3f} Ah out, {back * cell.area / Ah:.3f} Ah in; {share:.1%} of the energy comes back"
)
print(f"drive cycle: {driven.energy[0] * cell.area / Wh:.2f} Wh, never below {driven.voltage.min():.3f} V")
for name, k in (("2C out", 0), ("1.5C in", 2)):
    before = pulsed.voltage[1, -1] if k else open_circuit_voltage(cell, 0.5)
    ohm = pulse_resistance(jnp.stack([before, pulsed.voltage[k, -1]]), jnp.stack([0.0, pulsed.current[k, -1]]))
    print(f"pulse, {name}: {1e3 * ohm / cell.area:.1f} mohm after 10 s")
sloped, charges = eqx.filter_jit(eqx.filter_value_and_grad(fast, has_aux=True)), {}
for name, margin in (("no limit", -1.0), ("held at +10 mV", 0.01)):
    (seconds, charges[name]), slope = sloped(cell.negative.thickness, jnp.asarray(margin))
    print(f"10 to 80 %, {name}: {seconds / 60:.1f} min, {slope / 60e6:+.2f} min by um of negative electrode")
with open("mesode_protocols.png", "wb") as file:
    file.write(png(drawn(cycled, driven, pulsed, found, charges)))
