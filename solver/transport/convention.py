"""What is meant by a tortuosity factor: one image gives numbers that differ by percents between programs."""

import equinox as eqx


class Convention(eqx.Module):
    """How plates, volume fraction and length enter a tortuosity factor.

    **Arguments:** `at_nodes`, whether the plates hold the centres of the first and last voxels instead of lying half a
    voxel outside them; `percolating`, whether the volume fraction counts only what joins the two plates; `full_length`,
    whether the length is that of all N voxels where plates at nodes leave only N - 1 steps between them.
    """

    at_nodes: bool = eqx.field(static=True, default=False)
    percolating: bool = eqx.field(static=True, default=False)
    full_length: bool = eqx.field(static=True, default=True)

    def stretch(self, slices: int) -> float:
        """The length that counts over the distance between the plates."""
        return slices / (slices - 1) if self.at_nodes and self.full_length else 1.0


# Ours is TauFactor's: Kench et al. 2023, doi 10.21105/joss.05358.
CONVENTIONS = {
    "mesode": Convention(),
    "taufactor": Convention(),
    # `tortuosity_fd` of PoreSpy 3.2: trims what does not percolate, N - 1 steps. Gostick et al. 2019, doi
    # 10.21105/joss.01296.
    "porespy": Convention(at_nodes=True, percolating=True, full_length=False),
    # OpenImpala 4.4 divides by N where its plates are N - 1 steps apart: 1 for a uniform block becomes (N - 1) / N.
    "openimpala": Convention(at_nodes=True, percolating=True, full_length=True),
}
