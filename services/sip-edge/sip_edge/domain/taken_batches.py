"""Which batches of NOTIFYs were taken, and which never will be: a notifier that got no answer asks."""

from collections import OrderedDict

KEEP = 120.0
"""Seconds; a batch that was sent does not arrive later than that."""
MAX_BATCHES = 20_000


class TakenBatches:
    """What became of the batches of late, by their id: the indexes of the items that were not taken."""

    def __init__(self) -> None:
        self._refused: OrderedDict[bytes, tuple[float, list[int]]] = OrderedDict()

    def of(self, batch: bytes) -> list[int] | None:
        """The items of a known batch that were not taken; None for one that is not known."""
        known = self._refused.get(batch)
        return None if known is None else known[1]

    def put(self, batch: bytes, refused: list[int], now: float) -> None:
        """Remember a batch."""
        while self._refused and (
            len(self._refused) >= MAX_BATCHES or next(iter(self._refused.values()))[0] < now - KEEP
        ):
            self._refused.popitem(last=False)
        self._refused[batch] = now, refused

    def withdraw(self, batch: bytes, items: int, now: float) -> list[int]:
        """The items of the batch that were not taken; a batch that has not come by now never will be taken."""
        refused = self.of(batch)
        if refused is None:
            refused = list(range(items))
            self.put(batch, refused, now)
        return refused

    def __len__(self) -> int:
        return len(self._refused)
