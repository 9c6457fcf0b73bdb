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
from solver.particles.dynamics import run, start  # noqa: E402
from solver.particles.forces import Contact  # noqa: E402
from solver.particles.neighbours import candidate_pairs  # noqa: E402
from solver.particles.normal import Hertz  # noqa: E402
from solver.particles.observe import observe  # noqa: E402
from solver.particles.plates import Moving, Plane  # noqa: E402
from solver.particles.scene import Scene, grains  # noqa: E402
from solver.particles.tangential import Mindlin, Restitution  # noqa: E402
from solver.process.calender import Calendering, calender  # noqa: E402
from solver.process.settle import settled_film  # noqa: E402


def film(radii, fraction, thickness=None, seed=1):
    """Settled spheres at a solid fraction; without a thickness in a width of 12 mean radii."""
    volume = 4 / 3 * np.pi * np.sum(np.asarray(radii) ** 3) / fraction
    width = np.sqrt(volume / thickness) if thickness else 12 * float(np.mean(radii))
    box = jnp.asarray([volume / width**2, width, width])
    return raise_unless_successful(settled_film(jax.random.key(seed), jnp.asarray(radii), box), "The film")


def elastic(count=300):
    """Spheres of 10 GPa with friction and no binder, in motion: plate down from a porosity of 0.44 to 0.30 at 1 m/s,
    and up again. Thickness, m, and pressure, Pa, while it rises."""
    draws = 4e-6 * np.exp(0.3 * np.random.default_rng(12345).standard_normal(2 * count))
    packing = film(draws[(draws > 2e-6) & (draws < 8e-6)][:count], 0.56)
    law, body = Contact(Hertz(), Restitution(0.44, share=1.0), Mindlin(0.3)), grains(packing.radii, 10e9, 0.3, 4700.0)
    same = {"compliance": body.compliance[0], "shear": body.shear[0]}

    def scene(velocity):
        plates = (Plane(**same), Plane(Moving(velocity), above=True, **same))
        return Scene(body, packing.box[1:], 1.5e-9, plates, law, law, skin=0.6e-6)

    top = float(packing.box[0])
    now = start(scene(-1.0), packing, jnp.asarray([0.0, top]))
    now, rows = run(scene(-1.0), now.state, round(top * (1 - 0.56 / 0.70) / 1.5e-9), now.capacity), []
    while not rows or rows[-1][1] > 0.005 * rows[0][1]:
        height = now.state.walls.height[1]
        rows.append((float(height), float(observe(scene(1.0), now.state, height).stress[0, 0])))
        now = run(scene(1.0), now.state, 400, now.capacity)
    return np.asarray(rows).T


def bonded(law, count=100):
    """NMC of 140 GPa with binder bridges, without friction, from 50 um to 36 um: the same while it is let go."""
    packing = film(sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(0), count)), 0.47, 50e-6)
    method = Calendering(load=8, unload=12)
    pressed = raise_unless_successful(calender(packing, candidate_pairs(packing), 36e-6, law, method=method), "It")
    return np.asarray(pressed.thickness)[8:], np.asarray(pressed.pressure)[8:]


def one_contact(law, deepest):
    """Overlap, m, and force, N, of two particles of 5 um pressed together and let go."""
    constants = contact.constants(law.pair_modulus(), law.yield_pressure, 2.5e-6)
    down, up = np.linspace(0, deepest, 60), np.linspace(deepest, 0, 60)
    first = contact.force(jnp.asarray(down), contact.branch(jnp.asarray(0.0), constants))
    again = contact.force(jnp.asarray(up), contact.branch(jnp.asarray(deepest), constants))
    return np.concatenate([down, up]), np.concatenate([first, again])


plastic, hertz = ContactLaw(), ContactLaw(yield_pressure=1e20)
drawn = figure.Figure(figsize=(10, 4.2), layout="constrained")
left, right = drawn.subplots(1, 2)
for law, name, colour in ((hertz, "elastic", "#d55e00"), (plastic, "plastic at 3 GPa", "#0072b2")):
    overlap, force = one_contact(law, 0.1e-6)
    left.plot(1e9 * overlap, 1e3 * force, color=colour, label=name)
left.set(xlabel="overlap / nm", ylabel="force / mN", title="One contact of NMC, 140 GPa, R* = 2.5 µm")
left.legend(frameon=False)
for name, (thickness, pressure), colour in (
    ("elastic spheres, friction, no binder", elastic(), "#d55e00"),
    ("NMC with binder, contacts elastic", bonded(hertz), "#e69f00"),
    ("NMC with binder, contacts plastic", bonded(plastic), "#0072b2"),
):
    recovered = 100 * (thickness / thickness[0] - 1)
    share = pressure / pressure[0]
    back = np.interp(-0.01, -share, recovered)
    print(f"{name}: peak {pressure[0] / 1e6:.0f} MPa, {back:.1f} % of the gap is back at a hundredth of it")
    right.plot(recovered, share, color=colour, label=f"{name}: {back:.1f} %")
right.set(xlabel="thickness over the smallest - 1 / %", ylabel="pressure / peak", title="Letting go of a film")
right.legend(frameon=False)
drawn.savefig("mesode_springback.png", dpi=100)
