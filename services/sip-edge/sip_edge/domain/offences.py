"""How much somebody has done wrong within a window of time. Pure."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Subject = TypeVar("Subject", bound=Hashable)

WINDOW = 60.0
"""Seconds from the first offence on; then it begins anew."""
MAX_KNOWN = 16_384


class Offences(Generic[Subject]):
    """Sums by subject; where there are too many, the one that is quiet for longest is forgotten."""

    def __init__(self, *, limit: int = MAX_KNOWN) -> None:
        self._limit = limit
        self._known: OrderedDict[Subject, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, subject: Subject, weight: int, now: float) -> int:
        """The sum of its window, this one included."""
        begun, total = self._known.get(subject, (now, 0))
        if now - begun > WINDOW:
            begun, total = now, 0
        self._known[subject] = (begun, total + weight)
        self._known.move_to_end(subject)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return total + weight

    def total(self, subject: Subject, now: float) -> int:
        """The sum of its window."""
        begun, total = self._known.get(subject, (now, 0))
        return total if now - begun <= WINDOW else 0

    def forget(self, subject: Subject) -> None:
        """Begin anew with it."""
        self._known.pop(subject, None)
