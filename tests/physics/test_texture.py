"""The inside of a calendered film: lattices in closed form, the stress on the plate, stiffness against differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.solution import Result
from solver.particles import contact
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import candidate_pairs
from solver.process import calender, frictionless
from solver.process.calender import Calendering, Step
from solver.process.film import Stage
from solver.process.settle import settled_film
from solver.process.stiffness import stiffness
from solver.process.texture import fabric, texture

COUNT, RADIUS = 64, 5e-6
METHOD = Calendering(load=4, unload=2, tie=1e-9)
ELASTIC = ContactLaw(yield_pressure=1e20)
FIRM = Binder(strength=1e20, background=0.0)
ROUGH = Friction(0.3, 0.3)
step = eqx.filter_jit(calender.advance)
texture_of = eqx.filter_jit(texture)
stiffness_of = eqx.filter_jit(stiffness)


def pressed(film, pairs, gap, law=None, binder=None, friction=None):
    """The film in its calender, and what each increment hands to the next, from the start on."""
    press = calender.prepare(film, pairs, jnp.asarray(gap), law or ContactLaw(), binder or Binder(), METHOD, friction)
    carries = [press.first]
    for k in range(METHOD.load + METHOD.unload):
        carry, row = step(press, carries[-1], jax.tree.map(lambda a, k=k: a[k], press.stages))
        assert bool(carry[3] == Result.successful)
        carries.append(carry)
    return press, carries


@pytest.fixture(scope="module")
def film():
    """64 particles at a fraction of 0.5 in 36 um, and their pairs."""
    radii = sample(LogNormal(RADIUS, 1.25), unit_draws(jax.random.key(5), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.5 / 36e-6))
    packing = settled_film(jax.random.key(6), radii, jnp.asarray([36e-6, width, width])).value
    return packing, candidate_pairs(packing)


@pytest.fixture(scope="module", params=["smooth", pytest.param("rough", marks=pytest.mark.slow)])
def course(request, film):
    """A plastic film with binder, pressed and let go, without and with friction."""
    return pressed(*film, 27e-6, friction=ROUGH if request.param == "rough" else None)


def lattice():
    """A simple-cubic lattice of 4 x 4 x 4 spheres that just touch, and its pairs."""
    grid = jnp.meshgrid(*3 * [jnp.arange(4.0)], indexing="ij")
    sites = 2 * RADIUS * (jnp.stack(grid, -1).reshape(-1, 3) + 0.5)
    packing = Packing(sites, jnp.full(COUNT, RADIUS), jnp.full(3, 8 * RADIUS))
    return packing, candidate_pairs(packing)


@pytest.mark.parametrize("friction", [None, pytest.param(ROUGH, marks=pytest.mark.slow)], ids=["smooth", "rough"])
def test_simple_cubic_lattice(friction):
    """Columns of spheres at the strain e, E* = E / 2(1 - nu^2): overlap 2 R e, contact area pi R^2 e, stress of each
    particle F (2 R - 2 R e) / V along the column, stiffness of the film h dP/dh; and of bridges, k / 2R across."""
    packing, pairs = lattice()
    strain, binder = 0.02, Binder(modulus=1e6, strength=1e20, background=0.0)
    press, carries = pressed(packing, pairs, (1 - strain) * packing.box[0], ELASTIC, binder, friction)
    found = texture_of(press, carries[METHOD.load])
    pressure = 140e9 * strain**1.5 / (3 * (1 - 0.3**2))  # V15; the binder has 1e-5 of the modulus
    own = pressure * 4 * RADIUS**2 * 2 * RADIUS * (1 - strain) / (4 / 3 * np.pi * RADIUS**3)
    expected = own * np.eye(3)[0][:, None] * np.eye(3)[0]
    np.testing.assert_allclose(np.asarray(found.stress), np.broadcast_to(expected, (COUNT, 3, 3)), atol=1e-3 * own)
    np.testing.assert_allclose(np.asarray(found.mean_stress), own / 3, rtol=1e-3)
    np.testing.assert_allclose(np.asarray(found.von_mises), own, rtol=1e-3)
    np.testing.assert_allclose(np.asarray(found.fabric), np.diag([1.0, 0.0, 0.0]), atol=1e-12)
    np.testing.assert_allclose(np.asarray(found.bridge_fabric), np.eye(3) * np.asarray([3, 4, 4]) / 11, atol=1e-12)
    assert int(found.contacts) == 48 and float(found.coordination) == 1.5
    assert float(found.spot) == pytest.approx(np.pi * RADIUS**2 * strain, rel=1e-4)
    assert float(found.area) == pytest.approx(48 * np.pi * RADIUS**2 * strain / (8 * RADIUS) ** 2, rel=1e-4)
    # Let go, to where a column without friction does not buckle: 0.1 MPa are left, and the strain that goes with it.
    solution = stiffness_of(press, carries[-1])
    assert bool(solution.result == Result.successful)
    left = (1e5 * 3 * (1 - 0.3**2) / 140e9) ** (2 / 3)
    assert float(solution.value.through_plane) == pytest.approx((1 - left) * 1.5e5 / left, rel=5e-3)  # binder: 2e-3
    # A bridge of stiffness E_b pi (0.7 R)^2 / (0.5 R) along 2 R, in a film as thick as four particles less the strain.
    across = 1e6 * np.pi * 0.7**2 / 0.5 / 2 / (1 - left)
    assert float(solution.value.in_plane) == pytest.approx(across, rel=1e-4)


def test_random_directions_have_an_isotropic_fabric():
    directions = jax.random.normal(jax.random.key(0), (100_000, 3))
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    found = np.asarray(fabric(directions, jnp.ones(100_000)))
    assert np.trace(found) == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(found, np.eye(3) / 3, atol=4 * np.sqrt(4 / 45 / 1e5))
    np.testing.assert_array_equal(np.asarray(fabric(directions, jnp.zeros(100_000))), 0)


def test_particle_stresses_add_up_to_the_pressure_on_the_plate(course):
    """V15, second half, particle by particle: sum V_p s_p over the volume of the film is what the plate feels."""
    press, carries = course
    for carry in carries[1:]:
        found = texture_of(press, carry)
        area = jnp.prod(press.system.lateral)
        on_plate = float(jnp.sum(_push(press, carry)) / area * press.stress)
        assert float(found.film[0, 0]) == pytest.approx(on_plate, rel=1e-5)
        assert np.all(np.asarray(found.von_mises) >= 0) and float(found.lateral_ratio) > 0
        np.testing.assert_allclose(float(jnp.trace(found.fabric)), 1, rtol=1e-12)
    first = texture_of(press, carries[0])
    np.testing.assert_array_equal(np.asarray(first.stress), 0)
    np.testing.assert_array_equal(np.asarray(first.fabric), 0)
    # Bridges of a settled film have no direction, but for collector and plate.
    np.testing.assert_allclose(np.diag(np.asarray(first.bridge_fabric)), 1 / 3, atol=0.06)


def _push(press, carry):
    """Forces on the plate, from overlaps and history."""
    (positions, plate), history, *_ = carry
    count = press.system.radii.shape[0]
    overlap = positions[:, 0] + press.system.radii - plate - press.system.conformed[-count:]
    branch = jax.tree.map(lambda a: a[-count:], contact.branch(history.largest, press.system.law))
    return contact.force(overlap, branch)


def test_what_pressing_does_to_the_inside(course):
    """More contacts and larger ones at the gap than after release, and binder flows and does not unflow."""
    press, carries = course
    at_gap, released = (texture_of(press, carries[k]) for k in (METHOD.load, -1))
    assert float(at_gap.coordination) > float(released.coordination) > 1
    assert float(at_gap.area) > 2 * float(released.area) > 0
    assert float(at_gap.fabric[0, 0]) > 1 / 3  # contacts form along the pressing
    shares = [float(texture_of(press, carry).yielded) for carry in carries]
    assert shares[0] == 0 and 0.1 < shares[METHOD.load] < 1 and np.all(np.diff(shares) >= 0)
    # Without friction contacts are central; with it moments balance: both make the stress of the film symmetric.
    stress = np.asarray(at_gap.film)
    np.testing.assert_allclose(stress, stress.T, atol=0.02 * stress[0, 0])


def moved(press, carry, strain):
    """Nominal stresses of the elastic film without friction at a strain, found anew: positions, period and anchors are
    stretched, and the equilibrium is searched for from there."""
    (positions, plate), history, *_ = carry
    system, stretch = press.system, 1 + strain
    rest = system.rest.at[-COUNT:, 1:].multiply(stretch[1:])
    changed = eqx.tree_at(lambda s: (s.lateral, s.rest), system, (system.lateral * stretch[1:], rest))
    stage = Stage(jnp.asarray(True), plate * stretch[0], jnp.asarray(0.0))
    start = (positions * jnp.concatenate([jnp.ones(1), stretch[1:]]), plate)
    solution, after, _, _ = frictionless.advance(start, history, stage, changed, press.method.newton)
    at = (solution.value[0], stage.plate)
    inside = texture(eqx.tree_at(lambda p: p.system, press, changed), (at, after)).film
    # From the stress over the strained volume to that over the one before.
    return -jnp.diagonal(inside) / press.stress * jnp.prod(stretch) / stretch, solution.result


def test_stiffness_is_the_difference_of_two_equilibria(film):
    """Two routes to each of the nine numbers, and no direction of the response is preferred (Maxwell, Betti)."""
    press, carries = pressed(*film, 27e-6, ELASTIC, FIRM)
    found = stiffness_of(press, carries[-1])
    assert bool(found.result == Result.successful)
    matrix = np.asarray(found.value.matrix)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6, atol=1e-6 * matrix.max())
    restrained, e = eqx.filter_jit(moved), 1e-6
    for k in range(3):
        sides = [restrained(press, carries[-1], sign * e * jnp.eye(3)[k]) for sign in (1, -1)]
        assert all(bool(result == Result.successful) for _, result in sides)
        difference = np.asarray((sides[0][0] - sides[1][0]) / (2 * e) * press.stress)
        np.testing.assert_allclose(difference, matrix[:, k], rtol=1e-4, atol=1e-4 * matrix.max())
    assert 0 < float(found.value.in_plane) < matrix[1, 1] and 0 < float(found.value.in_plane_poisson) < 0.5


@pytest.mark.slow
def test_stiffness_with_friction(film):
    """Through the thickness against two equilibria with friction; in the plane by reciprocity, which the slip that is
    carried does not disturb when there is none."""
    grip = Friction(10.0, 10.0)
    press, carries = pressed(*film, 27e-6, ELASTIC, FIRM, grip)
    (positions, plate), history, *rest = carries[-1]
    found = stiffness_of(press, carries[-1]).value
    whole = press.stages.share[METHOD.load - 1]
    stages = [Step(press.stages.held[0], plate * (1 + sign * 1e-6), whole) for sign in (1, -1)]
    pressures = [float(step(press, carries[-1], stage)[1][1]) for stage in stages]
    difference = (pressures[1] - pressures[0]) / 2e-6 * float(press.stress)
    assert float(found.through_plane) == pytest.approx(difference, rel=1e-3)
    straight = eqx.tree_at(lambda h: h.slip, history, jnp.zeros_like(history.slip))
    matrix = np.asarray(stiffness_of(press, ((positions, plate), straight, *rest)).value.matrix)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-5, atol=1e-5 * matrix.max())
    np.testing.assert_allclose(np.asarray(found.matrix), matrix, atol=0.05 * matrix.max())


def test_stiffness_of_a_plastic_film_is_positive(course):
    press, carries = course
    found = stiffness_of(press, carries[-1])
    assert bool(found.result == Result.successful)
    assert np.all(np.linalg.eigvalsh(0.5 * np.asarray(found.value.matrix + found.value.matrix.T)) > 0)
    assert 1e8 < float(found.value.in_plane) < 1e11


@pytest.mark.slow
def test_gradients(film):
    """Contact area, fabric and stiffness after release against differences in the binder's modulus and the gap."""
    packing, pairs = film

    def numbers(v):
        press, carry = calender.prepare(packing, pairs, 27e-6 * v[0], ELASTIC, Binder(2e9 * v[1]), METHOD), None
        carry, _ = jax.lax.scan(lambda carry, stage: calender.advance(press, carry, stage), press.first, press.stages)
        found = texture(press, carry)
        moduli = stiffness(press, carry).value
        weights = jax.random.normal(jax.random.key(1), (COUNT,))
        inside = jnp.stack([found.area, found.fabric[0, 0], jnp.sum(weights * found.mean_stress) / 1e6])
        return jnp.concatenate([inside, jnp.stack([moduli.through_plane, moduli.in_plane]) / 1e9])

    slope = jax.jit(jax.jacfwd(numbers))(jnp.ones(2))
    value = jax.jit(numbers)
    for k in range(2):
        e = 1e-6 * jnp.eye(2)[k]
        difference = (value(1 + e) - value(1 - e)) / 2e-6
        np.testing.assert_allclose(np.asarray(slope[:, k]), np.asarray(difference), rtol=1e-3, atol=1e-5)
