"""Derivatives of the structure in centres, radii and box, through the union of spheres and the carbon-binder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from microstructure import rasterise, surface
from microstructure.binder import BLUR, Coating, coat
from microstructure.grid import box_grid

SHAPE = (24, 16, 16)
COUNT = 30


@pytest.fixture(scope="module")
def packing():
    """Spheres that overlap and pass through the sides, as those of a calendered film do."""
    rng = np.random.default_rng(0)
    radii = 2e-6 + 1e-6 * rng.random(COUNT)
    box = np.asarray([14e-6, 12e-6, 12e-6])
    return jnp.asarray(rng.random((COUNT, 3)) * box), jnp.asarray(radii), jnp.asarray(box)


def quantities(packing):
    """A function of the packing: smooth numbers of every field on the way to the phases."""
    _, reference, box0 = packing
    grid0 = box_grid(SHAPE, box0)
    patches = rasterise.patches(
        np.asarray(reference), np.asarray(grid0.spacing), 0.8 * float(reference.mean()), groups=1
    )
    coating, content = Coating(), jnp.linspace(0.5, 1.5, SHAPE[0] + 1)
    solid = jnp.sum(reference**3) / jnp.prod(box0)

    def fields(positions, radii, box):
        grid, mean = box_grid(SHAPE, box), jnp.mean(radii)
        width = jnp.max(grid.spacing) * coating.sharpness
        union = rasterise.union(
            positions, radii, grid, patches, sharp=width, blunt=coating.width * mean, band=coating.reach * mean
        )
        blur = BLUR * grid.spacing
        active = 0.6 * jnp.sum(radii**3) / jnp.prod(box) / solid
        phases = coat(union, grid, content, active, 0.2 * active, coating, mean)
        faces = surface.apertures(union.sharp, blur)
        return {
            "sharp": jnp.sum(union.sharp**2) * 1e12,
            "blunt": jnp.sum(union.blunt**2) * 1e12,
            "fractions of the union": jnp.sum(surface.volume_fraction(union.sharp, blur) ** 2),
            "apertures of the union": sum(jnp.sum(a**2) for a in faces),
            "area of the union": jnp.sum(surface.interface_area(faces, grid.face_areas)) * 1e12,
            "active": jnp.sum(phases.fractions[0] ** 2),
            "binder": jnp.sum(phases.fractions[1] ** 2),
            "apertures of the pore": sum(jnp.sum(a[2] ** 2) for a in phases.apertures),
            "area of the binder": jnp.sum(phases.areas[1]) * 1e12,
        }

    return fields


NAMES = (
    "sharp",
    "blunt",
    "fractions of the union",
    "apertures of the union",
    "area of the union",
    "active",
    "binder",
    "apertures of the pore",
    "area of the binder",
)
DIRECTIONS = ("positions", "radii", "box")


@pytest.fixture(scope="module")
def derivatives(packing):
    """For each direction: reverse-mode derivative, and central differences at steps of 1e-5 and 1e-6."""
    fields = quantities(packing)

    def stacked(*arguments):
        values = fields(*arguments)
        return jnp.stack([values[name] for name in NAMES])

    value = jax.jit(stacked)
    gradient = jax.jit(jax.grad(lambda weights, *a: weights @ stacked(*a), argnums=(1, 2, 3)))
    gradients = [gradient(row, *packing) for row in jnp.eye(len(NAMES))]
    table = {"value": np.asarray(value(*packing))}
    rng = np.random.default_rng(1)
    table["scale"] = [sum(float(jnp.vdot(a, b)) for a, b in zip(g, packing, strict=True)) for g in gradients]
    directions = (jnp.asarray(rng.normal(size=(COUNT, 3)) * 1e-6), packing[1], packing[2])
    for i, (name, direction) in enumerate(zip(DIRECTIONS, directions, strict=True)):
        exact = np.asarray([jnp.vdot(g[i], direction) for g in gradients])
        differences = []
        for h in (1e-5, 1e-6):
            ends = [value(*(p + s * h * direction if j == i else p for j, p in enumerate(packing))) for s in (1, -1)]
            differences.append(np.asarray(ends[0] - ends[1]) / (2 * h))
        table[name] = exact, np.stack(differences)
    return table


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_central_differences_converge_to_the_derivative(derivatives, direction, name):
    exact, differences = derivatives[direction]
    i = NAMES.index(name)
    errors = differences[:, i] / exact[i] - 1
    print(direction, name, f"{exact[i]:.6g}", errors)
    assert np.all(np.isfinite(errors))
    assert np.min(np.abs(errors)) < 1e-6


def test_a_uniform_scale_of_everything_changes_no_share(derivatives):
    """Centres, radii and box together: shares and apertures are homogeneous of degree zero, areas of degree two."""
    degree = derivatives["scale"] / derivatives["value"]
    np.testing.assert_allclose(degree, [2, 2, 0, 0, 2, 0, 0, 0, 2], atol=1e-9)
