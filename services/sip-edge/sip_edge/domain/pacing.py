"""Pacing of a fan-out: how many NOTIFYs may be on their way at once.

A burst of a thousand datagrams overruns the receive buffer of whoever shares one socket. So NOTIFYs to one address
leave in a window: a place is free again when the answer comes or, since a dead watcher must delay nobody, when
its time is over. Pure: `now` is an argument.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _Window(Generic[Item]):
    __slots__ = ("open", "waiting")

    def __init__(self) -> None:
        self.open = 0
        self.waiting: deque[Item] = deque()


class Pacer(Generic[Item]):
    """Windows by destination. `put`, then `take` what may leave; `answered` for each answer; `expire` with time."""

    def __init__(self, *, window: int, patience: float) -> None:
        """`window`: unanswered items for one destination; `patience`: seconds until one no longer counts."""
        self._window = window
        self._patience = patience
        self._windows: dict[Hashable, _Window[Item]] = {}
        self._open: dict[int, Hashable] = {}
        self._expiries: deque[tuple[float, int]] = deque()
        self._numbers = 0
        self._ready: deque[Hashable] = deque()
        self.waiting = 0
        """Items that wait for a place."""

    def put(self, destination: Hashable, item: Item) -> None:
        """Queue an item for a destination."""
        window = self._windows.get(destination)
        if window is None:
            window = self._windows[destination] = _Window()
        if not window.waiting:  # else it is there already, or has no place: then an answer puts it there
            self._ready.append(destination)
        window.waiting.append(item)
        self.waiting += 1

    def take(self, now: float) -> list[tuple[int, Item]]:
        """The items that may leave now, each with the number by which it is `answered`."""
        taken: list[tuple[int, Item]] = []
        while self._ready:
            destination = self._ready.popleft()
            window = self._windows.get(destination)
            while window is not None and window.waiting and window.open < self._window:
                self._numbers += 1
                window.open += 1
                self._open[self._numbers] = destination
                self._expiries.append((now + self._patience, self._numbers))
                taken.append((self._numbers, window.waiting.popleft()))
                self.waiting -= 1
        return taken

    def answered(self, number: int) -> None:
        """The item is answered, or given up: its place is free."""
        destination = self._open.pop(number, None)
        if destination is None:
            return
        window = self._windows[destination]
        window.open -= 1
        if window.waiting:
            self._ready.append(destination)
        elif not window.open:
            del self._windows[destination]

    def expire(self, now: float) -> None:
        """Free the places whose time is over."""
        while self._expiries and (self._expiries[0][0] <= now or self._expiries[0][1] not in self._open):
            self.answered(self._expiries.popleft()[1])

    def next_expiry(self) -> float | None:
        """When to call `expire`; None where nothing has left."""
        return self._expiries[0][0] if self._expiries else None
