"""Micro-batching with lanes: whatever arrives while a batch is in flight forms the next one. Pure.

No timer and no added latency when idle, large batches under load. Items of one lane keep their order: the next one
of a lane is given out only when the one before it has been released. The owner calls `put`, then `take` while there
is room in flight, `release` for each item as it is done with, and `returned` once for each batch.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """A bounded queue that gives out batches with at most one item of each lane in flight."""

    def __init__(self, *, max_batch: int, max_in_flight: int, max_queue: int) -> None:
        self.max_batch = max_batch
        self.max_in_flight = max_in_flight
        self.max_queue = max_queue
        self.in_flight = 0
        """Batches that were taken and have not returned."""
        self.queued = 0
        """Items that wait."""
        self._ready: deque[tuple[Hashable, Item]] = deque()
        self._lanes: dict[Hashable, deque[Item]] = {}

    @property
    def full(self) -> bool:
        """Whether `put` would refuse."""
        return self.queued >= self.max_queue

    @property
    def ready(self) -> int:
        """Items that wait for nothing but room in flight; the others wait for those before them in their lanes."""
        return len(self._ready)

    def ahead(self, lane: Hashable) -> int:
        """Items of the lane that have been put and not released: the next one waits for all of them."""
        waiting = self._lanes.get(lane)
        return 0 if waiting is None else len(waiting) + 1

    def put(self, lane: Hashable, item: Item) -> bool:
        """Queue an item; False where the queue is full and the item was not taken."""
        if self.queued >= self.max_queue:
            return False
        self.queued += 1
        waiting = self._lanes.get(lane)
        if waiting is None:
            self._lanes[lane] = deque()
            self._ready.append((lane, item))
        else:
            waiting.append(item)
        return True

    def take(self) -> list[tuple[Hashable, Item]]:
        """The next batch; [] where nothing is ready or enough is in flight."""
        if not self._ready or self.in_flight >= self.max_in_flight:
            return []
        ready = self._ready
        if len(ready) <= self.max_batch:
            batch = list(ready)
            ready.clear()
        else:
            batch = [ready.popleft() for _ in range(self.max_batch)]
        self.queued -= len(batch)
        self.in_flight += 1
        return batch

    def release(self, lane: Hashable) -> None:
        """The lane's item is done with: the next one of the lane may go."""
        waiting = self._lanes[lane]
        if waiting:
            self._ready.append((lane, waiting.popleft()))
        else:
            del self._lanes[lane]

    def returned(self) -> None:
        """A batch is back, whatever became of it."""
        self.in_flight -= 1
