"""Seeded images with converged tortuosity factors, so that speed is never quoted without truth.

Each input has a name, a generator with its arguments, references, and the start of a SHA-256 digest (of the packed bits
of the solid, or of the labels), so that a changed generator cannot pass unseen.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

BALL = 8.0  # voxels, the radius of overlapping spheres
PORE, ACTIVE, BINDER = 0, 1, 2  # labels of the three-phase image


@dataclasses.dataclass(frozen=True)
class Image:
    """An input: how it is made, what it must be, and its tortuosity factors along the first axis by phase.

    **Arguments:** `make`, without arguments; `digest`, first 16 digits; `tau`, the volume fraction of the whole phase
    over its relative diffusivity, plates half a voxel outside the first and last slice, no flux through the sides:
    seven-point finite volumes in float64, conjugate gradients to a residual of 1e-10 on the part that percolates.
    """

    make: Callable[[], np.ndarray]
    digest: str
    tau: dict[str, float] = dataclasses.field(default_factory=dict)


def solid(name: str) -> np.ndarray:
    """The solid of a binary input, or the labels of one of three phases, checked against its digest."""
    image = IMAGES[name].make()
    packed = np.packbits(image) if image.dtype == bool else image
    found = hashlib.sha256(packed.tobytes()).hexdigest()[:16]
    if found != IMAGES[name].digest:
        raise ValueError(f"The image `{name}` has the digest {found} instead of {IMAGES[name].digest}.")
    return image


def phase(name: str, which: str) -> np.ndarray:
    """The mask of the `pore` or the `solid` of a binary input."""
    image = solid(name)
    return image if which == "solid" else ~image


def overlapping_spheres(shape, seed: int, porosity: float = 0.4) -> np.ndarray:
    """Periodic spheres at random, added one by one until the pore fraction is at most `porosity`."""
    draw = np.random.default_rng(seed)
    image, pore = np.zeros(shape, bool), np.prod(shape)
    while pore > porosity * image.size:
        pore -= _add_ball(image, draw.random(3) * shape, BALL)
    return image


def soft_spheres(n: int, porosity: float = 0.35, overlap: float = 0.8, batch: int = 2048) -> np.ndarray:
    """Periodic spheres of 6 to 12 voxels whose centres keep `overlap` times the sum of their radii from each other.

    Radius and centre are drawn anew until they fit. Draws are made in batches, and most that cannot fit are found by
    their distances to the nearest spheres, which changes nothing in the result.
    """
    draw, image, pore = np.random.default_rng(7 + n), np.zeros((n, n, n), bool), n**3
    centres, radii = np.zeros((0, 3)), np.zeros(0)
    while True:
        trials = draw.random((batch, 4))
        for centre, radius in _not_near(trials[:, 1:] * n, 6 + 6 * trials[:, 0], centres, radii, n, overlap):
            gap = np.abs(centre - centres)
            gap = np.minimum(gap, n - gap)
            if np.any(np.sum(gap**2, 1) < (overlap * (radius + radii)) ** 2):
                continue
            centres, radii = np.vstack([centres, centre]), np.append(radii, radius)
            pore -= _add_ball(image, centre, radius)
            if pore <= porosity * n**3:
                return image


def _not_near(trials, trial_radii, centres, radii, n, overlap, nearest: int = 8):
    """The trial spheres that do not clearly overlap one of the spheres nearest to them."""
    if len(radii) < nearest:
        return zip(trials, trial_radii, strict=True)
    distance, index = cKDTree(centres, boxsize=n).query(trials, k=nearest)
    fits = np.all(distance >= overlap * (trial_radii[:, None] + radii[index]) * (1 - 1e-9), axis=1)
    return zip(trials[fits], trial_radii[fits], strict=True)


def _add_ball(image: np.ndarray, centre, radius: float) -> int:
    """Marks the voxels whose centres lie in a sphere, wrapped at the sides; how many of them are new."""
    rows = [np.arange(int(np.floor(c - radius)), int(np.ceil(c + radius)) + 1) for c in centre]
    x, y, z = ((row + 0.5 - c) ** 2 for row, c in zip(rows, centre, strict=True))
    ball = x[:, None, None] + y[None, :, None] + z[None, None, :] <= radius**2
    window = np.ix_(*(row % n for row, n in zip(rows, image.shape, strict=True)))
    new = int(np.count_nonzero(ball & ~image[window]))
    image[window] |= ball
    return new


def serpentine(n: int, pitch: int = 8, wall: int = 2) -> np.ndarray:
    """Walls across the flux, open in turn at one side and at the other: one long channel."""
    image = np.zeros((n, n, n), bool)
    for number, x in enumerate(range(pitch, n, pitch)):
        closed = slice(pitch, None) if number % 2 == 0 else slice(None, n - pitch)
        image[x : x + wall, closed] = True
    return image


def film(n: int, seed: int) -> np.ndarray:
    """Labels of pore, active spheres and binder: broken films of one and two voxels on the spheres, and bridges.

    The film covers half of the surface in patches of 6 voxels and, twice as thick, a third in patches of 12; bridges
    fill the necks that a ball of 3 voxels cannot enter.
    """
    active = overlapping_spheres((n, n, n), seed, 0.5)
    draw = np.random.default_rng(seed + 1)

    def patches(size, share):
        chosen = draw.random((-(-n // size),) * 3) < share
        return np.kron(chosen, np.ones((size,) * 3, bool))[:n, :n, :n]

    near, far = ndimage.binary_dilation(active), ndimage.binary_dilation(active, iterations=2)
    offsets = np.arange(-3, 4) ** 2
    ball = offsets[:, None, None] + offsets[:, None] + offsets <= 9
    necks = ndimage.binary_closing(np.pad(active, 4, mode="wrap"), ball)[4:-4, 4:-4, 4:-4]
    binder = (near & patches(6, 0.5)) | (far & patches(12, 0.35)) | necks
    return np.where(active, ACTIVE, np.where(binder, BINDER, PORE)).astype(np.uint8)


def _spheres(shape, seed, digest, porosity=0.4, **tau):
    shape = (shape,) * 3 if isinstance(shape, int) else shape
    return Image(functools.partial(overlapping_spheres, shape, seed, porosity), digest, tau)


def _soft(n, digest, **tau):
    return Image(functools.partial(soft_spheres, n), digest, tau)


# The factors of `spheres 256^3` solid and of 251 x 301 x 301 come from this program's own solver in float64; all others
# from algebraic multigrid, with which it agrees to all digits given where both were run. The last seed is 251 + 301.
IMAGES = {
    "spheres 64^3": _spheres(64, 65, "0b761916839fab38", pore=2.11375661, solid=2.51818834),
    "spheres 100^3": _spheres(100, 101, "afd458766f914258", pore=2.12639982, solid=2.80968412),
    "spheres 128^3": _spheres(128, 129, "76bc6eb09dce5b9a", pore=2.00980153, solid=2.49283782),
    "spheres 200^3": _spheres(200, 201, "e5cae27c3f7b942f", pore=1.99667681, solid=2.46618756),
    "spheres 256^3": _spheres(256, 257, "8c1c9f0c108bc5ff", pore=1.97431214, solid=2.52290620),
    "spheres 251x301x301": _spheres((251, 301, 301), 552, "70755a826a9c28b3", pore=1.96592842),
    "soft 64^3": _soft(64, "1ebcb7ce08f62649", pore=2.18588948, solid=2.36049413),
    "soft 100^3": _soft(100, "6c85e971ee458969", pore=2.13111432, solid=2.45041130),
    "soft 128^3": _soft(128, "90ae07e849a21c7b", pore=2.05115616),
    "soft 200^3": _soft(200, "a2709f947531b426"),
    "soft 256^3": _soft(256, "b26bf3953245555d"),
    "narrow 100^3": _spheres(100, 11, "9a53a1997f1376d1", 0.10, pore=13.93651782),
    "narrow 128^3": _spheres(128, 14, "9c94448c99fdb462", 0.10, pore=14.13323878),
    "contacts 100^3": _spheres(100, 13, "13f877f476b72fab", 0.66, solid=15.53672314),
    "closed 100^3": _spheres(100, 12, "6c9866239dc22b43", 0.06, pore=np.inf),
    "serpentine 96^3": Image(functools.partial(serpentine, 96), "09e8a477c33c254f", {"pore": 117.4971304}),
    "film 96^3": Image(functools.partial(film, 96, 5), "8e7dc609bfeecc31"),
}
# Conductivities along the first axis of the film image by conductivities of pore, active and binder: seven-point finite
# volumes with harmonic means, algebraic multigrid conjugate gradients to a residual of 1e-11 in float64.
FILM = {
    (1.0, 0.0, 0.05): 0.1607405758342135,
    (0.0, 1e-2, 1.0): 0.02571976361118003,
    (0.0, 1e-4, 1.0): 0.01524189561439130,
    (1.0, 1e-3, 1e3): 17.23858844986141,
    (1e-4, 1.0, 1e4): 152.4192729929677,
}
