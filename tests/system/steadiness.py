"""Whether a row of figures stays where it is: the trend over its last half, and how much of it is allowed."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 4
"""Figures in the half that is judged; below that nothing is said of a trend."""


@dataclass(frozen=True)
class Allowed:
    """How much a figure may grow over the last half, whichever is more."""

    part: float
    """Of its median there."""
    amount: float
    """In its own unit."""


@dataclass(frozen=True)
class Trend:
    """What became of a figure over the last half."""

    median: float
    growth: float
    """By the median of the slopes between all pairs (Theil and Sen): a few outliers do not move it."""
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it grew by no more than is allowed."""
        return self.growth <= self.allowed


def trend(figures: Sequence[float], allowed: Allowed) -> Trend | None:
    """The trend of figures taken at equal intervals; None where there are too few."""
    half = figures[len(figures) // 2 :]
    if len(half) < FEWEST:
        return None
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in itertools.combinations(enumerate(half), 2)]
    median = statistics.median(half)
    return Trend(median, statistics.median(slopes) * (len(half) - 1), max(allowed.part * abs(median), allowed.amount))
