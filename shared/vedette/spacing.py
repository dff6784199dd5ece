"""The space between steps that cost the same for one item as for many: what comes close together goes together. Pure.

Batches grow by themselves while a step takes long (`batching.py`). Where it is short, and items come one by one in
quick succession, each would have a step of its own. The first step after a pause is made at once, so an idle system
has no delay by this, and one that has much to do has none either.
"""


class Spacing:
    """When the next step may begin; times in seconds of one monotonic clock."""

    def __init__(self, seconds: float, enough: int) -> None:
        """`seconds` between the beginnings of two steps, unless the first of them took `enough` items, or none."""
        self._seconds = seconds
        self._enough = enough
        self._earliest = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the next step may begin."""
        return max(0.0, self._earliest - now)

    def begun(self, at: float, items: int) -> None:
        """A step has begun, and took so many items."""
        self._earliest = at + self._seconds if 0 < items < self._enough else 0.0
