"""What effective conductivities must obey whatever the image: bounds, symmetries, and exact discrete solutions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from benchmarks import images
from microstructure.grid import Grid
from microstructure.labels import clusters, percolating
from solver.numerics.flux import Faces, apply
from solver.transport.conduct import for_gradients
from solver.transport.effective import conduct_network, succeeded
from solver.transport.image import contact_resistances, effective_transport
from solver.transport.network import conductor, field_network
from solver.transport.tensor import periodic_tensor

TIGHT = for_gradients(1e-11, np.float64)
CUBE = (10, 10, 10)  # small cases share it: each shape is compiled once
ROUNDING = 1e-10  # relative, far above what tight solves leave (measured 1e-13) and far below every gap tested


@jax.jit
def _along_x(k):
    return field_network(k, Grid(k.shape, jnp.ones(3)), 0)


def plates(k, axis):
    """Conductivity between plates along `axis` of cubic voxels; turned so that one compiled solve serves all axes."""
    solution = conduct_network(_along_x(jnp.asarray(np.moveaxis(k, axis, 0), float)), TIGHT, None)
    assert succeeded(solution)
    return float(solution.value[0])


def tensor(k):
    grid = Grid(k.shape, jnp.ones(3))
    solution = periodic_tensor(jax.jit(conductor)(jnp.asarray(k, float), grid), grid, TIGHT)
    assert succeeded(solution)
    return np.asarray(solution.value)


# ---------------------------------------------------------------------------------------------------------------------
# Bounds that hold for this discretisation exactly


def random_phases(seed, phases):
    """Labels of equal shares, as single voxels for even seeds and in lumps for odd ones."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=CUBE)
    if seed % 2:
        for axis in range(3):
            noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return np.digitize(noise, np.quantile(noise, np.arange(1, phases) / phases))


def random_conductivities(seed, phases):
    """Log-uniform over six decades."""
    return 10 ** np.random.default_rng(1000 + seed).uniform(-3, 3, phases)


IMAGES = [(seed, phases) for phases in (2, 3, 4) for seed in range(4)]


@pytest.mark.parametrize("seed, phases", IMAGES)
def test_wiener_bounds_between_plates(seed, phases):
    """Columns in parallel below, slices in series above, both inside the means of the voxels.

    Uniform flux in each column gives the lower one, uniform potential in each slice the upper one: the sum of harmonic
    means of faces is at most the harmonic mean of the slices' sums, as that mean is concave. Neither needs a limit of
    small voxels.
    """
    k = random_conductivities(seed, phases)[random_phases(seed, phases)]
    for axis in range(3):
        columns = np.mean(1 / np.mean(1 / k, axis))
        slices = 1 / np.mean(1 / np.mean(k, tuple(a for a in range(3) if a != axis)))
        assert 1 / np.mean(1 / k) <= columns <= slices <= np.mean(k)
        found = plates(k, axis)
        print(f"{columns:.4g} < {found:.4g} < {slices:.4g}")
        assert columns * (1 + ROUNDING) < found < slices * (1 - ROUNDING)


@pytest.mark.parametrize("seed, phases", IMAGES)
def test_wiener_bounds_on_the_periodic_tensor(seed, phases):
    k = random_conductivities(seed, phases)[random_phases(seed, phases)]
    values = np.linalg.eigvalsh(tensor(k))
    assert 1 / np.mean(1 / k) < values[0] and values[-1] < np.mean(k)
    for axis in range(3):
        slices = 1 / np.mean(1 / np.mean(k, tuple(a for a in range(3) if a != axis)))
        assert np.mean(1 / np.mean(1 / k, axis)) < tensor(k)[axis, axis] < slices


@pytest.mark.parametrize("seed, phases", IMAGES[::3])
def test_more_conductive_phases_conduct_more(seed, phases):
    """Rayleigh's law: each conductivity raised raises every axis, and the tensor in every direction."""
    labels, values = random_phases(seed, phases), random_conductivities(seed, phases)
    before = [plates(values[labels], axis) for axis in range(3)], tensor(values[labels])
    for phase in range(phases):
        raised = values.copy()
        raised[phase] *= 1.5
        after = [plates(raised[labels], axis) for axis in range(3)], tensor(raised[labels])
        ratio = np.asarray(after[0]) / before[0]
        print(phase, ratio)
        assert np.all(ratio > 1 + ROUNDING) and np.all(ratio < 1.5 * (1 - ROUNDING))
        gain = np.linalg.eigvalsh(after[1] - before[1])
        assert gain[0] > 0
        assert np.linalg.eigvalsh(1.5 * before[1] - after[1])[0] > 0


