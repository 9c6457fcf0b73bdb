"""More and larger inputs of the suite `transport`; run only when it is named."""

from benchmarks.suites.transport import measure_large as measure

__all__ = ["measure"]
