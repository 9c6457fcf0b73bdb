"""Contact of particles with the collector at x = 0 and with a rigid plate."""


def collector_overlap(depth, radii):
    """Overlap of each particle with the collector, m; negative when apart."""
    return radii - depth


def plate_overlap(depth, radii, plate):
    """Overlap of each particle with a plate whose face is at x = `plate`, m; negative when apart."""
    return depth + radii - plate
