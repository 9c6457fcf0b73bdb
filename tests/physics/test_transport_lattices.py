"""Insulating spheres on cubic lattices, rasterised as cut cells, against multipole expansions; observed order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import rasterise
from microstructure.grid import Grid
from microstructure.voxel import nested
from solver.transport.conduct import for_gradients
from solver.transport.effective import effective_conductivity

# Relative conductivity of the matrix around insulating spheres; multipole expansion as in Sangani and Acrivos 1983,
# doi 10.1098/rspa.1983.0020, to order 41. Spheres are centred on corners and faces of the unit cell.
SIMPLE = ((0, 0, 0),)
FACE_CENTRED = ((0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))
REFERENCES = {(SIMPLE, 0.2): 0.7267030, (SIMPLE, 0.4): 0.4901099, (FACE_CENTRED, 0.6): 0.2991676}
SIZES = (16, 32, 64)


def spheres(lattice, fraction):
    """Centres and common radius, with the images beyond the upper plate; axes 1 and 2 are periodic in the union."""
    radius = (3 * fraction / (4 * np.pi * len(lattice))) ** (1 / 3)
    images = [(1, y, z) for x, y, z in lattice if x == 0]
    return np.asarray([*lattice, *images], float), radius


def phases(lattice, fraction, n, blur):
    centres, radius = spheres(lattice, fraction)
    grid = Grid((n,) * 3, jnp.full(3, 1 / n))
    band = 0.25
    radii = np.full(len(centres), radius)
    patches = rasterise.patches(radii, np.full(3, 1 / n), band, groups=1, margin=1.0)

    @jax.jit
    def build(blur):
        width = 0.05 / n
        union = rasterise.union(
            jnp.asarray(centres), jnp.asarray(radii), grid, patches, sharp=width, blunt=width, band=band
        )
        return nested((union.sharp,), grid, ("sphere", "pore"), blur)

    return build(blur)


def errors(lattice, fraction, n, blur):
    """Relative errors of the conductivity, of the spheres' volume and of their area."""
    structure = phases(lattice, fraction, n, blur)
    solution = effective_conductivity(structure, jnp.asarray([0.0, 1.0]), 0, None, for_gradients())
    _, radius = spheres(lattice, fraction)
    area = len(lattice) * 4 * np.pi * radius**2
    return (
        float(solution.value[0]) / REFERENCES[lattice, fraction] - 1,
        float(jnp.mean(structure.fractions[0])) / fraction - 1,
        float(jnp.sum(structure.areas[0])) / area - 1,
    )


@pytest.fixture(scope="module")
def simple():
    """Errors of the simple cubic lattice by (fraction, blur), one row for each size."""
    table = {
        (fraction, blur): np.asarray([errors(SIMPLE, fraction, n, blur) for n in SIZES])
        for fraction, blur in ((0.2, 0.0), (0.2, 0.3), (0.4, 0.0), (0.4, 0.3))
    }
    for case, rows in table.items():
        print(case, rows.T)
    return table


CASES = pytest.mark.parametrize("case", [(0.2, 0.0), (0.2, 0.3), (0.4, 0.0), (0.4, 0.3)])


@CASES
def test_simple_cubic_at_32_is_within_two_thousandths(simple, case):
    assert abs(simple[case][1, 0]) < 2e-3


@CASES
def test_simple_cubic_is_second_order(simple, case):
    order = -np.polyfit(np.log(SIZES), np.log(np.abs(simple[case][:, 0])), 1)[0]
    print(case, "order", order)
    assert order > 1.8


@pytest.mark.parametrize("blur", [0.0, 0.3])
def test_area_and_volume_of_the_spheres(simple, blur):
    conductivity, volume, area = simple[0.2, blur][1]
    assert abs(volume) < 4e-3
    assert abs(area) < 4e-3


@pytest.mark.parametrize("blur", [0.0, 0.3])
def test_face_centred_cubic_at_32_is_within_a_hundredth(blur):
    conductivity, volume, area = errors(FACE_CENTRED, 0.6, 32, blur)
    print("fcc", blur, conductivity, volume, area)
    assert abs(conductivity) < 1e-2


def test_where_the_lattice_lies_on_the_grid_hardly_matters(simple):
    """The same spheres shifted by a third of a voxel along the periodic axes."""
    shifted = tuple((x, y + 1 / 96, z + 1 / 48) for x, y, z in SIMPLE)
    REFERENCES[shifted, 0.4] = REFERENCES[SIMPLE, 0.4]
    moved = errors(shifted, 0.4, 32, 0.3)[0]
    print("shifted", moved)
    # the sides are walls now and not mirrors of the lattice, but its mirror planes have moved by less than a voxel
    assert abs(moved) < 1e-2
