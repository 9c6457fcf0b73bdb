"""Errors of a model along a curve: what one point says the next one says too, so that many points know little."""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from microstructure.checks import require

HIGHEST = 0.98  # correlation of one residual with the next


def correlated(
    weighted: np.ndarray, blocks: Sequence[slice], jacobian: np.ndarray, least: float = 1.0
) -> tuple[np.ndarray, float, float]:
    """The covariance of weighted residuals that go together along each block, and the degrees of freedom they leave.

    C_ij = s^2 rho^|i-j| within a block, zero between blocks. rho, the correlation of one residual with the next,
    is found over all blocks together. There are m_eff independent residuals, the sum of (1 - rho) / (1 + rho) over
    them and at least one a block, and m_eff - n degrees of freedom, at least 1. s is common to all: the mean square of
    the residuals times m_eff / (m_eff - n), what the fit has taken up of them, and at least `least`^2, so that
    residuals that happen to be smaller than the expected errors do not narrow the intervals.

    **Arguments:** `weighted`, (m,), residuals over their expected deviations; `blocks` of residuals along a curve;
    `jacobian`, (m, n), of `weighted`; `least`. Where residual and derivatives are zero nothing was measured.

    **Returns:** the covariance of the weighted residuals, (m, m), the degrees of freedom, and rho.

    **Source:** effective number of observations: Bayley and Hammersley 1946, doi 10.2307/2983560; intervals by
    generalised least squares: Seber and Wild 1989, doi 10.1002/0471725315, chapter 6.
    """
    require("least", least, 0.0)
    seen = np.any(jacobian != 0, axis=1) | (weighted != 0)
    rho = _lag_one(weighted, blocks, seen)
    correlations = linalg.block_diag(*(powers(rho, b.stop - b.start) for b in blocks))
    effective = sum(max(1.0, n * (1 - rho) / (1 + rho)) for n in (int(seen[b].sum()) for b in blocks) if n)
    degrees = max(1.0, effective - jacobian.shape[1])
    spread = float(np.mean(weighted[seen] ** 2)) * max(effective / degrees, 1.0)
    return max(spread, least**2) * correlations, degrees, rho


def _lag_one(weighted, blocks, seen) -> float:
    """The correlation of one residual with the next, over all blocks, without taking their means off."""
    above = below = 0.0
    for b in blocks:
        r = weighted[b][seen[b]]
        above, below = above + float(np.sum(r[1:] * r[:-1])), below + float(np.sum(0.5 * (r[1:] ** 2 + r[:-1] ** 2)))
    return float(np.clip(above / below, 0.0, HIGHEST)) if below > 0 else 0.0


def powers(rho: float, count: int) -> np.ndarray:
    """The correlations rho^|i-j|, (count, count)."""
    index = np.arange(count)
    return rho ** np.abs(index[:, None] - index[None, :])
