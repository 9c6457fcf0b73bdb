"""What a structure's diffusivity owes to each voxel and each particle, drawn. See docs/transport.md."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colors, figure

from microstructure import rasterise
from microstructure.grid import Grid
from microstructure.voxel import nested
from solver.transport.conduct import conduct, for_gradients
from solver.transport.effective import effective_conductivity
from solver.transport.network import field_network

n, h, draw = 48, 1e-6, np.random.default_rng(3)  # voxels, m
centres, radii = jnp.asarray(n * h * draw.random((90, 3))), jnp.asarray(h * draw.uniform(4, 8, 90))
grid = Grid((n, n, n), jnp.full(3, h))
reach = rasterise.patches(np.asarray(radii), np.asarray(grid.spacing), 2 * h, groups=1)


@eqx.filter_jit
def structure(radii):
    union = rasterise.union(centres, radii, grid, reach, sharp=0.3 * h, blunt=0.3 * h, band=2 * h)
    return nested((union.sharp,), grid, ("solid", "pore"), blur=0.3)


def of_spheres(radii):
    return effective_conductivity(structure(radii), jnp.asarray([0.0, 1.0]), 0, method=for_gradients()).value[0]


def of_voxels(k):
    return conduct(field_network(k, grid, 0), for_gradients()).value[0]


value, by_radius = jax.value_and_grad(of_spheres)(radii)
pore = structure(radii).fractions[1]
by_voxel = pore.size * jax.grad(of_voxels)(jnp.maximum(pore, 1e-3))  # the solid conducts a little, to have a potential
print(f"D_eff = {value:.4f} D, by {by_radius.min() * h:.4f} to {by_radius.max() * h:.4f} D for each um of a radius")

corner = np.stack(np.meshgrid(*[h * (np.arange(n) + 0.5)] * 2, [h * n / 2], indexing="ij"), -1)[:, :, 0]
away = corner - np.asarray(centres)[:, None, None]
away[..., 1:] -= n * h * np.round(away[..., 1:] / (n * h))  # periodic sideways
nearest = np.argmin(np.linalg.norm(away, axis=-1) - np.asarray(radii)[:, None, None], 0)
middle = np.asarray(pore[:, :, n // 2])
drawn = figure.Figure(figsize=(10, 4.4), layout="constrained")
for axis, image, options, title, label in zip(
    drawn.subplots(1, 2),
    (by_voxel[:, :, n // 2], np.where(middle < 0.5, np.asarray(by_radius)[nearest] * h, np.nan)),
    ({"norm": colors.LogNorm(1e-2, 1e2), "cmap": "magma"}, {"cmap": "viridis_r"}),
    ("Open a voxel", "Let a particle grow"),
    ("voxels × d$D_{eff}$/dk, both over free diffusivity", "d($D_{eff}$/D) per µm of its radius"),
    strict=True,
):
    shown = axis.imshow(image, origin="lower", extent=(0, n, 0, n), **options)
    axis.contour(middle, [0.5], colors="0.7", linewidths=0.8, origin="lower", extent=(0, n, 0, n))
    axis.set(xlabel="y / µm", ylabel="x / µm (flux along x)", title=title)
    drawn.colorbar(shown, ax=axis, label=label)
drawn.savefig("mesode_transport_gradient.png", dpi=100)
