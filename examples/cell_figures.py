"""What a cell weighs, costs and emits per kilowatt-hour, how that follows its coating, and where its voltage goes."""

import equinox as eqx
import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

from mesode.economics import figures, read_economics  # noqa: E402
from mesode.figures import png  # noqa: E402
from mesode.loss_figure import losses  # noqa: E402
from microstructure.units import Wh, litre  # noqa: E402
from solver.cell.carbon import footprint  # noqa: E402
from solver.cell.cell import balanced_negative, theoretical_capacity  # noqa: E402
from solver.cell.cost import cost  # noqa: E402
from solver.cell.discretise import Mesh  # noqa: E402
from solver.cell.library import chen2020  # noqa: E402
from solver.cell.losses import CAUSES, PLACES, course  # noqa: E402
from solver.cell.operation import pulse  # noqa: E402
from solver.cell.performance import stack  # noqa: E402
from solver.cell.protocol import DFN, discharge  # noqa: E402

METHOD = DFN(Mesh(20, 8, 20, 12))
cell = chen2020()


@eqx.filter_jit
@eqx.filter_value_and_grad(has_aux=True)
def per_kWh(thickness, cell, rate):
    """USD/kWh at a rate in 1/h, by the thickness of the positive, m, the negative in balance; and the other figures."""
    positive = eqx.tree_at(lambda e: e.thickness, cell.positive, thickness)
    design = eqx.tree_at(
        lambda c: (c.positive, c.negative), cell, (positive, balanced_negative(cell.negative, positive, 1.0))
    )
    run = discharge(design, rate * theoretical_capacity(positive) / 3600.0, METHOD).value
    pair, kWh = stack(design), run.energy / (1e3 * Wh)
    by_mass = pair.specific_energy(run.energy) / Wh
    by_volume = pair.energy_density(run.energy) / Wh * litre
    return cost(design).total / kWh, (by_mass, by_volume, footprint(design).total / kWh, run.energy)


for rate in (0.1, 2.0):
    (price, (by_mass, by_volume, carbon, energy)), slope = per_kWh(cell.positive.thickness, cell, jnp.asarray(rate))
    print(f"{rate:g}C: {by_mass:.0f} Wh/kg and {by_volume:.0f} Wh/L of the stack, {carbon:.0f} kg CO2e/kWh,", end=" ")
    print(f"{price:.1f} USD/kWh, with a slope of {slope * 1e-6:+.3f} by um of positive coating")
    if rate == 0.1:
        found = figures(cell, energy, read_economics())
        dearest = sorted(found["cost_USD_kWh_by_item"].items(), key=lambda item: -item[1])[:4]
        print("dearest:", ", ".join(f"{name} {value:.1f} USD/kWh" for name, value in dearest))

current = 10.0 / cell.area  # 2C
resistance = eqx.filter_jit(pulse)(cell, current, method=METHOD).resistance
print(f"10 s pulse at 2C, half charged: {1e4 * resistance:.1f} ohm cm2")
found = eqx.filter_jit(course)(cell, current, method=METHOD)
part = found.losses
spent = {cause: float(jnp.sum(row)) / Wh for cause, row in zip(CAUSES, found.energies, strict=True)}
print("lost in a discharge at 2C, Wh/m2:", ", ".join(f"{cause} {value:.2f}" for cause, value in spent.items()))
drawn = losses(found.capacity, part.open_circuit, part.voltage, part.parts, CAUSES, PLACES)
with open("mesode_losses.png", "wb") as file:
    file.write(png(drawn))
