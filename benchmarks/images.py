"""Seeded binary images with converged tortuosity factors, so that speed is never quoted without truth."""

import hashlib

import numpy as np

# Tortuosity factors of the first axis: volume fraction over relative diffusivity, plates half a voxel outside, no flux
# through the sides; seven-point finite volumes, conjugate gradients to a residual of 1e-10 in float64.
REFERENCES = {
    ("spheres", 64, "pore"): 2.11375661,
    ("spheres", 64, "solid"): 2.51818834,
    ("spheres", 100, "pore"): 2.12639982,
    ("spheres", 100, "solid"): 2.80968412,
    ("spheres", 128, "pore"): 2.00980153,
    ("spheres", 128, "solid"): 2.49283782,
    ("spheres", 200, "pore"): 1.99667681,
    ("spheres", 200, "solid"): 2.46618756,
    ("serpentine", 96, "pore"): 117.4971304,
}
# First digits of the SHA-256 of the packed bits, so that a changed generator cannot pass unseen.
DIGESTS = {
    ("spheres", 64): "0b761916839fab38",
    ("spheres", 100): "afd458766f914258",
    ("spheres", 128): "76bc6eb09dce5b9a",
    ("spheres", 200): "e5cae27c3f7b942f",
    ("serpentine", 96): "09e8a477c33c254f",
}


def solid(kind: str, n: int) -> np.ndarray:
    """The solid of an image of n^3 voxels, checked against its digest; `kind` is `spheres` or `serpentine`."""
    image = {"spheres": overlapping_spheres, "serpentine": serpentine}[kind](n)
    found = hashlib.sha256(np.packbits(image).tobytes()).hexdigest()[:16]
    if found != DIGESTS[kind, n]:
        raise ValueError(f"The image `{kind}` of {n} voxels has the digest {found} instead of {DIGESTS[kind, n]}.")
    return image


def overlapping_spheres(n: int, porosity: float = 0.4, radius: float = 8.0) -> np.ndarray:
    """Periodic spheres at random, added one by one until the pore fraction is at most `porosity`; radius in voxels."""
    draw = np.random.default_rng(1 + n)
    image, pore = np.zeros((n, n, n), bool), n**3
    while pore > porosity * n**3:
        centre = draw.random(3) * n
        rows = [np.arange(int(np.floor(c - radius)), int(np.ceil(c + radius)) + 1) for c in centre]
        x, y, z = ((row + 0.5 - c) ** 2 for row, c in zip(rows, centre, strict=True))
        ball = x[:, None, None] + y[None, :, None] + z[None, None, :] <= radius**2
        window = np.ix_(*(row % n for row in rows))
        pore -= int(np.count_nonzero(ball & ~image[window]))
        image[window] |= ball
    return image


def serpentine(n: int, pitch: int = 8, wall: int = 2) -> np.ndarray:
    """Walls across the flux, open in turn at one side and at the other: one long channel."""
    image = np.zeros((n, n, n), bool)
    for number, x in enumerate(range(pitch, n, pitch)):
        closed = slice(pitch, None) if number % 2 == 0 else slice(None, n - pitch)
        image[x : x + wall, closed] = True
    return image