# ---------------------------------------------------------------------------------------------------------------------
# Bounds of the continuum, on packings whose spheres are several voxels wide


def hashin_shtrikman(k1, k2, share2):
    """Lower and upper bound for k1 < k2. Hashin and Shtrikman 1962, doi 10.1063/1.1728579."""
    share1 = 1 - share2
    lower = k1 + share2 / (1 / (k2 - k1) + share1 / (3 * k1)) if k1 > 0 else 0.0
    return lower, k2 + share1 / (1 / (k1 - k2) + share2 / (3 * k2))


def test_the_bounds_are_those_of_the_tables():
    np.testing.assert_allclose(hashin_shtrikman(1, 10, 0.3), (1.870967742, 3.076923077), rtol=1e-9)
    np.testing.assert_allclose(hashin_shtrikman(1, 100, 0.4), (2.903846154, 31.566820276), rtol=1e-9)
    assert 0.6 / hashin_shtrikman(0, 1, 0.6)[1] == pytest.approx((3 - 0.6) / 2)


def packing(seed, pore, n=32, radius=6.0):
    """Solid voxels of periodic spheres at random positions, added until at most `pore` is left."""
    rng, solid, x = np.random.default_rng(seed), np.zeros((n,) * 3, bool), np.arange(n) + 0.5
    while np.mean(~solid) > pore:
        d = [((x - c + n / 2) % n - n / 2) ** 2 for c in rng.random(3) * n]
        solid |= d[0][:, None, None] + d[1][:, None] + d[2] <= radius**2
    return solid


PACKINGS = [(seed, pore) for pore in (0.4, 0.8) for seed in range(4)]


@pytest.fixture(scope="module")
def packings():
    return {case: packing(*case) for case in PACKINGS}


@pytest.mark.parametrize("ratio", [0.1, 10.0])
def test_hashin_shtrikman_bounds_on_the_mean_of_the_axes(packings, ratio):
    """They hold for the mean of the axes of each single image, isotropic or not.

    For any periodic structure sum 1 / (k_i - k1) is at most what it is at the bound (Milton 2002, The Theory of
    Composites, doi 10.1017/CBO9780511613357, ch. 23), and 1 / (k - k1) is convex; plates with shut sides are the
    structure mirrored, whose tensor is diagonal. Only the width of voxels could break it.
    """
    for case, solid in packings.items():
        k = np.where(solid, ratio, 1.0)
        found = np.mean([plates(k, axis) for axis in range(3)])
        share = solid.mean() if ratio > 1 else 1 - solid.mean()
        lower, upper = hashin_shtrikman(*sorted((1.0, ratio)), share)
        print(case, f"{(found - lower) / (upper - lower):.3f} of the way between the bounds")
        assert lower < found < upper


@pytest.fixture(scope="module")
def tortuosities(packings):
    """By packing, of the pore along the three axes, with the pore fraction."""
    found = {}
    for case, solid in packings.items():
        pore = ~solid
        values = [plates(np.where(percolating(pore, axis), 1.0, 0.0), axis) for axis in range(3)]
        found[case] = pore.mean(), pore.mean() / np.asarray(values)
    return found


def test_insulating_spheres_obey_hashin_and_shtrikman(tortuosities):
    for pore, tau in tortuosities.values():
        assert 1 / np.mean(1 / tau) > (3 - pore) / 2


@pytest.mark.parametrize("pore", [0.4, 0.8])
def test_overlapping_insulating_spheres_obey_weissberg(tortuosities, pore):
    """tau >= 1 - ln(eps) / 2 for overlapping spheres. Weissberg 1963, doi 10.1063/1.1729783.

    It is a bound on the mean over many packings. Stairs instead of spheres raise tau by a few percent, and so do shut
    sides of so small a volume at low porosity: this tests the sign of the difference, and not the bound's last digits.
    """
    cases = [found for (_, wanted), found in tortuosities.items() if wanted == pore]
    fraction = np.mean([f for f, _ in cases])
    tau = 1 / np.mean([1 / t for _, t in cases])
    bound = 1 - np.log(fraction) / 2
    print(f"porosity {fraction:.4f}: tau {tau:.4f}, bound {bound:.4f}, all {[t.round(3) for _, t in cases]}")
    assert tau > bound


# ---------------------------------------------------------------------------------------------------------------------
# Channels


def staircase(n, width, period=64):
    """Channels at 45 degrees in the plane of axes 0 and 1, `width` voxels wide along axis 1."""
    i, j = np.mgrid[:n, :period]
    return ((i + j) % period < width)[:, :, None]


def through_sides(pore):
    (found,) = effective_transport(pore.astype(float), axes=(0,), periodic=(False, True, False), method=TIGHT)
    return found.tortuosity_factor


