"""Images to effective transport: conventions, sides, contacts, tensors, electrodes and fields, on small volumes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import images
from microstructure.grid import Grid
from solver.numerics.solution import Result
from solver.transport.conduct import Conduction, conduct, for_gradients
from solver.transport.convention import CONVENTIONS
from solver.transport.effective import conduct_all_axes, conduct_batch, conduct_network, stacked, succeeded
from solver.transport.electrode import electrode_tortuosity_factor
from solver.transport.fields import local_fields
from solver.transport.image import contact_resistances, effective_transport
from solver.transport.network import along_all_axes, conductor, field_network, label_field
from solver.transport.tensor import periodic_tensor

SHAPE = (12, 10, 9)
TIGHT = for_gradients(1e-11, np.float64)


@pytest.fixture(scope="module")
def lumps():
    """A random image of three labels in lumps of about two voxels."""
    rng = np.random.default_rng(5)
    noise = rng.normal(size=SHAPE)
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis)
    return np.digitize(noise, np.quantile(noise, [0.3, 0.6]))


def only(found):
    (one,) = found
    return one


@pytest.mark.parametrize("name, wanted", [("mesode", 1), ("taufactor", 1), ("porespy", 1), ("openimpala", 11 / 12)])
def test_what_each_convention_says_of_a_uniform_block(name, wanted):
    found = only(effective_transport(np.ones(SHAPE, bool), axes=(0,), convention=CONVENTIONS[name]))
    assert found.tortuosity_factor == pytest.approx(wanted, rel=1e-6)


@pytest.fixture(scope="module")
def spheres():
    return ~images.solid("spheres 64^3")


@pytest.mark.parametrize(
    "name, pore, solid",
    [("taufactor", 2.11375661, 2.51818834), ("porespy", 2.116272, None), ("openimpala", 2.083205, 2.482756)],
)
def test_conventions_give_the_numbers_of_the_programs(spheres, name, pore, solid):
    """OpenImpala 4.4.9 and the converged PoreSpy 3.2.0 on the same image; its default is 4.5e-4 below itself."""
    method, convention = Conduction(energy_rtol=1e-6), CONVENTIONS[name]
    found = only(effective_transport(spheres, axes=(0,), convention=convention, method=method))
    assert found.tortuosity_factor == pytest.approx(pore, rel=1e-6)
    assert found.percolating_fraction == pytest.approx(0.396122, abs=5e-7)
    if solid is not None:
        found = only(effective_transport(~spheres, axes=(0,), convention=convention, method=method))
        assert found.tortuosity_factor == pytest.approx(solid, rel=1e-6)


def test_three_axes_in_one_batch_are_the_three_solves(lumps):
    k = label_field(lumps, {1: 0.3, 2: 1.0})
    grid = Grid(SHAPE, jnp.asarray([0.5, 0.4, 0.7]))
    batch = conduct_all_axes(along_all_axes(conductor(jnp.asarray(k), grid), grid), TIGHT)
    found = effective_transport(k, (0.5, 0.4, 0.7), method=Conduction(energy_rtol=0.0, rtol=1e-6))
    for axis in range(3):
        assert float(batch.value[0][axis]) == pytest.approx(found[axis].conductivity, rel=1e-6)


def test_booleans_and_numbers_are_the_same_network(lumps):
    pore = lumps > 0
    one, other = (only(effective_transport(k, axes=(0,))) for k in (pore, 3.0 * pore))
    assert other.conductivity == pytest.approx(3 * one.conductivity, rel=1e-6)
    assert other.tortuosity_factor == pytest.approx(one.tortuosity_factor, rel=1e-6)


def test_a_tensor_in_each_voxel_acts_along_its_axis():
    image = np.zeros(SHAPE, int)
    image[:, :5] = 1
    k = label_field(image, {0: (1.0, 2.0, 3.0), 1: (4.0, 2.0, 1.0)})
    x, y, z = effective_transport(k, method=TIGHT)
    assert x.conductivity == pytest.approx(2.5, rel=1e-9)  # parallel layers
    assert y.conductivity == pytest.approx(2.0, rel=1e-9)  # uniform
    assert z.conductivity == pytest.approx(2.0, rel=1e-9)
    assert z.tortuosity_factor == pytest.approx(1.0, rel=1e-9)


def test_a_tensor_that_conducts_along_some_axes_only_is_refused():
    k = np.ones((3, 6, 4, 4))
    k[0, 3] = 0
    with pytest.raises(ValueError, match="positive along all three axes"):
        effective_transport(k, axes=(0,))


def test_resistances_of_contacts_add_up_in_series():
    image = np.zeros(SHAPE, int)
    image[4:] = 1
    h, k = 1e-6, {0: 2.0, 1: 5.0}  # S/m
    resistances = contact_resistances(image, {(1, 0): 3e-7}, low=1e-7, high=2e-7)  # ohm m2
    k = label_field(image, k, dtype=np.float64)
    found = only(effective_transport(k, (h, h, h), (0,), resistances=resistances, method=TIGHT))
    wanted = 12 * h / (4 * h / 2.0 + 8 * h / 5.0 + 3e-7 + 3e-7)
    assert found.conductivity == pytest.approx(wanted, rel=1e-6)  # resistances are kept in float32


def test_joined_sides_let_current_through():
    pore = np.zeros((6, 6, 5), bool)
    pore[:3, 0], pore[2:, 5] = True, True  # a channel that steps through the side
    shut = only(effective_transport(pore, axes=(0,)))
    assert (shut.conductivity, shut.tortuosity_factor) == (0.0, np.inf)
    assert shut.dead_end_fraction == pytest.approx(shut.volume_fraction)
    joined = only(effective_transport(pore, axes=(0,), periodic=(False, True, False), method=TIGHT))
    # half a voxel to each plate, two steps up each side but the shared one, where two voxels lie side by side
    assert joined.conductivity == pytest.approx(6 / 6 / (0.5 + 2 + 1 + 3 + 0.5), rel=1e-9)


@pytest.fixture(scope="module")
def tensor(lumps):
    k = label_field(lumps, {0: 0.1, 1: 0.3, 2: 1.0}, dtype=np.float64)
    grid = Grid(SHAPE, jnp.asarray([0.5, 0.4, 0.7]))
    return k, grid, tensor_of(k, grid)


def tensor_of(k, grid):
    solution = periodic_tensor(conductor(jnp.asarray(k), grid), grid, TIGHT)
    return np.asarray(solution.value)


def test_the_tensor_is_symmetric_within_wiener_bounds_and_turns_with_the_image(tensor):
    k, grid, found = tensor
    np.testing.assert_allclose(found, found.T, rtol=1e-12)
    values = np.linalg.eigvalsh(found)
    assert 1 / np.mean(1 / k) < values[0] and values[-1] < np.mean(k)
    order = [1, 2, 0]
    turned = tensor_of(np.transpose(k, order), Grid(tuple(SHAPE[a] for a in order), grid.spacing[jnp.asarray(order)]))
    np.testing.assert_allclose(turned, found[np.ix_(order, order)], rtol=1e-9)
    mirrored = tensor_of(k[::-1], grid) * np.asarray([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]])
    np.testing.assert_allclose(mirrored, found, rtol=1e-9)


def test_the_tensor_of_laminates_is_exact():
    k = np.where(np.arange(12)[:, None, None] < 4, 5.0, 1.0) * np.ones(SHAPE)
    found = tensor_of(k, Grid(SHAPE, jnp.asarray([0.5, 0.4, 0.7])))
    np.testing.assert_allclose(found, np.diag([15 / 11, 7 / 3, 7 / 3]), rtol=1e-12, atol=1e-12)


def test_the_tensor_shifts_with_the_image_unchanged(tensor):
    k, grid, found = tensor
    np.testing.assert_allclose(tensor_of(np.roll(k, (5, 3, 2), (0, 1, 2)), grid), found, rtol=1e-9)


@pytest.mark.parametrize("n", [8, 16])
def test_electrode_tortuosity_of_straight_channels(n):
    """Every pore voxel has as much wall, so this is the transmission line, whose midpoint sum is 1 + 1 / (2 n^2)."""
    pore = np.zeros((n, 4, 5), bool)
    pore[:, 1, 1::2] = True
    found = electrode_tortuosity_factor(pore, method=TIGHT)
    assert float(found.value[0]) == pytest.approx(1 + 0.5 / n**2, rel=1e-9)


def test_the_electrode_sees_dead_ends_and_not_what_is_cut_off():
    pore = np.zeros((8, 4, 5), bool)
    pore[3:, 1, 1] = True  # no path to the collector
    dead_end = electrode_tortuosity_factor(pore, method=TIGHT)
    assert np.isfinite(float(dead_end.value[0]))
    assert only(effective_transport(pore, axes=(0,))).tortuosity_factor == np.inf
    pore[-1] = False
    assert float(electrode_tortuosity_factor(pore, method=TIGHT).value[0]) == np.inf


def test_local_fields_sum_to_what_they_are_means_of(lumps):
    k = jnp.asarray(label_field(lumps, {0: 0.1, 1: 0.3, 2: 1.0}, dtype=np.float64))
    grid = Grid(SHAPE, jnp.asarray([0.5, 0.4, 0.7]))
    for axis in range(3):
        network = field_network(k, grid, axis)
        found = local_fields(network, conduct(network, TIGHT).value[1], axis)
        assert float(found.power.mean()) == pytest.approx(1, rel=1e-12)
        assert found.resistance.shape == (SHAPE[axis],)
        assert float(found.resistance.mean()) == pytest.approx(1, rel=1e-12)
        assert float(found.flux.mean()) > 1
    uniform = field_network(jnp.ones(SHAPE), grid, 1)
    flat = local_fields(uniform, conduct(uniform, TIGHT).value[1], 1)
    np.testing.assert_allclose(flat.flux, 1, rtol=1e-9)
    np.testing.assert_allclose(flat.resistance, 1, rtol=1e-9)


def test_fields_are_the_potential_where_it_is(lumps):
    pore = lumps > 0
    found = only(effective_transport(pore, axes=(2,), fields=True))
    assert found.field.shape == SHAPE
    assert np.isnan(found.field[~pore]).all()
    assert np.nanmin(found.field) >= 0 and np.nanmax(found.field) <= 1
    nodes = only(effective_transport(pore, axes=(2,), fields=True, convention=CONVENTIONS["porespy"]))
    first, last = nodes.field[..., 0], nodes.field[..., -1]
    assert np.nanmax(first) == 0 and np.nanmin(last) == 1


def test_derivatives_of_the_tensor(tensor):
    k, grid, _ = tensor
    rng, h = np.random.default_rng(3), 1e-4

    def along(k):
        return jnp.sum(jnp.asarray(weights) * periodic_tensor(conductor(k, grid), grid, TIGHT).value)

    weights, d = rng.normal(size=(3, 3)), rng.normal(size=SHAPE)
    exact = float(jnp.vdot(jax.grad(along)(jnp.asarray(k)), d))
    difference = float(along(jnp.asarray(k + h * d)) - along(jnp.asarray(k - h * d))) / (2 * h)
    assert exact == pytest.approx(difference, rel=1e-5)
    forward = float(jax.jvp(along, (jnp.asarray(k),), (jnp.asarray(d),))[1])
    assert forward == pytest.approx(exact, rel=1e-12)
    with pytest.raises(NotImplementedError, match="Second derivatives of the periodic tensor"):
        jax.jvp(jax.grad(along), (jnp.asarray(k),), (jnp.asarray(d),))


def test_a_batch_of_images_is_the_solves_one_by_one():
    """One without a path and one that is not finite say so and leave the others alone."""
    rng, shape = np.random.default_rng(8), (8, 7, 6)
    grid = Grid(shape, jnp.ones(3))
    fields = [np.where(rng.random(shape) < 0.25, 0, rng.uniform(0.2, 1, shape)) for _ in range(4)]
    closed = np.where(np.arange(8)[:, None, None] < 7, fields[0], 0)
    networks = [field_network(jnp.asarray(k, jnp.float32), grid, 0) for k in (*fields, closed)]
    broken = networks[1].faces.x.at[3, 3, 3].set(jnp.nan)
    networks.append(eqx.tree_at(lambda n: n.faces.x, networks[1], broken))
    batch = conduct_batch(stacked(networks))
    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], batch) for i in range(6)]
    for lane, network in zip(lanes[:4], networks, strict=False):
        alone = conduct_network(network)
        assert succeeded(lane)
        assert float(lane.value[0]) == pytest.approx(float(alone.value[0]), rel=1e-6)
        assert int(lane.stats["steps"]) == int(alone.stats["steps"])
    assert (lanes[4].result == Result.no_path).item()
    assert (lanes[5].result == Result.not_finite).item()
