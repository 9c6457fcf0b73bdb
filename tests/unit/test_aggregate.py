"""Multigrid on aggregates: symmetric, right in its sums, and fast at a large contrast inside the connected phase."""

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sparse
from scipy import ndimage
from scipy.sparse.linalg import spsolve

from solver.numerics import aggregate, aggregation, multigrid
from solver.numerics.flux import Faces, Plates, apply, diagonal, plate_links
from solver.numerics.linear import conjugate_gradients
from solver.numerics.solution import Result

SHAPE = (20, 18, 17)


def _film(shape, weak=1e-4, seed=0):
    """Conductivities of a film that conducts well around lumps that conduct little, in a pore that does not at all."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    field = field / field.std()
    k = np.where(field > 0.1, weak, np.where(field > -0.35, 1.0, 0.0))
    labels, _ = ndimage.label(k > 0)
    through = np.intersect1d(labels[0], labels[-1])
    return np.where(np.isin(labels, through[through > 0]), k, 0)


def _network(k, plates=True, dtype=float):
    faces = []
    for axis, n in enumerate(k.shape):
        low, high = (np.take(k, np.arange(i, n - 1 + i), axis) for i in (0, 1))
        faces.append(2 * low * high / np.where(low + high > 0, low + high, 1))
    ends = Plates(*(jnp.asarray(2 * k[[i]], dtype) for i in (0, -1))) if plates else None
    return Faces(*(jnp.asarray(f, dtype) for f in faces), (ends, None, None))


def _plates(faces):
    return np.asarray(plate_links(faces, float))


def _matrix(faces):
    node = np.arange(np.prod(faces.shape)).reshape(faces.shape)
    ends = [np.stack([np.take(node, range(n - 1), a), np.take(node, range(1, n), a)]) for a, n in enumerate(node.shape)]
    i, j = np.concatenate([e.reshape(2, -1) for e in ends], axis=1)
    g = np.concatenate([np.asarray(f).ravel() for f in faces.interior])
    off = sparse.coo_array((g, (i, j)), (node.size, node.size)).tocsr()
    off = off + off.T
    return (sparse.diags_array(off.sum(1) + _plates(faces).ravel()) - off).tocsr()


@pytest.fixture(scope="module")
def film():
    faces = _network(_film(SHAPE))
    return faces, aggregation.plan(faces, coarsest=32)


@eqx.filter_jit
def _solve(faces, plan, b, rtol=1e-6):
    cycle = multigrid.build(faces, dtype=float) if plan is None else aggregate.build(faces, plan, dtype=float)
    return conjugate_gradients(lambda x: apply(faces, x), b, preconditioner=cycle, rtol=rtol)


def _current(faces):
    """What a plate at unit potential above the network drives into it."""
    return jnp.asarray(_plates(faces), faces.x.dtype).at[:-1].set(0)


def _steps(faces, plan):
    solution = _solve(faces, plan, _current(faces))
    assert solution.result == Result.successful
    return int(solution.stats["steps"])


@eqx.filter_jit
def _cycled(faces, plan, fields):
    return jax.vmap(aggregate.build(faces, plan, dtype=float))(fields)


@pytest.mark.parametrize("plates", [True, False])
def test_the_cycle_is_symmetric_and_positive(plates):
    faces = _network(_film((7, 6, 8), seed=2), plates)
    plan = aggregation.plan(faces, coarsest=8)
    assert len(plan.rungs) > 1
    eye = jnp.eye(int(np.prod(faces.shape))).reshape(-1, *faces.shape)
    matrix = np.asarray(_cycled(faces, plan, eye)).reshape(int(np.prod(faces.shape)), -1)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13 * np.abs(matrix).max())
    live = np.asarray(diagonal(faces, float)).ravel() > 0
    assert 0 < live.sum() < live.size
    values = np.linalg.eigvalsh(matrix[np.ix_(live, live)])
    assert values.min() > 1e-9 * values.max()
    assert not matrix[~live].any()


def test_the_answer_is_that_of_a_direct_solve(film):
    faces, plan = film
    b = _current(faces)
    solution = _solve(faces, plan, b, 1e-11)
    assert solution.result == Result.successful
    live = np.asarray(diagonal(faces, float)).ravel() > 0
    expected = spsolve(_matrix(faces)[live][:, live].tocsc(), np.asarray(b).ravel()[live])
    np.testing.assert_allclose(np.asarray(solution.value).ravel()[live], expected, atol=1e-8)


def test_a_shunt_is_carried_to_every_level(film):
    """Links to the ground from some nodes: the answer is exact, and the contrast still costs few steps."""
    faces, plan = film
    live = np.asarray(diagonal(faces, float)).ravel() > 0
    shunt = np.where(live & (np.random.default_rng(3).uniform(size=live.size) < 0.2), 0.05, 0.0)
    shunted = Faces(*faces.interior, faces.ends, jnp.asarray(shunt.reshape(SHAPE)))
    b = _current(faces)
    solution = _solve(shunted, plan, b, 1e-11)
    expected = spsolve((_matrix(faces) + sparse.diags_array(shunt))[live][:, live].tocsc(), np.asarray(b).ravel()[live])
    np.testing.assert_allclose(np.asarray(solution.value).ravel()[live], expected, atol=1e-8)
    assert int(_solve(shunted, plan, b).stats["steps"]) <= 30


def test_a_large_contrast_costs_few_steps(film):
    faces, plan = film
    steps, geometric = _steps(faces, plan), _steps(faces, None)
    print(steps, geometric)
    assert steps <= 30
    assert geometric > 2 * steps


def test_single_precision_is_enough(film):
    faces, plan = film
    assert _steps(jax.tree.map(lambda x: x.astype(jnp.float32), faces), plan) <= _steps(faces, plan) + 2


def test_a_plan_serves_a_similar_design(film):
    faces, plan = film
    other = _network(_film(SHAPE) * 10 ** np.random.default_rng(1).uniform(-0.3, 0.3, SHAPE))
    steps, own = _steps(other, plan), _steps(faces, plan)
    print(steps, own)
    assert steps <= 1.5 * own


def test_coarse_conductances_are_galerkin_sums_halved_between_blocks(film):
    faces, plan = film
    level = eqx.filter_jit(aggregate.build)(faces, plan, dtype=float).levels[0]
    n, parent = level.graph.plate.size, np.asarray(level.parent)
    joined = np.flatnonzero(parent < n)
    transfer = sparse.coo_array((np.ones(len(joined)), (joined, parent[joined])), (parent.size, n)).tocsr()
    galerkin = (transfer.T @ _matrix(faces) @ transfer).toarray()
    cell = np.zeros((n, 3), int)
    cell[parent[joined]] = np.stack(np.unravel_index(joined, SHAPE), 1) // 2
    assert (cell[parent[joined]] == np.stack(np.unravel_index(joined, SHAPE), 1) // 2).all()
    expected = galerkin * np.where((cell[:, None] == cell).all(-1), 1, 0.5)
    coarse = np.array(jax.vmap(level.graph)(jnp.eye(n)))
    np.testing.assert_allclose(coarse.sum(1), 0.5 * transfer.T @ _plates(faces).ravel(), atol=1e-12)
    for matrix in (coarse, expected):
        np.fill_diagonal(matrix, 0)
    np.testing.assert_allclose(coarse, expected, atol=1e-13)
    assert len(set(map(tuple, cell[np.unique(parent[joined])]))) < len(np.unique(parent[joined]))


def test_no_plates_leave_the_constant_free():
    faces = _network(_film(SHAPE), plates=False)
    x = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE))
    solution = _solve(faces, aggregation.plan(faces, coarsest=32), apply(faces, x), 1e-10)
    assert solution.result == Result.successful
    labels, n = ndimage.label(np.asarray(diagonal(faces, float)) > 0)
    error = np.asarray(solution.value - x)
    for mean, i in zip(ndimage.mean(error, labels, np.arange(1, n + 1)), range(1, n + 1), strict=True):
        np.testing.assert_allclose(error[labels == i], mean, atol=1e-4)


def test_unequal_spacings_are_coarsened_along_strong_links_first():
    faces = _network(np.ones(SHAPE))
    faces = eqx.tree_at(lambda f: (f.y, f.z), faces, (16 * faces.y, 16 * faces.z))
    plan = aggregation.plan(faces, coarsest=32)
    assert plan.rungs[0].children.shape[0] == 4
    x = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE))
    assert int(_solve(faces, plan, apply(faces, x)).stats["steps"]) <= 12


def test_networks_that_conduct_nothing_or_are_tiny_are_left_alone():
    for shape, k in (((3, 4, 5), 0.0), ((1, 1, 1), 1.0), ((2, 1, 1), 1.0)):
        faces = _network(np.full(shape, k))
        out = _cycled(faces, aggregation.plan(faces), jnp.ones((1, *shape)))
        assert np.isfinite(out).all()
        assert (np.asarray(out) > 0).all() == (k > 0)


def test_it_lowers_for_cuda():
    faces = _network(_film((7, 6, 8)), dtype=jnp.float32)
    plan = aggregation.plan(faces, coarsest=8)
    export = jax.export.export(jax.jit(lambda f, b: aggregate.build(f, plan)(b)), platforms=["cuda"])
    assert export(faces, jnp.ones(faces.shape)).platforms == ("cuda",)


def test_lengths_take_few_values_and_waste_little():
    sizes = np.asarray([aggregation._ladder(n) for n in range(1, 2001)])
    assert len(np.unique(sizes)) <= 45
    assert (sizes >= np.arange(1, 2001)).all()
    assert (sizes[63:] <= 1.25 * np.arange(64, 2001)).all()
