"""Structure and transport, and their derivatives, lower for CUDA without a GPU in the machine."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import rasterise
from microstructure.binder import Coating, coat
from microstructure.grid import Grid, box_grid
from microstructure.voxel import smoothed_area
from solver.numerics.linear import linear_solve
from solver.transport.conduct import conduct, for_gradients
from solver.transport.effective import effective_conductivity
from solver.transport.network import label_network

SHAPE = (9, 8, 7)


def lowers(function, *arguments):
    exported = jax.export.export(jax.jit(function), platforms=["cuda"])(*arguments)
    assert exported.platforms == ("cuda",)
    assert len(exported.mlir_module_serialized) > 0


@pytest.fixture(scope="module")
def packing():
    rng = np.random.default_rng(0)
    box = np.asarray([9e-6, 8e-6, 7e-6])
    return jnp.asarray(rng.random((4, 3)) * box), jnp.full(4, 2e-6), jnp.asarray(box)


def structure(positions, radii, box):
    patches = rasterise.patches(np.full(4, 2e-6), np.full(3, 1e-6), 1.6e-6, groups=2)
    grid, coating, mean = box_grid(SHAPE, box), Coating(), jnp.mean(radii)
    width = coating.sharpness * jnp.max(grid.spacing)
    union = rasterise.union(
        positions, radii, grid, patches, sharp=width, blunt=coating.width * mean, band=coating.reach * mean
    )
    return coat(union, grid, jnp.ones(SHAPE[0] + 1), jnp.asarray(0.4), jnp.asarray(0.1), coating, mean)


def pore_conductivity(positions, radii, box):
    phases = structure(positions, radii, box)
    return effective_conductivity(phases, jnp.asarray([0.0, 0.2, 1.0]), 0, None, for_gradients()).value[0]


def test_structure(packing):
    lowers(structure, *packing)


def test_chain_of_structure_and_transport_with_its_gradient(packing):
    lowers(jax.value_and_grad(pore_conductivity, argnums=(0, 1, 2)), *packing)


def test_conduction_in_a_label_image():
    network = label_network(np.ones(SHAPE, int), {1: 1.0}, Grid(SHAPE, jnp.full(3, 1e-6)), 0)
    lowers(lambda network: conduct(network).value, network)


def test_areas_of_labels():
    lowers(lambda mask: smoothed_area(mask, Grid(SHAPE, jnp.full(3, 1e-6))), jnp.ones(SHAPE, jnp.float32))


def test_linear_solve_and_its_gradient():
    def number(matrix, b):
        return jnp.sum(linear_solve(lambda x: matrix @ x, b).value ** 2)

    lowers(jax.value_and_grad(number, argnums=(0, 1)), 2 * jnp.eye(4), jnp.ones(4))
