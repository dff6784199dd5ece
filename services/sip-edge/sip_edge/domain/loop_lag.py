"""How late the event loop is, by a few readings: the least of them, since one alone may be anything. Pure."""

from collections import deque

INTERVAL = 0.1
"""Seconds between two readings."""
READINGS = 5


class LoopLag:
    """`read` every INTERVAL."""

    def __init__(self) -> None:
        self._late: deque[float] = deque([0.0] * READINGS, maxlen=READINGS)
        self.seconds = 0.0
        """By how much everything has been late for a while."""

    def read(self, late: float) -> None:
        """A reading came so many seconds late."""
        self._late.append(max(0.0, late))
        self.seconds = min(self._late)