@pytest.fixture(scope="module")
def staircases():
    return {(n, width): through_sides(staircase(n, width)) for n in (32, 64) for width in (2, 4, 8, 16)}


@pytest.mark.parametrize("width", [2, 4, 8])
def test_channels_at_45_degrees(staircases, width):
    """Inside the channel phi = i - j solves the network, so that tau is 2 w / (w - 1): 2 for wide channels.

    What the plates change at both ends drops out of the difference between two lengths.
    """
    inside = (64 * staircases[64, width] - 32 * staircases[32, width]) / 32
    print(width, inside, inside * (width - 1) / (2 * width) - 1)
    assert inside == pytest.approx(2 * width / (width - 1), rel=1e-12)


def test_channels_at_45_degrees_with_their_ends(staircases):
    # a direct solve; TauFactor, which stops earlier and in float32, gives 2.010120 for diagonals of 64 voxels
    assert staircases[64, 16] == pytest.approx(2.0099709896617, rel=1e-12)


@pytest.mark.parametrize("period, width", [(10, 4), (10, 7), (5, 2)])
def test_the_tensor_of_channels_at_45_degrees_is_exact(period, width):
    i, j, _ = np.indices(CUBE)
    along = (width - 1) / (2 * period)
    wanted = [[along, -along, 0], [-along, along, 0], [0, 0, width / period]]
    np.testing.assert_allclose(tensor(((i + j) % period < width).astype(float)), wanted, rtol=1e-12, atol=1e-14)


def test_a_serpentine_as_a_plane_image():
    """The image of 96^3, uniform along its last axis: one slice has the tortuosity factor of all."""
    pore = ~images.solid("serpentine 96^3")[:, :, :1]
    (found,) = effective_transport(pore.astype(float), axes=(0,), method=TIGHT)
    print(found.tortuosity_factor)
    assert found.tortuosity_factor == pytest.approx(117.4971304, abs=5e-8)


# ---------------------------------------------------------------------------------------------------------------------
# Symmetries, and everything at once against a direct solve


@pytest.fixture(scope="module")
def three_phases():
    return np.asarray([0.0, 0.2, 1.0])[random_phases(7, 3)]


def conductivities(k, **options):
    return np.asarray([found.conductivity for found in effective_transport(k, method=TIGHT, **options)])


@pytest.fixture(scope="module")
def unturned(three_phases):
    return conductivities(three_phases)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:])
def test_turning_the_image_permutes_the_axes(three_phases, unturned, order):
    found = conductivities(np.transpose(three_phases, order))
    print(np.abs(found / unturned[list(order)] - 1).max())
    np.testing.assert_allclose(found, unturned[list(order)], rtol=1e-13)  # sums run in another order


@pytest.mark.parametrize("flipped", [(0,), (1,), (2,), (0, 1, 2)])
def test_mirrored_images_conduct_alike(three_phases, unturned, flipped):
    found = conductivities(np.flip(three_phases, flipped))
    print(np.abs(found / unturned - 1).max())
    np.testing.assert_allclose(found, unturned, rtol=1e-13)


def direct(k, spacing, axis, *, periodic, labels, contacts, low, high):
    """Conductivity along `axis`, S/m, face by face from resistances in series: two half voxels and a contact.

    `k`, (3, nx, ny, nz), S/m; `contacts`, by pairs of labels, and `low`, `high`, of the plates, ohm m2.
    """
    shape, size = k.shape[1:], k[0].size
    areas, index = np.prod(spacing) / np.asarray(spacing), np.arange(k[0].size).reshape(k.shape[1:])
    matrix, b, links = sparse.lil_matrix((size, size)), np.zeros(size), []
    for voxel in np.ndindex(shape):
        for a in range(3):
            half = spacing[a] / (2 * areas[a])
            here, k_here = index[voxel], k[(a, *voxel)]
            if a == axis and k_here > 0:
                for at_plate, contact, potential in ((0, low, 0.0), (shape[a] - 1, high, 1.0)):
                    if voxel[a] == at_plate:
                        g = 1 / (half / k_here + contact / areas[a])
                        matrix[here, here] += g
                        b[here] += g * potential
                        links.append((g, here, potential))
            other = list(voxel)
            other[a] += 1
            if other[a] == shape[a]:
                if a == axis or not periodic[a]:
                    continue
                other[a] = 0
            there, k_there = index[tuple(other)], k[(a, *other)]
            if k_here > 0 and k_there > 0:
                pair = tuple(sorted((labels[voxel], labels[tuple(other)])))
                g = 1 / (half / k_here + half / k_there + contacts.get(pair, 0.0) / areas[a])
                for row, column, sign in ((here, here, 1), (there, there, 1), (here, there, -1), (there, here, -1)):
                    matrix[row, column] += sign * g
    matrix = matrix.tocsc()
    live = matrix.diagonal() > 0
    phi = np.zeros(size)
    phi[live] = spsolve(matrix[live][:, live], b[live])
    current = sum(g * phi[voxel] for g, voxel, potential in links if potential == 0)
    return current * spacing[axis] * shape[axis] / (areas[axis] * size / shape[axis])


