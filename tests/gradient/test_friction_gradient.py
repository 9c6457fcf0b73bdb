"""Gradients of calendering with plasticity, bonds and friction through load and unload, against central differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.packing import Packing, solid_fraction
from microstructure.sizes import LogNormal, sample, unit_draws
from solver.numerics.newton_krylov import NewtonKrylov
from solver.numerics.solution import Result
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import candidate_pairs
from solver.process.calender import Calendering, calender
from solver.process.frictional import Incremental
from solver.process.settle import settled_film

COUNT = 64
NAMES = (
    *("radii", "one radius", "modulus", "yield", "binder", "strength", "friction", "wall friction", "gap", "release"),
    *("Poisson's ratio", "bridge radius", "bridge length", "confinement", "hardening", "one position", "positions"),
)
ONES, STEP, PARTICLE = jnp.ones(len(NAMES)), 1e-7, 7


def settled(draw, place):
    """64 particles at a fraction of 0.5 in 36 um, and their pairs."""
    radii = sample(LogNormal(5e-6, 1.25), unit_draws(jax.random.key(draw), COUNT))
    width = float(jnp.sqrt(4 / 3 * jnp.pi * jnp.sum(radii**3) / 0.5 / 36e-6))
    packing = settled_film(jax.random.key(place), radii, jnp.asarray([36e-6, width, width])).value
    return packing, candidate_pairs(packing)


@pytest.fixture(scope="module")
def film():
    """As in the physics of the same."""
    return settled(5, 6)


def design(v, packing, steps=40, tolerance=1e-14):
    """Film, gap, law, binder, method and friction at the scales `v` of the named variables; `steps` and `tolerance` of
    each search.

    Positions move by a micrometre for each unit: one particle slantwise, or all at random.
    """
    size, one, modulus, hardness, stiffness, strength, rough, wall, gap, release, *more = v
    poisson, wide, long, confinement, hardening, shift, shifts = more
    radii = packing.radii * size * jnp.ones(COUNT).at[PARTICLE].set(one)
    slant = jnp.zeros((COUNT, 3)).at[PARTICLE].set(jnp.asarray([0.6, -0.5, 0.6]))
    moved = 1e-6 * ((shift - 1) * slant + (shifts - 1) * jax.random.normal(jax.random.key(2), (COUNT, 3)))
    law = ContactLaw(140e9 * modulus, 0.3 * poisson, 3e9 * hardness)
    shape = {"radius": 0.7 * wide, "length": 0.5 * long, "confinement": confinement, "hardening": 0.1 * hardening}
    binder = Binder(2e9 * stiffness, strength=50e6 * strength, **shape)
    # What is left of the forces moves what only ties hold, so little must be left for differences of 1e-7.
    searched = Incremental(NewtonKrylov(tolerance=tolerance, steps=jnp.asarray(steps)))
    method = Calendering(release=2e7 * release, load=4, unload=2, trust=True, rough=searched)
    film = Packing(packing.positions + moved, radii, packing.box)
    return film, 27e-6 * gap, law, binder, method, Friction(0.3 * rough, 0.3 * wall)


def numbers(value):
    """Porosity and thickness after release, pressure at the gap, positions of all particles weighed at random, and
    the depth and a lateral position of one."""
    weights = jax.random.normal(jax.random.key(1), (COUNT, 3))
    depths = jnp.sum(weights * value.packing.positions) * 1e6
    porosity = 1 - solid_fraction(value.packing)
    own = value.packing.positions[PARTICLE, :2] * 1e5
    return jnp.stack([porosity, value.packing.box[0] * 1e5, value.pressure[4] / 1e8, depths / 10, *own])


jitted = eqx.filter_jit(calender)


def evaluate(v, packing, pairs, steps=40, tolerance=1e-14):
    """The same compiled function as in the physics of calendering with friction."""
    film, gap, *rest = design(v, packing, steps, tolerance)
    solution = jitted(film, pairs, gap, *rest)
    return np.asarray(numbers(solution.value)), solution


@pytest.fixture(scope="module")
def middle(film):
    """The values at the point."""
    return evaluate(ONES, *film)


@pytest.fixture(scope="module")
def evaluated(film, middle):
    """Values at the point and at a step to both sides of every variable."""
    return {0: middle} | {
        (i, sign): evaluate(ONES.at[i].add(sign * STEP), *film) for i in range(len(NAMES)) for sign in (-1, 1)
    }


@jax.jit
def pull_back(w, v, packing, pairs, steps):
    """The derivative of `w` times the numbers in the variables, by reverse mode."""

    def pressed(v):
        film, gap, *rest = design(v, packing, steps)
        return numbers(calender(film, pairs, gap, *rest).value)

    return jax.vjp(pressed, v)[1](w)[0]


@pytest.fixture(scope="module")
def jacobian(film):
    """Of the numbers in the variables, (6, 17)."""
    return np.stack([np.asarray(pull_back(w, ONES, *film, jnp.asarray(40))) for w in jnp.eye(6)])


@pytest.mark.slow  # thirty-four pressings, as the next two; homogeneity below holds the derivatives too
def test_the_contact_network_is_the_same_on_both_sides(evaluated):
    """No contact opens, closes, yields or begins to slide within the steps of the differences: each distance to a
    change moves by less than itself."""
    middle = evaluated[0][1]
    assert bool(middle.result == Result.successful)
    for key in set(evaluated) - {0}:
        beside = evaluated[key][1]
        assert bool(beside.result == Result.successful)
        for name in ("closing", "yielding", "flowing", "sliding"):
            at = np.asarray(getattr(middle.value.trust, name))
            moved = np.abs(np.asarray(getattr(beside.value.trust, name)) - at)
            assert np.all((moved < 0.5 * at) | np.isinf(at)), (name, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_reverse_mode_against_central_differences(evaluated, jacobian, name):
    """V22 with friction: every class of parameter through a full load and unload."""
    i = NAMES.index(name)
    difference = np.asarray(evaluated[i, 1][0] - evaluated[i, -1][0]) / (2 * STEP)
    np.testing.assert_allclose(jacobian[:, i], difference, rtol=1e-4, atol=1e-5 * np.abs(difference).max())


@pytest.mark.slow
def test_load_as_a_variable(film, evaluated, jacobian):
    """The porosity after release by the pressure at the gap: the ratio of the slopes in the gap, by the implicit
    function theorem, against films pressed to a little more and less, whose gaps are searched for."""
    gap, ends = NAMES.index("gap"), []
    slope, at = jacobian[2, gap], evaluated[0][0]
    for wanted in (at[2] + 2e-7, at[2] - 2e-7):
        scale = 1.0
        for _ in range(2):
            found = evaluate(ONES.at[gap].set(scale), *film)[0]
            scale += float((wanted - found[2]) / slope)
        ends.append(evaluate(ONES.at[gap].set(scale), *film)[0])
        assert ends[-1][2] == pytest.approx(wanted, rel=1e-11)
    np.testing.assert_allclose(jacobian[0, gap] / slope, (ends[0] - ends[1])[0] / 4e-7, rtol=1e-4)


def test_gradient_through_the_steps_of_an_increment(film, middle):
    """Where a search fails the increment is made in shorter steps; the derivative goes through each of them."""
    few = jnp.asarray(10)
    value, solution = evaluate(ONES, *film, few)
    assert bool(solution.result == Result.successful)
    assert int(jnp.max(solution.stats["steps"])) > 10  # more than one search may take
    np.testing.assert_allclose(value[:3], middle[0][:3], rtol=0.02)
    i = NAMES.index("gap")
    up, down = (evaluate(ONES.at[i].add(sign * STEP), *film, few)[0] for sign in (1, -1))
    weights = jnp.asarray([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    difference = float(np.asarray(weights) @ (up - down)) / (2 * STEP)
    assert float(pull_back(weights, ONES, *film, few)[i]) == pytest.approx(difference, rel=1e-4)


def test_pressure_is_homogeneous_in_the_moduli(middle, jacobian):
    """Scaling every modulus, strength and the release pressure at fixed geometry scales the pressure."""
    assert float(np.sum(jacobian[2, 2:6])) == pytest.approx(float(middle[0][2]), rel=1e-7)
    # At fixed shape nothing else moves: thickness is homogeneous of degree 0 in all of them.
    total = np.sum(jacobian[1, 2:6]) + jacobian[1, 9]
    assert float(total) == pytest.approx(0, abs=1e-7 * np.abs(jacobian[1]).max())


MEANT = ("gap", "modulus", "yield", "binder", "strength", "bridge radius", "friction", "wall friction", "release")


def slopes_and_differences(film):
    """Derivatives of porosity, thickness and pressure in the variables `MEANT`, and differences over 5 % to both sides,
    (2, 3, 9); none where a search for equilibrium failed."""
    found = np.zeros((2, 3, len(MEANT)))
    for k, name in enumerate(MEANT):
        e = 0.05 * jnp.zeros(len(NAMES)).at[NAMES.index(name)].set(1.0)
        high, low = (evaluate(ONES + s * e, *film, tolerance=1e-12) for s in (1, -1))
        if not all(bool(end[1].result == Result.successful) for end in (high, low)):
            return None
        found[1, :, k] = (high[0] - low[0])[:3] / 0.1
    rows = np.stack([np.asarray(pull_back(w, ONES, *film, jnp.asarray(40))) for w in jnp.eye(6)[:3]])
    found[0] = rows[:, [NAMES.index(name) for name in MEANT]]
    return found


@pytest.mark.slow
def test_gradient_predicts_five_percent_steps_on_the_mean_of_sixteen_packings(capsys):
    """Steps over which contacts open, close, yield and slide: each derivative of porosity, thickness and pressure, on
    the mean over packings, is within a quarter of the central difference or two standard errors of it.
    """
    found = [slopes_and_differences(settled(100 + seed, 200 + seed)) for seed in range(16)]
    failed = [seed for seed, table in enumerate(found) if table is None]
    assert not failed, f"films without equilibrium: {failed}"
    slope, difference = np.mean(found, axis=0)
    error = np.std([one[0] - one[1] for one in found], axis=0, ddof=1) / 4
    with capsys.disabled():
        for name, *row in zip(("porosity", "thickness", "pressure"), slope, difference, error, strict=True):
            entries = (f"{n} {a:.3g}/{b:.3g}+-{c:.2g}" for n, a, b, c in zip(MEANT, *row, strict=True))
            print(name, *entries, flush=True)
    assert np.all(np.abs(slope - difference) <= np.maximum(0.25 * np.abs(difference), 2 * error))


def test_value_and_gradient_export_for_cuda(film, jacobian):
    """The reverse sweep, which holds the forward one: traced before, for the derivatives."""
    exported = jax.export.export(pull_back, platforms=["cuda"])(jnp.eye(6)[0], ONES, *film, jnp.asarray(40))
    assert exported.platforms == ("cuda",)
    assert "callback" not in exported.mlir_module()
