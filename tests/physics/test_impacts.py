"""Impacts of one sphere on a wall and of two spheres, against closed forms and LAMMPS (reference `dem`, V1 to V8, V10,
V11, V16, V21)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from solver.particles import cells
from solver.particles.dynamics import advance, begin, run, start
from solver.particles.forces import Contact
from solver.particles.normal import Hertz, Luding, ThorntonNing
from solver.particles.plates import Plane
from solver.particles.scene import Scene, grains, rayleigh_time
from solver.particles.tangential import Mindlin, Restitution

ELASTIC = Contact(Hertz(), None, None)
WIDE = 50.0  # of the lateral period over the radius: no image ever meets
STEPS = 600


def impact(law, radius, solid, velocity, spin=(0, 0, 0), *, second=None, step=None, soft=0.0):
    """A sphere about to hit the plane x = 0, or an equal sphere.

    **Arguments:** `solid`, modulus, Poisson's ratio, density; `velocity`, `spin`, of the first; `second`, those of the
    other sphere; `step`, s, by default a 300th of the time of a Hertz contact; `soft`, how much the plane gives along
    the surface, over the sphere.
    """
    modulus, poisson, density = solid
    body = grains(jnp.full(1 if second is None else 2, radius), modulus, poisson, density)
    reduced, mass, stiff = radius, body.mass[0], 1 / body.compliance[0]
    if second is not None:
        reduced, mass, stiff = radius / 2, mass / 2, stiff / 2
    speed = jnp.abs(velocity[0] - (0 if second is None else second[0][0]))
    deepest = (15 * mass * speed**2 / (16 * stiff * jnp.sqrt(reduced))) ** 0.4
    step = 2.94327 * deepest / speed / 300 if step is None else step
    lateral = jnp.stack([WIDE * jnp.asarray(radius)] * 2)
    scene = Scene(
        body, lateral, step, (Plane(shear=soft * body.shear[0]),) if second is None else (), law, law, skin=0.5 * radius
    )
    places = [1.0] if second is None else [3.0, 1.0]
    positions = jnp.stack([radius * jnp.asarray([p, 0.0, 0.0]) for p in places])
    packing = Packing(positions, body.radii, jnp.concatenate([jnp.asarray(10.0 * radius)[None], lateral]))
    moving = [[velocity, spin]] if second is None else [[velocity, spin], second]
    moving = jnp.stack([jnp.stack([jnp.stack([jnp.asarray(c, float) for c in v]) for v in row]) for row in moving])
    return scene, packing, moving[:, 0], moving[:, 1]


def traced(numbers):
    """The numbers as arrays, so that one compilation serves them all."""
    return tuple(jnp.asarray(float(n)) for n in numbers)


CAPACITY = cells.Capacity(8, 4, 4, (1, 3, 3))


@eqx.filter_jit
def shot(*arguments, steps=STEPS, rows=1, **options):
    """`rows` states of [`impact`][], stacked, after `steps` in all."""
    scene, packing, velocities, spins = impact(*arguments, **options)
    state = begin(scene, packing, [0.0] * len(scene.walls), CAPACITY, velocities, spins)

    def on(state, _):
        state = advance(scene, state, steps // rows, CAPACITY)
        return state, state

    return jax.lax.scan(on, state, None, length=rows)[1]


@pytest.mark.parametrize(
    "solid, expected",
    [
        ((48e9, 0.20, 2800), (274.113e-6, 10.6969e3, 40.3395e-6)),
        ((20e9, 0.25, 2500), (368.304e-6, 7.10824e3, 54.2010e-6)),
    ],
)
def test_v1_elastic_impact_of_equal_spheres(solid, expected):
    """V1, Chung and Ooi 2011 (doi 10.1007/s10035-011-0277-0) test 1: glass and limestone, 10 mm, 10 m/s each."""
    speed = jnp.asarray(10.0)
    states = shot(ELASTIC, 0.010, traced(solid), (-speed, 0, 0), second=((speed, 0, 0), (0, 0, 0)), steps=400, rows=400)
    _check_course(states, 2 * 0.010 - (states.positions[:, 0, 0] - states.positions[:, 0, 1]), expected, 0)


@pytest.mark.parametrize(
    "solid, expected",
    [
        ((70e9, 0.30, 2699), (49.7172e-6, 11.3699e3, 731.657e-6)),
        ((40e9, 0.35, 1800), (52.1233e-6, 7.23268e3, 767.066e-6)),
    ],
)
def test_v2_elastic_impact_on_a_wall(solid, expected):
    """V2, Chung and Ooi 2011 test 2: aluminium and magnesium alloy, 0.1 m, 0.2 m/s."""
    states = shot(ELASTIC, 0.1, traced(solid), (-0.2, 0, 0), steps=400, rows=400)
    _check_course(states, 0.1 - states.positions[:, 0, 0], expected, 0)


def _check_course(states, overlap, expected, particle):
    """Largest overlap, largest force and duration of a contact that began at time 0, to 0.1 %."""
    deepest, force, duration = expected
    assert np.max(overlap) == pytest.approx(deepest, rel=1e-3)
    assert np.max(np.abs(states.force[:, 0, particle])) == pytest.approx(force, rel=1e-3)
    last = np.flatnonzero(np.asarray(overlap) > 0)[-1]
    t0, t1, d0, d1 = states.time[last], states.time[last + 1], overlap[last], overlap[last + 1]
    assert t0 + (t1 - t0) * d0 / (d0 - d1) == pytest.approx(duration, rel=1e-3)


ALUMINA, CAST_IRON = (380e9, 0.23, 4000), (100e9, 0.25, 7000)


@pytest.mark.parametrize("clipped", [False, True])
def test_v3_restitution(clipped):
    """V3, Chung and Ooi 2011 test 3: the coefficient asked for comes out; a known larger one where tension is cut."""
    asked = jnp.arange(1, 10) / 10

    @jax.jit
    @jax.vmap
    def rebound(e):
        law = Contact(Hertz(), Restitution(e, clipped=clipped), None)
        states = shot(law, 2.5e-3, ALUMINA, (-3.9, 0, 0), steps=3000)
        return states.velocities[-1, 0, 0] / 3.9

    wanted = asked
    if clipped:
        wanted = [0.25273, 0.32486, 0.39714, 0.47201, 0.55028, 0.63229, 0.71820, 0.80810, 0.90203]
    np.testing.assert_allclose(rebound(asked), wanted, atol=1e-3)


@eqx.filter_jit
def oblique(law, solid, degrees, speed=3.9, radius=2.5e-3):
    """Tangential restitution, spin and rebound angle of oblique impacts on a wall, all angles at once."""

    @jax.vmap
    def one(angle):
        v_n, v_t = speed * jnp.cos(angle), speed * jnp.sin(angle)
        states = shot(law, radius, solid, (-v_n, v_t, 0.0))
        v, w = states.velocities[-1, :, 0], states.spins[-1, :, 0]
        surface = v[1] - radius * w[2]  # the velocity at the contact, which Chung and Ooi's angle is of
        return v[1] / v_t, -w[2], jnp.degrees(jnp.arctan(surface / v[0]))

    return one(jnp.radians(degrees))


def test_v4_oblique_impact_that_slides():
    """V4, Chung and Ooi 2011 test 4, closed form of a contact that slides throughout, to 0.2 %."""
    table = np.asarray([
        (35, 0.7398, -581.9, 3.66), (40, 0.7829, -544.2, 11.62), (50, 0.8471, -456.7, 29.49),
        (60, 0.8948, -355.2, 48.16), (70, 0.9337, -243.0, 65.09), (80, 0.9679, -123.4, 78.98),
        (85, 0.9841, -61.9, 84.81),
    ])  # fmt: skip
    law = Contact(Hertz(), Restitution(0.98, share=1.0), Mindlin(0.092))
    ratio, spin, angle = oblique(law, traced(ALUMINA), jnp.asarray(table[:, 0]))
    np.testing.assert_allclose(ratio, table[:, 1], rtol=2e-3)
    np.testing.assert_allclose(spin, table[:, 2], rtol=2e-3)
    np.testing.assert_allclose(angle, table[:, 3], atol=0.1)


LAMMPS = {
    "alumina": [(5, 0.9471, 18.0, 4.16), (10, 0.7032, 201.0, -0.40), (15, 0.6339, 369.5, -4.40),
                (20, 0.6226, 503.4, -6.79), (25, 0.6393, 594.5, -7.12), (30, 0.6845, 615.2, -3.51)],
    "aluminium": [(5, 0.9018, 33.4, 3.35), (10, 0.6797, 216.9, -1.25), (15, 0.6200, 383.6, -5.16),
                  (20, 0.6145, 514.2, -7.39), (25, 0.6356, 600.6, -7.46)],
    "rescaled": [(5, 0.8830, 39.8, 3.02), (10, 0.7003, 203.0, -0.50), (20, 0.6312, 491.9, -6.16)],
}  # fmt: skip


@pytest.mark.parametrize(
    "name, solid", [("alumina", ALUMINA), ("aluminium", (70e9, 0.33, 2700)), ("rescaled", ALUMINA)]
)
def test_v5_oblique_impact_that_sticks(name, solid):
    """V5, LAMMPS 2025.7.22 (`mindlin`, `mindlin_rescale`, `coeff_restitution`), to 0.5 %."""
    table = np.asarray(LAMMPS[name])
    law = Contact(Hertz(), Restitution(0.98, share=1.0), Mindlin(0.092, rescaled=name == "rescaled"))
    ratio, spin, angle = oblique(law, traced(solid), jnp.asarray(table[:, 0]))
    np.testing.assert_allclose(ratio, table[:, 1], rtol=5e-3)
    np.testing.assert_allclose(-spin, table[:, 2], rtol=5e-3, atol=0.3)
    np.testing.assert_allclose(angle, table[:, 3], atol=0.06)


def test_v6_small_steel_sphere():
    """V6, Chung and Ooi 2011 test 5: R w' / (mu v_n) levels at -2.5 (1 + e) once the contact slides throughout.

    The digitised points before that are not Mindlin's on a rigid plane: at v_t / (mu v_n) = 3.96 test 4 has 3.79 in the
    same variables, which LAMMPS and this engine meet (V5), and test 5 would have 4.8. They are met within 7 % by a
    contact half as stiff along the surface, that is, by a plane that gives as the sphere does there.
    """
    radius, v_n, mu = 10e-6, 5.0, 0.3
    law = Contact(Hertz(), None, Mindlin(mu))

    @jax.jit
    @jax.vmap
    def spin(v_t, soft):
        states = shot(law, radius, (208e9, 0.30, 7850), (-v_n, v_t, 0.0), soft=soft)
        return -radius * states.spins[-1, 2, 0] / (mu * v_n)

    ratio = jnp.asarray([7.5, 8.0, 12.0, 1.0, 2.0, 2.99, 3.99, 5.0])
    found = spin(ratio * mu * v_n, jnp.asarray([0.0] * 3 + [1.0] * 5))
    np.testing.assert_allclose(found[:3], -5.0, rtol=2e-3)
    np.testing.assert_allclose(found[3:], [-1.250, -2.524, -3.904, -4.837, -5.007], rtol=0.07)


@pytest.mark.parametrize("wall", [True, False])
def test_v7_spinning_sphere_that_slides(wall):
    """V7, Chung and Ooi 2011 tests 6 and 8: -V_t' / V_t = -1 + 3.5 mu (1 + e) v_n / V_t on the sliding branch.

    The damping pulls at the end of a contact, and friction acts there too: 2 % more impulse at e = 0.5 than the closed
    form has, 0.4 % of the result.
    """
    radius, v_n, mu, e = 0.1, 0.2, 0.4, 0.5
    spins = jnp.asarray([-24.0, -40.0])
    law = Contact(Hertz(), Restitution(e), Mindlin(mu))

    @jax.jit
    @jax.vmap
    def after(w):
        second = None if wall else ((v_n, 0, 0), (0, 0, w))
        states = shot(law, radius, (70e9, 0.33, 2700), (-v_n, 0, 0), (0, 0, w), second=second)
        return states.velocities[-1, 1, 0] - radius * states.spins[-1, 2, 0]

    before = -radius * spins
    wanted = -1 + 3.5 * mu * (1 + e) * v_n / jnp.abs(before)
    np.testing.assert_allclose(-after(spins) / before, wanted, rtol=5e-3)


def test_v8_spins_that_cancel():
    """V8, Chung and Ooi 2011 test 7: opposite spins of equal spheres leave no slip, so nothing turns or drifts."""
    law = Contact(Hertz(), Restitution(0.5), Mindlin(0.4))
    states = shot(law, 0.1, (70e9, 0.33, 2700), (-0.2, 0, 0), (0, 0, 7.0), second=((0.2, 0, 0), (0, 0, -7.0)))
    np.testing.assert_allclose(states.velocities[-1, 1:], 0, atol=1e-9 * 0.2)
    np.testing.assert_allclose(states.spins[-1, 2], [7.0, -7.0], rtol=1e-9)


def test_v10_thornton_ning_restitution():
    """V10, Thornton and Ning 1998 (doi 10.1016/S0032-5910(98)00099-0): e over v / v_y, to 1 %."""
    radius, solid, yields = 0.01, (70e9, 0.3, 2700), 1e9
    body = grains(jnp.full(1, radius), *solid)
    v_y = 3.194 * jnp.sqrt(yields**5 * radius**3 * body.compliance[0] ** 4 / body.mass[0])
    ratios = jnp.asarray([1.0, 2.0, 5.0, 10.0, 50.0, 100.0])

    @jax.jit
    @jax.vmap
    def rebound(ratio):
        states = shot(Contact(ThorntonNing(yields), None, None), radius, solid, (-ratio * v_y, 0, 0), steps=1200)
        return states.velocities[-1, 0, 0] / (ratio * v_y)

    np.testing.assert_allclose(rebound(ratios), [1, 0.9306, 0.7733, 0.6586, 0.4446, 0.3743], rtol=1e-2)


def test_v11_luding_restitution():
    """V11, Luding 2008: without cohesion e = sqrt(k1 / k2), k2 that of the largest overlap."""
    radius, k1, stiffest, depth = 0.5, 100.0, 500.0, 0.05
    body = grains(jnp.full(1, radius), 1e6, 0.3, 6 / jnp.pi)
    speeds = jnp.asarray([0.1, 0.2, 0.3])

    @jax.jit
    @jax.vmap
    def rebound(v):
        law = Contact(Luding(k1, stiffest, 0.0, depth), None, None)
        time = jnp.pi * jnp.sqrt(body.mass[0] / k1)
        states = shot(law, radius, (1e6, 0.3, 6 / np.pi), (-v, 0, 0), step=time / 4000, steps=6000)
        return states.velocities[-1, 0, 0] / v

    deepest = stiffest / (stiffest - k1) * depth * 2 * radius
    largest = speeds * jnp.sqrt(body.mass[0] / k1)
    assert float(largest.max()) < float(deepest)
    k2 = k1 + (stiffest - k1) * largest / deepest
    np.testing.assert_allclose(rebound(speeds), jnp.sqrt(k1 / k2), rtol=1e-3)


@pytest.mark.parametrize("mu, acceleration, turning", [(0.25, 4.0191, 1.0), (0.1, 4.8232, None)])
def test_v16_sphere_on_an_incline(mu, acceleration, turning):
    """V16: rolls at (5/7) g sin(a) where mu >= (2/7) tan(a), else slides at g (sin(a) - mu cos(a)); 35 degrees."""
    radius, g, angle = 5e-3, 9.81, np.radians(35)
    solid = (1e8, 0.3, 2500)
    body = grains(jnp.full(1, radius), *solid)
    law = Contact(Hertz(), Restitution(0.3), Mindlin(mu))
    step = 0.2 * rayleigh_time(radius, *solid)
    gravity = (-g * np.cos(angle), g * np.sin(angle), 0.0)
    scene = Scene(body, [1.0, 1.0], step, (Plane(),), law, law, gravity=gravity, skin=0.1)
    weight = float(body.mass[0]) * g * np.cos(angle)
    sink = (0.75 * weight * float(body.compliance[0]) / np.sqrt(radius)) ** (2 / 3)
    packing = Packing(jnp.asarray([[radius - sink, 0.0, 0.0]]), body.radii, [0.1, 1.0, 1.0])
    state = eqx.filter_jit(begin)(scene, packing, [0.0], CAPACITY)
    early = advance(scene, state, 2000, CAPACITY)
    late = advance(scene, early, 4000, CAPACITY)
    dt = late.time - early.time
    found = (late.velocities[1, 0] - early.velocities[1, 0]) / dt
    assert found == pytest.approx(acceleration, rel=5e-3)
    spun = (late.spins[2, 0] - early.spins[2, 0]) / dt
    expected = float(found) / radius if turning else 5 * mu * g * np.cos(angle) / (2 * radius)
    assert spun == pytest.approx(expected, rel=5e-3)


def test_v21_order_of_the_integrator():
    """V21: the energy error inside one Hertz contact falls with the square of the step."""
    radius, solid, depth = 0.01, (70e9, 0.3, 2700), 5e-5
    body = grains(jnp.full(1, radius), *solid)
    stiff = 4 / 3 / body.compliance[0] * np.sqrt(radius)
    period = 2 * np.pi * np.sqrt(float(body.mass[0] / (1.5 * stiff * np.sqrt(depth))))

    @jax.jit
    @jax.vmap
    def error(share):
        scene = Scene(body, [10.0, 10.0], share * period, (Plane(),), ELASTIC, ELASTIC, skin=radius)
        packing = Packing(jnp.asarray([[radius - depth, 0.0, 0.0]]), body.radii, [0.1, 10.0, 10.0])
        state = begin(scene, packing, [0.0], CAPACITY)
        state = advance(scene, state, jnp.round(0.2 / share).astype(int), CAPACITY)
        overlap = radius - state.positions[0, 0]
        energy = 0.5 * body.mass[0] * state.velocities[0, 0] ** 2 + 0.4 * stiff * overlap**2.5
        return jnp.abs(energy / (0.4 * stiff * depth**2.5) - 1)

    errors = np.asarray(error(jnp.asarray([1 / 50, 1 / 100, 1 / 200])))
    assert np.all(np.log2(errors[:-1] / errors[1:]) > 1.8)


def test_a_step_that_is_too_long_is_refused():
    """Motion that blows up is one sentence."""
    scene, packing, velocities, spins = impact(ELASTIC, 0.1, (70e9, 0.3, 2700), (-0.2, 0, 0), step=1.0)
    scene = eqx.tree_at(lambda s: s.gravity, scene, jnp.asarray([-1e308, 0, 0]))
    begun = start(scene, packing, [0.0], velocities, spins)
    with pytest.raises(ValueError, match="Argument `step` must be shorter"):
        run(scene, begun.state, 10, begun.capacity)
