"""What the code counts while it works: plain numbers, read when somebody asks for the metrics. Pure."""

from bisect import bisect_left
from collections.abc import Sequence

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Bounds for how many are in a batch."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for how long something took."""


class Distribution:
    """How often values fell between bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """`bounds` rise; the last count is of what lies above all of them."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """The sum of the values."""

    def add(self, value: float) -> None:
        """Count a value; one that equals a bound belongs below it, as Prometheus's `le` has it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Tally(dict[tuple[str, ...], int]):
    """How often each combination of labels came up. Whoever counts sees to it that there are few."""

    __slots__ = ()

    def add(self, *labels: str, times: int = 1) -> None:
        """Count."""
        self[labels] = self.get(labels, 0) + times
