"""A small block with a few particles, and the job that discharges it: shared, so that it is compiled once."""

import numpy as np

SHAPE, SPACING = (10, 8, 8), 1e-6  # voxels, m
SPHERES = (((2.0, 2.0, 2.0), 2.6), ((3.0, 6.0, 5.5), 2.6), ((7.5, 3.5, 6.0), 2.7), ((7.5, 7.0, 1.5), 2.2))  # voxels

JOB = """
[image]
path = "{image}"
voxel_size_um = 1.0
[phase.pore]
label = 0
role = "pore"
[phase.nmc]
label = 1
role = "active"
[phase.cbd]
label = 2
role = "binder"
[cell]
c_rates = {rates}
lower_cutoff_V = 3.6
contact_resistance_ohm_cm2 = 1.0
[separator]
thickness_um = 6.0
porosity = 0.39
transport = 0.24
[output]
depths_of_discharge = [0.3, 0.6]
[method]
tolerance = 2e-3
"""


def labels() -> np.ndarray:
    """0 pore, 1 active, 2 carbon-binder: a film over the collector and around the particles."""
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) + 0.5
    distance = np.min([np.linalg.norm(places - c, axis=-1) - r for c, r in SPHERES], 0)
    found = np.zeros(SHAPE, np.uint8)
    found[(distance < 1.2) | (places[..., 0] < 1)] = 2
    found[distance < 0] = 1
    return found


def job(rates="[2.0]", image="block.npy") -> str:
    """The text of the job."""
    return JOB.format(rates=rates, image=image)
