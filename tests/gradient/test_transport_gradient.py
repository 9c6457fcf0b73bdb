"""The variational derivative of an effective conductivity: against finite differences and plain differentiation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure.grid import Grid
from microstructure.voxel import Phases, nested
from solver.numerics.flux import Faces, Plates, apply
from solver.transport.conduct import Network, conduct, for_gradients
from solver.transport.effective import effective_conductivity
from solver.transport.electrode import blocking_resistance
from solver.transport.network import conductor, field_network

SHAPE = (7, 5, 6)
TIGHT = for_gradients(1e-13)


@pytest.fixture(scope="module")
def network():
    """A float64 network of random conductances, a tenth of them zero."""
    rng = np.random.default_rng(4)

    def conductances(shape):
        return jnp.asarray(np.where(rng.random(shape) < 0.1, 0, 10 ** rng.uniform(-1, 1, shape)))

    inner = [conductances(tuple(n - (a == axis) for a, n in enumerate(SHAPE))) for axis in range(3)]
    low, high = conductances(SHAPE[1:]), conductances(SHAPE[1:])
    return inner, low, high, jnp.asarray(7.0), jnp.asarray(30.0)


def assemble(inner, low, high, length, area):
    plates = Plates(low[None], high[None])
    return Network(Faces(*inner, (plates, None, None)), jnp.asarray([1.0, 0.0, 0.0]), length / area)


@jax.jit
def effective(parts):
    return conduct(assemble(*parts), TIGHT).value[0]


def dense(parts):
    """The same number from a dense solve and the current through the lower plate, for plain differentiation."""
    network, (_, low, high, length, area) = assemble(*parts), parts
    size = int(np.prod(SHAPE))
    eye = jnp.eye(size).reshape(size, *SHAPE)
    matrix = jax.vmap(lambda x: apply(network.faces, x))(eye).reshape(size, size)
    right = jnp.zeros(SHAPE).at[-1].set(high).ravel()
    phi = jnp.linalg.solve(matrix, right).reshape(SHAPE)
    return jnp.sum(low * phi[0]) * length / area


@pytest.fixture(scope="module")
def gradient(network):
    return jax.jit(jax.value_and_grad(effective))(network)


def test_it_is_that_of_a_dense_solve_differentiated_plainly(network, gradient):
    value, plain = jax.jit(jax.value_and_grad(dense))(network)
    assert float(gradient[0]) == pytest.approx(float(value), rel=1e-12)
    for ours, theirs in zip(jax.tree.leaves(gradient[1]), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_central_differences_along_random_directions(network, gradient):
    rng, h = np.random.default_rng(8), 1e-4
    for _ in range(3):
        direction = jax.tree.map(lambda x: x * jnp.asarray(rng.normal(size=x.shape)), network)
        exact = sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient[1], direction)), strict=True))
        ends = [effective(jax.tree.map(lambda x, d, s=s: x + s * h * d, network, direction)) for s in (1, -1)]
        difference = float(ends[0] - ends[1]) / (2 * h)
        print("error", difference / float(exact) - 1)
        assert difference == pytest.approx(float(exact), rel=1e-6)


def test_conducting_more_never_lowers_the_conductivity_and_euler_holds(network, gradient):
    value, (inner, low, high, length, _) = gradient
    parts = [*zip(inner, network[0], strict=True), (low, network[1]), (high, network[2])]
    assert all(float(g.min()) >= 0 for g, _ in parts)
    # homogeneous of degree one in all conductances
    assert float(sum(jnp.vdot(g, c) for g, c in parts)) == pytest.approx(float(value), rel=1e-13)
    assert float(length) == pytest.approx(float(value) / 7, rel=1e-13)


@pytest.fixture(scope="module")
def structure():
    """A sphere with a shell in a box that is no cube, as cut cells."""
    shape, spacing = (12, 10, 8), jnp.asarray([1.0e-6, 1.1e-6, 0.9e-6])
    axes = [np.arange(n + 1) * float(h) for n, h in zip(shape, spacing, strict=True)]
    middle = (5.7e-6, 5.2e-6, 3.9e-6)
    d = np.sqrt(sum((x - m) ** 2 for x, m in zip(np.meshgrid(*axes, indexing="ij"), middle, strict=True)))
    levels = (jnp.asarray(d - 2.4e-6), jnp.asarray(d - 3.1e-6))
    return jax.jit(lambda a, b: nested((a, b), Grid(shape, spacing), ("active", "binder", "pore"), 0.3))(*levels)


@pytest.fixture(scope="module")
def of_structure(structure):
    @eqx.filter_jit
    def value(phases: Phases, conductivities):
        return effective_conductivity(phases, conductivities, 0, None, for_gradients(1e-9, jnp.float64)).value[0]

    return value, eqx.filter_jit(jax.value_and_grad(value, argnums=(0, 1)))


def test_in_the_conductivities_of_phases(structure, of_structure):
    value, derivative = of_structure
    k = jnp.asarray([0.1, 0.5, 1.0])
    effective, (_, gradient) = derivative(structure, k)
    # one degree of homogeneity: needs no step
    assert float(gradient @ k) == pytest.approx(float(effective), rel=1e-6)
    for i in range(3):
        h = 0.02 * k[i]
        a, b = (
            (value(structure, k.at[i].add(m * h)) - value(structure, k.at[i].add(-m * h))) / (2 * m * h) for m in (1, 2)
        )
        difference = float((4 * a - b) / 3)  # Richardson
        print("conductivity", i, float(gradient[i]), difference / float(gradient[i]) - 1)
        assert difference == pytest.approx(float(gradient[i]), rel=1e-5)


def test_in_apertures_fractions_and_spacing(structure, of_structure):
    value, derivative = of_structure
    k = jnp.asarray([0.0, 0.3, 1.0])
    _, (gradient, _) = derivative(structure, k)
    rng = np.random.default_rng(2)

    def smooth_direction(x):
        """A change by a random share where the phase is neither absent nor alone."""
        return jnp.where((x > 0.02) & (x < 0.98), x * jnp.asarray(rng.random(x.shape)), 0)

    def changed(phases, part, s):
        if part == "spacing":
            return eqx.tree_at(lambda p: p.grid.spacing, phases, phases.grid.spacing * jnp.asarray([1 + s, 1.0, 1.0]))
        return eqx.tree_at(
            lambda p: getattr(p, part), phases, jax.tree.map(lambda x, d: x + s * d, getattr(phases, part), steps[part])
        )

    steps = {name: jax.tree.map(smooth_direction, getattr(structure, name)) for name in ("apertures", "fractions")}
    for part in ("apertures", "fractions", "spacing"):
        if part == "spacing":
            exact = float(gradient.grid.spacing[0] * structure.grid.spacing[0])
        else:
            pairs = zip(*map(jax.tree.leaves, (getattr(gradient, part), steps[part])), strict=True)
            exact = float(sum(jnp.vdot(g, d) for g, d in pairs))
        h = 0.02
        a, b = (
            float(value(changed(structure, part, m * h), k) - value(changed(structure, part, -m * h), k)) / (2 * m * h)
            for m in (1, 2)
        )
        difference = (4 * a - b) / 3
        print(part, exact, difference / exact - 1)
        assert difference == pytest.approx(exact, rel=1e-5)


def test_the_size_of_voxels_does_not_matter_only_their_shape(structure, of_structure):
    _, derivative = of_structure
    _, (gradient, _) = derivative(structure, jnp.asarray([0.0, 0.3, 1.0]))
    total = float(jnp.vdot(gradient.grid.spacing, structure.grid.spacing))
    parts = np.asarray(gradient.grid.spacing * structure.grid.spacing)
    assert abs(total) < 1e-6 * np.abs(parts).max()


@pytest.fixture(scope="module")
def voxels():
    """Conductivities of voxels, a direction in which to move them, and a weight for the field."""
    rng = np.random.default_rng(7)
    return tuple(map(jnp.asarray, (rng.uniform(0.1, 1, SHAPE), rng.normal(size=SHAPE), rng.normal(size=SHAPE))))


def of_voxels(k):
    return conduct(field_network(k, Grid(SHAPE, jnp.full(3, 1e-6)), 0), TIGHT).value


def central(function, k, d, h=1e-4):
    return (function(k + h * d) - function(k - h * d)) / (2 * h)


def test_forward_mode_is_reverse_mode(voxels):
    k, d, _ = voxels
    forward = jax.jvp(lambda k: of_voxels(k)[0], (k,), (d,))[1]
    reverse = jnp.vdot(jax.grad(lambda k: of_voxels(k)[0])(k), d)
    assert float(forward) == pytest.approx(float(reverse), rel=1e-12)
    assert float(forward) == pytest.approx(float(central(lambda k: of_voxels(k)[0], k, d)), rel=1e-6)


def test_second_derivatives(voxels):
    k, d, w = voxels
    gradient = jax.grad(lambda k: of_voxels(k)[0])
    product = jax.jvp(gradient, (k,), (d,))[1]
    np.testing.assert_allclose(product, central(gradient, k, d), rtol=1e-5, atol=1e-6 * float(jnp.abs(product).max()))
    # the Hessian is symmetric
    other = jax.jvp(gradient, (k,), (w,))[1]
    assert float(jnp.vdot(product, w)) == pytest.approx(float(jnp.vdot(other, d)), rel=1e-9)


def test_what_is_not_the_energy_takes_one_more_solve(voxels):
    k, d, w = voxels

    def weighted(k):
        return jnp.vdot(w, of_voxels(k)[1])

    exact = float(jnp.vdot(jax.grad(weighted)(k), d))
    assert exact == pytest.approx(float(jax.jvp(weighted, (k,), (d,))[1]), rel=1e-9)
    assert exact == pytest.approx(float(central(weighted, k, d)), rel=1e-5)


def test_the_electrode_resistance(voxels):
    k, d, _ = voxels
    grid, source = Grid(SHAPE, jnp.full(3, 1e-6)), jnp.ones(SHAPE)

    def resistance(k, source):
        return blocking_resistance(conductor(k, grid), source, TIGHT).value[0]

    slopes = jax.grad(resistance, argnums=(0, 1))(k, source)
    for slope, function, at in (
        (slopes[0], lambda k: resistance(k, source), k),
        (slopes[1], lambda source: resistance(k, source), source),
    ):
        assert float(jnp.vdot(slope, d)) == pytest.approx(float(central(function, at, d)), rel=1e-5)


def test_value_and_gradient_take_the_solves_of_the_value(voxels):
    """The field is solved once: in the compiled derivative there are as many loops as in the value."""

    def loops(function):
        return jax.jit(function).lower(voxels[0]).as_text().count("stablehlo.while")

    value = loops(lambda k: of_voxels(k)[0])
    assert loops(jax.value_and_grad(lambda k: of_voxels(k)[0])) == value
    assert loops(jax.value_and_grad(lambda k: of_voxels(k)[1].sum())) > value
