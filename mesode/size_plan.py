"""Mean volume and largest radius of the particles of a job before anything heavy is loaded: estimates for a plan."""

import math
from statistics import NormalDist

from mesode.job import Job

_POINTS = 2000
_TAIL = 1e-3  # of tabulated percentiles, as in `microstructure.sizes.Percentiles`


def sections(job: Job) -> list[tuple[str, float]]:
    """The sections that hold distributions, each with its share of the volume of the particles."""
    second = job["recipe.second.volume_share"]
    return [("recipe.size", 1 - second), *([("recipe.second.size", second)] if second else [])]


def quantile(job: Job, section: str, share: float) -> float:
    """The radius, m, below which a share lies, by number or volume as the section counts; tables without curvature."""
    kind = job[f"{section}.kind"]
    if kind == "weibull":
        shape, scale = job[f"{section}.shape"], job.si(f"{section}.scale_radius_um")
        low, high = (-math.expm1(-(cut**shape)) for cut in (0.2, 3.0))
        return scale * (-math.log1p(-(low + (high - low) * share))) ** (1 / shape)
    probit = NormalDist().inv_cdf
    if kind == "log-normal":
        spread = max(job[f"{section}.sigma"], 1e-9)
        low, high = (NormalDist().cdf(math.log(cut) / spread) for cut in (0.3, 3.0))  # where sizes are cut
        z = probit(min(low + (high - low) * share, 1 - 1e-12))
        return job.si(f"{section}.median_radius_um") * math.exp(spread * z)
    z = [probit(_TAIL + (1 - 2 * _TAIL) * s) for s in job[f"{section}.diameter_shares"]]
    y = [math.log(0.5e-6 * d) for d in job[f"{section}.diameters_um"]]
    at = probit(_TAIL + (1 - 2 * _TAIL) * share)
    k = next((k for k in range(1, len(z) - 1) if at < z[k]), len(z) - 1)
    return math.exp(y[k - 1] + (y[k] - y[k - 1]) * (at - z[k - 1]) / (z[k] - z[k - 1]))


def mean_volume(job: Job) -> float:
    """Of a particle, m3: volumes add up, so of several kinds it is the harmonic mean."""
    return 1 / math.fsum(share / _mean_volume(job, section) for section, share in sections(job))


def _mean_volume(job: Job, section: str) -> float:
    if job[f"{section}.kind"] == "log-normal" and job[f"{section}.shares_by"] == "number":
        median, spread = job.si(f"{section}.median_radius_um"), job[f"{section}.sigma"]
        return 4 / 3 * math.pi * median**3 * math.exp(4.5 * spread**2)
    power = 3 if job[f"{section}.shares_by"] == "number" else -3
    radii = (quantile(job, section, (k + 0.5) / _POINTS) for k in range(_POINTS))
    return 4 / 3 * math.pi * (math.fsum(r**power for r in radii) / _POINTS) ** (3 / power)


def largest_radius(job: Job) -> float:
    """The largest radius, m, that the stratified draws of the job can give."""
    whole, found = mean_volume(job), []
    for section, share in sections(job):
        mean = _mean_volume(job, section)
        tail = min(0.02 * mean / (job["grid.particles"] * share * whole), 0.5)
        radius = quantile(job, section, 1 - tail)
        for _ in range(8 if job[f"{section}.shares_by"] == "volume" else 0):
            # So few of the particles hold more of the volume, as they are larger than the mean.
            radius = quantile(job, section, 1 - min(tail * 4 / 3 * math.pi * radius**3 / mean, 0.5))
        found.append(radius)
    return max(found)


def median_radius(job: Job) -> float:
    """Of the finest kind of particles, m, as it counts its shares: what a grid must resolve."""
    return min(quantile(job, section, 0.5) for section, _ in sections(job))
