"""The KTH electrode (reference `dem`, A.4): packed, calendered, released, and strained along the film.

Lundkvist, Larsson, Iyer and Olsson 2024 (doi 10.1016/j.powtec.2024.119873) and their code (axlun/DEMsim) strain the
periodic cell of a calendered layer with a free surface along the film, unload by 0.1 % at several strains, and call the
change of the stress (forces between particles over the volume of the layer) over that of the strain its stiffness.
Particles do not turn, friction is 0, masses are 1e12 times as large here (1e4 and lengths 1e4 times as large there),
which gives the same time step of 100 us; strains come 20 times as fast as the 1e-3 /s there, and a background drag
keeps them quasi-static. The collector is a plane without binder.

Measured there (bending, 0.1 mm/min), GPa: 1.20, 1.43, 1.51, 1.55, 1.99 in compression and 0.95, 0.78, 0.84, 0.76, 1.06
in tension, at strains of 1.00, 1.10, 1.23, 1.41, 1.65 %. Found here with 150 particles, at 0.5, 1, 1.5 and 2 %:

| pairs with binder | compression, GPa | tension, GPa | ratio |
|---|---|---|---|
| 0.6 (theirs) | 4.20 4.41 4.76 4.95 | 3.67 3.51 3.41 3.28 | 1.15 1.25 1.40 1.51 |
| 0.6, another seed | 5.04 5.11 5.58 5.77 | 4.45 4.35 4.26 4.15 | 1.13 1.18 1.31 1.39 |
| 0.3 | 1.41 1.58 1.72 1.87 | 1.17 1.14 1.15 1.14 | 1.21 1.39 1.50 1.64 |
| 0.3, two other seeds | 1.62 to 2.09, 2.04 to 2.61 | 1.39 to 1.36, 1.80 to 1.69 | to 1.54, to 1.55 |

The ratio grows with strain, because pressing brings contacts of particles and binder newly bonded, and falls with the
share of bonded pairs, because binder that is 1.75 radii wide is some 20 times as stiff as a contact. Its radius scales
both stiffnesses and leaves the ratio (1.41 at 2 % with 1.75, 1.0 and 0.7 radii); a yield stress of 200 MPa, which the
final runs there did not have, takes the ratio to 1.09.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from solver.particles import cells
from solver.particles.bonds import filled, near_pairs
from solver.particles.dynamics import begin
from solver.particles.forces import Contact
from solver.particles.normal import MasterCurve
from solver.particles.plates import Plane
from solver.particles.prony import Prony
from solver.particles.scene import Scene, grains
from solver.particles.stretch import strain_course, stretched
from solver.particles.tangential import Restitution
from solver.particles.viscoelastic import ViscoelasticBinder
from solver.process.pack import Packer, part

MATERIAL_1 = MasterCurve(2.4e9, (69.532, -62.111), (1.71146, 1.84891))  # of E = 50 GPa
PACKED, PRESSED = 111e-6, 105e-6  # thickness, m, before and under the plate; loading 2230 kg/m3 x 0.86 at the first
UNLOAD, CHUNK = 1e-3, 20  # CHUNK strains at a time, so that all stages are one program


class Layer(eqx.Module):
    """A layer in its cell; `thickness`, m, that stresses refer to."""

    scene: Scene
    state: object
    thickness: object
    capacity: cells.Capacity = eqx.field(static=True)

    def through(self, strains, axis, steps=50):
        """The layer after a course of strains, from the first on, and what was observed after each."""
        missing = -(len(strains) - 1) % CHUNK
        padded, state, seen = np.append(strains, np.full(missing, strains[-1])), self.state, []
        for k in range(0, len(padded) - 1, CHUNK):
            part, known = jnp.asarray(padded[k : k + CHUNK + 1]), (jnp.asarray(steps), self.thickness, self.capacity)
            state, now = strain_course(self.scene, state, part, *known, axis=jnp.asarray(axis))
            seen.append(now)
        assert not bool(state.near.overflow)
        seen = {f.name: np.concatenate([getattr(s, f.name) for s in seen]) for f in dataclasses.fields(seen[0])}
        scene, _ = stretched(self.scene, self.state, 1 + strains[-1], axis)
        thickness = self.thickness * (1 + strains[-1] if axis == 0 else 1)
        return Layer(scene, state, jnp.asarray(thickness), self.capacity), seen


def calendered(count, seed=0, radius=1.75, fraction=0.6, thickness=0.5):
    """The layer packed with binder that only pushes, calendered with binder that bonds, released and left alone; the
    pressure under the plate, Pa, and the spring-back."""
    rng = np.random.default_rng(seed)
    radii = rng.gamma(4.92, 1.315, 20 * count)
    radii = 1e-6 * radii[(radii > 4) & (radii < 12)][:count]
    volume = 4 / 3 * np.pi * np.sum(radii**3)
    side, start = np.sqrt(volume * 4630 / (2230 * 0.86 * PACKED)), 120e-6
    places = rng.uniform(size=(count, 3)) * [start, side, side]
    places[:, 0] = np.clip(places[:, 0], radii, start - radii)
    packing, _ = part(Packing(places, radii, [start, side, side]), Packer(coating=0.12))

    law = ViscoelasticBinder(yield_stress=jnp.inf, relaxation=Prony([0.25], [1e-3]), adhesive=False)
    pairs = near_pairs(packing, 1.2, fraction, seed)
    bonds = filled(packing.positions.T, radii, packing.box[1:], pairs, law, radius, thickness, dried=False)
    contact, walls = Contact(MATERIAL_1, Restitution(0.3), None), (Plane(), Plane(above=True))
    body = grains(radii, 50e9, 0.3, 4630.0, mass_scale=1e12)
    scene = Scene(body, packing.box[1:], 1e-4, walls, contact, contact, bonds, drag=200.0, skin=1e-6, turning=False)
    capacity = dataclasses.replace(cells.capacity_for(packing.positions.T, radii, packing.box, 1e-6), slots=32)
    state = eqx.filter_jit(begin)(scene, packing, jnp.asarray([0.0, start]), capacity)
    layer = Layer(scene, state, jnp.asarray(start), capacity)

    layer, _ = layer.through(np.linspace(0, PACKED / start - 1, 2 * CHUNK + 1), 0, 200)
    layer = eqx.tree_at(lambda la: la.scene.bonds.law.adhesive, layer, jnp.asarray(True))
    layer, seen = layer.through(np.linspace(0, PRESSED / PACKED - 1, 2 * CHUNK + 1), 0, 200)
    peak = seen["pressure"][-1, 1]
    for _ in range(40):
        layer, seen = layer.through(np.linspace(0, 5e-3, CHUNK + 1), 0)
        if seen["pressure"][-1, 1] < 0.02 * peak:
            break
    released = float(layer.state.walls.height[1])
    layer = eqx.tree_at(lambda la: la.state.walls.height, layer, layer.state.walls.height.at[1].set(1.0))
    layer, _ = layer.through(np.zeros(CHUNK + 1), 1, 500)
    return layer, peak, released / PRESSED - 1


def stiffnesses(layer, points, sign, increment=1e-4):
    """Unloading stiffness, Pa, at each of the strains `points` in compression (-1) or tension (1) along axis 1."""
    strains, marks = [0.0], []
    for point in points:
        rise = np.linspace(strains[-1], point, round((point - strains[-1]) / increment) + 1)[1:]
        back = np.linspace(point, point - UNLOAD, round(UNLOAD / increment) + 1)[1:]
        strains += [*rise, *back]
        marks.append((len(strains) - 2 - len(back), len(strains) - 2))
        strains += [*back[-2::-1], point]
    strains = np.asarray(strains)
    _, seen = layer.through(sign * strains, 1)
    stress = -seen["stress"][:, 1, 1]
    assert np.all(seen["kinetic"] < 1e-2 * seen["elastic"])
    return np.asarray([(stress[i] - stress[j]) / (sign * (strains[i + 1] - strains[j + 1])) for i, j in marks])


@pytest.mark.slow
@pytest.mark.parametrize("fraction, ratios", [(0.6, (1.3, 1.8)), (0.3, (1.45, 2.0))])
def test_kth_electrode_is_stiffer_in_compression(fraction, ratios):
    """Must show: unloading stiffness rises with compression and not with tension, and is the higher one."""
    layer, peak, springback = calendered(150, fraction=fraction)
    assert 2e7 < peak < 1e9 and 0.01 < springback < 0.15
    assert np.all(np.asarray(layer.state.spins) == 0)
    points = [5e-3, 10e-3, 15e-3, 20e-3]
    pressed, pulled = (stiffnesses(layer, points, sign) for sign in (-1, 1))
    assert np.all(np.diff(pressed) > 0) and pressed[-1] > 1.15 * pressed[0]
    assert np.all(pulled < 1.02 * pulled[0])
    ratio = pressed / pulled
    assert np.all(ratio > 1) and np.all(np.diff(ratio) > 0) and ratios[0] < ratio[-1] < ratios[1]
    if fraction == 0.3:  # the size of what was measured: 1.2 to 2.0 GPa and 0.8 to 1.1 GPa
        assert np.all((pressed > 1.2e9) & (pressed < 2.2e9)) and np.all((pulled > 0.7e9) & (pulled < 1.4e9))