SPACING = (0.4e-6, 0.7e-6, 0.5e-6)  # m
CONTACTS = {(1, 2): 3.0e-7, (2, 3): 1.0e-7, (1, 1): 0.5e-7}  # ohm m2
SIDES = (True, True, True)


@pytest.mark.parametrize("axis, contrast", [(0, 5.0), (2, 1000.0)])
def test_everything_at_once_agrees_with_a_direct_solve(axis, contrast):
    """Tensors in flat voxels, joined sides, contacts between phases, also across the joint, and at the plates."""
    labels = random_phases(11, 4)
    table = np.asarray([[0, 0, 0], [1.0, 2.0, 0.5], [3.0, 0.7, 1.1], [contrast, 2 * contrast, contrast / 2]])
    k = np.moveaxis(table[labels], -1, 0)  # S/m
    through = percolating_between(labels > 0, axis)
    k = np.where(through, k, 0)
    low, high = 2.0e-7, 0.7e-7
    resistances = contact_resistances(labels, CONTACTS, low, high)
    kept = {pair: float(np.float32(value)) for pair, value in CONTACTS.items()}  # they are kept in float32
    wanted = direct(k, SPACING, axis, periodic=SIDES, labels=labels, contacts=kept, low=low, high=high)
    resistances = jax.tree.map(lambda r: jnp.asarray(r, jnp.float64), resistances)
    (found,) = effective_transport(k, SPACING, (axis,), periodic=SIDES, resistances=resistances, method=TIGHT)
    print(found.conductivity, found.conductivity / wanted - 1, found.iterations)
    assert found.conductivity == pytest.approx(wanted, rel=1e-11)
    assert found.flux_low == pytest.approx(wanted, rel=1e-8)
    assert found.flux_high == pytest.approx(wanted, rel=1e-8)


def percolating_between(mask, axis):
    """The voxels joined to both plates with the other two axes joined at their sides."""
    pieces = clusters(mask, tuple(a for a in range(3) if a != axis))
    both = set(np.take(pieces, 0, axis).ravel()) & set(np.take(pieces, -1, axis).ravel())
    return mask & np.isin(pieces, list(both))


def test_joined_sides_have_no_seam():
    """The image may be shifted along a joined axis, with contacts between its phases as without."""
    labels = random_phases(11, 4)

    def conductivity(labels):
        k = np.moveaxis(np.asarray([[0, 0, 0], [1.0, 2.0, 0.5], [3.0, 0.7, 1.1], [5.0, 10.0, 2.5]])[labels], -1, 0)
        resistances = jax.tree.map(lambda r: jnp.asarray(r, jnp.float64), contact_resistances(labels, CONTACTS))
        (found,) = effective_transport(k, SPACING, (0,), periodic=SIDES, resistances=resistances, method=TIGHT)
        return found.conductivity

    assert conductivity(np.roll(labels, (3, 4), (1, 2))) == pytest.approx(conductivity(labels), rel=1e-12)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 1, 12)])
def test_the_joined_operator_has_a_constant_of_each_cluster_as_null_space(shape):
    rng = np.random.default_rng(2)
    k = np.where(rng.random(shape) < 0.7, 0.0, 10 ** rng.uniform(-1, 1, shape))
    made = jax.jit(conductor)(jnp.asarray(k), Grid(shape, jnp.asarray([1.0, 0.8, 0.5])))
    operator = jax.jit(lambda x: apply(Faces(*made.interior, made.joint), x))
    matrix = np.stack([np.asarray(operator(unit)).ravel() for unit in np.eye(k.size).reshape(k.size, *shape)], 1)
    np.testing.assert_array_equal(matrix, matrix.T)
    values = np.linalg.eigvalsh(matrix)
    assert values[0] > -1e-14 * values[-1]
    pieces = clusters(k > 0, (0, 1, 2))
    constants = [(pieces == i).ravel().astype(float) for i in np.unique(pieces[k > 0])]
    assert 2 < len(constants) < np.count_nonzero(k)
    np.testing.assert_allclose(matrix @ np.stack(constants, 1), 0, atol=1e-14 * values[-1])
    assert np.count_nonzero(values < 1e-10 * values[-1]) == len(constants) + np.count_nonzero(k == 0)
